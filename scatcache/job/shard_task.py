"""One shard: read, decode, transform, encode and write its rows, overlapped; the same code in every executor."""

import functools
import importlib.metadata
import platform
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from scatcache.errors import ScatcacheError, UnreadableImage
from scatcache.images.catalogue import Source
from scatcache.images.decode import decode_noted
from scatcache.job.planning import ShardPlace, ShardTask, plan_task
from scatcache.job.reading import ShardReads
from scatcache.job.store_folder import StoreFolder
from scatcache.job.takeover import check_ours
from scatcache.scattering.channel_sums import find_adder
from scatcache.store.format.encodings import Encoding, find_encoding
from scatcache.store.format.layout import SplitLayout
from scatcache.store.format.manifest import Manifest
from scatcache.store.format.receipts import Receipt, Unreadable
from scatcache.store.format.rows import RowTable
from scatcache.store.format.shard_file import ShardEncoder
from scatcache.version import __version__
from scatcache.views import ViewedImage

# Decoded batches waiting for the transform, and transformed ones waiting to be written.
N_BATCHES_AHEAD = 2

PACKAGES = ("torch", "numpy", "pillow", "numcodecs")

_local = threading.local()
_pools: dict[int, ThreadPoolExecutor] = {}
_pools_lock = threading.Lock()
_stopped: set[str] = set()


class JobStopped(BaseException):
    """Unwinds a shard task of a job that has ended; never leaves the worker."""


@dataclass(frozen=True)
class ShardJob:
    """What every shard of a job shares. job_id: the run's token, see take_over; store: absolute path, the same on every
    worker; layouts: of its splits; device: "cpu" or "cuda"; backend: a name of open_transform; decode_threads: per
    process; on_error: "skip" or "fail"; rows: the splits' row tables in the process that has them anyway, never sent to
    another."""

    job_id: str
    store: str
    manifest: Manifest
    layouts: Mapping[str, SplitLayout]
    source: Source
    device: str
    backend: str
    decode_threads: int
    on_error: str
    rows: Mapping[str, RowTable] = field(default_factory=dict)

    def plan(self, place: ShardPlace) -> ShardTask:
        """All that is known of one shard before its pixels."""
        return plan_task(self.layouts[place.split], place, self.rows[place.split])


def stop_job(job_id: str) -> None:
    """Makes the tasks of this job in this process end at their next batch, leaving no file."""
    _stopped.add(job_id)


def run_shard(job: ShardJob, shard: ShardPlace | ShardTask) -> Receipt:
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
    done = folder.writer.find_done(job.manifest, task.split, layout, task.shard, rows_digest=task.rows_digest)
    if done is not None:
        return done
    transform = _find_transform(job, task.split)
    encoding = find_encoding(job.manifest.encoding)
    reads = ShardReads(job.source, task.split, dict(zip(task.keys, task.file_bytes, strict=True)))
    images = ShardImages(job, task, reads)
    with reads, folder.writer.put_shard(task.split, task.shard) as file:
        encoder = ShardEncoder(file.write, n_chunks=layout.n_chunks)
        sink = ShardSink(encoder, encoding, chunk_images=layout.chunk_images, n_channels=job.manifest.spec.n_channels)
        with ThreadPoolExecutor(1, thread_name_prefix="scatcache-write") as writing:
            pending: deque[Future[None]] = deque()
            for batch, reasons in _decode_batches(job, task, images, transform.batch_images):
                coefficients = transform.start(batch, encoding.compute_dtype)
                pending.append(writing.submit(_append, sink, coefficients, [reason is None for reason in reasons]))
                sink.reasons.extend(reasons)
                if len(pending) > N_BATCHES_AHEAD:
                    pending.popleft().result()
            for future in pending:
                future.result()
        sink.finish()
        # A worker that was given up for dead may have been overtaken: what is finished keeps its file.
        done = folder.writer.find_done(job.manifest, task.split, layout, task.shard, rows_digest=task.rows_digest)
        if done is not None:
            return done
        digests = encoder.finish()
        file.commit(check)
    unreadable = tuple(
        Unreadable(task.start + position, task.keys[position], reason)
        for position, reason in enumerate(sink.reasons)
        if reason is not None
    )
    receipt = Receipt(
        split=task.split,
        shard=task.shard,
        settings=job.manifest.digest,
        rows=task.rows_digest,
        image_shape=layout.image_shape,
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
        versions={**find_versions(), **transform.versions},
        notes=images.notes,
    )
    check()
    folder.writer.publish_receipt(receipt)
    return receipt


