import gzip
import io
import os
import pickle
import zipfile
from pathlib import Path

import pytest

from scatcache.errors import SourceError
from scatcache.images.archives.checksums import hash_md5
from scatcache.images.catalogue import open_source
from scatcache.images.datasets import caltech101
from scatcache.images.datasets.caltech101 import FOLDER, TAR, ZIP, open_caltech101
from tests.images.imagenets import write_folders
from tests.images.parts import read_key
from tests.images.tars import draw_jpeg, make_entry, make_tar

IMAGES = {
    f"{name}/image_{number:04d}.jpg": draw_jpeg(number + len(name))
    for name in ("Faces", "accordion", "yin_yang", "BACKGROUND_Google")
    for number in (1, 2, 10)
}
CLASSES = ("Faces", "accordion", "yin_yang")
FORMS = ("folder", "torchvision", "root", "tar", "zip")


def make_targz(images: dict[str, bytes] = IMAGES) -> bytes:
    return gzip.compress(make_tar((f"{FOLDER}/{key}", content) for key, content in images.items()))


def make_zip(targz: bytes, name: str = f"caltech-101/{TAR}") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("caltech-101/Annotations.tar", b"none of it is read")
        archive.writestr(name, targz)
        archive.writestr("__MACOSX/caltech-101/._Annotations.tar", b"")
    return file.getvalue()


def write_form(root: Path, form: str) -> Path:
    root.mkdir(parents=True)
    if form == "tar":
        (root / TAR).write_bytes(make_targz())
    elif form == "zip":
        (root / ZIP).write_bytes(make_zip(make_targz()))
    else:
        place = {"folder": FOLDER, "torchvision": f"caltech101/{FOLDER}", "root": "."}[form]
        write_folders(root / place, IMAGES)
    return root


@pytest.fixture(params=FORMS)
def root(tmp_path, request):
    return write_form(tmp_path / "root", request.param)


def test_every_form_gives_the_same_keys_labels_and_bytes_without_the_background(root, tmp_path):
    source = open_caltech101(root, tmp_path / "job")
    assert (tuple(source.splits), source.classes, source.options) == (("all",), CLASSES, {})
    wanted = {key: content for key, content in IMAGES.items() if not key.startswith("BACKGROUND")}
    rows = source.find("all").listing.rows
    assert [row.key for row in rows] == sorted(wanted)
    assert [row.label for row in rows] == [CLASSES.index(row.key.partition("/")[0]) for row in rows]
    assert [read_key(source, "all", row.key) for row in rows] == [wanted[row.key] for row in rows]
    copy = pickle.loads(pickle.dumps(source))
    assert len(pickle.dumps(source)) < 3000 and read_key(copy, "all", rows[0].key) == wanted[rows[0].key]


def test_the_background_is_kept_on_demand_and_equals_the_folder_source(root, tmp_path):
    source = open_caltech101(root, tmp_path / "job", with_background=True)
    folder = open_source(os.path.join(write_form(tmp_path / "plain", "root"), ""))
    assert source.classes == folder.classes == ("BACKGROUND_Google", *CLASSES)
    assert (source.name, source.options) == ("caltech101-background", {})
    assert source.find("all").listing.hash == folder.find("all").listing.hash


def test_an_archive_is_inflated_once_into_the_working_folder_and_nothing_lies_beside_it(tmp_path):
    root, job = write_form(tmp_path / "root", "zip"), tmp_path / "job"
    open_caltech101(root, job)
    kept = {path.name: path.stat().st_mtime_ns for path in job.iterdir()}
    open_caltech101(root, job)
    assert {path.name: path.stat().st_mtime_ns for path in job.iterdir()} == kept and len(kept) == 2
    assert os.listdir(root) == [ZIP]


def test_a_changed_archive_is_inflated_again(tmp_path):
    root, job = write_form(tmp_path / "root", "tar"), tmp_path / "job"
    before = open_caltech101(root, job).find("all").listing
    (root / TAR).write_bytes(make_targz({key: content + b"." for key, content in IMAGES.items()}))
    assert open_caltech101(root, job).find("all").listing.hash != before.hash


