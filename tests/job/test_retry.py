"""Images that were unreadable once and no more, and those that stay so."""

import shutil

import numpy as np
import pytest

import scatcache
from scatcache.errors import SettingsDiffer
from scatcache.job.events import JobFinished, ShardFinished
from scatcache.job.store_folder import StoreFolder
from scatcache.store.writer import StoreWriter
from tests.runs import find_differences, identify_finished, make_images

SETTINGS = {"J": 1, "L": 4, "shard_images": 2}


@pytest.fixture
def store(tmp_path):
    """A store of 13 images in 7 shards; two were unreadable, the file of one is whole by now."""
    images = make_images(tmp_path / "images", 13)
    mended, damaged = (next(images.rglob(f"{number:04d}.png")) for number in (3, 8))
    whole = mended.read_bytes()
    for path in (mended, damaged):
        path.write_bytes(bytes(path.stat().st_size))
    report = scatcache.extract(images, out=tmp_path / "store.zarr", **SETTINGS)
    assert len(report.unreadable) == 2 and report.warnings == ()
    mended.write_bytes(whole)
    return tmp_path / "store.zarr"


def make_straight(store):
    return scatcache.extract(store.parent / "images", out=store.parent / "straight.zarr", **SETTINGS)


def test_only_shards_with_unreadable_images_are_computed_and_end_as_in_a_straight_run(store):
    before = identify_finished(store)
    report = scatcache.resume(store, retry_unreadable=True)
    assert (report.splits["all"].shards_computed, report.splits["all"].shards_kept) == (2, 5)
    assert [entry["key"] for entry in report.unreadable] == ["class0/0008.png"] and report.warnings == ()
    kept = {path for path, identity in identify_finished(store).items() if before.get(path) == identity}
    assert len(kept) == 5 * 2
    make_straight(store)
    assert find_differences(store, store.parent / "straight.zarr") == []


def test_a_retry_that_finds_nothing_new_leaves_the_same_bytes(store, tmp_path):
    scatcache.resume(store, retry_unreadable=True)
    shutil.copytree(store, tmp_path / "before.zarr")
    report = scatcache.extract(store.parent / "images", out=store, retry_unreadable=True, **SETTINGS)
    assert report.splits["all"].shards_computed == 1 and report.state == "complete"
    assert find_differences(store, tmp_path / "before.zarr") == []


def test_without_it_they_are_counted_and_stay(store, caplog):
    events = []
    report = scatcache.resume(store, on_event=events.append)
    assert report.splits["all"].shards_computed == 0 and len(report.unreadable) == 2
    assert report.warnings == (
        "2 unreadable images were recorded by earlier runs: --retry-unreadable tries them again",
    )
    assert [event.warnings for event in events if isinstance(event, JobFinished)] == [report.warnings]
    scatcache.resume(store)
    assert report.warnings[0] in caplog.text


@pytest.mark.parametrize("step", ["withdraw_summary", "withdraw_receipt", "publish_receipt", "publish_split"])
def test_a_retry_cut_off_anywhere_is_finished_by_a_plain_run(store, monkeypatch, step):
    class Killed(BaseException):
        pass

    def die(*_, **__):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(StoreWriter, step, die)
        if step == "publish_receipt":
            patched.setattr(StoreWriter, step, lambda *_: None)
            patched.setattr("scatcache.job.run.JobRun._take", die)
        with pytest.raises(Killed):
            scatcache.resume(store, retry_unreadable=True)
    view = StoreFolder(store).records
    assert step == "withdraw_summary" or view.read_summary("all") is None
    report = scatcache.resume(store)
    assert report.state == "complete" and scatcache.verify(store).ok
    scatcache.resume(store, retry_unreadable=True)
    make_straight(store)
    assert find_differences(store, store.parent / "straight.zarr") == []


def test_verify_names_the_image_that_decodes_now(store):
    assert scatcache.verify(store).ok
    (failure,) = scatcache.verify(store, recompute=1.0).failures
    assert "class1/0003.png" in failure.reason and "--retry-unreadable" in failure.reason
    assert failure.path == f"all/coefficients/receipts/{failure.shard:05d}.json"
    scatcache.resume(store, retry_unreadable=True)
    assert scatcache.verify(store, recompute=1.0).ok


def test_every_view_of_an_image_counts_as_one(store, tmp_path):
    settings = {**SETTINGS, "views": 3, "view_padding": 2}
    scatcache.extract(store.parent / "images", out=tmp_path / "views.zarr", **settings)
    found = scatcache.resume(tmp_path / "views.zarr").warnings
    assert found == ("1 unreadable image was recorded by an earlier run: --retry-unreadable tries it again",)


def test_a_folder_of_mostly_unreadable_images_is_gone_on_with_once_it_is_whole(tmp_path):
    images = make_images(tmp_path / "images", 4)
    whole = {path: path.read_bytes() for path in images.rglob("*.png")}
    for path, data in whole.items():
        path.write_bytes(bytes(len(data)))
    for _ in range(2):
        with pytest.raises(scatcache.ScatcacheError, match=r"(?s)4 of the first 4 .*--retry-unreadable"):
            scatcache.extract(images, out=tmp_path / "store.zarr", size=16, **SETTINGS)
        for path, data in whole.items():
            path.write_bytes(data)
    report = scatcache.extract(images, out=tmp_path / "store.zarr", retry_unreadable=True, size=16, **SETTINGS)
    assert report.state == "complete" and report.unreadable == ()


def test_events_tell_of_the_shards_computed_again(store):
    events = []
    scatcache.resume(store, retry_unreadable=True, on_event=events.append)
    assert sum(isinstance(event, ShardFinished) for event in events) == 2


class Items:
    """Images with labels, one of which does not decode until it is mended."""

    def __init__(self):
        self.is_whole = False

    def __len__(self):
        return 6

    def __getitem__(self, index):
        if index == 3 and not self.is_whole:
            raise OSError("image file is truncated")
        return np.full((8, 8, 3), 40 * index, np.uint8), index % 2


def test_of_a_dataset_object_a_label_that_was_unknown_is_told_and_one_that_targets_give_is_mended(tmp_path):
    plain, told = Items(), Items()
    told.targets = [index % 2 for index in range(6)]
    for dataset, name in ((plain, "plain"), (told, "told")):
        report = scatcache.extract(dataset, name=name, out=tmp_path / name, **SETTINGS)
        assert [entry["key"] for entry in report.unreadable] == ["00003"]
        dataset.is_whole = True
    retried = scatcache.extract(told, name="told", out=tmp_path / "told", retry_unreadable=True, **SETTINGS)
    assert retried.unreadable == () and retried.splits["all"].shards_computed == 1
    with pytest.raises(
        SettingsDiffer, match=r"00003 \(no label then, as of an item that does not decode, 1 now"
    ) as caught:
        scatcache.extract(plain, name="plain", out=tmp_path / "plain", retry_unreadable=True, **SETTINGS)
    assert "--overwrite to start anew, with `scatcache extract` (a store keeps the labels that it began with" in str(
        caught.value
    )
    assert "a dataset with `targets`, the labels of all items" in str(caught.value)
    scatcache.extract(plain, name="plain", out=tmp_path / "plain", overwrite=True, **SETTINGS)
