import errno
import os
import shutil
import time
import uuid
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

import scatcache
from scatcache import retries
from scatcache.errors import ScatcacheError, SourceError, UnreadableImage
from scatcache.images import decode as decode_module
from scatcache.images.catalogue import open_source
from scatcache.images.decoding.notes import add_notes
from scatcache.images.kinds.folder import FolderPart
from scatcache.job import shard_images, shard_task
from scatcache.job.planning import ShardId
from scatcache.job.preparation import prepare
from scatcache.job.reading import read_with_retries
from scatcache.job.settings import RunOptions, Settings
from scatcache.job.shard_images import N_BATCHES_AHEAD
from scatcache.job.shard_job import JobStopped, ShardJob, stop_job
from scatcache.job.shard_sink import ShardSink
from scatcache.job.shard_task import compute_shard
from scatcache.job.store_folder import StoreFolder
from scatcache.scattering.paths import channel_table
from scatcache.store.format.encodings import ENCODINGS
from scatcache.store.reader import SplitReader
from scatcache.store.records import shard_path
from scatcache.store.split_records import SplitRecords
from tests.runs import list_temporaries, make_images


@pytest.fixture
def pauses(monkeypatch):
    """The pauses between tries, noted instead of slept."""
    slept = []
    monkeypatch.setattr(retries.time, "sleep", slept.append)
    return slept


def make_job(tmp_path, *, n_images=6, damage=(), name="store.zarr", decode_threads=2, on_error="skip", **typed):
    """(job, its tasks, a store's folder ready for its shards) over images of which some are cut short."""
    images = tmp_path / "images"
    if not images.exists():
        make_images(images, n_images)
        for path in sorted(images.rglob("*.png")):
            if int(path.stem) in damage:
                path.write_bytes(path.read_bytes()[:60])
    folder = StoreFolder(tmp_path / name)
    source = open_source(str(images))
    settings = Settings(**{"J": 1, "L": 4, "shard_images": 4, **typed})
    prepared = prepare(source, folder, settings=settings, stored=None, splits=None, options=RunOptions(device="cpu"))
    manifest, channels = prepared.manifest, channel_table(prepared.manifest.spec)
    layout, rows = prepared.layouts["all"], prepared.rows["all"]
    folder.writer.create(manifest)
    folder.writer.add_split(manifest, "all", layout, rows=rows, channels=channels)
    job = ShardJob(
        job_id=uuid.uuid4().hex,
        store=str(folder.path),
        manifest=manifest,
        layouts=prepared.layouts,
        source=source,
        device="cpu",
        backend="torch",
        decode_threads=decode_threads,
        on_error=on_error,
    )
    whole = replace(job, rows=prepared.rows)
    return job, [whole.plan(ShardId("all", shard)) for shard in range(layout.n_shards)], folder


class FlakyPart(FolderPart):
    """Fails the first n_failures reads."""

    n_failures = 0
    error = errno.EIO

    def read(self, i):
        if type(self).n_failures > 0:
            type(self).n_failures -= 1
            raise OSError(self.error, os.strerror(self.error), str(i))
        return super().read(i)


@pytest.fixture
def flaky(monkeypatch):
    monkeypatch.setattr(FlakyPart, "n_failures", 0)
    monkeypatch.setattr(FlakyPart, "error", errno.EIO)
    return FlakyPart


def make_flaky(job):
    part = job.source.find("all")
    return replace(job, source=replace(job.source, splits={"all": FlakyPart(part.folder, part.classes)}))


def test_a_shard_is_published_whole_with_its_receipt(tmp_path):
    job, tasks, folder = make_job(tmp_path)
    receipts = [compute_shard(job, task) for task in tasks]
    assert [(receipt.shard, receipt.n_rows, receipt.n_ok) for receipt in receipts] == [(0, 4, 4), (1, 2, 2)]
    assert [folder.records.read_receipt("all", shard)[0] for shard in (0, 1)] == receipts
    assert list_temporaries(folder.path) == []


def test_sums_are_those_of_the_stored_values(tmp_path):
    job, tasks, folder = make_job(tmp_path, damage={1})
    for task in tasks:
        receipt = compute_shard(job, task)
        reader = SplitReader(SplitRecords(folder.records, job.manifest, "all", allow_partial=True))
        bad = {entry.row for entry in receipt.unreadable}
        rows = [row for row in job.layouts["all"].rows_of(task.shard) if row not in bad]
        stored = reader.read(np.array(rows)).astype(np.float64)
        np.testing.assert_allclose(receipt.sums, stored.sum(axis=(0, 2, 3)), rtol=1e-12)
        np.testing.assert_allclose(receipt.square_sums, (stored**2).sum(axis=(0, 2, 3)), rtol=1e-12)