def _append(sink: "ShardSink", coefficients: Callable[[], np.ndarray], ok: list[bool]) -> None:
    sink.append(coefficients(), ok)


class ShardSink:
    """Takes coefficients batch by batch, in order, and writes them chunk by chunk; used from one thread at a time.

    sums, square_sums: (n_channels,) float64 over the stored values of the readable rows; reasons: one per row, None
    where it is readable.
    """

    def __init__(self, encoder: ShardEncoder, encoding: Encoding, *, chunk_images: int, n_channels: int):
        self.sums = np.zeros(n_channels, np.float64)
        self.square_sums = np.zeros(n_channels, np.float64)
        self.reasons: list[str | None] = []
        self._encoder, self._encoding, self._chunk_images = encoder, encoding, chunk_images
        self._add = find_adder()
        self._held: list[np.ndarray] = []
        self._held_ok: list[bool] = []

    def append(self, coefficients: np.ndarray, ok: list[bool]) -> None:
        """coefficients: (n, n_channels, h, w) in the stored dtype; ok: which of the n are readable."""
        for row, readable in zip(coefficients, ok, strict=True):
            if readable:
                # One row at a time: the last bit of a sum then depends on the shard alone, not on its batches.
                self._add(row, self.sums, self.square_sums)
            else:
                row[...] = self._encoding.fill_value
            self._held.append(row)
            self._held_ok.append(readable)
            if len(self._held) == self._chunk_images:
                self._write_chunk()

    def _write_chunk(self) -> None:
        if any(self._held_ok):
            chunk = self._held[0][None] if len(self._held) == 1 else np.stack(self._held)
            self._encoder.append(self._encoding.encode(np.ascontiguousarray(chunk)))
        else:
            self._encoder.append(None)
        self._held, self._held_ok = [], []

    def finish(self) -> None:
        """Writes a last, partly filled chunk, filled up with the array's fill value."""
        if self._held:
            filler = np.full_like(self._held[0], self._encoding.fill_value)
            self._held += [filler] * (self._chunk_images - len(self._held))
            self._write_chunk()


class SharedImage:
    """Where the first that asks for an image leaves what came of decoding it; the lock is held meanwhile."""

    def __init__(self, n_rows: int):
        self.n_rows_left = n_rows
        self.lock = threading.Lock()
        self.outcome: ViewedImage | ScatcacheError | None = None


class ShardImages:
    """The decoded images of one shard by key, each decoded once for all its rows and let go after the last; asked for
    from several threads."""

    def __init__(self, job: ShardJob, task: ShardTask, reads: ShardReads):
        self._job, self._split, self._reads = job, task.split, reads
        self._images = {key: SharedImage(n_rows) for key, n_rows in Counter(task.keys).items()}
        # An image whose views lie in two shards is told of once.
        self._told_here = {key for key, view in zip(task.keys, task.views, strict=True) if view == 0}
        self._notes: Counter[str] = Counter()
        self._notes_lock = threading.Lock()

    @property
    def notes(self) -> dict[str, int]:
        """How many of the images decoded so far each code is told of."""
        return dict(sorted(self._notes.items()))

    def find(self, key: str) -> ViewedImage:
        """One image, for one more of its rows. Raises UnreadableImage for each of them, ScatcacheError, JobStopped."""
        image = self._images[key]
        with image.lock:
            if image.outcome is None:
                try:
                    image.outcome = self._decode(key)
                except ScatcacheError as error:
                    image.outcome = error
            outcome = image.outcome
            image.n_rows_left -= 1
            if not image.n_rows_left:
                image.outcome = None
        if isinstance(outcome, ScatcacheError):
            raise outcome
        return outcome

    def _decode(self, key: str) -> ViewedImage:
        if self._job.job_id in _stopped:
            raise JobStopped
        manifest = self._job.manifest
        data = self._reads.read(key)
        try:
            decoded = decode_noted(data, size=manifest.size)
        except RuntimeError as error:
            raise ScatcacheError(
                f"{self._split}: {key}: {error}, which is no fault of the image: give the same command again: it "
                f"goes on from here"
            ) from error
        pixels, expected = decoded.pixels, self._job.layouts[self._split].image_shape
        if pixels.shape[:2] != expected:
            found, wanted = ("x".join(map(str, shape)) for shape in (pixels.shape[:2], expected))
            raise UnreadableImage(f"it is {found} pixels, the split is {wanted}")
        if decoded.notes and key in self._told_here:
            with self._notes_lock:
                self._notes.update(decoded.notes)
        return ViewedImage(pixels, manifest.views, key=key, seed=manifest.seed)


