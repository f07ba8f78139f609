"""Whole extractions of each source: the rows and coefficients are those of the same images in plain folders."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import scatcache
from scatcache.errors import SettingsDiffer, SourceError, UsageError
from tests.images.datasets.test_caltech101 import write_form as write_caltech101
from tests.images.datasets.test_mnist import RECORDS, write_mnist
from tests.images.datasets.test_stl10 import FOLD_LINES, N_TRAIN, write_stl10
from tests.images.datasets.test_svhn import COUNTS, write_svhn
from tests.images.imagenets import TRAIN_TAR, write_devkit, write_folders, write_train_tar, write_val_tar
from tests.images.kinds.test_python_object import LABELS, PIXELS, Arrays, Files, HuggingFaceLike, TorchvisionLike
from tests.images.tars import draw_jpeg, make_tar
from tests.store.servers import forget_aws, serve

SETTINGS = {"J": 1, "L": 4, "max_order": 1}


def count_read_bytes() -> int:
    """Bytes that this process has read through system calls."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["rchar"])


@pytest.fixture(scope="module")
def archives(imagenet_folder, tmp_path_factory) -> tuple[Path, Path]:
    """(folder of the official-style archives, folder of train and val in class folders) of 1000 photographs.

    The archives are made by the system's tar, the devkit's meta.mat by SciPy. Every third photograph is a validation
    image too, in a shuffled order.
    """
    root, scratch = tmp_path_factory.mktemp("archives"), tmp_path_factory.mktemp("scratch")
    (scratch / "plain").mkdir()
    (scratch / "plain" / "train").symlink_to(imagenet_folder)
    write_train_tar(root, imagenet_folder, scratch)
    photographs = sorted(imagenet_folder.glob("*/*"))
    wnids = np.random.default_rng(1).permutation([path.parent.name for path in photographs]).tolist()
    chosen = np.random.default_rng(2).permutation(photographs[::3])
    names = [f"ILSVRC2012_val_{number + 1:08d}.JPEG" for number in range(len(chosen))]
    write_devkit(root, wnids, [wnids.index(path.parent.name) + 1 for path in chosen])
    write_val_tar(root, {name: path.read_bytes() for name, path in zip(names, chosen, strict=True)}, scratch)
    folders = {f"{path.parent.name}/{name}": path.read_bytes() for name, path in zip(names, chosen, strict=True)}
    write_folders(scratch / "plain" / "val", folders)
    return root, scratch / "plain"


@pytest.mark.slow
def test_imagenets_archives_equal_its_class_folders_and_are_read_at_most_twice(archives, tmp_path):
    root, plain = archives
    settings = {"J": 2, "max_order": 1, "size": 48, "workers": 2}
    before = count_read_bytes()
    scatcache.extract("imagenet", root=root, out=tmp_path / "tars.zarr", split="train", **settings)
    assert count_read_bytes() - before <= 2 * (root / TRAIN_TAR).stat().st_size
    scatcache.extract("imagenet", root=root, out=tmp_path / "tars.zarr")
    scatcache.extract(os.path.join(plain, ""), out=tmp_path / "folders.zarr", **settings)
    for split, n_rows in (("train", 1000), ("val", 334)):
        ours, theirs = (scatcache.open_cache(tmp_path / name, split) for name in ("tars.zarr", "folders.zarr"))
        assert (len(ours), ours.keys, ours.classes) == (n_rows, theirs.keys, theirs.classes)
        assert len(ours.classes) == 1000 and len(ours.readable) == n_rows
        np.testing.assert_array_equal(ours.labels, theirs.labels)
        assert ours.coefficients(slice(None)).tobytes() == theirs.coefficients(slice(None)).tobytes()


