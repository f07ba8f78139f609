import hashlib
import os
import pickle
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scatcache.errors import SourceError
from scatcache.images.datasets import stl10
from scatcache.images.datasets.stl10 import ARCHIVE, CLASSES, FOLDER, open_stl10
from scatcache.images.forms import Decoding
from scatcache.images.native_form import find_form
from tests.images.parts import read_key

N_TRAIN, N_TEST, N_UNLABELED = 300, 4, 3
# Beyond 255, and not in order, as in the official file.
FOLD_LINES = [[299, 0, 256, 17], [5, 257, 44, 298]]


def make_images(n_images: int, seed: int) -> np.ndarray:
    """uint8 (n, 96, 96, 3) as people see them: rows, columns, colours."""
    return np.random.default_rng(seed).integers(0, 256, (n_images, 96, 96, 3), dtype=np.uint8)


IMAGES = {"train": make_images(N_TRAIN, 1), "test": make_images(N_TEST, 2), "unlabeled": make_images(N_UNLABELED, 3)}
LABELS = {split: np.arange(len(IMAGES[split])) * 7 % 10 for split in ("train", "test")}


def write_stl10(root: Path) -> Path:
    """The official layout, written pixel by pixel: for each colour, for each column, down the rows."""
    folder = root / FOLDER
    folder.mkdir(parents=True)
    for split, images in IMAGES.items():
        planes = [image[:, column, colour] for image in images for colour in range(3) for column in range(96)]
        (folder / f"{split}_X.bin").write_bytes(np.concatenate(planes).tobytes())
    for split, labels in LABELS.items():
        (folder / f"{split}_y.bin").write_bytes((labels + 1).astype(np.uint8).tobytes())
    (folder / "class_names.txt").write_text("\n".join(CLASSES) + "\n")
    (folder / "fold_indices.txt").write_text("".join(" ".join(map(str, fold)) + " \n" for fold in FOLD_LINES))
    return folder


@pytest.fixture
def root(tmp_path):
    return write_stl10(tmp_path / "root").parent


def pack(root: Path) -> Path:
    with tarfile.open(root / ARCHIVE, "w:gz") as tar:
        tar.add(root / FOLDER, FOLDER)
    for path in (root / FOLDER).iterdir():
        path.unlink()
    (root / FOLDER).rmdir()
    return root


@pytest.mark.parametrize("packed", [False, True])
def test_images_stand_upright_with_their_labels(root, packed):
    source = open_stl10(pack(root) if packed else root)
    assert tuple(source.splits) == ("train", "test", "unlabeled") and source.default_splits == ("train", "test")
    assert source.classes == CLASSES
    for split, images in IMAGES.items():
        rows = source.find(split).listing.rows
        assert [row.key for row in rows] == [f"{split}_X/{record:05d}" for record in range(len(images))]
        assert [row.label for row in rows] == (LABELS[split].tolist() if split in LABELS else [-1] * N_UNLABELED)
        assert find_form(source.find(split), Decoding()).shape == (96, 96)
        for row, image in list(zip(rows, images, strict=True))[:4]:
            read = read_key(source, split, row.key)
            assert (read.dtype, read.flags.c_contiguous) == (np.uint8, True)
            np.testing.assert_array_equal(read, image)


def test_folds_are_those_of_the_file_and_of_train_alone(root):
    source = open_stl10(root)
    assert [list(fold) for fold in source.find("train").listing.folds] == FOLD_LINES
    assert source.find("test").listing.folds is None
    (root / FOLDER / "fold_indices.txt").unlink()
    assert open_stl10(root).find("train").listing.folds is None


@pytest.mark.parametrize(
    ("text", "message"), [("1 2 300\n", "index 300"), ("-1 0\n", "index -1"), ("1 x\n", "indices")]
)
def test_a_fold_that_cannot_be_is_named(root, text, message):
    (root / FOLDER / "fold_indices.txt").write_text(text)
    with pytest.raises(SourceError, match=rf"fold_indices\.txt.*{message}"):
        open_stl10(root).find("train").listing


def test_unlabeled_is_there_where_its_file_is(root):
    (root / FOLDER / "unlabeled_X.bin").unlink()
    source = open_stl10(root)
    assert tuple(source.splits) == ("train", "test")
    with pytest.raises(SourceError, match=r"split unlabeled is not in .*: put unlabeled_X\.bin there"):
        source.find("unlabeled").listing


