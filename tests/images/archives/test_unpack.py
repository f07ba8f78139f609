import errno
import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest

from scatcache.errors import SourceError
from scatcache.images.archives.unpack import unpack_folder

CONTENT = {f"{number}.bin": bytes([number]) * 70_000 for number in range(4)}


def add(tar, name, content=b"", kind=tarfile.REGTYPE, link=""):
    member = tarfile.TarInfo(name)
    member.size, member.type, member.linkname = len(content), kind, link
    tar.addfile(member, io.BytesIO(content))


@pytest.fixture
def archive(tmp_path):
    (tmp_path / "root").mkdir()
    path = tmp_path / "root" / "wanted.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, content in CONTENT.items():
            add(tar, f"wanted/{name}", content)
    return path


def unpack(archive, work_dir=None, max_bytes=2**20):
    return unpack_folder(
        archive, "wanted", required=list(CONTENT), optional=["meta"], max_bytes=max_bytes, work_dir=work_dir
    )


def list_beside(archive: Path):
    return sorted(path.name for path in archive.parent.iterdir())


def make_read_only(monkeypatch, folder: Path):
    """As a read-only folder is to anyone but root, who may run these tests."""
    mkdir = Path.mkdir

    def refuse(path, *args, **options):
        if path.parent == folder:
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        mkdir(path, *args, **options)

    rename = os.replace

    def refuse_name(path, target):
        if target.parent == folder:
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        rename(path, target)

    monkeypatch.setattr(Path, "mkdir", refuse)
    monkeypatch.setattr(os, "replace", refuse_name)


def test_wanted_files_are_unpacked_beside_the_archive(archive):
    folder = unpack(archive)
    assert folder == archive.parent / "wanted"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENT
    assert list_beside(archive) == ["wanted", "wanted.tar.gz"]


def test_nothing_but_the_wanted_regular_files_is_unpacked(archive, tmp_path):
    with tarfile.open(archive, "w:gz") as tar:
        add(tar, "../escaped.bin", b"x")
        add(tar, "wanted/../../escaped.bin", b"x")
        add(tar, str(tmp_path / "escaped.bin"), b"x")
        add(tar, "wanted/readme.html", b"x")
        add(tar, "wanted/meta", kind=tarfile.SYMTYPE, link="/etc/passwd")
        add(tar, "other/0.bin", b"x")
        for name, content in CONTENT.items():
            add(tar, f"./wanted/{name}", content)
        add(tar, "other/0.bin", b"x")
    assert {path.name: path.read_bytes() for path in unpack(archive).iterdir()} == CONTENT
    assert not list(tmp_path.rglob("escaped.bin"))


def test_a_link_in_place_of_a_wanted_file_counts_as_missing(archive):
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in CONTENT.items():
            add(
                tar,
                f"wanted/{name}",
                content if name != "2.bin" else b"",
                *((tarfile.SYMTYPE, "/etc/passwd") if name == "2.bin" else ()),
            )
    with pytest.raises(SourceError, match=r"lacks wanted/2\.bin"):
        unpack(archive)


@pytest.mark.parametrize("kept", [0, 5, 0.3, 0.9, -1, -9])
def test_a_truncated_archive_is_named_and_leaves_nothing(archive, kept):
    content = archive.read_bytes()
    archive.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises(SourceError, match=r"wanted\.tar\.gz"):
        unpack(archive)
    assert list_beside(archive) == ["wanted.tar.gz"]


def test_a_whole_gzip_of_a_cut_tar_is_named(archive):
    archive.write_bytes(gzip.compress(gzip.decompress(archive.read_bytes())[:150_000]))
    with pytest.raises(SourceError, match=r"wanted\.tar\.gz"):
        unpack(archive)
    assert list_beside(archive) == ["wanted.tar.gz"]


@pytest.mark.parametrize("content", [b"<html>not found</html>", gzip.compress(b"no tar" * 999)], ids=["page", "no tar"])
def test_another_file_is_named(archive, content):
    archive.write_bytes(content)
    with pytest.raises(SourceError, match=r"wanted\.tar\.gz"):
        unpack(archive)
    assert list_beside(archive) == ["wanted.tar.gz"]


def test_a_flipped_bit_fails_the_checksum(archive):
    tar = bytearray(gzip.decompress(archive.read_bytes()))
    whole = gzip.compress(bytes(tar), 0)
    position = whole.index(b"\2" * 1000) + 500
    archive.write_bytes(whole[:position] + b"\3" + whole[position + 1 :])
    with pytest.raises(SourceError, match="CRC"):
        unpack(archive)


def test_a_read_only_folder_is_unpacked_into_work_dir_once(archive, tmp_path, monkeypatch):
    make_read_only(monkeypatch, archive.parent)
    folder = unpack(archive, tmp_path / "work")
    assert folder == tmp_path / "work" / "wanted"
    assert {path.name for path in folder.iterdir()} == set(CONTENT)
    archive.unlink()
    assert unpack(archive, tmp_path / "work") == folder


def test_a_read_only_folder_without_work_dir_is_refused(archive, monkeypatch):
    make_read_only(monkeypatch, archive.parent)
    with pytest.raises(SourceError, match="read-only"):
        unpack(archive)


def test_another_process_that_was_faster_is_no_failure(archive, monkeypatch):
    rename = os.replace

    def lose_race(path, target):
        target.mkdir()
        (target / "0.bin").write_bytes(CONTENT["0.bin"])
        return rename(path, target)

    monkeypatch.setattr(os, "replace", lose_race)
    assert unpack(archive) == archive.parent / "wanted"
    assert list_beside(archive) == ["wanted", "wanted.tar.gz"]


def test_a_full_disk_leaves_nothing(archive, monkeypatch):
    def fill_disk(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", fill_disk)
    with pytest.raises(OSError, match="No space left"):
        unpack(archive)
    assert list_beside(archive) == ["wanted.tar.gz"]


def test_an_archive_that_inflates_without_end_is_refused_and_leaves_nothing(archive):
    archive.write_bytes(gzip.compress(gzip.decompress(archive.read_bytes()) + bytes(3 * 2**20)))
    with pytest.raises(SourceError, match="grows to more than"):
        unpack(archive)
    assert list_beside(archive) == ["wanted.tar.gz"]


def test_a_sparse_file_that_claims_terabytes_counts_as_missing(archive):
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in CONTENT.items():
            add(tar, f"wanted/{name}", content, tarfile.GNUTYPE_SPARSE if name == "2.bin" else tarfile.REGTYPE)
    with pytest.raises(SourceError, match="wanted"):
        unpack(archive)
    assert list_beside(archive) == ["wanted.tar.gz"]
