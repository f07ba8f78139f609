import errno
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

import scatcache
from scatcache import retries
from scatcache.errors import (
    NotAStore,
    ScatcacheError,
    SettingsDiffer,
    SourceError,
    StoreLocked,
    UnreadableImage,
    UsageError,
)
from scatcache.images.kinds.folder import FolderPart
from scatcache.job.events import ShardFinished
from scatcache.job.request import name_store
from scatcache.job.store_folder import StoreFolder
from scatcache.scattering.backends import resolve_backend
from scatcache.store.lock import WriterLock
from scatcache.store.places.local import LocalPlace
from scatcache.store.records import shard_path
from tests.runs import (
    dask_cluster,
    find_differences,
    identify_finished,
    list_files,
    list_temporaries,
    make_images,
    wait_for,
)

SMALL = {"J": 1, "L": 4, "shard_images": 2}


class Stop(BaseException):
    """Ends a run from on_event."""


def stop_after(n_shards, error=Stop):
    """An on_event that raises at the n-th finished shard."""
    seen = []

    def on_event(event):
        seen.append(event)
        if sum(isinstance(event, ShardFinished) for event in seen) == n_shards:
            raise error

    return on_event


def list_compute_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith(("Dask-Default", "scatcache-write"))]


# The same bytes, however they came about


@pytest.mark.parametrize("options", [{"workers": 2}, {"workers": 3, "decode_threads": 5}], ids=str)
def test_the_store_does_not_depend_on_workers_and_threads(tmp_path, dataset, options):
    scatcache.extract(out=tmp_path / "one.zarr", workers=1, **dataset)
    scatcache.extract(out=tmp_path / "other.zarr", **options, **dataset)
    assert find_differences(tmp_path / "one.zarr", tmp_path / "other.zarr") == []


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["generated", "cifar10"], indirect=True)
def test_the_store_does_not_depend_on_processes(tmp_path, dataset):
    scatcache.extract(out=tmp_path / "threads.zarr", **dataset)
    scatcache.extract(out=tmp_path / "processes.zarr", processes=True, workers=2, **dataset)
    assert find_differences(tmp_path / "threads.zarr", tmp_path / "processes.zarr") == []


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    """The address of a Dask cluster that someone else runs."""
    with dask_cluster(tmp_path_factory.mktemp("cluster")) as (address, _):
        yield address


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["generated", "cifar10"], indirect=True)
def test_the_store_does_not_depend_on_a_scheduler(tmp_path, dataset, scheduler):
    scatcache.extract(out=tmp_path / "threads.zarr", **dataset)
    scatcache.extract(out=tmp_path / "cluster.zarr", scheduler=scheduler, **dataset)
    assert find_differences(tmp_path / "threads.zarr", tmp_path / "cluster.zarr") == []


@pytest.mark.parametrize("stops", [[1], [2, 3, 1]], ids=str)
def test_a_stopped_and_resumed_run_ends_in_the_same_store(tmp_path, dataset, stops):
    scatcache.extract(out=tmp_path / "straight.zarr", **dataset)
    stopped, finished = tmp_path / "stopped.zarr", {}
    for n_shards in stops:
        with pytest.raises(Stop):
            scatcache.extract(out=stopped, workers=1, on_event=stop_after(n_shards), **dataset)
        found = identify_finished(stopped)
        assert len(found) > len(finished) and {path: found[path] for path in finished} == finished
        finished = found
    report = scatcache.resume(stopped, root=dataset.get("root"))
    assert find_differences(tmp_path / "straight.zarr", stopped) == []
    assert {path: identify_finished(stopped)[path] for path in finished} == finished
    assert sum(split.shards_kept for split in report.splits.values()) == len(finished) // 2
    assert list_temporaries(stopped) == []


