"""A part of a job carried out for real, in a folder that goes again: what extraction and reading back cost here."""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from scatcache.inspect.disk_speed import measure_fsync
from scatcache.job.events import Event, ShardFinished
from scatcache.job.layouts import make_layout
from scatcache.job.planned import Job, plan_splits
from scatcache.job.planning import order_rows
from scatcache.job.run import JobRun
from scatcache.job.settings import ExtractOptions
from scatcache.job.stages import Stages
from scatcache.job.store_folder import StoreFolder
from scatcache.job.takeover import take_over
from scatcache.job.workers import choose_workers
from scatcache.load.cache import Cache, open_cache

# A sample's shard takes so long that opening, flushing and closing it hardly counts; each worker computes so many, and
# fewer where one image takes longer than that.
SHARD_S, SHARDS_EACH, SHARDS_LEAST = 1.0, 4, 2
READ_S = 1.5
BATCH_ROWS = 128


@dataclass(frozen=True)
class Sample:
    """What was measured. images_per_s: extracted, with all workers; fixed_s: of a run, whatever the number of images;
    row_bytes: on disk, of one row's coefficients; cold_rows_per_s, warm_rows_per_s: read back by a loader, from the
    disk (None where the system does not let go of what it keeps in memory) and from memory; open_s: of an epoch,
    whatever the number of rows; memory_bytes: this process's, at most, without worker processes; write_s: of a row,
    written and synced, None where that could not be measured."""

    images_per_s: float
    fixed_s: float
    row_bytes: float
    cold_rows_per_s: float | None
    warm_rows_per_s: float
    open_s: float
    memory_bytes: int
    write_s: float | None


@contextlib.contextmanager
def make_scratch(path: Path) -> Iterator[Path]:
    """A folder beside a store that may not exist yet, in the nearest folder above it that does; gone afterwards."""
    above = path.parent
    while not above.is_dir():
        above = above.parent
    if not os.access(above, os.W_OK):
        above = Path(tempfile.gettempdir())
    with tempfile.TemporaryDirectory(prefix=".scatcache-plan-", dir=above) as folder:
        yield Path(folder)


def run_sample(job: Job, split: str, options: ExtractOptions, stages: Stages, *, scratch: Path) -> Sample | None:
    """Extracts the first rows of a split and reads them back; None where all of them are unreadable."""
    own = replace(options, scheduler=None, on_event=None, on_error="skip", overwrite=False)
    n_workers, _ = choose_workers(job, own)
    n_rows = job.layouts[split].n_rows
    shard_images = max(1, min(round(SHARD_S / stages.total_s), -(-n_rows // n_workers)))
    # Whole chunks, or the sample's would be others than the job's.
    shard_images -= shard_images % min(shard_images, job.layouts[split].chunk_images)
    n_rounds = SHARDS_EACH if stages.total_s < SHARD_S else SHARDS_LEAST
    small = _cut_job(
        job, split, scratch / "sample.zarr", n_rows=n_rounds * n_workers * shard_images, shard=shard_images
    )
    finished: list[tuple[float, int]] = []

    def on_event(event: Event) -> None:
        if isinstance(event, ShardFinished):
            finished.append((time.monotonic(), event.receipt.n_rows))

    started = time.monotonic()
    run = JobRun(small, own, on_event, job_id=take_over(small.folder))
    run.execute()
    elapsed = time.monotonic() - started
    receipts = run.receipts[split].values()
    n_ok = sum(receipt.n_ok for receipt in receipts)
    if not n_ok:
        return None
    rate = find_rate([(at - started, n) for at, n in finished], n_workers)
    n_done = sum(n for _, n in finished)
    cold, warm, open_s = _read_back(small.folder.path, split)
    row_bytes = sum(receipt.file_bytes for receipt in receipts) / n_done
    speed = measure_fsync(scratch)["fsync_mb_s"]
    return Sample(
        images_per_s=rate,
        fixed_s=max(0.0, elapsed - n_done / rate),
        row_bytes=row_bytes,
        write_s=row_bytes / 1e6 / speed if isinstance(speed, float) else None,
        cold_rows_per_s=cold,
        warm_rows_per_s=warm,
        open_s=open_s,
        memory_bytes=peak_bytes(),
    )


def find_rate(finished: list[tuple[float, int]], n_workers: int) -> float:
    """Images per second of shards that finished at (seconds since the start, images), in order.

    From when each worker had finished its first to the last round in which all had work; of fewer than two such rounds
    from the start to the end.
    """
    n_counted = len(finished) - len(finished) % n_workers
    if n_counted > n_workers and finished[n_counted - 1][0] > finished[n_workers - 1][0]:
        elapsed_s = finished[n_counted - 1][0] - finished[n_workers - 1][0]
        return sum(n for _, n in finished[n_workers:n_counted]) / elapsed_s
    return sum(n for _, n in finished) / max(finished[-1][0], 1e-9)


def peak_bytes() -> int:
    """The most memory that this process has had."""
    import resource
    import sys

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _cut_job(job: Job, split: str, path: Path, *, n_rows: int, shard: int) -> Job:
    """The job of the first images of one split, in another folder."""
    limit = max(1, min(n_rows // job.manifest.n_views, len(job.source.find(split).listing.rows)))
    manifest = replace(job.manifest, settings=replace(job.manifest.settings, limit=limit, shard_images=shard))
    listing = job.source.find(split).listing
    layout = make_layout(manifest, split, listing, shape=job.layouts[split].image_shape)
    rows = order_rows(listing.rows, seed=manifest.seed, limit=limit, n_views=manifest.n_views, targets=listing.targets)
    folder, layouts = StoreFolder(path), {split: layout}
    plan = replace(job.plan, store=str(path), is_new=True, splits=plan_splits(manifest, layouts))
    return Job(plan, folder, manifest, layouts, job.source, {split: rows})


def _read_back(store: Path, split: str) -> tuple[float | None, float, float]:
    """(rows per second from the disk, from memory, seconds of an epoch of next to no rows) of shuffled batches."""
    cache = open_cache(store, split)
    can_forget = _forget(store)
    n_cold, cold_s = _time_epoch(cache, cache.readable)
    part = cache.readable[:: len(cache.readable) // 4 or 1]
    n_rows, whole_s = min((_time_epoch(cache, cache.readable) for _ in range(3)), key=lambda found: found[1] / found[0])
    n_few, few_s = min((_time_epoch(cache, part) for _ in range(3)), key=lambda found: found[1])
    open_s = 0.0
    if n_rows == len(cache.readable) > n_few and whole_s > few_s:
        open_s = max(0.0, few_s - n_few * (whole_s - few_s) / (n_rows - n_few))
    return n_cold / max(cold_s - open_s, 1e-9) if can_forget else None, n_rows / max(whole_s - open_s, 1e-9), open_s


def _forget(store: Path) -> bool:
    """Asks the system to let go of what it keeps of a store's files in memory; whether it can."""
    if not hasattr(os, "posix_fadvise"):
        return False
    for path in store.rglob("c.*"):
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return True


def _time_epoch(cache: Cache, rows: npt.NDArray[np.int64]) -> tuple[int, float]:
    """(rows, seconds) of an epoch of a loader, or of what of it there is time for."""
    loader = cache.loader(BATCH_ROWS, rows=rows, shuffle=True)
    started, n_rows = time.monotonic(), 0
    for _, labels in loader:
        n_rows += len(labels)
        if time.monotonic() - started > READ_S:
            break
    return n_rows, max(time.monotonic() - started, 1e-9)
