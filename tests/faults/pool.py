"""Warmed processes that fork a child for each run, and what both campaigns say and write."""

import fcntl
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tests.faults.children import follow_parent, warm

ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    # It tidies up after the killed, and says so.
    "PYTHONWARNINGS": "ignore::UserWarning:multiprocessing.resource_tracker",
}
N_SHOWN = 40


@contextmanager
def open_pool(
    prepare: Callable[[Path], None], base: Path, *, n_jobs: int, environment: dict[str, str] | None = None
) -> Iterator[ProcessPoolExecutor]:
    """Processes that each called prepare(base); spawned, so without threads and under this environment."""
    kept, spawn = dict(os.environ), get_context("spawn")
    os.environ |= ENVIRONMENT | (environment or {})
    try:
        with ProcessPoolExecutor(n_jobs, mp_context=spawn, initializer=prepare, initargs=(base,)) as pool:
            try:
                yield pool
            finally:
                pool.shutdown(cancel_futures=True)
    finally:
        os.environ.clear()
        os.environ |= kept


def prepare_inputs(base: Path, *, make: Callable[[Path], Any], rehearse: Callable[[Path], Any]) -> Path:
    """Warms this process by rehearse(work), work being a folder of its own, which is returned.

    The first process to come here makes the inputs, the folder base/inputs, before; the others wait for it.
    """
    follow_parent()
    inputs, work = base / "inputs", Path(tempfile.mkdtemp(dir=base))

    def make_and_rehearse() -> None:
        if not inputs.exists():
            inputs.mkdir()
            make(inputs)
        rehearse(work)

    with open(base / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        warm(make_and_rehearse, work)
    return work


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder for a campaign, gone afterwards, after SIGTERM too.

    In memory where that is a folder: a campaign writes the same few files again and again.
    """
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(128 + signum))
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="faults-", dir=memory, ignore_cleanup_errors=True) as made:
        yield Path(made)


class Findings:
    """Faults by kind and in words. log: a file to which each is added as it comes, or None."""

    def __init__(self, log: Path | None = None):
        self.kinds: Counter[str] = Counter()
        self.texts: list[str] = []
        self._log = log

    def add(self, kind: str, text: str) -> None:
        self.kinds[kind] += 1
        self.texts.append(text)
        if self._log is not None:
            with open(self._log, "a") as file:
                file.write(f"{text!r}\n")

    def tell(self, elapsed_s: float) -> int:
        """Prints them, and returns the exit code."""
        for text in self.texts[:N_SHOWN]:
            print(f"FAILED: {text}")
        if len(self.texts) > N_SHOWN:
            print(f"and {len(self.texts) - N_SHOWN} more: --log FILE keeps all")
        print(f"{show(self.kinds) or 'no failure'}; {elapsed_s:.0f} s")
        return 1 if self.texts else 0


def show(counter: Counter[str]) -> str:
    return ", ".join(f"{n} {name}" for name, n in sorted(counter.items()))
