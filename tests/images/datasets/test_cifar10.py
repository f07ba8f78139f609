import hashlib
import os
import pickle
import shutil
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scatcache.errors import SourceError
from scatcache.images.datasets import cifar, cifar10
from scatcache.images.datasets.cifar10 import CLASSES, open_cifar10
from scatcache.images.forms import Decoding
from scatcache.images.native_form import find_form
from tests.images.parts import read_key

STEMS = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch")
N_RECORDS = 4
FORMS = ("bin", "py", "bin.tar.gz", "py.tar.gz")
ARCHIVES = {"bin": "cifar-10-binary.tar.gz", "py": "cifar-10-python.tar.gz"}


def make_batches():
    """stem -> (labels (n,), pixels (n, 32, 32, 3)), in the order people see: rows, columns, colours."""
    rng = np.random.default_rng(10)
    return {
        stem: (rng.integers(0, 10, N_RECORDS), rng.integers(0, 256, (N_RECORDS, 32, 32, 3), dtype=np.uint8))
        for stem in STEMS
    }


BATCHES = make_batches()


def write_binary(folder: Path):
    folder.mkdir(parents=True)
    for stem, (labels, pixels) in BATCHES.items():
        content = b""
        for label, image in zip(labels, pixels, strict=True):
            content += bytes([label]) + b"".join(image[:, :, colour].tobytes() for colour in range(3))
        (folder / f"{stem}.bin").write_bytes(content)
    (folder / "batches.meta.txt").write_text("\n".join(CLASSES) + "\n\n")


def write_python(folder: Path):
    folder.mkdir(parents=True)
    for stem, (labels, pixels) in BATCHES.items():
        data = np.stack([np.concatenate([image[:, :, colour].ravel() for colour in range(3)]) for image in pixels])
        fields = {"batch_label": stem, "labels": labels.tolist(), "data": data, "filenames": ["a.png"] * N_RECORDS}
        (folder / stem).write_bytes(pickle.dumps(fields, 2))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(CLASSES), "num_vis": 3072}, 2))


def write_form(root: Path, form: str) -> Path:
    """Writes CIFAR-10's layout under root; returns the file or folder written."""
    kind = form.partition(".")[0]
    folder = root / f"cifar-10-batches-{kind}"
    (write_binary if kind == "bin" else write_python)(folder)
    if kind == form:
        return folder
    archive = root / ARCHIVES[kind]
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)
    shutil.rmtree(folder)
    return archive


@pytest.fixture(params=FORMS)
def root(tmp_path, request):
    write_form(tmp_path / "data", request.param)
    return tmp_path / "data"


def test_every_form_gives_the_same_keys_labels_and_pixels(root):
    source = open_cifar10(root)
    assert (tuple(source.splits), source.default_splits) == (("train", "test"), ("train", "test"))
    assert source.classes == CLASSES
    assert source.root == root
    for split, stems in (("train", STEMS[:5]), ("test", STEMS[5:])):
        rows = source.find(split).listing.rows
        assert find_form(source.find(split), Decoding()).shape == (32, 32)
        assert [row.key for row in rows] == [f"{stem}/{record:05d}" for stem in stems for record in range(N_RECORDS)]
        for row in rows:
            labels, pixels = BATCHES[row.key.partition("/")[0]]
            image = read_key(source, split, row.key)
            assert (row.label, row.size) == (labels[int(row.key[-5:])], 3073)
            assert (image.dtype, image.shape, image.flags.c_contiguous) == (np.uint8, (32, 32, 3), True)
            np.testing.assert_array_equal(image, pixels[int(row.key[-5:])])


def test_every_form_has_the_same_hash(tmp_path):
    hashes = set()
    for form in FORMS:
        write_form(tmp_path / form, form)
        hashes.add(open_cifar10(tmp_path / form).find("train").listing.hash)
    assert len(hashes) == 1


def test_a_source_is_small_when_pickled_and_reads_in_threads(root):
    source = open_cifar10(root)
    keys = [row.key for row in source.find("train").listing.rows]
    copy = pickle.loads(pickle.dumps(source))
    assert len(pickle.dumps(open_cifar10(root))) < 3000
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(lambda key: read_key(copy, "train", key), keys))
    for key, image in zip(keys, images, strict=True):
        np.testing.assert_array_equal(image, read_key(source, "train", key))


@pytest.mark.parametrize("form", ["bin", "py"])
def test_root_may_be_the_folder_of_the_batches(tmp_path, form):
    folder = write_form(tmp_path, form)
    assert open_cifar10(folder).find("test").batches.folder == folder