@pytest.mark.parametrize("form", ["tar", "zip"])
def test_another_md5_is_taken_with_a_warning(tmp_path, form, monkeypatch):
    root = write_form(tmp_path / "root", form)
    source = open_caltech101(root, tmp_path / "job")
    assert source.official is False and "not the official Caltech-101" in source.warnings[0]
    name = {"tar": TAR, "zip": ZIP}[form]
    monkeypatch.setitem(caltech101.MD5S, name, hash_md5(root / name))
    source = open_caltech101(root, tmp_path / "job")
    assert (source.official, source.warnings) == (True, ())


def test_a_folder_has_no_md5(tmp_path):
    assert open_caltech101(write_form(tmp_path / "root", "folder")).official is None


@pytest.mark.parametrize("cut", [10, 0.5, -1, -9])
@pytest.mark.parametrize("form", ["tar", "zip"])
def test_a_truncated_archive_is_named_and_leaves_nothing(tmp_path, form, cut):
    root = write_form(tmp_path / "root", form)
    path = next(root.iterdir())
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * cut) if isinstance(cut, float) else cut])
    with pytest.raises(SourceError, match=path.name):
        open_caltech101(root, tmp_path / "job")
    assert not (tmp_path / "job").exists() or os.listdir(tmp_path / "job") == []


def test_a_zip_without_the_tar_or_with_two_is_named(tmp_path):
    root = write_form(tmp_path / "root", "zip")
    (root / ZIP).write_bytes(make_zip(make_targz(), "caltech-101/other.tar.gz"))
    with pytest.raises(SourceError, match=f"holds 0 files {TAR}"):
        open_caltech101(root, tmp_path / "job")


@pytest.mark.parametrize("name", [f"../../{TAR}", f"/tmp/{TAR}"])
def test_a_zip_member_that_leads_outside_writes_nothing_there(tmp_path, name):
    root = write_form(tmp_path / "root", "zip")
    (root / ZIP).write_bytes(make_zip(make_targz(), name))
    open_caltech101(root, tmp_path / "job")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job", "root"]
    assert not Path("/tmp", TAR).exists() and os.listdir(root) == [ZIP]


@pytest.mark.parametrize("form", ["tar", "zip"])
def test_an_archive_that_inflates_without_end_is_refused(tmp_path, monkeypatch, form):
    monkeypatch.setattr(caltech101, "MAX_BYTES", 10**6)
    root = write_form(tmp_path / "root", form)
    bomb = gzip.compress(bytes(3 * 10**6))
    (root / (TAR if form == "tar" else ZIP)).write_bytes(bomb if form == "tar" else make_zip(bomb))
    with pytest.raises(SourceError, match="grows to more than the 1000000 bytes"):
        open_caltech101(root, tmp_path / "job")
    assert os.listdir(tmp_path / "job") == []


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ((f"{FOLDER}/Faces/../../../x.jpg", b"1"), "leads outside"),
        (make_entry(f"{FOLDER}/Faces/x.jpg", b"2", "/etc/passwd"), "holds the link"),
    ],
)
def test_a_hostile_member_is_refused(tmp_path, entry, message):
    root = write_form(tmp_path / "root", "tar")
    (root / TAR).write_bytes(gzip.compress(make_tar([(f"{FOLDER}/Faces/1.jpg", b"1"), entry])))
    with pytest.raises(SourceError, match=message):
        open_caltech101(root, tmp_path / "job")


def test_where_there_is_nothing_the_error_names_the_archives(tmp_path):
    with pytest.raises(SourceError, match=rf"{ZIP}, {TAR}, or the folder {FOLDER}"):
        open_caltech101(tmp_path)


def test_caltech101_20_has_101_classes(needs_data, tmp_path):
    import tarfile

    with tarfile.open(needs_data("caltech101-20.tar")) as tar:
        tar.extractall(tmp_path, filter="data")
    source = open_caltech101(tmp_path / "caltech101-20")
    folder = open_source(os.path.join(tmp_path / "caltech101-20", ""))
    assert len(source.classes) == 101 and source.classes == folder.classes
    assert source.find("all").listing.hash == folder.find("all").listing.hash
    assert len(source.find("all").listing.rows) == 20 * 101
