import hashlib
import pickle
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scatcache.errors import SourceError
from scatcache.images.datasets import cifar100
from scatcache.images.datasets.cifar100 import CLASSES, open_cifar100
from scatcache.images.forms import Decoding, ImageForm
from scatcache.images.native_form import find_form
from scatcache.images.roots import NotFound
from scatcache.spec import Pixels
from tests.images.parts import read_key

N_RECORDS = 4
FORMS = ("binary", "python", "binary.tar.gz", "python.tar.gz")


def make_batches() -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """split -> (fine labels (n,), coarse labels (n,), pixels (n, 32, 32, 3))."""
    rng = np.random.default_rng(100)
    return {
        split: (
            np.array([0, 99, *rng.integers(20, 100, N_RECORDS - 2)]),
            rng.integers(0, 20, N_RECORDS),
            rng.integers(0, 256, (N_RECORDS, 32, 32, 3), dtype=np.uint8),
        )
        for split in ("train", "test")
    }


BATCHES = make_batches()


def write_cifar100(root: Path, form: str) -> Path:
    """Writes CIFAR-100's layout under root; returns the file or folder written."""
    kind = form.partition(".")[0]
    folder = root / f"cifar-100-{kind}"
    folder.mkdir(parents=True)
    for split, (fine, coarse, pixels) in BATCHES.items():
        planes = pixels.transpose(0, 3, 1, 2).reshape(N_RECORDS, -1)
        if kind == "binary":
            labels = np.stack([coarse, fine], 1).astype(np.uint8)
            (folder / f"{split}.bin").write_bytes(np.concatenate([labels, planes], 1).tobytes())
        else:
            fields = {"data": planes, "fine_labels": fine.tolist(), "coarse_labels": coarse.tolist()}
            (folder / split).write_bytes(pickle.dumps(fields, 2))
    if kind == "binary":
        (folder / "fine_label_names.txt").write_text("\n".join(CLASSES) + "\n")
        (folder / "coarse_label_names.txt").write_text("\n".join(f"coarse{i}" for i in range(20)) + "\n")
    else:
        names = {"fine_label_names": list(CLASSES), "coarse_label_names": [f"coarse{i}" for i in range(20)]}
        (folder / "meta").write_bytes(pickle.dumps(names, 2))
    if kind == form:
        return folder
    archive = root / f"cifar-100-{form}"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)
    shutil.rmtree(folder)
    return archive


def test_every_form_gives_the_same_rows_with_fine_labels_and_pixels(tmp_path):
    hashes = set()
    for form in FORMS:
        write_cifar100(tmp_path / form, form)
        source = open_cifar100(tmp_path / form)
        assert (source.name, source.classes, source.pixels) == ("cifar100", CLASSES, Pixels())
        assert source.official is False and "not the official CIFAR-100" in source.warnings[0]
        for split, (fine, _, pixels) in BATCHES.items():
            part = source.find(split)
            assert find_form(part, Decoding()) == ImageForm(32, 32, 3, "uint8")
            rows = [(f"{split}/{i:05d}", label, 3074) for i, label in enumerate(fine)]
            assert list(part.listing.rows) == rows
            for (key, _, _), image in zip(rows, pixels, strict=True):
                np.testing.assert_array_equal(read_key(source, split, key), image)
                np.testing.assert_array_equal(read_key(pickle.loads(pickle.dumps(source)), split, key), image)
            hashes.add((split, part.listing.hash))
    assert len(hashes) == 2


@pytest.mark.parametrize(("form", "algorithm"), [("binary", hashlib.sha1), ("python", hashlib.md5)])
def test_files_of_the_published_digest_are_official(tmp_path, monkeypatch, form, algorithm):
    folder = write_cifar100(tmp_path, form)
    suffix = ".bin" if form == "binary" else ""
    digests = tuple(algorithm((folder / (split + suffix)).read_bytes()).hexdigest() for split in BATCHES)
    forms = tuple(replace(entry, digests=digests if entry.folder == folder.name else ()) for entry in cifar100.FORMS)
    monkeypatch.setattr(cifar100, "FORMS", forms)
    assert (open_cifar100(tmp_path).official, open_cifar100(folder).warnings) == (True, ())


def test_a_folder_of_images_called_train_is_not_taken_for_a_batch(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    with pytest.raises(NotFound, match=r"cifar100 was not found in .*cifar-100-binary, cifar-100-python, "):
        open_cifar100(tmp_path)
    write_cifar100(tmp_path, "python.tar.gz")
    assert len(open_cifar100(tmp_path).find("test").listing.rows) == N_RECORDS


def test_a_label_outside_0_to_99_is_named(tmp_path):
    path = write_cifar100(tmp_path / "a", "binary") / "test.bin"
    content = bytearray(path.read_bytes())
    content[2 * 3074 + 1] = 100
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"test\.bin holds the label 100 at record 2: expected 0 to 99"):
        open_cifar100(tmp_path / "a")
    path = write_cifar100(tmp_path / "b", "python") / "test"
    path.write_bytes(pickle.dumps(pickle.loads(path.read_bytes()) | {"fine_labels": [0, 1, 2, 100]}))
    with pytest.raises(SourceError, match="test holds the label 100: expected 0 to 99"):
        open_cifar100(tmp_path / "b")


def test_a_truncated_batch_is_named(tmp_path):
    """Also one of whole records of CIFAR-10, which are a byte shorter."""
    path = write_cifar100(tmp_path, "binary") / "train.bin"
    path.write_bytes(path.read_bytes()[: 4 * 3073])
    with pytest.raises(SourceError, match=r"train\.bin is truncated: 12292 bytes are 4\.00 records of 3074 bytes"):
        open_cifar100(tmp_path)


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    folder = write_cifar100(tmp_path, "python")
    (folder / "meta").write_bytes(b"cos\nmkdir\n(V" + str(tmp_path / "ran").encode() + b"\ntR.")
    with pytest.raises(SourceError, match=r"meta.*mkdir"):
        open_cifar100(tmp_path)
    assert not (tmp_path / "ran").exists()