def test_limited_rows_are_the_full_runs_rows_bit_for_bit(tmp_path, dataset):
    scatcache.extract(out=tmp_path / "full.zarr", **dataset)
    limited = dataset | {"limit": 7, "shard_images": 3}
    scatcache.extract(out=tmp_path / "limited.zarr", **limited)
    for split in scatcache.info(tmp_path / "limited.zarr").splits:
        full = scatcache.open_cache(tmp_path / "full.zarr", split=split)
        part = scatcache.open_cache(tmp_path / "limited.zarr", split=split)
        place = {key: row for row, key in enumerate(full.keys)}
        rows = [row for row, key in enumerate(part.keys) if key != "class1/0003.png"]
        expected = full.coefficients([place[part.keys[row]] for row in rows])
        np.testing.assert_array_equal(part.coefficients(rows), expected)
        assert [part.labels[row] for row in rows] == [full.labels[place[part.keys[row]]] for row in rows]


@pytest.mark.parametrize("order", [("train", "test"), ("test", "train")])
def test_splits_added_one_by_one_equal_both_at_once(tmp_path, images, order):
    scatcache.extract(images, out=tmp_path / "both.zarr", **SMALL)
    first = scatcache.extract(images, out=tmp_path / "one.zarr", split=order[0], **SMALL)
    assert (first.state, list(first.splits)) == ("complete", [order[0]])
    scatcache.extract(images, out=tmp_path / "one.zarr", split=[order[1]])
    assert find_differences(tmp_path / "both.zarr", tmp_path / "one.zarr") == []


@pytest.mark.parametrize("order", [("train", "test"), ("test", "train")])
def test_cifar10_splits_added_one_by_one_equal_both_at_once(tmp_path, cifar10_root, order):
    options = {"root": cifar10_root, "J": 2, "limit": 12}
    scatcache.extract("cifar10", out=tmp_path / "both.zarr", **options)
    for split in order:
        scatcache.extract("cifar10", out=tmp_path / "one.zarr", split=split, **options)
    assert find_differences(tmp_path / "both.zarr", tmp_path / "one.zarr") == []


def test_where_the_images_lie_does_not_show(tmp_path, images):
    scatcache.extract(images, out=tmp_path / "a.zarr", **SMALL)
    shutil.copytree(images, tmp_path / "elsewhere" / "other")
    scatcache.extract(tmp_path / "elsewhere" / "other", out=tmp_path / "b" / "c.zarr", **SMALL)
    assert find_differences(tmp_path / "a.zarr", tmp_path / "b" / "c.zarr") == []


# Resuming


def test_resume_remembers_where_the_images_are(tmp_path, images):
    with pytest.raises(Stop):
        scatcache.extract(images, out=tmp_path / "a.zarr", on_event=stop_after(1), **SMALL)
    assert scatcache.resume(tmp_path / "a.zarr").state == "complete"


def test_resume_without_its_memory_says_what_to_do(tmp_path, images):
    with pytest.raises(Stop):
        scatcache.extract(images, out=tmp_path / "a.zarr", on_event=stop_after(1), **SMALL)
    shutil.rmtree(tmp_path / "a.zarr.job")
    with pytest.raises(SourceError, match="name their folder or file with --root"):
        scatcache.resume(tmp_path / "a.zarr")
    assert scatcache.resume(tmp_path / "a.zarr", root=images).state == "complete"
    assert scatcache.resume(tmp_path / "a.zarr").state == "complete"


def test_resume_adds_a_split(tmp_path, images):
    scatcache.extract(images, out=tmp_path / "both.zarr", **SMALL)
    scatcache.extract(images, out=tmp_path / "a.zarr", split="test", **SMALL)
    assert list(scatcache.resume(tmp_path / "a.zarr").splits) == ["test"]
    assert list(scatcache.resume(tmp_path / "a.zarr", split="train").splits) == ["train"]
    assert find_differences(tmp_path / "both.zarr", tmp_path / "a.zarr") == []


def test_resume_needs_a_store(tmp_path):
    with pytest.raises(NotAStore, match="found nothing"):
        scatcache.resume(tmp_path / "missing.zarr")
    with pytest.raises(NotAStore, match="a folder without our manifest"):
        scatcache.resume(tmp_path)


