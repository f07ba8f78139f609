"""What computes a job: the device, the backend, and how many workers there are."""

import contextlib
import gc
import math
import os
from collections.abc import Iterator

from scatcache.errors import UsageError
from scatcache.images.image_source import ImageSource
from scatcache.job.planned import Job
from scatcache.job.settings import RunOptions
from scatcache.resources import count_cores, free_memory_bytes

# A worker's buffers, and in a process torch itself.
WORKER_BYTES = 256 * 2**20
PROCESS_BYTES = 1024 * 2**20
# Rows of float32 coefficients that a worker holds at once where one is a whole batch: it matters for large images.
ROWS_HELD = 8


def choose_backend(options: RunOptions) -> tuple[str, str, str]:
    """(device, backend, why). Raises BackendUnavailable for what does not run here."""
    import torch

    from scatcache.scattering.backends import resolve_backend, resolve_device

    device, why = options.device, f"{options.device} was asked for"
    if device == "auto":
        device, why = ("cuda", "a CUDA device is visible") if torch.cuda.is_available() else ("cpu", "no CUDA device")
    resolve_device(device)
    name = resolve_backend(options.backend, device)
    return device, name, why if options.backend == "auto" else f"{why}, {options.backend} was asked for"


def check_workers(source: ImageSource, options: RunOptions) -> None:
    """Raises UsageError for other processes where the source can be read in this one alone."""
    if source.parallel != "processes" and (options.processes or options.scheduler is not None):
        raise UsageError(f"{source.name} can be read in this process alone: leave processes and scheduler out")


def choose_workers(job: Job, options: RunOptions) -> tuple[int, tuple[str, ...]]:
    """(workers, the GPUs that get a process each)."""
    if job.plan.device == "cuda" and options.scheduler is None:
        gpus = find_gpus()[: 1 if job.source.parallel != "processes" else options.workers]
        # One GPU needs no second process, and a script without a main guard works then.
        return len(gpus), gpus if len(gpus) > 1 or options.processes else ()
    if options.workers is not None:
        return options.workers, ()
    each = PROCESS_BYTES if options.processes else WORKER_BYTES
    each += ROWS_HELD * max(4 * math.prod(split.output_shape) for split in job.plan.splits.values())
    return max(1, min(count_cores(), free_memory_bytes() // 2 // each)), ()


def choose_decode_threads(job: Job, options: RunOptions, *, n_workers: int, gpus: tuple[str, ...]) -> int:
    """Decoding threads of a process: a GPU takes all that the cores decode; a core that transforms decodes itself."""
    per_worker = max(1, count_cores() // n_workers) if job.plan.device == "cuda" else 1
    return options.decode_threads or per_worker * (1 if options.processes or gpus else n_workers)


def find_gpus() -> tuple[str, ...]:
    """The GPUs this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible:
        return tuple(visible.split(","))[: torch.cuda.device_count()]
    return tuple(str(index) for index in range(torch.cuda.device_count()))


@contextlib.contextmanager
def rows_out_of_collections() -> Iterator[None]:
    """The garbage collector leaves alone what there is by now: it would walk over every row again and again.

    A program that has frozen objects itself keeps them so.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextlib.contextmanager
def keep_torch_threads(*, during: int | None = None) -> Iterator[None]:
    """Shard tasks set torch to one thread, process-wide; the caller's own number comes back afterwards. during: what to
    set it to at once."""
    import torch

    before = torch.get_num_threads()
    try:
        if during is not None:
            torch.set_num_threads(during)
        yield
    finally:
        torch.set_num_threads(before)
