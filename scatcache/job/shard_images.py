"""The images of one shard, decoded ahead of the transform, batch by batch, each once for all its views."""

import threading
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from scatcache.errors import ScatcacheError, UnreadableImage
from scatcache.images.decode import decode_noted
from scatcache.job.pixels import check_form, decoding_of
from scatcache.job.planning import ShardTask
from scatcache.job.reading import ShardReads
from scatcache.job.shard_job import ShardJob
from scatcache.views import ViewedImage

# Decoded batches waiting for the transform, and transformed ones waiting to be written.
N_BATCHES_AHEAD = 2

_pools: dict[int, ThreadPoolExecutor] = {}
_pools_lock = threading.Lock()


class SharedImage:
    """Where the first that asks for an image leaves what came of decoding it; the lock is held meanwhile."""

    def __init__(self, n_rows: int):
        self.n_rows_left = n_rows
        self.lock = threading.Lock()
        self.outcome: ViewedImage | ScatcacheError | None = None


class ShardImages:
    """The decoded images of one shard by their index in the listing, each decoded once for all its rows and let go
    after the last; asked for from several threads."""

    def __init__(self, job: ShardJob, task: ShardTask, reads: ShardReads):
        self._job, self._split, self._reads = job, task.split, reads
        self._keys = dict(zip(task.images, task.keys, strict=True))
        self._images = {i: SharedImage(n_rows) for i, n_rows in Counter(task.images).items()}
        # An image whose views lie in two shards is told of once.
        self._told_here = {i for i, view in zip(task.images, task.views, strict=True) if view == 0}
        self._notes: Counter[str] = Counter()
        self._notes_lock = threading.Lock()

    @property
    def notes(self) -> dict[str, int]:
        """How many of the images decoded so far each code is told of."""
        return dict(sorted(self._notes.items()))

    def find(self, i: int) -> ViewedImage:
        """One image, for one more of its rows. Raises UnreadableImage for each of them, ScatcacheError, JobStopped."""
        image = self._images[i]
        with image.lock:
            if image.outcome is None:
                try:
                    image.outcome = self._decode(i)
                except ScatcacheError as error:
                    image.outcome = error
            outcome = image.outcome
            image.n_rows_left -= 1
            if not image.n_rows_left:
                image.outcome = None
        if isinstance(outcome, ScatcacheError):
            raise outcome
        return outcome

    def _decode(self, i: int) -> ViewedImage:
        self._job.check_running()
        manifest, key = self._job.manifest, self._keys[i]
        data = self._reads.read(i)
        try:
            decoded = decode_noted(data, decoding_of(manifest))
        except RuntimeError as error:
            raise ScatcacheError(
                f"{self._split}: {key}: {error}, which is no fault of the image: give the same command again: it "
                f"goes on from here"
            ) from error
        pixels = decoded.pixels
        check_form(pixels, manifest, self._job.layouts[self._split].image_shape)
        if decoded.notes and i in self._told_here:
            with self._notes_lock:
                self._notes.update(decoded.notes)
        return ViewedImage(pixels, manifest.views, key=key, seed=manifest.seed)


def decode_batches(
    job: ShardJob, task: ShardTask, images: ShardImages, batch_images: int
) -> Iterator[tuple[np.ndarray, list[str | None]]]:
    """(pixels (n, H, W, colours), reason per row) batch by batch, decoded ahead in the process's decoding threads."""
    pool = _find_pool(job.decode_threads)
    starts = range(0, len(task.keys), batch_images)
    batches = [range(start, min(start + batch_images, len(task.keys))) for start in starts]
    ahead: deque[tuple[np.ndarray, list[Future[list[str | None]]]]] = deque()
    try:
        for position in range(len(batches) + N_BATCHES_AHEAD):
            if position < len(batches):
                ahead.append(_start_batch(pool, job, task, batches[position], images))
            if position >= N_BATCHES_AHEAD:
                job.check_running()
                batch, futures = ahead.popleft()
                yield batch, [reason for future in futures for reason in future.result()]
    finally:
        for _, futures in ahead:
            for future in futures:
                future.cancel()


def _start_batch(
    pool: ThreadPoolExecutor, job: ShardJob, task: ShardTask, rows: range, images: ShardImages
) -> tuple[np.ndarray, list[Future[list[str | None]]]]:
    manifest, image_shape = job.manifest, job.layouts[task.split].image_shape
    batch = np.zeros((len(rows), *image_shape, manifest.colours), manifest.dtype)
    step = -(-len(rows) // job.decode_threads)
    futures = [
        pool.submit(_decode_rows, job, task, rows[start : start + step], images, batch[start : start + step])
        for start in range(0, len(rows), step)
    ]
    return batch, futures


def _decode_rows(job: ShardJob, task: ShardTask, rows: range, images: ShardImages, out: np.ndarray) -> list[str | None]:
    """Fills out (n, H, W, colours) with the views that rows show; returns why each could not, or None."""
    reasons: list[str | None] = []
    for row, pixels in zip(rows, out, strict=True):
        key = task.keys[row]
        try:
            pixels[...] = images.find(task.images[row]).cut(task.views[row])
        except UnreadableImage as error:
            if job.on_error == "fail":
                raise UnreadableImage(f"{task.split}: {key}: {error}: stopped because of --on-error fail") from error
            reasons.append(str(error))
        else:
            reasons.append(None)
    return reasons


def _find_pool(n_threads: int) -> ThreadPoolExecutor:
    with _pools_lock:
        if n_threads not in _pools:
            _pools[n_threads] = ThreadPoolExecutor(n_threads, thread_name_prefix="scatcache-decode")
        return _pools[n_threads]