def test_a_store_that_lacks_files_says_it_is_unfinished_while_it_is_mended(tmp_path, images):
    scatcache.extract(images, out=tmp_path / "a.zarr", **SMALL)
    shutil.copytree(tmp_path / "a.zarr", tmp_path / "whole.zarr")
    (StoreFolder(tmp_path / "a.zarr").path / shard_path("train", 3)).unlink()
    states = []
    scatcache.resume(
        tmp_path / "a.zarr", on_event=lambda event: states.append(scatcache.info(tmp_path / "a.zarr").state)
    )
    assert states == ["incomplete", "incomplete", "complete"]
    assert find_differences(tmp_path / "whole.zarr", tmp_path / "a.zarr") == []


def test_options_not_typed_come_from_the_store(tmp_path, images):
    typed = {"J": 2, "L": 3, "max_order": 1, "limit": 5, "encoding": "float32", "seed": 9, "shard_images": 2}
    scatcache.extract(images, out=tmp_path / "a.zarr", **typed)
    assert scatcache.extract(images, out=tmp_path / "a.zarr").state == "complete"
    with pytest.raises(SettingsDiffer, match="seed: the store has 9, you asked for 8") as caught:
        scatcache.extract(images, out=tmp_path / "a.zarr", seed=8)
    assert caught.value.fields == ("seed",)


def test_a_changed_listing_is_refused(tmp_path, images):
    scatcache.extract(images, out=tmp_path / "a.zarr", **SMALL)
    before = list_files(tmp_path / "a.zarr")
    (images / "test" / "class0" / "0000.png").unlink()
    with pytest.raises(SettingsDiffer, match=r"splits.test.listing: .*\(6 rows then, 5 now\)"):
        scatcache.extract(images, out=tmp_path / "a.zarr")
    assert list_files(tmp_path / "a.zarr") == before


# What is refused, and what that leaves


def test_another_writer_is_refused_and_its_lock_stays(tmp_path, images):
    lock = tmp_path / "a.zarr.job" / "lock"
    with WriterLock(lock):
        with pytest.raises(StoreLocked, match="another process is writing it"):
            scatcache.extract(images, out=tmp_path / "a.zarr", **SMALL)
        assert lock.exists()
        with pytest.raises(StoreLocked):
            scatcache.extract(images, out=tmp_path / "a.zarr", **SMALL)
    assert scatcache.extract(images, out=tmp_path / "a.zarr", **SMALL).state == "complete"


@pytest.mark.parametrize("typed", [{"J": 5}, {"J": None}, {"J": 1, "split": "val"}, {"J": 1, "device": "tpu"}], ids=str)
def test_a_refused_run_leaves_nothing(tmp_path, images, typed):
    before = list_files(tmp_path)
    with pytest.raises(ValueError):
        scatcache.extract(images, out=tmp_path / "a.zarr", **typed)
    assert list_files(tmp_path) == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_foreign_folder_is_never_touched(tmp_path, images, overwrite):
    foreign = tmp_path / "precious"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("all of it")
    (foreign / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {"title": "mine"}}')
    before = {path: path.stat().st_mtime_ns for path in [foreign, *foreign.iterdir()]}
    with pytest.raises(ScatcacheError, match="choose another --out"):
        scatcache.extract(images, out=foreign, overwrite=overwrite, **SMALL)
    assert {path: path.stat().st_mtime_ns for path in [foreign, *foreign.iterdir()]} == before
    assert not (tmp_path / "precious.job").exists()


def test_overwrite_starts_anew(tmp_path, images):
    scatcache.extract(images, out=tmp_path / "new.zarr", **SMALL)
    scatcache.extract(images, out=tmp_path / "a.zarr", J=2, shard_images=3)
    with pytest.raises(SettingsDiffer):
        scatcache.extract(images, out=tmp_path / "a.zarr", **SMALL)
    report = scatcache.extract(images, out=tmp_path / "a.zarr", overwrite=True, **SMALL)
    assert report.splits["train"].shards_kept == 0
    assert find_differences(tmp_path / "new.zarr", tmp_path / "a.zarr") == []


