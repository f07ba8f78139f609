import os

from hypothesis import given
from hypothesis import strategies as st

from scatcache.images.keys import escape_name, has_image_name, has_sample_name, holds_samples, unescape_name

NAMES = st.one_of(st.text(), st.binary().map(os.fsdecode))


@given(NAMES)
def test_any_name_comes_back_from_its_escape(name):
    assert unescape_name(escape_name(name)) == name


@given(NAMES)
def test_an_escape_is_utf8_without_control_characters(name):
    escaped = escape_name(name)
    escaped.encode()
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in escaped)


@given(NAMES, NAMES)
def test_two_names_never_share_an_escape(name, other):
    assert (name == other) == (escape_name(name) == escape_name(other))


def test_plain_names_stay_as_they_are():
    assert escape_name("name with space é 漢.jpg") == "name with space é 漢.jpg"


def test_bytes_backslashes_and_newlines_are_written_out():
    assert escape_name(os.fsdecode(b"a\xff\\b\nc")) == r"a\xff\\b\u000ac"


def test_files_of_samples_are_told_from_pictures():
    for key in ("a/b.npy", "x.FITS", "y.fit", "deep/er/z.fts"):
        assert has_sample_name(key.rpartition("/")[2]) and holds_samples(key) and not has_image_name(key)
    assert has_image_name("b.png")
    for key in ("a/b.png", "x.tif", "npy", "fits", "a.npy/b.jpg"):
        assert not holds_samples(key)
    assert not any(map(has_sample_name, ("npy", ".npy", "a.npz", "b.png")))
