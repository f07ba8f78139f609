import gzip
import hashlib
import pickle
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scatcache.errors import SourceError
from scatcache.images.catalogue import open_source
from scatcache.images.datasets import mnist
from scatcache.images.datasets.mnist import FASHION_MNIST, FILES, MNIST, NAMES, open_mnist
from scatcache.images.forms import Decoding, ImageForm
from scatcache.images.native_form import find_form
from scatcache.spec import Pixels
from tests.images.parts import read_key

COUNTS = {"train": 6, "test": 4}


def make_records() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """split -> (images uint8 (n, 28, 28), labels uint8 (n,))."""
    rng = np.random.default_rng(28)
    return {
        split: (rng.integers(0, 256, (n, 28, 28), dtype=np.uint8), rng.integers(0, 10, n).astype(np.uint8))
        for split, n in COUNTS.items()
    }


RECORDS = make_records()


def make_idx(values: np.ndarray) -> bytes:
    return bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def write_mnist(folder: Path, *, packed: bool = False) -> Path:
    """The four files in folder, which is made; returns it."""
    folder.mkdir(parents=True)
    for split, names in FILES.items():
        for name, values in zip(names, RECORDS[split], strict=True):
            write_idx(folder, name, make_idx(values), packed=packed)
    return folder


def write_idx(folder: Path, name: str, content: bytes, *, packed: bool) -> None:
    if packed:
        (folder / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))
    else:
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("inner", [".", "raw", "MNIST/raw"])
def test_every_layout_gives_the_same_rows_and_pixels(tmp_path, packed, inner):
    write_mnist(tmp_path / "root" / inner, packed=packed)
    source = open_mnist(MNIST, tmp_path / "root", tmp_path / "job")
    assert (source.name, source.classes, source.root) == ("mnist", tuple("0123456789"), tmp_path / "root")
    assert source.pixels == Pixels("grey", 1, "uint8", 255.0) and source.default_splits == ("train", "test")
    copy = pickle.loads(pickle.dumps(source))
    for split, (images, labels) in RECORDS.items():
        part = source.find(split)
        stem = FILES[split][0]
        assert find_form(part, Decoding("grey")) == ImageForm(28, 28, 1, "uint8")
        assert list(part.listing.rows) == [(f"{stem}/{i:05d}", label, 784) for i, label in enumerate(labels)]
        assert copy.find(split).listing.hash == part.listing.hash
        for i, image in enumerate(images):
            for opened in (source, copy):
                found = read_key(opened, split, f"{stem}/{i:05d}")
                assert (found.dtype, found.shape) == (np.uint8, (28, 28))
                np.testing.assert_array_equal(found, image)
        with pytest.raises(IndexError):
            part.read(len(images))


def test_packed_files_are_inflated_once_and_beside_the_store_alone(tmp_path):
    folder = write_mnist(tmp_path / "root", packed=True)
    for _ in range(2):
        open_mnist(MNIST, folder, tmp_path / "job").find("train").read(0)
        kept = sorted((tmp_path / "job").iterdir())
        assert [path.name.rpartition("-")[0].rpartition("-")[0] for path in kept] == sorted(NAMES)
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{name}.gz" for name in NAMES)
    before = [path.stat().st_mtime_ns for path in kept]
    open_mnist(MNIST, folder, tmp_path / "job")
    assert [path.stat().st_mtime_ns for path in kept] == before


def publish_as(monkeypatch, folder: Path, dataset: mnist.IdxDataset, name: str) -> mnist.IdxDataset:
    """The dataset that is published as these unpacked files."""
    digests = tuple(hashlib.md5((folder / entry).read_bytes()).hexdigest() for entry in NAMES)
    published = replace(dataset, digests=digests)
    monkeypatch.setattr(mnist, name, published)
    return published


def test_files_of_the_published_content_are_official_however_they_are_packed(tmp_path, monkeypatch):
    plain, packed = write_mnist(tmp_path / "plain"), write_mnist(tmp_path / "packed", packed=True)
    for folder in (plain, packed):
        source = open_mnist(MNIST, folder, tmp_path / "job")
        assert source.official is False
        assert "not the official MNIST: the md5 of train-images-idx3-ubyte is" in source.warnings[0]
    published = publish_as(monkeypatch, plain, MNIST, "MNIST")
    for folder in (plain, packed):
        source = open_mnist(published, folder, tmp_path / "job")
        assert (source.official, source.warnings) == (True, ())