def test_a_receipt_counts_what_is_told_of_images_once_each_however_their_views_lie(tmp_path):
    job, tasks, _ = make_job(tmp_path, n_images=3, shard_images=2, views=3, view_padding=1)
    assert [receipt.notes for receipt in map(partial(compute_shard, job), tasks)] == [{}] * 5
    for path in (tmp_path / "images").rglob("*.png"):
        Image.new("I;16", (16, 16), 7).save(path)
    job, tasks, _ = make_job(tmp_path, name="told.zarr", shard_images=2, views=3, view_padding=1)
    found = [compute_shard(job, task).notes for task in tasks]
    assert add_notes(*found) == {"constant": 3, "cut_to_8_bits": 3, "cut_to_dark": 3} and {} in found


def test_a_failure_of_the_process_records_no_image_and_names_it(tmp_path, monkeypatch):
    job, tasks, folder = make_job(tmp_path)

    def fail(image):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(decode_module, "_convert_to_rgb", fail)
    with pytest.raises(ScatcacheError, match=r"all: class\d/\d+\.png: can't start new thread, .*same command"):
        compute_shard(job, tasks[0])
    assert folder.records.read_receipt("all", 0) is None and list_temporaries(folder.path) == []


def test_an_image_that_fails_to_decode_once_is_no_unreadable_one(tmp_path, monkeypatch):
    job, tasks, _ = make_job(tmp_path)
    convert, failures = (
        decode_module._convert_to_rgb,
        [RuntimeError("a thread"), None, ValueError("bad")],
    )

    def fail_at_first(image):
        if failures and (error := failures.pop()):
            raise error
        return convert(image)

    monkeypatch.setattr(decode_module, "_convert_to_rgb", fail_at_first)
    assert compute_shard(replace(job, decode_threads=1), tasks[0]).unreadable == () and not failures


def test_a_finished_shard_is_not_computed_again(tmp_path, monkeypatch):
    job, tasks, _ = make_job(tmp_path)
    first = compute_shard(job, tasks[0])
    monkeypatch.setattr(shard_task, "decode_batches", None)
    assert compute_shard(job, tasks[0]) == first


@pytest.mark.parametrize("damage", ["truncate", "remove", "receipt"])
def test_a_damaged_shard_is_computed_again_to_the_same_bytes(tmp_path, damage):
    job, tasks, folder = make_job(tmp_path)
    first = compute_shard(job, tasks[0])
    shard = folder.path / shard_path("all", 0)
    whole = shard.read_bytes()
    if damage == "truncate":
        shard.write_bytes(whole[:-5])
    else:
        {
            "remove": shard,
            "receipt": (folder.path / "all/coefficients/receipts") / "00000.json",
        }[damage].unlink()
    assert compute_shard(job, tasks[0]) == first
    assert shard.read_bytes() == whole


def test_unreadable_images_are_recorded_with_row_key_and_reason(tmp_path):
    job, tasks, _ = make_job(tmp_path, damage={0, 3})
    receipts = [compute_shard(job, task) for task in tasks]
    recorded = [entry for receipt in receipts for entry in receipt.unreadable]
    assert {entry.key for entry in recorded} == {"class0/0000.png", "class1/0003.png"}
    assert all(entry.reason and "\n" not in entry.reason for entry in recorded)
    keys = [key for task in tasks for key in task.keys]
    assert all(keys[entry.row] == entry.key for entry in recorded)
    assert sum(receipt.n_ok for receipt in receipts) == 4


def test_an_image_of_another_size_is_unreadable(tmp_path):
    for path in make_images(tmp_path / "images", 6).rglob("*.png"):
        path.write_bytes(path.read_bytes().ljust(9999, b"\0"))
    job, tasks, _ = make_job(tmp_path)
    data = (make_images(tmp_path / "large", 1, side=24) / "class0" / "0000.png").read_bytes()
    (tmp_path / "images" / tasks[0].keys[0]).write_bytes(data.ljust(9999, b"\0"))
    assert [entry.reason for entry in compute_shard(job, tasks[0]).unreadable] == [
        "it is 24x24 pixels, the split is 16x16"
    ]