def test_unpacked_is_preferred_to_packed_and_binary_to_python(tmp_path):
    written = {form: write_form(tmp_path, form) for form in ("py.tar.gz", "bin.tar.gz", "py", "bin")}
    for preferred in ("bin", "py"):
        assert open_cifar10(tmp_path).find("test").batches.folder == written[preferred]
        shutil.rmtree(written[preferred])
    assert open_cifar10(tmp_path).find("test").batches.folder.name == "cifar-10-batches-bin"
    assert not written["py"].exists()


def test_an_archive_is_unpacked_once_and_nothing_else_is_left(tmp_path):
    archive = write_form(tmp_path, "bin.tar.gz")
    folder = open_cifar10(tmp_path).find("test").batches.folder
    assert sorted(path.name for path in tmp_path.iterdir()) == [folder.name, archive.name]
    assert sorted(path.name for path in folder.iterdir()) == ["batches.meta.txt", *(f"{stem}.bin" for stem in STEMS)]
    archive.unlink()
    assert open_cifar10(tmp_path).find("test").batches.folder == folder


def test_without_root_the_usual_places_are_looked_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCATCACHE_DATA", raising=False)
    with pytest.raises(SourceError, match=r"data/cifar10 .*cifar-10-batches-bin, .*cifar-10-python\.tar\.gz.*--root"):
        open_cifar10()
    write_form(tmp_path / "data", "py")
    assert open_cifar10().root == tmp_path / "data"
    monkeypatch.setenv("SCATCACHE_DATA", str(tmp_path / "elsewhere"))
    write_form(tmp_path / "elsewhere" / "cifar10", "bin")
    assert open_cifar10().root == tmp_path / "elsewhere" / "cifar10"


@pytest.mark.parametrize(("form", "name"), [("bin", "data_batch_3.bin"), ("py", "test_batch")])
def test_a_missing_batch_is_named(tmp_path, form, name):
    (write_form(tmp_path, form) / name).unlink()
    with pytest.raises(SourceError, match=rf"incomplete: it lacks {name};"):
        open_cifar10(tmp_path)


@pytest.mark.parametrize("n_bytes", [0, 3072, 3074, 4 * 3073 - 1])
def test_a_truncated_binary_batch_is_named(tmp_path, n_bytes):
    path = write_form(tmp_path, "bin") / "data_batch_2.bin"
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(SourceError, match=r"data_batch_2\.bin is truncated"):
        open_cifar10(tmp_path)


def test_a_truncated_pickle_is_named(tmp_path):
    path = write_form(tmp_path, "py") / "data_batch_2"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(SourceError, match="data_batch_2 is not a pickle"):
        open_cifar10(tmp_path)


def test_a_label_outside_0_to_9_is_named(tmp_path):
    path = write_form(tmp_path, "bin") / "test_batch.bin"
    content = bytearray(path.read_bytes())
    content[2 * 3073] = 10
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"test_batch\.bin holds the label 10 at record 2"):
        open_cifar10(tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"labels": [0, 1, 2, 10]}, "label 10"),
        ({"labels": [0, 1, 2, -1]}, "label -1"),
        ({"labels": [0, 1, 2, 1.5]}, r"label 1\.5"),
        ({"labels": [0, 1, 2]}, "one label for each"),
        ({"data": np.zeros((4, 3072), np.float32)}, r"float32 \(4, 3072\)"),
        ({"data": np.zeros((4, 3071), np.uint8)}, r"\(4, 3071\)"),
        ({"data": np.zeros((0, 3072), np.uint8), "labels": []}, r"\(0, 3072\)"),
        ({"data": b"bytes"}, "data of bytes"),
    ],
)
def test_a_python_batch_of_other_contents_is_named(tmp_path, fields, message):
    path = write_form(tmp_path, "py") / "data_batch_4"
    path.write_bytes(pickle.dumps(pickle.loads(path.read_bytes()) | fields))
    with pytest.raises(SourceError, match=f"data_batch_4.*{message}"):
        open_cifar10(tmp_path)


