"""One shard: read, decode, transform, encode and write its rows, overlapped; the same code in every executor."""

import contextlib
import functools
import importlib.metadata
import platform
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from scatcache.errors import SourceError, UnreadableImage
from scatcache.images.source import Part
from scatcache.job.planning import ShardId, ShardTask
from scatcache.job.reading import ShardReads
from scatcache.job.shard_images import N_BATCHES_AHEAD, ShardImages, decode_batches
from scatcache.job.shard_job import ShardJob
from scatcache.job.shard_sink import ShardSink
from scatcache.job.store_folder import StoreFolder
from scatcache.job.takeover import check_ours
from scatcache.spec import NATIVE
from scatcache.store.format.receipts import Receipt, Unreadable
from scatcache.store.format.shard_file import ShardEncoder
from scatcache.version import __version__

PACKAGES = ("torch", "numpy", "pillow", "numcodecs", "zstandard")
# What reads native samples of files, where it is installed.
SAMPLE_PACKAGES = ("tifffile", "imagecodecs", "astropy")

_local = threading.local()


def run_shard(job: ShardJob, shard: ShardId | ShardTask) -> Receipt:
    """compute_shard as a task of a run. shard: its place alone where the job has the rows; the receipt is lightened."""
    return lighten(compute_shard(job, shard if isinstance(shard, ShardTask) else job.plan(shard)))


def lighten(receipt: Receipt) -> Receipt:
    """A receipt without what grows with channels and rows, and what all have in common; who needs it reads the disk."""
    return replace(receipt, chunk_bytes=(), chunk_crc32c=(), sums=(), square_sums=(), versions={})


def compute_shard(job: ShardJob, task: ShardTask) -> Receipt:
    """Computes, publishes and returns one shard's receipt; returns the present one where the shard is done.

    Raises UnreadableImage where on_error is "fail", ScatcacheError where the source cannot be read or another run has
    taken the store over, OSError where the store cannot be written.
    """
    folder = StoreFolder(job.store)
    check = functools.partial(check_ours, folder, job.manifest, job.job_id)
    check()
    layout = job.layouts[task.split]
    find_done = functools.partial(
        folder.writer.find_done, job.manifest, task.split, layout, task.shard, rows_digest=task.rows_digest
    )
    if (done := find_done()) is not None:
        return done
    encoding = job.manifest.stored_as
    transform = _find_transform(job, task.split)
    reads = ShardReads(_find_part(job, task), task.split, dict.fromkeys(task.images))
    images = ShardImages(job, task, reads)
    with reads, folder.writer.put_shard(task.split, task.shard) as file:
        encoder = ShardEncoder(file.write, n_chunks=layout.n_chunks)
        sink = ShardSink(
            encoder,
            encoding,
            chunk_images=layout.chunk_images,
            n_channels=job.manifest.spec.n_channels,
            keys=task.keys,
        )
        _fill(sink, transform, encoding.compute_dtype, decode_batches(job, task, images, transform.batch_images))
        _refuse_beyond(job, task, sink.reasons)
        # A worker that was given up for dead may have been overtaken: what is finished keeps its file.
        if (done := find_done()) is not None:
            return done
        digests = encoder.finish()
        file.commit(check)
    receipt = _make_receipt(job, task, sink, digests=digests, transform=transform, notes=images.notes)
    check()
    folder.writer.publish_receipt(receipt)
    return receipt


def _refuse_beyond(job: ShardJob, task: ShardTask, reasons: list[str | None]) -> None:
    """Raises UnreadableImage where on_error is "fail": images that do not decode have ended the run before."""
    for position, reason in enumerate(reasons):
        if reason is not None and job.on_error == "fail":
            key = task.keys[position]
            raise UnreadableImage(f"{task.split}: {key}: {reason}: stopped because of --on-error fail")


def _find_part(job: ShardJob, task: ShardTask) -> Part:
    """The task's part of the source. Raises SourceError where its listing is not the one that the task was made of."""
    part = job.source.find(task.split)
    rows = part.listing.rows
    for i, key in zip(task.images, task.keys, strict=True):
        if i >= len(rows) or rows[i].key != key:
            raise SourceError(
                f"{task.split}: {key} is row {i} of the listing no more: the source lists other rows in this process "
                f"than in the one that planned: let it list the same each time (see scatcache.testing.check_source)"
            )
    return part


def _fill(sink: ShardSink, transform: Any, dtype: str, batches: Iterator[tuple[np.ndarray, list[str | None]]]) -> None:
    """Transforms batch after batch into the sink, which one other thread fills."""
    with ThreadPoolExecutor(1, thread_name_prefix="scatcache-write") as writing:
        pending: deque[Future[None]] = deque()
        for batch, reasons in batches:
            coefficients = transform.start(batch, dtype)
            pending.append(writing.submit(_append, sink, coefficients, reasons))
            if len(pending) > N_BATCHES_AHEAD:
                pending.popleft().result()
        for future in pending:
            future.result()
    sink.finish()


def _append(sink: ShardSink, coefficients: Callable[[], np.ndarray], reasons: list[str | None]) -> None:
    sink.append(coefficients(), reasons)


def _make_receipt(
    job: ShardJob, task: ShardTask, sink: ShardSink, *, digests: Any, transform: Any, notes: dict[str, int]
) -> Receipt:
    unreadable = tuple(
        Unreadable(task.start + position, task.keys[position], reason)
        for position, reason in enumerate(sink.reasons)
        if reason is not None
    )
    return Receipt(
        split=task.split,
        shard=task.shard,
        settings=job.manifest.digest,
        rows=task.rows_digest,
        image_shape=job.layouts[task.split].image_shape,
        n_rows=len(task.keys),
        n_ok=len(task.keys) - len(unreadable),
        file_bytes=digests.file_bytes,
        sha256=digests.sha256,
        index_crc32c=digests.index_crc32c,
        chunk_bytes=digests.chunk_bytes,
        chunk_crc32c=digests.chunk_crc32c,
        sums=tuple(sink.sums.tolist()),
        square_sums=tuple(sink.square_sums.tolist()),
        unreadable=unreadable,
        backend={"name": transform.name, "core": transform.core, "device": job.device},
        versions={**find_versions(job.manifest.pixels.kind), **transform.versions},
        notes=notes,
    )


def _find_transform(job: ShardJob, split: str) -> Any:
    """This thread's transform for the split's images, one intra-op thread: bytes then depend on no neighbour."""
    import torch

    from scatcache.scattering.batched import open_transform

    torch.set_num_threads(1)
    wanted = (job.manifest.spec, job.layouts[split].image_shape, job.manifest.pixels, job.device, job.backend)
    if getattr(_local, "wanted", None) != wanted:
        spec, shape, pixels, device, backend = wanted
        _local.transform = open_transform(spec, shape=shape, pixels=pixels, device=device, backend=backend)
        _local.wanted = wanted
    return _local.transform


@functools.cache
def find_versions(kind: str) -> dict[str, str]:
    """Versions of whatever takes part in making the stored bytes of pixels of a kind."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    for name in SAMPLE_PACKAGES if kind == NATIVE else ():
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {**versions, "scatcache": __version__, "python": platform.python_version()}
