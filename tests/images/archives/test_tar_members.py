import os
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from scatcache.errors import SourceError
from scatcache.images.archives.tar_members import MAX_HEADER_BYTES, ForwardReader, list_members
from tests.images.tars import make_entry, make_header, make_tar

FILES = [("a/1.jpg", b"one"), ("a/2.jpg", b""), ("./b//3.jpg", b"x" * 512), ("c.jpg", b"y" * 700)]
KEYS = ["a/1.jpg", "a/2.jpg", "b/3.jpg", "c.jpg"]


def list_all(path: Path, content: bytes, *, start: int = 0, n_bytes: int | None = None):
    path.write_bytes(content)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return list(list_members(descriptor, start, len(content) if n_bytes is None else n_bytes, name="some.tar"))
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_files_are_found_where_their_bytes_are(tmp_path, form):
    content = make_tar([make_entry("a", tarfile.DIRTYPE), *FILES], form=form)
    members = list_all(tmp_path / "t", content)
    assert [member.key for member in members] == KEYS
    assert [content[m.offset : m.offset + m.n_bytes] for m in members] == [data for _, data in FILES]


def test_a_tar_inside_a_file_is_found_by_its_place(tmp_path):
    inner = make_tar(FILES)
    content = make_tar([("first", b"123"), ("inner.tar", inner)])
    outer = list_all(tmp_path / "t", content)[1]
    members = list_all(tmp_path / "t", content, start=outer.offset, n_bytes=outer.n_bytes)
    assert [content[m.offset : m.offset + m.n_bytes] for m in members] == [data for _, data in FILES]


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_of_any_bytes_become_printable_keys(tmp_path, form):
    names = ["a\x1b[31m/1.jpg", "b\n/2.jpg", "c\udcff/3.jpg", "d" * 150 + "/ü.jpg", "e\u202e/4.jpg"]
    keys = [member.key for member in list_all(tmp_path / "t", make_tar([(name, b"1") for name in names], form=form))]
    assert keys == ["a\\u001b[31m/1.jpg", "b\\u000a/2.jpg", "c\\xff/3.jpg", "d" * 150 + "/ü.jpg", "e\\u202e/4.jpg"]


@pytest.mark.parametrize("name", ["../x.jpg", "a/../../x.jpg", "/etc/x.jpg", "a/.."])
def test_a_path_that_leads_outside_is_refused(tmp_path, name):
    with pytest.raises(SourceError, match=r"some\.tar holds .*leads outside"):
        list_all(tmp_path / "t", make_tar([*FILES, (name, b"1")]))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_link_is_refused(tmp_path, kind):
    with pytest.raises(SourceError, match=r"some\.tar holds the link a/x\.jpg"):
        list_all(tmp_path / "t", make_tar([*FILES, make_entry("a/x.jpg", kind, "/etc/passwd")]))


@pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.GNUTYPE_SPARSE])
def test_what_is_no_plain_file_is_refused(tmp_path, kind):
    with pytest.raises(SourceError, match="no plain file"):
        list_all(tmp_path / "t", make_tar([*FILES, make_entry("a/x.jpg", kind)]))


@pytest.mark.parametrize("kept", [100, 511, 512, 600, 1024 + 700, -10240])
def test_a_truncated_tar_is_named(tmp_path, kept):
    with pytest.raises(SourceError, match=r"some\.tar is truncated"):
        list_all(tmp_path / "t", make_tar(FILES)[:kept])


@pytest.mark.parametrize("content", [b"", b"no tar" * 999, bytes(100)])
def test_another_file_is_named(tmp_path, content):
    with pytest.raises(SourceError, match=r"some\.tar is truncated or no tar"):
        list_all(tmp_path / "t", content)


def test_a_damaged_header_is_no_end(tmp_path):
    content = bytearray(make_tar(FILES))
    content[1024 + 10] ^= 1
    with pytest.raises(SourceError, match=r"some\.tar is truncated or damaged at byte"):
        list_all(tmp_path / "t", bytes(content))


@pytest.mark.parametrize("size", [-512, -1024, 2**62])
def test_a_size_that_cannot_be_is_refused(tmp_path, size):
    with pytest.raises(SourceError, match=r"some\.tar is truncated"):
        list_all(tmp_path / "t", make_tar(FILES)[:-10240] + make_header("x.jpg", size) + make_tar(FILES))


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_huge_header_takes_no_memory(tmp_path, kind):
    path = tmp_path / "t"
    path.write_bytes(make_header("x", 2**30, kind))
    os.truncate(path, 2**30 + 4096)
    descriptor = os.open(path, os.O_RDONLY)
    tracemalloc.start()
    try:
        with pytest.raises(SourceError, match=r"header of .* bytes, more than"):
            list(list_members(descriptor, 0, 2**30 + 4096, name="some.tar"))
        assert tracemalloc.get_traced_memory()[1] < 10 * MAX_HEADER_BYTES
    finally:
        tracemalloc.stop()
        os.close(descriptor)


def test_headers_alone_are_read(tmp_path, monkeypatch):
    content = make_tar([(f"{index}.jpg", bytes(200_000)) for index in range(5)])
    pread, n_read = os.pread, []
    monkeypatch.setattr(os, "pread", lambda *where: n_read.append(where[1]) or pread(*where))
    assert len(list_all(tmp_path / "t", content)) == 5
    assert sum(n_read) < 10_000


def test_a_stream_that_grows_without_end_is_cut_off(tmp_path):
    with open("/dev/zero", "rb") as stream:
        reader = ForwardReader(stream, max_bytes=3_000_000)
        with pytest.raises(tarfile.ReadError, match="grows to more than"):
            reader.seek(2**40)


def test_a_stream_is_read_forward_alone(tmp_path):
    with open("/dev/zero", "rb") as stream:
        reader = ForwardReader(stream, max_bytes=10_000)
        assert (reader.seek(1000), reader.tell(), len(reader.read(24)), reader.tell()) == (1000, 1000, 24, 1024)
        with pytest.raises(tarfile.ReadError, match="back"):
            reader.seek(10)
