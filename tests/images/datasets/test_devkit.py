import gzip
import io
import struct
import zlib

import numpy as np
import pytest
from scipy.io import savemat

from scatcache.errors import SourceError
from scatcache.images.datasets import devkit
from scatcache.images.datasets.devkit import ARCHIVE, FOLDER, GROUND_TRUTH, META, find_devkit, parse_meta, read_devkit
from tests.images.imagenets import make_meta, write_devkit
from tests.images.tars import make_entry, make_tar

WNIDS = ["n00000003", "n00000001", "n00000002"]
TRUTH = [2, 2, 1, 3]


def name(number: int) -> str:
    return f"ILSVRC2012_val_{number:08d}.JPEG"


@pytest.mark.parametrize("unpacked", [True, False])
def test_classes_come_from_the_ground_truth(tmp_path, unpacked):
    path = write_devkit(tmp_path, WNIDS, TRUTH, unpacked=unpacked)
    assert find_devkit(tmp_path) == path == tmp_path / (FOLDER if unpacked else ARCHIVE)
    kit = read_devkit(path)
    assert kit.wnids == ("n00000001", "n00000001", "n00000003", "n00000002")
    assert kit.sort([name(3), name(1)]) == {name(3): "n00000003", name(1): "n00000001"}


def test_there_may_be_none(tmp_path):
    assert find_devkit(tmp_path) is None


def test_other_names_are_taken_in_their_order_where_there_is_one_for_each_line(tmp_path):
    kit = read_devkit(write_devkit(tmp_path, WNIDS, TRUTH))
    assert kit.sort(["d.jpg", "a.jpg", "c.jpg", "b.jpg"]) == {
        "a.jpg": "n00000001",
        "b.jpg": "n00000001",
        "c.jpg": "n00000003",
        "d.jpg": "n00000002",
    }
    for names in (["a.jpg"], [name(5)], [name(0)], [name(1), "a.jpg"]):
        with pytest.raises(SourceError, match="4 validation images"):
            kit.sort(names)


@pytest.mark.parametrize(
    ("truth", "message"), [([0], "has not"), ([9], "has not"), (["x"], "has not"), (["1.5"], "has not")]
)
def test_a_class_that_is_none_is_named(tmp_path, truth, message):
    with pytest.raises(SourceError, match=f"{GROUND_TRUTH}.*{message}"):
        read_devkit(write_devkit(tmp_path, WNIDS, truth))


@pytest.mark.parametrize("missing", [META, GROUND_TRUTH])
def test_a_devkit_that_lacks_a_file_is_named(tmp_path, missing):
    folder = write_devkit(tmp_path, WNIDS, TRUTH, unpacked=True)
    (folder / missing).unlink()
    with pytest.raises(SourceError, match="lacks"):
        read_devkit(folder)
    (tmp_path / ARCHIVE).write_bytes(gzip.compress(make_tar([(f"{FOLDER}/{META}", make_meta(WNIDS))])))
    with pytest.raises(SourceError, match=f"lacks {GROUND_TRUTH}"):
        read_devkit(tmp_path / ARCHIVE)


def test_a_link_in_place_of_a_file_counts_as_missing(tmp_path):
    entries = [(f"{FOLDER}/{META}", make_meta(WNIDS)), make_entry(f"{FOLDER}/{GROUND_TRUTH}", b"2", "/etc/passwd")]
    (tmp_path / ARCHIVE).write_bytes(gzip.compress(make_tar(entries)))
    with pytest.raises(SourceError, match=f"lacks {GROUND_TRUTH}"):
        read_devkit(tmp_path / ARCHIVE)


@pytest.mark.parametrize(
    "content", [b"", b"no gzip", gzip.compress(b"no tar" * 999, mtime=0)], ids=["empty", "no gzip", "no tar"]
)
def test_another_archive_is_named(tmp_path, content):
    (tmp_path / ARCHIVE).write_bytes(content)
    with pytest.raises(SourceError, match=ARCHIVE):
        read_devkit(tmp_path / ARCHIVE)


def test_a_truncated_archive_is_named(tmp_path):
    path = write_devkit(tmp_path, WNIDS, TRUTH)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SourceError, match="truncated"):
        read_devkit(path)


def test_an_archive_that_inflates_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(devkit, "MAX_BYTES", 10**6)
    entries = [("other", bytes(3 * 10**6)), (f"{FOLDER}/{META}", make_meta(WNIDS))]
    (tmp_path / ARCHIVE).write_bytes(gzip.compress(make_tar(entries)))
    with pytest.raises(SourceError, match="grows to more than"):
        read_devkit(tmp_path / ARCHIVE)


@pytest.mark.parametrize("cut", [0, 100, 130, 200, -1])
def test_a_truncated_meta_is_named(cut):
    with pytest.raises(SourceError, match="kit"):
        parse_meta(make_meta(WNIDS)[:cut], "kit")


def save(fields: dict) -> bytes:
    file = io.BytesIO()
    savemat(file, fields)
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        save({"other": 1}),
        save({"synsets": 1}),
        save({"synsets": {"WNID": "n00000001"}}),
        make_meta(["../../etc"]),
        b"\0" * 200,
        b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + b"\x0f\0\0\0\xff\xff\xff\x7f" + b"x" * 50,
    ],
)
def test_another_meta_is_named(content):
    with pytest.raises(SourceError, match=r"kit: data/meta\.mat"):
        parse_meta(content, "kit")


def test_a_meta_that_inflates_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(devkit, "MAX_BYTES", 10**6)
    packed = zlib.compress(struct.pack("<II", 6, 2 * 10**6) + bytes(2 * 10**6))
    content = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + struct.pack("<II", 15, len(packed)) + packed
    with pytest.raises(SourceError, match="inflates to more than"):
        parse_meta(content, "kit")


def test_a_meta_of_1000_classes_is_read():
    wnids = [f"n{number:08d}" for number in np.random.default_rng(0).permutation(1000)]
    assert parse_meta(make_meta(wnids), "kit") == {index + 1: wnid for index, wnid in enumerate(wnids)}
