import errno
import os
import pickle
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from scatcache.errors import SourceError, UnreadableImage
from scatcache.images import limits
from scatcache.images.archives import tar_index, tar_table
from scatcache.images.archives.tar_index import TarIndex, index_tar
from scatcache.images.archives.tar_members import list_members
from tests.images.tars import make_tar

FILES = {"b/2.jpg": b"two", "a/1.jpg": b"one" * 100, "ü/3.jpg": b"", "a/10.jpg": b"ten"}


@pytest.fixture
def tar(tmp_path) -> Path:
    path = tmp_path / "some.tar"
    path.write_bytes(make_tar(FILES.items()))
    return path


def index(tar: Path, work_dir: Path | None, calls: list[Path] | None = None) -> TarIndex:
    def list_files(descriptor):
        if calls is not None:
            calls.append(tar)
        yield from list_members(descriptor, 0, os.fstat(descriptor).st_size, name=tar.name)

    return index_tar(tar, work_dir, list_files)


@pytest.mark.parametrize("kept", [True, False])
def test_every_file_is_read_by_its_key(tar, tmp_path, kept):
    made = index(tar, tmp_path / "job" if kept else None)
    assert [key.decode() for key in made.table.keys] == sorted(FILES)
    for key, content in FILES.items():
        assert made.read(key) == content
        offset, n_bytes = made.locate(key)
        assert tar.read_bytes()[offset : offset + n_bytes] == content
    for key in ("a/2.jpg", "", "zz", "a/1"):
        with pytest.raises(FileNotFoundError):
            made.read(key)


def test_a_descriptor_that_is_in_no_cache_is_not_closed_while_it_is_read_from(tar, tmp_path, monkeypatch):
    """Of threads that open a tar at once each has one, and one is kept: closed, its number is another file's."""
    monkeypatch.setattr(tar_index, "_open", lambda tar, stamp: tar_index._OpenFile(tar))
    made = index(tar, tmp_path / "job")
    assert [made.read(key) for key in FILES] == list(FILES.values())


def test_the_later_of_two_files_of_one_name_counts(tmp_path):
    path = tmp_path / "some.tar"
    path.write_bytes(make_tar([("a.jpg", b"old"), ("b.jpg", b""), ("a.jpg", b"newer")]))
    made = index(path, None)
    assert made.read("a.jpg") == b"newer" and len(made.table.keys) == 2


def test_a_tar_is_indexed_once(tar, tmp_path):
    calls = []
    first, second = index(tar, tmp_path / "job", calls), index(tar, tmp_path / "job", calls)
    assert first == second and len(calls) == 1
    assert sorted(os.listdir(tmp_path / "job")) == ["some.tar.index.npz"]


def test_a_changed_tar_is_indexed_again_and_no_longer_read_by_the_old_index(tar, tmp_path):
    calls = []
    old = index(tar, tmp_path / "job", calls)
    tar.write_bytes(make_tar([("new.jpg", b"new")]))
    with pytest.raises(SourceError, match="changed since"):
        old.read("a/1.jpg")
    assert index(tar, tmp_path / "job", calls).read("new.jpg") == b"new"
    assert len(calls) == 2


@pytest.mark.parametrize("change", [lambda tar: os.truncate(tar, 600), lambda tar: os.utime(tar, ns=(1, 1))])
def test_a_tar_cut_off_or_written_to_while_it_is_read_is_named(tar, tmp_path, change):
    made = index(tar, tmp_path / "job")
    assert made.read("a/1.jpg") == FILES["a/1.jpg"]
    change(tar)
    with pytest.raises(SourceError, match=r"some\.tar has changed since it was indexed"):
        made.read("a/10.jpg")


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:100],
        lambda data: b"",
        lambda data: data[:300] + bytes([data[300] ^ 255]) + data[301:],
        lambda data: b"cos\nsystem\n(S'touch ran'\ntR.",
    ],
)
def test_a_damaged_index_is_made_again(tar, tmp_path, damage):
    saved = index(tar, tmp_path / "job").kept.saved
    saved.write_bytes(damage(saved.read_bytes()))
    tar_table._load.cache_clear()
    calls = []
    assert index(tar, tmp_path / "job", calls).read("b/2.jpg") == b"two"
    assert calls == [tar] and not Path("ran").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"offsets": np.array([0, 0, 0, 10**9])},
        {"sizes": np.array([-1, 0, 0, 0])},
        {"keys": np.array([b"z", b"y", b"x", b"w"])},
        {"keys": np.array([b"a"])},
        {"keys": np.array([1, 2, 3, 4])},
        {"keys": np.array([b"a", b"b", b"c", b"\xff"])},
        {"offsets": np.array([{}, 0, 0, 0], object)},
    ],
)
def test_a_forged_index_is_made_again(tar, tmp_path, change):
    saved = index(tar, tmp_path / "job").kept.saved
    with np.load(saved) as arrays:
        fields = dict(arrays)
    np.savez(saved, **{**fields, **change})
    tar_table._load.cache_clear()
    calls = []
    assert index(tar, tmp_path / "job", calls).read("b/2.jpg") == b"two"
    assert calls == [tar]