def test_mnist_is_not_taken_for_fashion_mnist_whose_files_bear_the_same_names(tmp_path, monkeypatch):
    folder = write_mnist(tmp_path / "root")
    assert open_mnist(FASHION_MNIST, folder).classes[0] == "T-shirt/top"
    publish_as(monkeypatch, folder, MNIST, "MNIST")
    with pytest.raises(SourceError, match="holds MNIST, not Fashion-MNIST: extract mnist, or name"):
        open_mnist(FASHION_MNIST, folder)


def test_each_finds_its_own_folder_where_torchvision_put_both(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCATCACHE_DATA", raising=False)
    write_mnist(tmp_path / "data" / "MNIST" / "raw")
    with pytest.raises(SourceError, match=r"fashion-mnist was not found in data/fashion-mnist .*; or give --download"):
        open_source("fashion-mnist")
    write_mnist(tmp_path / "data" / "FashionMNIST" / "raw")
    for name, folder in (("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")):
        stamp = open_source(name).find("test").stamp
        assert Path(stamp.path).parent == tmp_path / "data" / folder / "raw"


def test_a_missing_file_is_named(tmp_path):
    folder = write_mnist(tmp_path / "root")
    (folder / NAMES[3]).unlink()
    with pytest.raises(
        SourceError, match=rf"root is incomplete: it lacks {NAMES[3]}, or their \.gz.*or give --download"
    ):
        open_source("mnist", root=folder)


IMAGES, LABELS = FILES["train"]
WHOLE = make_idx(RECORDS["train"][0])


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (IMAGES, b"", "begins with nothing: expected 00000803"),
        (IMAGES, make_idx(RECORDS["train"][1]), "begins with 00000801: expected 00000803"),
        (IMAGES, WHOLE[:9], "is truncated: it ends in its header"),
        (IMAGES, WHOLE[:-1], "4719 bytes, its header says 6 records, 4720 bytes"),
        (IMAGES, WHOLE + b"\0", "4721 bytes, its header says 6 records"),
        (IMAGES, bytes((0, 0, 8, 3)) + b"\xff" * 4 + WHOLE[8:], "its header says 4294967295 records"),
        (IMAGES, make_idx(np.zeros((0, 28, 28), np.uint8)), "its header says 0 records"),
        (IMAGES, make_idx(np.zeros((6, 32, 32), np.uint8)), "images of 32x32: expected 28x28"),
        (IMAGES, make_idx(np.zeros((5, 28, 28), np.uint8)), r"holds 5 images, .* 6 labels: fetch both again"),
        (LABELS, make_idx(np.array([0, 1, 2, 3, 10, 5], np.uint8)), "holds the label 10 at record 4: expected 0 to 9"),
    ],
)
def test_a_damaged_file_is_named_before_anything_is_computed(tmp_path, name, content, message, packed):
    folder = write_mnist(tmp_path / "root", packed=packed)
    write_idx(folder, name, content, packed=packed)
    with pytest.raises(SourceError, match=rf"{name}(\.gz)? .*{message}|{name}(\.gz)? {message}"):
        open_mnist(MNIST, folder, tmp_path / "job")


def test_a_gz_that_is_cut_off_or_inflates_without_end_leaves_nothing(tmp_path, monkeypatch):
    folder = write_mnist(tmp_path / "root", packed=True)
    path = folder / f"{NAMES[0]}.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-4])
    with pytest.raises(SourceError, match=r"train-images-idx3-ubyte\.gz is truncated"):
        open_mnist(MNIST, folder, tmp_path / "job")
    path.write_bytes(whole)
    monkeypatch.setattr(mnist, "MAX_BYTES", 4000)
    with pytest.raises(SourceError, match="more than the 4000 bytes"):
        open_mnist(MNIST, folder, tmp_path / "job")
    assert list((tmp_path / "job").iterdir()) == []


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_changes_while_it_is_read_is_named(tmp_path, packed):
    """It is mapped: of what was cut off, a byte touched would end the process."""
    folder = write_mnist(tmp_path / "root", packed=packed)
    part = open_mnist(MNIST, folder, tmp_path / "job").find("train")
    part.read(5)
    write_idx(folder, IMAGES, WHOLE[:-784], packed=packed)
    with pytest.raises(SourceError, match=r"train-images-idx3-ubyte(\.gz)? has changed since it was opened"):
        part.read(5)
