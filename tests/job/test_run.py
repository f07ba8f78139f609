import gc
import json
import os
import pickle
from dataclasses import replace

import pytest

import scatcache
from scatcache.errors import ScatcacheError, SourceError
from scatcache.images.catalogue import open_source
from scatcache.images.datasets import cifar10
from scatcache.job import planned, run, workers
from scatcache.job.events import JobFinished, JobPlanned, ShardFinished
from scatcache.job.preparation import prepare
from scatcache.job.run import JobRun
from scatcache.job.settings import RunOptions, Settings
from scatcache.job.store_folder import StoreFolder
from scatcache.job.stored_source import recall
from scatcache.job.workers import choose_workers, find_gpus
from scatcache.scattering.backends import resolve_backend
from scatcache.store.writer import StoreWriter
from tests.images.datasets.test_cifar10 import write_form
from tests.runs import find_differences, list_receipts, list_temporaries, make_images

SMALL = {"J": 1, "L": 4, "shard_images": 2}


def damage(images, *stems):
    """Cuts images short behind their headers."""
    for path in images.rglob("*.png"):
        if int(path.stem) in stems:
            path.write_bytes(path.read_bytes()[:60])


def make_run(images, tmp_path, **options):
    source, folder = open_source(str(images)), StoreFolder(tmp_path / "store.zarr")
    prepared = prepare(
        source, folder, settings=Settings(**SMALL), stored=None, splits=None, options=RunOptions(device="cpu")
    )
    return JobRun(prepared, RunOptions(**options), lambda event: None)


def test_events_come_in_order_and_say_what_is_done(tmp_path, images):
    events = []
    scatcache.extract(images, out=tmp_path / "a.zarr", on_event=events.append, workers=2, **SMALL)
    assert [type(event) for event in events] == [JobPlanned, *[ShardFinished] * 10, JobFinished]
    plan = events[0].plan
    assert (plan.images, plan.shards, plan.done, plan.images_done) == (19, 10, 0, 0)
    assert (events[0].n_workers, plan.device, plan.backend) == (2, "cpu", resolve_backend("auto"))
    assert {name: split.output_shape for name, split in plan.splits.items()} == {
        "train": (15, 8, 8),
        "test": (15, 8, 8),
    }
    assert {(event.receipt.split, event.receipt.shard) for event in events[1:-1]} == {
        *(("train", shard) for shard in range(7)),
        *(("test", shard) for shard in range(3)),
    }
    assert events[-1].store == plan.store == str(tmp_path / "a.zarr")


def test_a_task_is_a_shard_s_place_and_a_receipt_comes_light(tmp_path, images, monkeypatch):
    """Dask keeps many messages, the caller perhaps every event."""
    tasks, events, run_tasks = [], [], run.run_tasks
    monkeypatch.setattr(
        run, "run_tasks", lambda *given, **options: run_tasks(*given[:3], tasks.extend(given[3]) or tasks, **options)
    )
    scatcache.extract(images, out=tmp_path / "a.zarr", on_event=events.append, J=1, L=4, shard_images=10)
    assert len(tasks) == 3 and max(len(pickle.dumps(task)) for task in tasks) < 150
    receipts = [event.receipt for event in events if isinstance(event, ShardFinished)]
    assert {(receipt.sums, receipt.square_sums, receipt.chunk_crc32c) for receipt in receipts} == {((), (), ())}
    assert sum(receipt.n_ok for receipt in receipts) == 18


def test_descriptors_and_batches_do_not_grow_with_the_shards(tmp_path, monkeypatch):
    """Each copy of a source would map, or load, its files again."""
    loaded, counts, load = [], [], cifar10.map_binary_batch
    write_form(tmp_path, "bin")
    form = replace(cifar10.FORMS[0], load_batch=lambda path: loaded.append(path.name) or load(path))
    monkeypatch.setattr(cifar10, "FORMS", (form, *cifar10.FORMS[1:]))

    def count(event):
        if isinstance(event, ShardFinished):
            counts.append(len(os.listdir("/proc/self/fd")))

    options = {"J": 1, "max_order": 0, "shard_images": 1, "split": "train", "workers": 2}
    scatcache.extract("cifar10", root=tmp_path, out=tmp_path / "a.zarr", on_event=count, **options)
    assert len(counts) == 20 and max(counts[-10:]) <= max(counts[:10]) + 3
    assert len(loaded) <= 2 * 6


def test_the_plan_is_told_before_anything_is_written(tmp_path, images):
    def look(event):
        if isinstance(event, JobPlanned):
            assert not (tmp_path / "a.zarr").exists()

    scatcache.extract(images, out=tmp_path / "a.zarr", on_event=look, **SMALL)


def test_a_second_run_computes_nothing(tmp_path, images):
    first = scatcache.extract(images, out=tmp_path / "a.zarr", **SMALL)
    events = []
    again = scatcache.extract(images, out=tmp_path / "a.zarr", on_event=events.append, **SMALL)
    assert [type(event) for event in events] == [JobPlanned, JobFinished]
    assert (events[0].plan.done, events[0].plan.images_done) == (10, 19)
    assert again.splits["train"].shards_kept == 7 and again.splits["train"].shards_computed == 0
    assert again.images_per_s == 0
    assert again.unreadable == first.unreadable


def test_what_does_not_fit_on_the_disk_is_refused_before_anything_is_written(tmp_path, images, monkeypatch):
    monkeypatch.setattr(planned, "free_disk_bytes", lambda path: 1000)
    with pytest.raises(ScatcacheError, match=r"needs about .* GB more .* free there: free some"):
        scatcache.extract(images, out=tmp_path / "a.zarr", **SMALL)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images"]