def test_a_refused_overwrite_keeps_the_store(tmp_path, images):
    scatcache.extract(images, out=tmp_path / "a.zarr", **SMALL)
    before = list_files(tmp_path / "a.zarr")
    with pytest.raises(UsageError):
        scatcache.extract(images, out=tmp_path / "a.zarr", overwrite=True, J=7)
    assert list_files(tmp_path / "a.zarr") == before


def test_on_error_fail_names_the_image(tmp_path, images):
    with pytest.raises(UnreadableImage, match=r"train: class1/0003.png: .*--on-error fail"):
        scatcache.extract(images, out=tmp_path / "a.zarr", on_error="fail", **SMALL)
    assert list_temporaries(tmp_path / "a.zarr") == []
    report = scatcache.extract(images, out=tmp_path / "a.zarr")
    assert [entry["key"] for entry in report.unreadable] == ["class1/0003.png"]


def test_a_failing_disk_ends_the_run_resumably_and_is_never_an_unreadable_image(tmp_path, images, monkeypatch):
    scatcache.extract(images, out=tmp_path / "straight.zarr", **SMALL)
    read = FolderPart.read

    def fail(part, i):
        if (key := part.listing.rows[i].key) == "class0/0004.png":
            raise OSError(errno.EIO, os.strerror(errno.EIO), key)
        return read(part, i)

    monkeypatch.setattr(FolderPart, "read", fail)
    monkeypatch.setattr(retries, "RETRY_PAUSES_S", (0.0, 0.0, 0.0))
    with pytest.raises(ScatcacheError, match=r"class0/0004.png: Input/output error \(4 tries\)"):
        scatcache.extract(images, out=tmp_path / "a.zarr", **SMALL)
    assert list_temporaries(tmp_path / "a.zarr") == []
    monkeypatch.undo()
    report = scatcache.extract(images, out=tmp_path / "a.zarr")
    assert [entry["key"] for entry in report.unreadable] == ["class1/0003.png"]
    assert find_differences(tmp_path / "straight.zarr", tmp_path / "a.zarr") == []


@pytest.mark.parametrize("call", [1, 4, 9, 15, 28])
def test_a_full_disk_ends_the_run_resumably(tmp_path, images, monkeypatch, call):
    """Every file that is published may be the one that no longer fits."""
    scatcache.extract(images, out=tmp_path / "straight.zarr", **SMALL)
    fsync, calls = os.fsync, []

    def fill_up(descriptor):
        calls.append(descriptor)
        if len(calls) > call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fill_up)
    with pytest.raises(ScatcacheError, match="No space left on device: free some space, then give the same command"):
        scatcache.extract(images, out=tmp_path / "a.zarr", workers=1, **SMALL)
    monkeypatch.undo()
    scatcache.extract(images, out=tmp_path / "a.zarr", **SMALL)
    assert find_differences(tmp_path / "straight.zarr", tmp_path / "a.zarr") == []