@pytest.mark.parametrize("change", [lambda path: os.truncate(path, 3073), lambda path: os.utime(path, ns=(1, 1))])
def test_a_batch_that_changes_while_it_is_read_is_named(tmp_path, change):
    """It is mapped: of what was cut off, a byte touched would end the process."""
    folder = write_form(tmp_path, "bin")
    source = open_cifar10(tmp_path)
    source.find("train").listing
    other = pickle.loads(pickle.dumps(source))
    read_key(source, "train", "data_batch_1/00003")
    change(folder / "data_batch_1.bin")
    for reader in (source, other):
        with pytest.raises(SourceError, match=r"data_batch_1\.bin has changed since it was opened"):
            read_key(reader, "train", "data_batch_1/00003")
        assert read_key(reader, "train", "data_batch_2/00003").shape == (32, 32, 3)


def test_other_files_are_taken_with_one_warning(root):
    source = open_cifar10(root)
    assert source.official is False
    (warning,) = source.warnings
    assert "not the official CIFAR-10" in warning
    assert "data_batch_1" in warning


@pytest.mark.parametrize("form", FORMS)
def test_files_of_the_published_md5_are_official(tmp_path, monkeypatch, form):
    write_form(tmp_path, form)
    folder = open_cifar10(tmp_path).find("test").batches.folder
    md5s = tuple(hashlib.md5(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*_batch*")))
    forms = tuple(replace(known, digests=md5s) if known.folder == folder.name else known for known in cifar10.FORMS)
    monkeypatch.setattr(cifar10, "FORMS", forms)
    source = open_cifar10(tmp_path)
    assert (source.official, source.warnings) == (True, ())
    assert len(source.find("train").listing.rows) == 5 * N_RECORDS


@pytest.mark.parametrize("form", ["bin", "py"])
def test_classes_without_the_meta_file_are_the_published_ones(tmp_path, form):
    folder = write_form(tmp_path, form)
    next(folder.glob("batches.meta*")).unlink()
    assert open_cifar10(tmp_path).classes == CLASSES


def test_classes_keep_the_order_of_the_archive(tmp_path):
    names = [name.upper() for name in reversed(CLASSES)]
    folder = write_form(tmp_path, "bin")
    (folder / "batches.meta.txt").write_text("\n".join(names))
    assert open_cifar10(tmp_path).classes == tuple(names)
    (folder / "batches.meta.txt").write_text("\n".join([*names[:9], names[0].lower()]))
    with pytest.raises(SourceError, match="gives two classes one name"):
        open_cifar10(tmp_path)
    (folder / "batches.meta.txt").write_text("\n".join(names[:9]))
    with pytest.raises(SourceError, match=r"batches\.meta\.txt"):
        open_cifar10(tmp_path)


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    folder = write_form(tmp_path, "py")
    (folder / "data_batch_1").write_bytes(b"cos\nmkdir\n(V" + str(tmp_path / "ran").encode() + b"\ntR.")
    with pytest.raises(SourceError, match=r"data_batch_1.*mkdir"):
        open_cifar10(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_an_archive_that_inflates_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar, "MAX_BYTES", 10_000)
    write_form(tmp_path, "bin.tar.gz")
    with pytest.raises(SourceError, match="grows to more than the 10000 bytes"):
        open_cifar10(tmp_path)


def test_an_unknown_split_lists_those_there_are(root):
    with pytest.raises(SourceError, match="cifar10 has no split 'val': expected one of train, test"):
        open_cifar10(root).find("val").listing


def test_pixels_are_planes_by_colour_row_by_row(tmp_path):
    folder = write_form(tmp_path, "bin")
    record = bytearray(3073)
    record[0] = 7
    record[1 + 1024 + 5 * 32 + 9] = 200
    (folder / "test_batch.bin").write_bytes(record)
    image = read_key(open_cifar10(tmp_path), "test", "test_batch/00000")
    assert image[5, 9, 1] == 200
    assert image.sum() == 200


def test_the_true_cifar10_is_official(cifar10_root):
    source = open_cifar10(cifar10_root)
    assert (source.official, source.warnings, source.classes) == (True, (), CLASSES)
    train, test = source.find("train").listing.rows, source.find("test").listing.rows
    assert (len(train), len(test)) == (50_000, 10_000)
    assert (train[0].key, test[-1].key) == ("data_batch_1/00000", "test_batch/09999")
    assert [row.label for row in train[:10]] == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert np.bincount([row.label for row in train]).tolist() == [5000] * 10
    # The published mean of the training pixels, red, green and blue.
    means = sum(read_key(source, "train", row.key).sum((0, 1)) for row in train) / (255 * 1024 * 50_000)
    np.testing.assert_allclose(means, [0.4914, 0.4822, 0.4465], atol=5e-5)