def test_root_may_be_the_folder_of_the_files(root):
    assert open_stl10(root / FOLDER).find("train").folder == root / FOLDER


def test_a_source_is_small_when_pickled(root):
    source = open_stl10(root)
    read_key(source, "train", "train_X/00001")
    copy = pickle.loads(pickle.dumps(source))
    assert len(pickle.dumps(source)) < 15_000 and copy == source
    np.testing.assert_array_equal(read_key(copy, "train", "train_X/00001"), IMAGES["train"][1])


@pytest.mark.parametrize("name", ["train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin"])
def test_a_missing_file_is_named(root, name):
    (root / FOLDER / name).unlink()
    with pytest.raises(SourceError, match=rf"lacks {name}|not found"):
        open_stl10(root)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("test_X.bin", bytes(27648 * 4 - 1), r"4\.00 records"),
        ("test_X.bin", b"", "0.00 records"),
        ("test_y.bin", bytes([1, 2, 3]), "3 labels of 4 images"),
        ("test_y.bin", bytes([1, 2, 3, 0]), "label 0"),
        ("test_y.bin", bytes([1, 2, 3, 11]), "label 11"),
        ("class_names.txt", b"one two", "10 classes"),
        ("class_names.txt", b"one " * 10, "10 classes"),
    ],
)
def test_a_damaged_file_is_named(root, name, content, message):
    (root / FOLDER / name).write_bytes(content)
    with pytest.raises(SourceError, match=f"{name}.*{message}"):
        open_stl10(root).find("test").listing


def test_a_file_that_shrinks_while_it_is_read_is_named(root):
    source = open_stl10(root)
    read_key(source, "test", "test_X/00003")
    os.truncate(root / FOLDER / "test_X.bin", 96 * 96 * 3)
    with pytest.raises(SourceError, match=r"test_X\.bin has changed .*110592 bytes then, 27648 now"):
        read_key(source, "test", "test_X/00003")


def test_other_files_are_taken_with_one_warning_and_official_ones_with_none(root, monkeypatch):
    source = open_stl10(root)
    assert source.official is False and "not the official STL-10" in source.warnings[0]
    md5s = {name: hashlib.md5((root / FOLDER / name).read_bytes()).hexdigest() for name in stl10.MD5S}
    monkeypatch.setattr(stl10, "MD5S", md5s)
    source = open_stl10(root)
    assert source.official is False and "unlabeled_X.bin is not the official one" in source.warnings[0]
    monkeypatch.setattr(stl10, "UNLABELED_BYTES", N_UNLABELED * 27648)
    assert (open_stl10(root).official, open_stl10(root).warnings) == (True, ())


def test_an_archive_that_inflates_without_end_is_refused(root, monkeypatch):
    monkeypatch.setattr(stl10, "MAX_BYTES", 10**6)
    with pytest.raises(SourceError, match="grows to more than"):
        open_stl10(pack(root))
    assert os.listdir(root) == [ARCHIVE]


def test_the_stand_in_shows_its_photographs_upright(needs_data, tmp_path):
    """Orientation against the source photographs, cut and scaled here as the stand-in's script says it does."""
    script = needs_data("make_stl10_standin.py")
    with tarfile.open(needs_data("imagenette160-mini.tar")) as tar:
        tar.extractall(tmp_path, filter="data")
    photographs = tmp_path / "imagenette160-mini"
    subprocess.run([sys.executable, script, photographs, tmp_path / "out", "4", "2"], check=True, capture_output=True)
    source = open_stl10(tmp_path / "out")
    assert source.classes == tuple(sorted(os.listdir(photographs / "train")))
    for split, folder, n_each in (("train", "train", 4), ("test", "val", 2)):
        rows = source.find(split).listing.rows
        found = {(row.label, read_key(source, split, row.key).tobytes()) for row in rows}
        expected = set()
        for label, name in enumerate(source.classes):
            for path in sorted((photographs / folder / name).iterdir())[:n_each]:
                expected.add((label, crop_square(path).tobytes()))
        assert found == expected and len(rows) == 10 * n_each


def crop_square(path: Path) -> np.ndarray:
    image = Image.open(path).convert("RGB")
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    box = (left, top, (width + side) // 2, (height + side) // 2)
    return np.asarray(image.crop(box).resize((96, 96), Image.Resampling.BICUBIC))