def test_a_file_that_grew_since_it_was_listed_ends_the_shard_and_is_not_recorded(tmp_path):
    job, tasks, folder = make_job(tmp_path, damage={0})
    whole = make_images(tmp_path / "whole", 1) / "class0" / "0000.png"
    shutil.copy(whole, tmp_path / "images" / "class0" / "0000.png")
    task = next(task for task in tasks if "class0/0000.png" in task.keys)
    with pytest.raises(SourceError, match=r"all: class0/0000.png changed .*: 60 bytes when listed, .* now"):
        compute_shard(job, task)
    assert folder.records.read_receipt("all", task.shard) is None and list_temporaries(folder.path) == []


def test_on_error_fail_names_the_image_and_leaves_no_file(tmp_path):
    job, tasks, folder = make_job(tmp_path, damage={0, 1, 2, 3, 4, 5}, on_error="fail", size=16)
    with pytest.raises(UnreadableImage, match=r"all: class./000..png: .*--on-error fail"):
        compute_shard(job, tasks[0])
    assert list_temporaries(folder.path) == []
    assert folder.records.read_receipt("all", 0) is None


@pytest.mark.parametrize(("n_failures", "slept"), [(1, [0.2]), (2, [0.2, 1.0]), (3, [0.2, 1.0, 3.0])])
def test_a_passing_failure_of_the_machine_is_waited_out(tmp_path, flaky, pauses, n_failures, slept):
    job, tasks, _ = make_job(tmp_path)
    flaky.n_failures = n_failures
    assert read_with_retries(make_flaky(job).source.find("all"), tasks[0].images[0], "all").startswith(b"\x89PNG")
    assert pauses == slept


def test_a_lasting_failure_of_the_machine_is_never_an_unreadable_image(tmp_path, flaky, pauses):
    job, tasks, folder = make_job(tmp_path)
    flaky.n_failures = 1000
    with pytest.raises(ScatcacheError, match=r"all: class.*Input/output error \(4 tries\)") as caught:
        compute_shard(make_flaky(job), tasks[0])
    assert not isinstance(caught.value, UnreadableImage)
    assert pauses[:3] == [0.2, 1.0, 3.0]
    assert folder.records.read_receipt("all", 0) is None and list_temporaries(folder.path) == []
    flaky.n_failures = 0
    assert compute_shard(job, tasks[0]).n_ok == 4


def test_a_missing_file_is_told_at_once(tmp_path, flaky, pauses):
    job, tasks, _ = make_job(tmp_path)
    flaky.n_failures, flaky.error = 1, errno.ENOENT
    with pytest.raises(ScatcacheError, match=r"No such file or directory: mend"):
        read_with_retries(make_flaky(job).source.find("all"), tasks[0].images[0], "all")
    assert pauses == []


@pytest.mark.parametrize("decode_threads", [1, 3, 16])
def test_bytes_do_not_depend_on_the_decoding_threads(tmp_path, decode_threads):
    one, tasks, _ = make_job(tmp_path, damage={2}, decode_threads=1)
    other, _, _ = make_job(tmp_path, name="other.zarr", decode_threads=decode_threads)
    assert [compute_shard(one, task) for task in tasks] == [compute_shard(other, task) for task in tasks]


@pytest.mark.parametrize("batch_images", [1, 3])
def test_bytes_do_not_depend_on_the_batches(tmp_path, monkeypatch, batch_images):
    whole, tasks, _ = make_job(tmp_path, damage={2})
    expected = [compute_shard(whole, task) for task in tasks]
    parted, _, _ = make_job(tmp_path, name="parted.zarr")
    decode = shard_task.decode_batches
    monkeypatch.setattr(
        shard_task, "decode_batches", lambda job, task, reads, _: decode(job, task, reads, batch_images)
    )
    assert [compute_shard(parted, task) for task in tasks] == expected


def test_a_stopped_job_leaves_nothing_and_no_other_job_minds(tmp_path):
    job, tasks, folder = make_job(tmp_path)
    other, _, _ = make_job(tmp_path, name="other.zarr")
    stop_job(job.job_id)
    with pytest.raises(JobStopped):
        compute_shard(job, tasks[0])
    assert list_temporaries(folder.path) == [] and folder.records.read_receipt("all", 0) is None
    assert compute_shard(other, tasks[0]).n_ok == 4


