import hashlib
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from scatcache.errors import SourceError
from scatcache.images.catalogue import open_source
from scatcache.images.datasets import svhn
from scatcache.images.datasets.svhn import SPLITS, open_svhn
from scatcache.images.forms import Decoding, ImageForm
from scatcache.images.native_form import find_form
from scatcache.spec import Pixels
from tests.images.parts import read_key

COUNTS = {"train": 12, "test": 5, "extra": 3}


def make_digits() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """split -> (pixels (n, 32, 32, 3), digits (n,)), 0 among those of train."""
    rng = np.random.default_rng(32)
    return {
        split: (rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8), np.arange(n) % 10) for split, n in COUNTS.items()
    }


DIGITS = make_digits()


def write_svhn(root: Path, splits: tuple[str, ...] = SPLITS) -> Path:
    """The files of these splits in root, which is made; returns it."""
    root.mkdir(parents=True, exist_ok=True)
    for split in splits:
        pixels, digits = DIGITS[split]
        write_mat(root / f"{split}_32x32.mat", X=pixels.transpose(1, 2, 3, 0), y=to_labels(digits))
    return root


def to_labels(digits: np.ndarray) -> np.ndarray:
    return np.where(digits == 0, 10, digits).astype(np.uint8)[:, None]


def write_mat(path: Path, **variables: object) -> None:
    savemat(path, variables, do_compression=True)


def test_digits_are_labels_and_pixels_are_those_of_matlab(tmp_path):
    source = open_svhn(write_svhn(tmp_path / "root"), tmp_path / "job")
    assert (source.name, source.classes, source.pixels) == ("svhn", tuple("0123456789"), Pixels())
    assert source.official is False and "not the official SVHN: the md5 of train_32x32.mat is" in source.warnings[0]
    copy = pickle.loads(pickle.dumps(source))
    for split, (pixels, digits) in DIGITS.items():
        part = source.find(split)
        assert find_form(part, Decoding()) == ImageForm(32, 32, 3, "uint8")
        rows = [(f"{split}_32x32/{i:05d}", digit, 3072) for i, digit in enumerate(digits)]
        assert list(part.listing.rows) == rows
        for (key, _, _), image in zip(rows, pixels, strict=True):
            for opened in (source, copy):
                found = read_key(opened, split, key)
                assert (found.dtype, found.flags.c_contiguous) == (np.uint8, True)
                np.testing.assert_array_equal(found, image)
    assert sorted(path.name for path in (tmp_path / "root").iterdir()) == sorted(map(svhn.name_file, SPLITS))


def test_extra_is_extracted_by_name_alone_and_what_is_not_there_says_so(tmp_path):
    write_svhn(tmp_path)
    assert open_source("svhn", root=tmp_path).default_splits == ("train", "test")
    (tmp_path / "extra_32x32.mat").unlink()
    source = open_source("svhn", root=tmp_path)
    assert source.default_splits == ("train", "test")
    with pytest.raises(SourceError, match=r"split extra is not in .*: put extra_32x32\.mat there, or give --download"):
        source.find("extra")
    with pytest.raises(SourceError, match=r"svhn was not found in .*none .*or give --download"):
        open_source("svhn", root=tmp_path / "none")


def make_official(monkeypatch, root: Path) -> None:
    """What lies in root is what was published."""
    md5s = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in root.glob("*.mat")}
    monkeypatch.setattr(svhn, "MD5S", md5s)
    if (root / "extra_32x32.mat").exists():
        monkeypatch.setattr(svhn, "EXTRA_BYTES", (root / "extra_32x32.mat").stat().st_size)