def _decode_batches(
    job: ShardJob, task: ShardTask, images: ShardImages, batch_images: int
) -> Iterator[tuple[np.ndarray, list[str | None]]]:
    """(uint8 (n, H, W, 3), reason per row) batch by batch, decoded ahead in the process's decoding threads."""
    pool = _find_pool(job.decode_threads)
    starts = range(0, len(task.keys), batch_images)
    batches = [range(start, min(start + batch_images, len(task.keys))) for start in starts]
    ahead: deque[tuple[np.ndarray, list[Future[list[str | None]]]]] = deque()
    try:
        for position in range(len(batches) + N_BATCHES_AHEAD):
            if position < len(batches):
                ahead.append(_start_batch(pool, job, task, batches[position], images))
            if position >= N_BATCHES_AHEAD:
                if job.job_id in _stopped:
                    raise JobStopped
                batch, futures = ahead.popleft()
                yield batch, [reason for future in futures for reason in future.result()]
    finally:
        for _, futures in ahead:
            for future in futures:
                future.cancel()


def _start_batch(
    pool: ThreadPoolExecutor, job: ShardJob, task: ShardTask, rows: range, images: ShardImages
) -> tuple[np.ndarray, list[Future[list[str | None]]]]:
    image_shape = job.layouts[task.split].image_shape
    batch = np.zeros((len(rows), *image_shape, 3), np.uint8)
    step = -(-len(rows) // job.decode_threads)
    futures = [
        pool.submit(_decode_rows, job, task, rows[start : start + step], images, batch[start : start + step])
        for start in range(0, len(rows), step)
    ]
    return batch, futures


def _decode_rows(job: ShardJob, task: ShardTask, rows: range, images: ShardImages, out: np.ndarray) -> list[str | None]:
    """Fills out (n, H, W, 3) with the views that rows show; returns why each could not be, None where it could."""
    reasons: list[str | None] = []
    for row, pixels in zip(rows, out, strict=True):
        key = task.keys[row]
        try:
            pixels[...] = images.find(key).cut(task.views[row])
        except UnreadableImage as error:
            if job.on_error == "fail":
                raise UnreadableImage(f"{task.split}: {key}: {error}: stopped because of --on-error fail") from error
            reasons.append(str(error))
        else:
            reasons.append(None)
    return reasons


def _find_transform(job: ShardJob, split: str) -> Any:
    """This thread's transform for the split's images, one intra-op thread: bytes then depend on no neighbour."""
    import torch

    from scatcache.scattering.batched import open_transform

    torch.set_num_threads(1)
    wanted = (job.manifest.spec, job.layouts[split].image_shape, job.device, job.backend)
    if getattr(_local, "wanted", None) != wanted:
        spec, shape, device, backend = wanted
        _local.transform = open_transform(spec, shape=shape, device=device, backend=backend)
        _local.wanted = wanted
    return _local.transform


def _find_pool(n_threads: int) -> ThreadPoolExecutor:
    with _pools_lock:
        if n_threads not in _pools:
            _pools[n_threads] = ThreadPoolExecutor(n_threads, thread_name_prefix="scatcache-decode")
        return _pools[n_threads]


def find_versions() -> dict[str, str]:
    """Versions of whatever takes part in making the stored bytes."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {**versions, "scatcache": __version__, "python": platform.python_version()}