def test_tars_at_a_url_give_the_store_of_those_on_the_disk_and_are_remembered(tmp_path, monkeypatch):
    forget_aws(monkeypatch)
    (tmp_path / "root").mkdir()
    for number in range(2):
        images = {f"{n}": draw_jpeg(n) for n in range(10 * number, 10 * number + 10)}
        entries = [
            (f"{key}.{end}", data)
            for key, image in images.items()
            for end, data in (("jpg", image), ("cls", key.encode()))
        ]
        (tmp_path / f"root/x-{number}.tar").write_bytes(make_tar(entries))
    settings = {**SETTINGS, "size": 16, "shard_images": 5, "workers": 2}
    scatcache.extract(str(tmp_path / "root/x-{0..1}.tar"), out=tmp_path / "here.zarr", **settings)
    with serve(tmp_path / "root") as server:
        url, out = f"{server.url}/x-{{0..1}}.tar", tmp_path / "there.zarr"
        before = sorted(tmp_path.rglob("*"))
        assert scatcache.plan(url, out=out, quick=True, **settings).images == 20
        assert sorted(tmp_path.rglob("*")) == before
        scatcache.extract(url, out=out, **settings)
        kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("there.zarr.job/*.index.npz")}
        (out / "all/coefficients/receipts/00003.json").unlink()
        assert scatcache.resume(out).splits["all"].shards_computed == 1
        assert {path: path.stat().st_mtime_ns for path in kept} == kept and len(kept) == 2
        assert scatcache.verify(out, recompute=1.0).ok
    for path in (tmp_path / "here.zarr").rglob("*"):
        assert path.is_dir() or path.read_bytes() == (out / path.relative_to(tmp_path / "here.zarr")).read_bytes()


def make_imagenet(tmp_path: Path) -> Path:
    """A training tar of 20 images in 2 classes."""
    images = {f"{wnid}/{wnid}_{i}.JPEG": draw_jpeg(i) for wnid in ("n00000001", "n00000002") for i in range(10)}
    (tmp_path / "root").mkdir()
    write_train_tar(tmp_path / "root", write_folders(tmp_path / "plain", images), tmp_path / "scratch")
    return tmp_path / "root"


def test_an_interrupted_extraction_from_a_tar_goes_on_by_the_same_index(tmp_path):
    root, out = make_imagenet(tmp_path), tmp_path / "x.zarr"
    report = scatcache.extract("imagenet", root=root, out=out, size=16, shard_images=4, **SETTINGS)
    index = tmp_path / "x.zarr.job" / f"{TRAIN_TAR}.index.npz"
    written = index.stat().st_mtime_ns
    shutil.copytree(out, tmp_path / "straight.zarr")
    (out / "train/coefficients/receipts/00003.json").unlink()
    resumed = scatcache.resume(out)
    assert (resumed.splits["train"].shards_computed, index.stat().st_mtime_ns) == (1, written)
    assert report.splits["train"].rows == 20
    for path in (tmp_path / "straight.zarr").rglob("*"):
        assert path.is_dir() or path.read_bytes() == (out / path.relative_to(tmp_path / "straight.zarr")).read_bytes()
    shutil.rmtree(tmp_path / "x.zarr.job")
    assert scatcache.verify(out, recompute=1.0, root=root).ok


def test_worker_processes_read_a_tar_by_the_kept_index(tmp_path):
    root = make_imagenet(tmp_path)
    first = scatcache.extract("imagenet", root=root, out=tmp_path / "a.zarr", size=16, workers=1, **SETTINGS)
    second = scatcache.extract(
        "imagenet", root=root, out=tmp_path / "b.zarr", size=16, workers=2, processes=True, **SETTINGS
    )
    assert first.splits == second.splits
    ours, theirs = (scatcache.open_cache(tmp_path / name) for name in ("a.zarr", "b.zarr"))
    assert ours.coefficients(slice(None)).tobytes() == theirs.coefficients(slice(None)).tobytes()


def test_a_source_that_is_refused_leaves_nothing_behind(tmp_path):
    root = make_imagenet(tmp_path)
    with pytest.raises(UsageError, match="too small"):
        scatcache.extract("imagenet", root=root, out=tmp_path / "x.zarr", J=5, size=8)
    with pytest.raises(SourceError, match=r"split val is not in .*: put ILSVRC2012_img_val\.tar or"):
        scatcache.extract("imagenet", root=root, out=tmp_path / "x.zarr", J=1, split="val")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plain", "root", "scratch"]


def test_a_tar_that_changes_under_a_store_is_another_listing(tmp_path):
    root, out = make_imagenet(tmp_path), tmp_path / "x.zarr"
    scatcache.extract("imagenet", root=root, out=out, size=16, **SETTINGS)
    write_folders(tmp_path / "plain", {"n00000001/n00000001_99.JPEG": draw_jpeg(99)})
    (root / TRAIN_TAR).unlink()
    write_train_tar(root, tmp_path / "plain", tmp_path / "again")
    with pytest.raises(SettingsDiffer) as caught:
        scatcache.extract("imagenet", root=root, out=out)
    assert "20 rows then, 21 now" in str(caught.value)