def test_official_files_are_unpacked_when_they_are_read_and_once(tmp_path, monkeypatch):
    root, job = write_svhn(tmp_path / "root"), tmp_path / "job"
    make_official(monkeypatch, root)
    source = open_svhn(root, job)
    assert (source.official, source.warnings, job.exists()) == (True, (), False)
    assert len(source.find("extra").listing.rows) == COUNTS["extra"] and not job.exists()
    copies = [pickle.loads(pickle.dumps(source)) for _ in range(8)]
    calls = []
    monkeypatch.setattr(svhn, "stage", lambda *where, stage=svhn.stage: calls.append(where) or stage(*where))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda opened: read_key(opened, "train", "train_32x32/00003"), copies))
    assert all(np.array_equal(image, DIGITS["train"][0][3]) for image in found)
    assert len(calls) == len(list(job.iterdir())) == 1


def test_files_of_another_digest_are_looked_through_before_anything_is_computed(tmp_path):
    root, job = write_svhn(tmp_path / "root"), tmp_path / "job"
    path = root / "test_32x32.mat"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(SourceError, match=r"test_32x32\.mat is truncated or no MATLAB 5 file"):
        open_svhn(root, job)


PIXELS = np.zeros((32, 32, 3, 4), np.uint8)
LABELS = np.ones((4, 1), np.uint8)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"x": PIXELS, "y": LABELS}, r"holds X of nothing \(\): expected uint8 \(32, 32, 3, n\)"),
        ({"X": PIXELS[:, :, 0], "y": LABELS}, r"holds X of uint8 \(32, 32, 4\)"),
        ({"X": PIXELS.astype(np.float64), "y": LABELS}, r"holds X of double \(32, 32, 3, 4\)"),
        ({"X": {"a": 1}, "y": LABELS}, r"holds X of struct"),
        ({"X": np.array([["a", "b"]], object), "y": LABELS}, r"holds X of cell"),
        ({"X": PIXELS}, r"holds y of nothing \(\): expected uint8 \(4, 1\)"),
        ({"X": PIXELS, "y": LABELS[:3]}, r"holds y of uint8 \(3, 1\): expected uint8 \(4, 1\)"),
        ({"X": PIXELS, "y": LABELS * 11}, "holds the label 11: expected 1 to 10"),
        ({"X": PIXELS, "y": LABELS * 0}, "holds the label 0: expected 1 to 10"),
    ],
)
def test_a_file_of_other_variables_is_refused(tmp_path, variables, message):
    write_mat(tmp_path / "train_32x32.mat", **variables)
    with pytest.raises(SourceError, match=rf"train_32x32\.mat {message}"):
        open_svhn(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["train_32x32.mat"]


def test_a_header_that_claims_more_than_the_file_can_hold_is_refused(tmp_path):
    """Uncompressed, the sizes stand plainly in the file."""
    savemat(tmp_path / "train_32x32.mat", {"X": PIXELS, "y": LABELS})
    content = (tmp_path / "train_32x32.mat").read_bytes()
    shape = np.array(PIXELS.shape, np.int32).tobytes()
    assert content.count(shape) == 1
    claimed = np.array([32, 32, 3, 900_000], np.int32).tobytes()
    (tmp_path / "train_32x32.mat").write_bytes(content.replace(shape, claimed))
    with pytest.raises(SourceError, match=r"holds X of uint8 \(32, 32, 3, 900000\): expected .* n of 1 to \d{4}\b"):
        open_svhn(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no mat", b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(512)])
def test_a_file_of_another_format_is_refused(tmp_path, content):
    (tmp_path / "test_32x32.mat").write_bytes(content)
    with pytest.raises(SourceError, match=r"test_32x32\.mat is truncated or no MATLAB 5 file"):
        open_svhn(tmp_path)


def test_a_file_that_changes_while_it_is_read_is_named(tmp_path):
    source = open_svhn(write_svhn(tmp_path / "root"), tmp_path / "job")
    read_key(source, "test", "test_32x32/00000")
    write_mat(tmp_path / "root" / "test_32x32.mat", X=PIXELS, y=LABELS)
    with pytest.raises(SourceError, match=r"test_32x32\.mat has changed since it was opened"):
        read_key(source, "test", "test_32x32/00000")
