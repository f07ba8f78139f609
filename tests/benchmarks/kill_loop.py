"""Kills an extraction again and again, then compares the store it ends in with that of a run nobody killed.

    python -m tests.benchmarks.kill_loop [--root ROOT] [--kills 30] [--early 5] [--main 3] [--limit N]

With --root on CIFAR-10, without on the photographs. Exit code 1 where a promise of DESIGN.md fails.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.runs import (
    find_differences,
    identify_finished,
    is_shard_temporary,
    kill_group,
    list_group,
    list_receipts,
    list_temporaries,
    run,
    start,
    wait_for,
)

WORKERS_GONE_S = 5.0


@dataclass
class Drill:
    """One store, killed and resumed.

    first_receipt_s: how long after a run's start its first receipt comes; max_delay_s: how long after that its kill
    may come, so that the shards outlast the kills; finished: (inode, mtime) of the files of finished shards.
    """

    store: Path
    arguments: list[str]
    n_shards: int
    first_receipt_s: float
    max_delay_s: float
    dice: random.Random
    finished: dict[Path, tuple[int, int]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    n_mid_run: int = 0
    n_while_writing: int = 0
    n_early: int = 0
    n_main: int = 0
    workers_gone_s: list[float] = field(default_factory=list)

    def start(self, *more: str) -> subprocess.Popen[str]:
        return start(*self.arguments, "--out", self.store, "-q", *more)

    def check(self, what: str) -> None:
        """Whether the files of every shard that was ever finished are still the very same files."""
        found = identify_finished(self.store)
        touched = [str(path) for path, identity in self.finished.items() if found.get(path) != identity]
        if touched:
            self.failures.append(f"{what}: {len(touched)} files of finished shards were touched: {touched[0]}")
        self.finished = found

    def kill_mid_run(self) -> None:
        """Kills the group after a receipt of this run, before the last one, while a shard is being written."""
        known = list_receipts(self.store)
        process = self.start()
        wait_for(lambda: list_receipts(self.store) - known or process.poll() is not None)
        time.sleep(self.dice.uniform(0, self.max_delay_s))
        wait_for(lambda: self._find_shard_temporaries() or process.poll() is not None, pause_s=0.001)
        self._kill(process)
        if len(list_receipts(self.store)) >= self.n_shards:
            self.failures.append("a run was over before it was killed: give more --limit or fewer --shard-images")
        self.n_mid_run += 1
        self.n_while_writing += bool(self._find_shard_temporaries())
        self.check(f"kill {self.n_mid_run}")

    def kill_early(self) -> None:
        """Kills the group before the first receipt of its run; tries again where one came first."""
        for _ in range(20):
            known = list_receipts(self.store)
            process = self.start()
            time.sleep(self.dice.uniform(0.1, self.first_receipt_s))
            self._kill(process)
            self.check("early kill")
            if list_receipts(self.store) == known:
                self.n_early += 1
                return
        self.failures.append("no kill came before the first receipt of its run")

    def kill_main(self) -> None:
        """Kills the main process alone; its workers must follow."""
        known = list_receipts(self.store)
        process = self.start("--processes")
        wait_for(lambda: list_receipts(self.store) - known or process.poll() is not None)
        n_workers = len(list_group(process.pid)) - 1
        os.kill(process.pid, signal.SIGKILL)
        killed = time.monotonic()
        process.wait()
        while list_group(process.pid) and time.monotonic() - killed < 2 * WORKERS_GONE_S:
            time.sleep(0.02)
        self.workers_gone_s.append(time.monotonic() - killed)
        process.communicate()
        if n_workers < 1 or self.workers_gone_s[-1] > WORKERS_GONE_S:
            self.failures.append(f"{n_workers} workers were gone after {self.workers_gone_s[-1]:.1f} s")
        self.n_main += 1
        self.check("kill of the main process")

    def _find_shard_temporaries(self) -> list[Path]:
        return [path for path in list_temporaries(self.store) if is_shard_temporary(path)]

    def _kill(self, process: subprocess.Popen[str]) -> None:
        if process.poll() is None:
            kill_group(process)
        else:
            self.failures.append(f"a run ended with {process.returncode} before it was killed: {process.stderr.read()}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, help="of CIFAR-10; without it the photographs are extracted")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--early", type=int, default=5)
    parser.add_argument("--main", type=int, default=3)
    parser.add_argument("--limit", type=int, default=6000)
    parser.add_argument("--shard-images", type=int, help="of CIFAR-10 40, of the photographs 1")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    return parser.parse_args()


def measure_straight_run(store: Path, arguments: list[str]) -> tuple[float, float]:
    """Runs to the end; returns after how many seconds the first receipt came, and the end."""
    started = time.monotonic()
    process = start(*arguments, "--out", store, "-q")
    wait_for(lambda: list_receipts(store) or process.poll() is not None)
    first_s = time.monotonic() - started
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    return first_s, time.monotonic() - started


def drill(options: argparse.Namespace, folder: Path) -> int:
    source = ["cifar10", "--root", str(options.root)] if options.root else ["photos"]
    shard_images = options.shard_images or (40 if options.root else 1)
    arguments = ["extract", *source, "--J", "2", "--limit", str(options.limit), "--shard-images", str(shard_images)]
    started = time.monotonic()
    straight, killed = folder / "straight.zarr", folder / "killed.zarr"
    first_s, all_s = measure_straight_run(straight, arguments)
    n_shards, n_kills = len(list_receipts(straight)), options.kills + options.early + options.main
    print(f"{n_shards} shards, the first after {first_s:.1f} s, all after {all_s:.1f} s")
    max_delay_s = (all_s - first_s) / max(1, n_kills)
    job = Drill(killed, arguments, n_shards, first_s, max_delay_s, random.Random(options.seed))
    kills = [job.kill_mid_run] * options.kills + [job.kill_early] * options.early + [job.kill_main] * options.main
    job.dice.shuffle(kills)
    for kill in kills:
        kill()
        print(f"{kill.__name__}: {len(list_receipts(killed))} of {job.n_shards} shards", flush=True)
    last = run(*arguments, "--out", killed, "-q", "--json", timeout_s=600)
    if last.returncode != 0:
        job.failures.append(f"the last run ended with {last.returncode}: {last.stderr}")
    job.check("the last run")
    differing, left = find_differences(straight, killed), list_temporaries(killed)
    if differing or left:
        job.failures.append(f"the stores differ in {differing[:5]}, temporaries left: {left[:5]}")
    if job.n_while_writing < 25 * options.kills // 30:
        job.failures.append(f"only {job.n_while_writing} kills came while a shard was being written")
    gone = f", workers gone after at most {max(job.workers_gone_s):.1f} s" if job.workers_gone_s else ""
    print(f"kills of the group after a receipt: {job.n_mid_run}, {job.n_while_writing} of them in a shard's writing")
    print(f"kills of the group before its first receipt: {job.n_early}")
    print(f"kills of the main process alone, with --processes: {job.n_main}{gone}")
    print(f"files of finished shards watched: {len(job.finished)}; files compared: {len(list(straight.rglob('*')))}")
    print(f"{time.monotonic() - started:.0f} s in all")
    for failure in job.failures:
        print(f"FAILED: {failure}")
    print("all promises kept" if not job.failures else f"{len(job.failures)} failures")
    return 1 if job.failures else 0


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="kill-loop-") as made:
        sys.exit(drill(parse_arguments(), Path(made)))
