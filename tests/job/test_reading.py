import threading
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scatcache.images.listing import TooLarge

from scatcache.errors import ScatcacheError, SourceError, UnreadableImage
from scatcache.job import reading
from scatcache.job.reading import ShardReads, cut_windows

MEGABYTE = 2**20


class Archive:
    """A source whose images lie in an archive, or not; remembers what was read, in which thread."""

    def __init__(self, places, failing=()):
        self.places, self.failing, self.reads = places, failing, []

    def locate(self, split, key):
        return self.places[key]

    def read(self, split, key):
        self.reads.append((key, threading.current_thread().name))
        if key in self.failing:
            raise self.failing[key]
        return f"{split}/{key}".encode()


def make_places(n_keys: int, n_bytes: int) -> dict[str, tuple[int, int]]:
    offsets = np.random.default_rng(0).permutation(n_keys) * n_bytes
    return {f"{index:03d}": (int(offset), n_bytes) for index, offset in enumerate(offsets)}


def make_sizes(keys):
    """Bytes by key of what Archive gives."""
    return {key: len(f"all/{key}") for key in keys}


def test_images_of_an_archive_are_read_in_its_order_whatever_order_they_are_asked_for():
    places = make_places(50, 1000)
    source = Archive(places)
    with ShardReads(source, "all", make_sizes(places)) as reads:
        assert [reads.read(key) for key in places] == [f"all/{key}".encode() for key in places]
    assert [key for key, _ in source.reads] == sorted(places, key=lambda key: places[key])


def test_large_shards_are_read_window_by_window_and_no_more_than_two_ahead(monkeypatch):
    monkeypatch.setattr(reading, "WINDOW_BYTES", 10 * MEGABYTE)
    places = make_places(40, MEGABYTE)
    keys = list(places)
    source = Archive(places)
    with ShardReads(source, "all", make_sizes(keys)) as reads:
        for position, key in enumerate(keys):
            reads.read(key)
            assert len(source.reads) <= 10 * (position // 10 + 2)
    windows = [[key for key, _ in source.reads[start : start + 10]] for start in range(0, 40, 10)]
    assert windows == [sorted(keys[start : start + 10], key=lambda key: places[key]) for start in range(0, 40, 10)]


def test_images_that_are_files_are_read_by_whoever_asks():
    source = Archive({"a": None, "b": None})
    with ShardReads(source, "all", make_sizes("ab")) as reads:
        assert reads.read("b") == b"all/b"
    assert source.reads == [("b", threading.current_thread().name)]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UnreadableImage("too large"), UnreadableImage),
        (SourceError("truncated"), SourceError),
        (OSError(2, "No such file"), ScatcacheError),
        (OSError("no image"), UnreadableImage),
    ],
)
def test_what_one_image_raises_is_raised_for_it_alone(error, kind):
    places = make_places(5, 10)
    with ShardReads(Archive(places, {"003": error}), "all", make_sizes(places)) as reads:
        with pytest.raises(kind):
            reads.read("003")
        assert reads.read("004") == b"all/004"


@pytest.mark.parametrize("placed", [True, False])
def test_an_image_of_another_size_than_listed_is_named_and_not_passed_on(placed):
    sizes = {**make_sizes(["a", "b"]), "a": 4}
    source = Archive({"a": (0, 4), "b": (4, 5)} if placed else {"a": None, "b": None})
    with ShardReads(source, "all", sizes) as reads:
        with pytest.raises(SourceError, match=r"all: a changed .* 4 bytes when listed, 5 bytes now.*--overwrite"):
            reads.read("a")
        assert reads.read("b") == b"all/b"


def test_a_file_that_became_too_large_is_named_and_one_listed_so_is_unreadable():
    source = Archive({"a": None, "b": None}, {"a": TooLarge("a file of 9"), "b": TooLarge("a file of 9")})
    with ShardReads(source, "all", {"a": 5, "b": 2**29 + 1}) as reads:
        with pytest.raises(SourceError, match="a changed while the job ran: 5 bytes"):
            reads.read("a")
        with pytest.raises(UnreadableImage):
            reads.read("b")


def test_leaving_early_reads_no_further(monkeypatch):
    monkeypatch.setattr(reading, "WINDOW_BYTES", 10)
    places = make_places(30, 10)
    source, before = Archive(places), set(threading.enumerate())
    with ShardReads(source, "all", make_sizes(places)) as reads:
        reads.read("000")
    assert len(source.reads) <= 2 and not set(threading.enumerate()) - before


@given(st.lists(st.one_of(st.none(), st.tuples(st.integers(0, 2**40), st.integers(0, 2**27)))))
def test_windows_hold_each_key_once_within_their_bound_and_in_the_archives_order(places):
    named = [(f"{index:03d}", place) for index, place in enumerate(places)]
    windows = cut_windows(named)
    sizes = {key: place[1] for key, place in named if place is not None}
    offsets = {key: place[0] for key, place in named if place is not None}
    assert sorted(key for window in windows for key in window) == sorted(sizes)
    for window in windows:
        assert len(window) == 1 or sum(sizes[key] for key in window) <= reading.WINDOW_BYTES
        assert [offsets[key] for key in window] == sorted(offsets[key] for key in window)
    for window, following in pairwise(windows):
        assert max(window) < min(following)