def test_stl10_keeps_its_folds(tmp_path):
    write_stl10(tmp_path / "root")
    out = tmp_path / "x.zarr"
    scatcache.extract("stl10", root=tmp_path / "root", out=out, J=3, max_order=0)
    train, test = (scatcache.open_cache(out, split) for split in ("train", "test"))
    assert [fold.dtype for fold in train.folds] == [np.int64, np.int64]
    assert [fold.tolist() for fold in train.folds] == FOLD_LINES
    assert [train.keys[row] for row in train.folds[0]] == [f"train_X/{record:05d}" for record in FOLD_LINES[0]]
    assert test.folds is None and "unlabeled" not in scatcache.info(out).splits
    batches = list(train.loader(2, rows=train.folds[1]))
    assert [y.tolist() for _, y in batches] == [
        train.labels[FOLD_LINES[1][:2]].tolist(),
        train.labels[FOLD_LINES[1][2:]].tolist(),
    ]


def test_folds_of_a_sample_are_those_of_its_rows(tmp_path):
    write_stl10(tmp_path / "root")
    out = tmp_path / "x.zarr"
    scatcache.extract("stl10", root=tmp_path / "root", out=out, split="train", limit=200, J=3, max_order=0)
    train = scatcache.open_cache(out)
    records = [int(key.partition("/")[2]) for key in train.keys]
    assert len(records) == 200 < N_TRAIN
    for fold, line in zip(train.folds, FOLD_LINES, strict=True):
        assert [records[row] for row in fold] == [record for record in line if record in records]


def test_changed_folds_are_another_setting(tmp_path):
    folder = write_stl10(tmp_path / "root")
    out = tmp_path / "x.zarr"
    scatcache.extract("stl10", root=tmp_path / "root", out=out, split="train", J=3, max_order=0)
    (folder / "fold_indices.txt").write_text("1 2 3\n")
    with pytest.raises(SettingsDiffer) as caught:
        scatcache.extract("stl10", root=tmp_path / "root", out=out, split="train")
    assert caught.value.fields == ("splits.train.folds",)


def test_stl10s_unlabeled_images_are_added_by_name(tmp_path):
    write_stl10(tmp_path / "root")
    out = tmp_path / "x.zarr"
    scatcache.extract("stl10", root=tmp_path / "root", out=out, split="unlabeled", J=3, max_order=0)
    assert scatcache.open_cache(out).labels.tolist() == [-1, -1, -1]


@pytest.mark.parametrize("packed", [False, True])
def test_mnist_equals_a_folder_of_its_grey_images(tmp_path, packed):
    root, out = write_mnist(tmp_path / "root", packed=packed), tmp_path / "x.zarr"
    images, labels = RECORDS["train"]
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = tmp_path / "plain" / str(label) / f"{i:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    scatcache.extract(os.path.join(tmp_path / "plain", ""), pixels="grey", out=tmp_path / "plain.zarr", **SETTINGS)
    scatcache.extract("mnist", root=root, out=out, **SETTINGS)
    ours, theirs = scatcache.open_cache(out, "train"), scatcache.open_cache(tmp_path / "plain.zarr")
    assert ours.spec.colours == 1 and ours.labels.tolist() == labels.tolist()
    assert ours.classes == tuple("0123456789")
    order = np.argsort([key.partition("/")[2] for key in theirs.keys])
    assert ours.coefficients(slice(None)).tobytes() == theirs.coefficients(order).tobytes()
    assert scatcache.verify(out, recompute=1.0).ok


def test_svhns_extra_images_are_added_by_name(tmp_path):
    root, out = write_svhn(tmp_path / "root"), tmp_path / "x.zarr"
    scatcache.extract("svhn", root=root, out=out, **SETTINGS)
    assert sorted(scatcache.info(out).splits) == ["test", "train"]
    scatcache.extract("svhn", root=root, out=out, split="extra")
    assert {split: len(scatcache.open_cache(out, split)) for split in scatcache.info(out).splits} == COUNTS