def test_only_what_is_still_to_do_must_fit(tmp_path, images, monkeypatch):
    scatcache.extract(images, out=tmp_path / "a.zarr", **SMALL)
    monkeypatch.setattr(planned, "free_disk_bytes", lambda path: 0)
    assert scatcache.extract(images, out=tmp_path / "a.zarr").state == "complete"


def test_a_job_remembers_its_root_from_before_the_store_exists(tmp_path, images, monkeypatch):
    def die(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(StoreWriter, "add_split", die)
    with pytest.raises(KeyboardInterrupt):
        scatcache.extract(images, out=tmp_path / "a.zarr", **SMALL)
    assert recall(StoreFolder(tmp_path / "a.zarr"))["root"] == str(images)


def test_the_log_counts_every_shard(tmp_path, images):
    scatcache.extract(images, out=tmp_path / "a.zarr", **SMALL)
    lines = [json.loads(line) for line in (tmp_path / "a.zarr.job" / "log.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["start", *["shard"] * 10, "end"]


@pytest.mark.parametrize("n_bad", [3, 4])
def test_a_split_of_mostly_unreadable_images_is_refused(tmp_path, n_bad):
    """Half may be unreadable, not more."""
    images = make_images(tmp_path / "images", 6)
    damage(images, *range(n_bad))
    if n_bad == 3:
        assert scatcache.extract(images, out=tmp_path / "a.zarr", **SMALL).splits["all"].unreadable == 3
        return
    with pytest.raises(SourceError, match="split all: 4 of the first 6 images are unreadable") as caught:
        scatcache.extract(images, out=tmp_path / "a.zarr", **SMALL)
    assert len([line for line in str(caught.value).splitlines() if ".png: " in line]) == 3


def test_only_the_first_rows_are_on_trial(tmp_path, monkeypatch):
    images = make_images(tmp_path / "images", 40)
    keys = []
    scatcache.extract(
        images,
        out=tmp_path / "sound.zarr",
        on_event=lambda event: isinstance(event, ShardFinished) and keys.append(event.receipt.shard),
        **SMALL,
    )
    order = list(scatcache.open_cache(tmp_path / "sound.zarr").keys)
    assert len(order) == 40 and len(keys) == 20
    records = StoreFolder(tmp_path / "sound.zarr").records
    stored = records.read_rows(records.read_layout(records.read_manifest(), "all"), "all").key
    monkeypatch.setattr(run, "N_ROWS_ON_TRIAL", 10)
    damage(images, *[int(key[-8:-4]) for key in stored[10:]])
    assert scatcache.extract(images, out=tmp_path / "late.zarr", **SMALL).splits["all"].unreadable == 30
    damage(images, *[int(key[-8:-4]) for key in stored[:6]])
    with pytest.raises(SourceError, match="6 of the first 10 images"):
        scatcache.extract(images, out=tmp_path / "early.zarr", **SMALL)


def test_a_refused_split_is_refused_again_and_goes_on_once_the_images_are_back(tmp_path):
    images = make_images(tmp_path / "images", 6)
    whole = {path: path.read_bytes() for path in images.rglob("*.png")}
    straight, out = tmp_path / "straight.zarr", tmp_path / "a.zarr"
    scatcache.extract(images, out=straight, **SMALL)
    for path, data in whole.items():
        path.write_bytes(data[:60].ljust(len(data), b"\0"))  # the listing stays: same sizes
    for _ in range(2):
        with pytest.raises(SourceError, match="6 of the first 6"):
            scatcache.extract(images, out=out, **SMALL)
    assert list_temporaries(out) == []
    for path, data in whole.items():
        path.write_bytes(data)
    for receipt in list_receipts(out):
        receipt.unlink()
    scatcache.extract(images, out=out, **SMALL)
    assert find_differences(straight, out) == []


@pytest.mark.parametrize(
    ("options", "cores", "free_gib", "n_workers"),
    [
        ({}, 8, 1000, 8),
        ({}, 64, 4, 7),
        ({}, 64, 0, 1),
        ({"processes": True}, 64, 16, 7),
        ({"workers": 12}, 1, 0, 12),
    ],
)
def test_workers_are_the_cores_cut_to_half_of_the_free_memory(
    tmp_path, images, monkeypatch, options, cores, free_gib, n_workers
):
    monkeypatch.setattr(workers, "count_cores", lambda: cores)
    monkeypatch.setattr(workers, "free_memory_bytes", lambda: free_gib * 2**30)
    job = make_run(images, tmp_path, **options)
    assert choose_workers(job.job, job.options) == (n_workers, ())


def test_large_images_cut_the_workers_further(tmp_path, images, monkeypatch):
    monkeypatch.setattr(workers, "count_cores", lambda: 64)
    monkeypatch.setattr(workers, "free_memory_bytes", lambda: 64 * 2**30)
    job = make_run(images, tmp_path).job
    splits = {name: replace(split, output_shape=(243, 512, 512)) for name, split in job.plan.splits.items()}
    large = replace(job, plan=replace(job.plan, splits=splits))
    assert 1 < choose_workers(large, RunOptions())[0] < 20


def test_gpus_are_named_as_the_process_sees_them(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert find_gpus() == ("0", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-abc")
    assert find_gpus() == ("5", "GPU-abc")


@pytest.mark.parametrize("frozen", [False, True])
def test_rows_are_kept_from_the_collector_while_shards_are_computed(tmp_path, images, frozen):
    counts = []

    def watch(event):
        if isinstance(event, ShardFinished):
            counts.append(gc.get_freeze_count())

    if frozen:
        gc.freeze()
    try:
        scatcache.extract(images, out=tmp_path / "a.zarr", on_event=watch, **SMALL)
        assert counts and all(counts) and bool(gc.get_freeze_count()) == frozen
    finally:
        gc.unfreeze()
