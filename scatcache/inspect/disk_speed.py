"""What fsync costs in a folder: every shard and every receipt waits for one."""

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import BinaryIO

MEBIBYTE = 2**20
SMALL_BYTES, LARGE_BYTES = 4096, 16 * MEBIBYTE
N_SMALL = 9
# Neither part goes on much longer: a disk that needs more than this is slow, whatever the digits.
BUDGET_S = 1.0


def measure_fsync(folder: Path) -> dict[str, float | str | None]:
    """fsync_mb_s: MB/s of 16 MiB written and synced; fsync_ms: median milliseconds of 4 KiB written and synced, both
    None where the folder cannot be written to; fsync_reason: how it was measured, or why not.

    The file has no name (where the system cannot do that, only for an instant), so that nothing is left, whatever ends
    the process. On a slow disk it takes about 2 s, and less is written.
    """
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            latency_s = _time_small(file)
            n_bytes, elapsed_s = _time_large(file)
    except OSError as error:
        return {"fsync_mb_s": None, "fsync_ms": None, "fsync_reason": f"{error.strerror or error}"}
    reason = f"{n_bytes // MEBIBYTE} MiB written and synced"
    return {"fsync_mb_s": n_bytes / 1e6 / elapsed_s, "fsync_ms": 1000 * latency_s, "fsync_reason": reason}


def _time_small(file: BinaryIO) -> float:
    """Seconds, the median of up to N_SMALL."""
    data = os.urandom(SMALL_BYTES)
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < N_SMALL and time.perf_counter() < start + BUDGET_S:
        times.append(_time_write(file, data))
    return statistics.median(times)


def _time_large(file: BinaryIO) -> tuple[int, float]:
    """(bytes, seconds): of 16 MiB, or of 1 MiB alone where that tells that the rest would exceed the budget."""
    data = os.urandom(MEBIBYTE)
    elapsed_s = _time_write(file, data)
    n_more = LARGE_BYTES // MEBIBYTE - 1
    if elapsed_s * n_more > BUDGET_S:
        return MEBIBYTE, elapsed_s
    return LARGE_BYTES, elapsed_s + _time_write(file, data * n_more)


def _time_write(file: BinaryIO, data: bytes) -> float:
    """Seconds to write and sync. Raises OSError, also for a disk that fills up on the way."""
    start = time.perf_counter()
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
    os.fsync(file.fileno())
    return max(time.perf_counter() - start, 1e-9)