def test_a_shard_is_computed_with_one_thread_of_torch(tmp_path):
    """How many there are decides the last bits of sums, and the caller's number is the machine's."""
    job, tasks, _ = make_job(tmp_path)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        compute_shard(job, tasks[0])
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("call", [1, 3])
def test_a_disk_that_fills_up_leaves_no_file(tmp_path, monkeypatch, call):
    job, tasks, folder = make_job(tmp_path, encoding="float16raw")
    append, calls = shard_task.ShardEncoder.append, []

    def fill_up(writer, chunk):
        calls.append(chunk)
        if len(calls) == call:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(writer, chunk)

    monkeypatch.setattr(shard_task.ShardEncoder, "append", fill_up)
    with pytest.raises(OSError, match="No space"):
        compute_shard(job, tasks[0])
    assert list_temporaries(folder.path) == [] and not (folder.path / shard_path("all", 0)).exists()


class Chunks:
    """Takes what a ShardSink writes."""

    def __init__(self):
        self.taken = []

    def append(self, chunk):
        self.taken.append(chunk)


@pytest.mark.parametrize("ok", [[True] * 5, [False, True, True, True, False], [False] * 4 + [True], [False] * 5])
def test_a_chunk_without_a_readable_row_stays_absent(ok):
    chunks, values = Chunks(), np.arange(5 * 3 * 4, dtype=np.float16).reshape(5, 3, 2, 2)
    sink = ShardSink(chunks, ENCODINGS["float16raw"], chunk_images=2, n_channels=3, keys="abcde")
    reasons = [None if readable else "torn" for readable in ok]
    sink.append(values[:3].copy(), reasons[:3])
    sink.append(values[3:].copy(), reasons[3:])
    sink.finish()
    assert [chunk is None for chunk in chunks.taken] == [not any(ok[start : start + 2]) for start in (0, 2, 4)]
    for chunk, start in zip(chunks.taken, (0, 2, 4), strict=True):
        if chunk is None:
            continue
        stored = np.frombuffer(chunk[0][:-4], np.float16).reshape(2, 3, 2, 2)
        for place, row in enumerate(range(start, start + 2)):
            if row < 5 and ok[row]:
                np.testing.assert_array_equal(stored[place], values[row])
            else:
                assert np.isnan(stored[place]).all()
    readable = values[ok].astype(np.float64)
    np.testing.assert_array_equal(sink.sums, readable.sum(axis=(0, 2, 3)))
    assert sink.reasons == reasons


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_coefficients_that_the_encoding_does_not_hold_are_refused_by_key(tmp_path, scale):
    images = np.full((6, 8, 8), 250 if scale < 1 else 1, np.uint8).astype(np.uint8 if scale < 1 else np.float32)
    images[4] *= 1 if scale < 1 else 70_000
    options = {"name": "mine", "out": tmp_path / "out", "J": 1, "encoding": "float16", "scale": scale}
    key = "0000[0-5]" if scale < 1 else "00004"
    with pytest.raises(ScatcacheError, match=rf"{key}: its coefficients go beyond 65504, .* --encoding float32"):
        scatcache.extract(images, **options)
    report = scatcache.extract(images, **{**options, "encoding": "float32", "overwrite": True})
    assert report.splits["all"].ok == 6


def test_coefficients_beyond_float32_are_not_advised_float32(tmp_path):
    options = {"name": "mine", "out": tmp_path / "out", "J": 1, "scale": 1e-300}
    with pytest.raises(ScatcacheError, match=r"go beyond 3\.4028e\+38, .*: give a larger --scale for a new store$"):
        scatcache.extract(np.ones((6, 8, 8), np.float32), **options)


def test_no_batch_waits_beyond_those_ahead(tmp_path, monkeypatch):
    """Memory does not grow with the shard: a slow disk holds up decoding."""
    job, tasks, _ = make_job(tmp_path, n_images=30, shard_images=30)
    decode, started, written, ahead = shard_images._start_batch, [], [], []

    def count(*arguments):
        started.append(1)
        ahead.append(len(started) - len(written))
        return decode(*arguments)

    def write(sink, coefficients, ok):
        time.sleep(0.005)
        written.append(1)

    batches = shard_task.decode_batches
    monkeypatch.setattr(shard_task, "decode_batches", lambda job, task, reads, _: batches(job, task, reads, 1))
    monkeypatch.setattr(shard_images, "_start_batch", count)
    monkeypatch.setattr(ShardSink, "append", write)
    monkeypatch.setattr(ShardSink, "finish", lambda sink: None)
    compute_shard(job, tasks[0])
    assert len(written) == 30
    assert max(ahead) <= 2 * (N_BATCHES_AHEAD + 1)