def test_caltech101_with_its_background_is_a_source_of_its_own(tmp_path):
    root, out = write_caltech101(tmp_path / "root", "zip"), tmp_path / "x.zarr"
    scatcache.extract("caltech101-background", root=root, out=out, size=16, **SETTINGS)
    cache = scatcache.open_cache(out)
    assert len(cache.classes) == 4
    assert (cache.manifest.source, cache.manifest.source_options) == ("caltech101-background", {})
    assert scatcache.resume(out).splits["all"].shards_computed == 0
    with pytest.raises(SettingsDiffer, match=r"source\.name"):
        scatcache.extract("caltech101", root=root, out=out)
    scatcache.extract("caltech101", root=root, out=tmp_path / "y.zarr", size=16, **SETTINGS)
    assert len(scatcache.open_cache(tmp_path / "y.zarr").classes) == 3


@pytest.mark.parametrize("kind", [TorchvisionLike, HuggingFaceLike, Arrays])
def test_a_dataset_object_equals_a_folder_of_its_images(tmp_path, kind):
    for index, (pixels, label) in enumerate(zip(PIXELS, LABELS, strict=True)):
        path = tmp_path / "plain" / str(label) / f"{index:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    scatcache.extract(os.path.join(tmp_path / "plain", ""), out=tmp_path / "plain.zarr", **SETTINGS)
    report = scatcache.extract(kind(), name="mine", out=tmp_path / "mine.zarr", workers=2, **SETTINGS)
    assert report.state == "complete" and report.splits["all"].ok == 7
    ours, theirs = (scatcache.open_cache(tmp_path / name) for name in ("mine.zarr", "plain.zarr"))
    order = np.argsort([key.partition("/")[2] for key in theirs.keys])
    assert ours.keys == [f"{index:05d}" for index in range(7)] and ours.labels.tolist() == LABELS
    assert ours.coefficients(slice(None)).tobytes() == theirs.coefficients(order).tobytes()


def test_a_dataset_objects_store_is_called_after_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Path(scatcache.extract(Arrays(), name="mine", **SETTINGS).store) == tmp_path / "mine-J1.zarr"
    assert scatcache.plan(Arrays(), name="other", J=1, quick=True).store == str(tmp_path / "other-J1.zarr")


def test_another_version_of_a_dataset_object_is_another_setting(tmp_path):
    out = tmp_path / "x.zarr"
    scatcache.extract(Arrays(), name="mine", version="1", out=out, **SETTINGS)
    assert scatcache.extract(Arrays(), name="mine", version="1", out=out).splits["all"].shards_computed == 0
    for version in ("2", None):
        with pytest.raises(SettingsDiffer, match=r"source\.version"):
            scatcache.extract(Arrays(), name="mine", version=version, out=out)


def test_a_store_of_a_dataset_object_says_how_to_go_on(tmp_path):
    out = tmp_path / "x.zarr"
    scatcache.extract(Arrays(), name="mine", out=out, **SETTINGS)
    with pytest.raises(SourceError, match=r"scatcache\.extract\(dataset, name='mine'"):
        scatcache.resume(out)
    assert scatcache.verify(out).ok


def test_a_mapping_of_datasets_gives_its_splits(tmp_path):
    scatcache.extract({"train": Arrays(), "test": Arrays()}, name="mine", out=tmp_path / "x.zarr", **SETTINGS)
    assert list(scatcache.info(tmp_path / "x.zarr").splits) == ["test", "train"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "needs a name"),
        ({"name": "mine", "root": "data"}, "leave root out"),
        ({"name": "mine", "download": True}, "leave download out"),
        ({"name": "cifar10"}, "none of cifar10"),
    ],
)
def test_arguments_that_do_not_go_with_a_dataset_object_are_refused(tmp_path, arguments, message):
    with pytest.raises((UsageError, SourceError), match=message):
        scatcache.extract(Arrays(), out=tmp_path / "x.zarr", J=1, **arguments)
    assert os.listdir(tmp_path) == []


def test_a_dataset_object_is_not_sent_to_processes(tmp_path):
    for command in (scatcache.extract, scatcache.plan):
        with pytest.raises(UsageError, match="leave processes and scheduler out"):
            command(Arrays(), name="mine", out=tmp_path / "x.zarr", processes=True, **SETTINGS)
    assert os.listdir(tmp_path) == []


def test_items_that_do_not_decode_are_rows_recorded_as_unreadable(tmp_path):
    report = scatcache.extract(Files(), name="mine", out=tmp_path / "x.zarr", size=16, **SETTINGS)
    assert sorted(entry["key"] for entry in report.unreadable) == ["00002", "00003", "00004"]