def claim(saved, header: bytes) -> None:
    """An index whose keys begin with this NumPy header, the zip's own checksums right."""
    with zipfile.ZipFile(saved) as arrays:
        members = {name: arrays.read(name) for name in arrays.namelist()}
    members["keys.npy"] = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(saved, "w") as arrays:
        for name, content in members.items():
            arrays.writestr(name, content)


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '|S9', 'fortran_order': False, 'shape': (10000000000000000,), }",
        b"{'descr': '|S9', 'fortran_order': False, 'shape': (-4,), }",
        b"{'descr': '|O', 'fortran_order': False, 'shape': (0,), }",
        b"{'descr': '|S0', 'fortran_order': False, 'shape': (4,), }",
        b"(" * 5000,
        b"{'descr': ",
        b"\xff\xfe",
    ],
)
def test_an_index_that_claims_what_it_does_not_hold_is_made_again(tar, tmp_path, header):
    saved = index(tar, tmp_path / "job").kept.saved
    claim(saved, header)
    tar_table._load.cache_clear()
    calls = []
    assert index(tar, tmp_path / "job", calls).read("b/2.jpg") == b"two" and calls == [tar]


def test_a_fifo_in_place_of_an_index_is_not_waited_for(tar, tmp_path):
    saved = index(tar, tmp_path / "job").kept.saved
    saved.unlink()
    os.mkfifo(saved)
    tar_table._load.cache_clear()
    assert index(tar, tmp_path / "job").read("b/2.jpg") == b"two" and saved.is_file()


def test_a_saved_index_pickles_small_and_is_missed_when_it_is_gone(tar, tmp_path):
    made = index(tar, tmp_path / "job")
    copy = pickle.loads(pickle.dumps(made))
    assert len(pickle.dumps(made)) < 500 and copy.read("a/1.jpg") == FILES["a/1.jpg"]
    made.kept.saved.unlink()
    tar_table._load.cache_clear()
    with pytest.raises(SourceError, match=r"index .* gone"):
        copy.read("a/1.jpg")


def test_a_file_too_large_to_be_an_image_is_not_read(tar, monkeypatch):
    monkeypatch.setattr(limits, "MAX_IMAGE_BYTES", 200)
    made = index(tar, None)
    assert made.read("b/2.jpg") == b"two"
    with pytest.raises(UnreadableImage, match="300 bytes, more than the 200 allowed"):
        made.read("a/1.jpg")


def test_an_index_that_cannot_be_written_leaves_nothing(tar, tmp_path, monkeypatch):
    def fill_up(*arguments, **arrays):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", fill_up)
    with pytest.raises(OSError, match="No space"):
        index(tar, tmp_path / "job")
    assert os.listdir(tmp_path / "job") == []


def test_what_listing_raises_is_raised(tar, tmp_path):
    def list_files(descriptor):
        raise SourceError("wrong")
        yield

    with pytest.raises(SourceError, match="wrong"):
        index_tar(tar, tmp_path / "job", partial(list_files))
    assert not (tmp_path / "job").exists()


def test_an_index_that_may_not_be_written_is_held_in_memory(tar, tmp_path, monkeypatch):
    def refuse(*arguments, **arrays):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(np, "savez", refuse)
    made = index(tar, tmp_path / "job")
    assert made.kept.saved is None and made.read("b/2.jpg") == b"two"


def test_indexing_is_told_from_its_start_to_its_end(tmp_path):
    path = tmp_path / "some.tar"
    path.write_bytes(make_tar((f"{number:04d}.jpg", b"") for number in range(2500)))
    told = []
    index_tar(
        path, None, lambda fd: list_members(fd, 0, path.stat().st_size, name="t"), lambda *what: told.append(what)
    )
    size = path.stat().st_size
    assert [what[2] for what in told] == [512, 512 * 1001, 512 * 2001, size]
    assert {(what[0], what[1], what[3]) for what in told} == {("indexing", "some.tar", size)}