def test_any_other_failure_of_the_disk_names_the_place(tmp_path, images, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(ScatcacheError, match=r"file.*: (Not a directory|File exists): remove the cause"):
        scatcache.extract(images, out=tmp_path / "file" / "a.zarr", **SMALL)


# In a Python program


def test_the_report_counts_rows_and_shards(tmp_path, images):
    report = scatcache.extract(images, out=tmp_path / "a.zarr", **SMALL)
    assert (report.store, report.state, report.backend) == (
        str(tmp_path / "a.zarr"),
        "complete",
        resolve_backend("auto"),
    )
    train = report.splits["train"]
    assert (train.rows, train.ok, train.unreadable, train.shards, train.shards_computed) == (13, 12, 1, 7, 7)
    files = [path for path in (tmp_path / "a.zarr").rglob("*") if path.is_file()]
    assert report.bytes == sum(path.stat().st_size for path in files)
    assert report.images_per_s == pytest.approx(19 / report.elapsed_s)


def test_torch_keeps_its_threads(tmp_path, images):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        scatcache.extract(images, out=tmp_path / "a.zarr", **SMALL)
        assert torch.get_num_threads() == 3
        with pytest.raises(Stop):
            scatcache.extract(images, out=tmp_path / "b.zarr", on_event=stop_after(1), **SMALL)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_an_interrupt_leaves_no_thread_working_and_a_resumable_store(tmp_path, images):
    with pytest.raises(KeyboardInterrupt):
        scatcache.extract(
            images, out=tmp_path / "a.zarr", workers=2, on_event=stop_after(2, KeyboardInterrupt), **SMALL
        )
    wait_for(lambda: not list_compute_threads(), timeout_s=5)
    assert list_temporaries(tmp_path / "a.zarr") == []
    before = list_files(tmp_path / "a.zarr")
    time.sleep(0.2)
    assert list_files(tmp_path / "a.zarr") == before
    assert scatcache.resume(tmp_path / "a.zarr").state == "complete"


def test_two_extracts_at_once_do_not_disturb_each_other(tmp_path, images, capfd):
    scatcache.extract(images, out=tmp_path / "straight.zarr", **SMALL)
    before, reports = torch.get_num_threads(), {}

    def extract(name):
        reports[name] = scatcache.extract(images, out=tmp_path / name, **SMALL)

    threads = [threading.Thread(target=extract, args=(name,)) for name in ("a.zarr", "b.zarr")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {report.state for report in reports.values()} == {"complete"} and len(reports) == 2
    for name in reports:
        assert find_differences(tmp_path / "straight.zarr", tmp_path / name) == []
    assert torch.get_num_threads() == before
    assert capfd.readouterr().err == ""


def test_a_script_needs_no_main_guard(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import scatcache\n"
        "report = scatcache.extract('photos', J=1, max_order=0, limit=4, out='out.zarr')\n"
        "print(report.state)\n"
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "complete\n", "")


def test_it_runs_inside_an_event_loop(tmp_path, images):
    """As in a notebook."""
    import asyncio

    async def main():
        return scatcache.extract(images, out=tmp_path / "a.zarr", **SMALL)

    assert asyncio.run(main()).state == "complete"


@pytest.mark.parametrize(
    ("source", "name"), [("cifar10", "cifar10"), ("/data/flowers/", "flowers"), (Path("a/../b"), "b")]
)
def test_a_store_is_called_after_its_source(source, name):
    assert str(name_store(source, 2)) == f"{name}-J2.zarr"


def test_the_default_store_lies_in_the_working_folder(tmp_path, images, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert scatcache.extract(images, **SMALL).store == str(tmp_path / "images-J1.zarr")


MEASURE = """
import resource, sys, scatcache
images, folder = sys.argv[1:]
settings = dict(J=1, max_order=1, encoding="float32", shard_images=32, workers=1)
for limit in (32, 320):
    scatcache.extract(images, out=f"{folder}/{limit}.zarr", limit=limit, **settings)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    """Ten shards of 14 MB pass through the memory that one takes."""
    images = make_images(tmp_path / "images", 320, side=128)
    command = [sys.executable, "-c", MEASURE, images, tmp_path]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    one, ten = map(int, done.stdout.split())
    assert ten < one + 60, f"{one} MB for one shard, {ten} MB for ten"


def test_no_descriptor_is_left_open(tmp_path, images):
    scatcache.extract(images, out=tmp_path / "a.zarr", **SMALL)
    before = psutil.Process().num_fds()
    for name in ("b.zarr", "c.zarr", "d.zarr"):
        scatcache.extract(images, out=tmp_path / name, **SMALL)
    assert psutil.Process().num_fds() <= before + 3


def test_a_store_among_the_images_is_refused_before_any_work(images, monkeypatch):
    before = list_files(images)
    monkeypatch.chdir(images)
    for out in (None, "class0/s.zarr", images / "train" / "s.zarr", "."):
        with pytest.raises(ScatcacheError, match=r"among the images|not empty"):
            scatcache.extract(images, out=out, J=1)
    assert list_files(images) == before


def test_urls_are_refused(images):
    for call in (lambda: scatcache.extract(images, out="s3://a/b", J=1), lambda: scatcache.resume("s3://a/b")):
        with pytest.raises(UsageError, match="no local path"):
            call()


def test_a_folder_takes_no_root(images, tmp_path):
    for call in (scatcache.extract, scatcache.plan):
        with pytest.raises(UsageError, match="leave --root out"):
            call(images, root=tmp_path, out=tmp_path / "s.zarr", J=1)


def test_a_link_to_a_store_is_that_store(images, tmp_path):
    scatcache.extract(images, out=tmp_path / "a.zarr", **SMALL)
    (tmp_path / "link.zarr").symlink_to(tmp_path / "a.zarr")
    report = scatcache.extract(images, out=tmp_path / "link.zarr", **SMALL)
    assert report.store == str(tmp_path / "a.zarr") and all(
        split.shards_computed == 0 for split in report.splits.values()
    )
    assert not (tmp_path / "link.zarr.job").exists()


@pytest.mark.parametrize(
    "lost", ["train", "train/zarr.json", "train/label/c.0", "test/status", "train/coefficients/receipts"]
)
def test_whatever_is_deleted_of_a_store_the_same_command_brings_back(images, tmp_path, lost):
    scatcache.extract(images, out=tmp_path / "a.zarr", **SMALL)
    shutil.copytree(tmp_path / "a.zarr", tmp_path / "whole.zarr")
    victim = tmp_path / "a.zarr" / lost
    shutil.rmtree(victim) if victim.is_dir() else victim.unlink()
    assert scatcache.extract(images, out=tmp_path / "a.zarr").state == "complete"
    assert find_differences(tmp_path / "whole.zarr", tmp_path / "a.zarr") == []


@pytest.mark.parametrize("last", ["test/label/zarr.json", "test/zarr.json"])
def test_resume_finishes_a_split_whose_making_was_cut_off(images, tmp_path, monkeypatch, last):
    """Nothing of it is listed before its own zarr.json is there."""
    whole, out, put = tmp_path / "whole.zarr", tmp_path / "a.zarr", LocalPlace.put
    scatcache.extract(images, out=whole, **SMALL)

    def fail(place, name, data):
        if name == last:
            raise KeyboardInterrupt
        put(place, name, data)

    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(LocalPlace, "put", fail)
        scatcache.extract(images, out=out, **SMALL)
    assert scatcache.resume(out, split="train").state == "complete"
    assert scatcache.info(out).state == "incomplete" and not scatcache.verify(out).ok
    assert sorted(scatcache.resume(out).splits) == ["test", "train"]
    assert scatcache.info(out).state == "complete" and find_differences(whole, out) == []


def test_resume_makes_the_lost_metadata_of_a_split_anew(images, tmp_path):
    scatcache.extract(images, out=tmp_path / "a.zarr", **SMALL)
    shutil.copytree(tmp_path / "a.zarr", tmp_path / "whole.zarr")
    (tmp_path / "a.zarr/train/zarr.json").unlink()
    assert sorted(scatcache.resume(tmp_path / "a.zarr").splits) == ["test", "train"]
    assert find_differences(tmp_path / "whole.zarr", tmp_path / "a.zarr") == []


def test_integers_of_numpy_are_integers_and_floats_are_not(images, tmp_path):
    typed = {name: np.int64(value) for name, value in SMALL.items()}
    assert scatcache.extract(images, out=tmp_path / "a.zarr", **typed, limit=np.int32(2)).splits["test"].rows == 2
    with pytest.raises(TypeError, match=r"limit is 2\.0: expected an integer"):
        scatcache.extract(images, out=tmp_path / "b.zarr", **SMALL, limit=2.0)


def test_a_store_overwritten_without_labels_forgets_those_of_the_first(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((4, 8, 8), np.float32))
    np.save(tmp_path / "y.npy", np.arange(4))
    given = {"out": tmp_path / "a.zarr", "J": 1, "L": 1}
    scatcache.extract(tmp_path / "x.npy", labels=tmp_path / "y.npy", **given)
    scatcache.extract(tmp_path / "x.npy", overwrite=True, **given)
    assert scatcache.extract(tmp_path / "x.npy", **given).state == "complete"
    assert scatcache.resume(tmp_path / "a.zarr").state == "complete"
