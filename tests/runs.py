"""Running the command as a person does, killing it, and comparing the stores it leaves."""

import contextlib
import filecmp
import glob
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import distributed
import numpy as np
import psutil
from PIL import Image

from scatcache import commands, interruption
from scatcache.durable import TEMPORARY_SUFFIX


def command(*arguments: object) -> list[str]:
    """The command line that runs scatcache in this interpreter."""
    return [sys.executable, "-m", "scatcache.commands", *map(str, arguments)]


def run(*arguments: object, timeout_s: float = 120, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end."""
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=timeout_s, stdin=subprocess.DEVNULL, **options
    )


def start(*arguments: object, code: str | None = None, **options: Any) -> subprocess.Popen[str]:
    """Starts the command, or a program that ends in it, as the leader of a process group of its own."""
    line = command(*arguments) if code is None else [sys.executable, "-c", code, *map(str, arguments)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, **options}
    return subprocess.Popen(line, text=True, start_new_session=True, **streams)


def wait_for(condition: Callable[[], Any], *, timeout_s: float = 60, pause_s: float = 0.005) -> Any:
    """What condition() returns once that is true; fails after timeout_s."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {condition}"
        time.sleep(pause_s)
    return found


def kill_group(process: subprocess.Popen[str]) -> None:
    """SIGKILL to every process of the group at once, and waits for its leader."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def list_group(leader: int) -> list[psutil.Process]:
    """The live processes of a group."""
    return [process for process in psutil.process_iter() if _is_in_group(process, leader)]


def _is_in_group(process: psutil.Process, leader: int) -> bool:
    try:
        return os.getpgid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


def list_files(store: Path) -> list[str]:
    """Every file and folder of a store, relative, sorted."""
    return sorted(str(path.relative_to(store)) for path in store.rglob("*"))


def find_differences(first: Path, second: Path) -> list[str]:
    """What `diff -r` would print of two stores: nothing where they hold the same files with the same bytes."""
    files = list_files(first)
    if files != list_files(second):
        return sorted(set(files) ^ set(list_files(second)))
    return [
        name
        for name in files
        if (first / name).is_file() and not filecmp.cmp(first / name, second / name, shallow=False)
    ]


def list_receipts(store: Path) -> set[Path]:
    """The receipts of finished shards. Not by Path.glob, which fails where a folder is renamed meanwhile."""
    found = map(Path, glob.glob(f"{glob.escape(str(store))}/*/coefficients/receipts/*.json"))
    return {path for path in found if path.name != "summary.json"}


def list_temporaries(store: Path) -> list[Path]:
    """What writers have not published."""
    return sorted(store.rglob(f".*{TEMPORARY_SUFFIX}"))


def is_shard_temporary(path: Path) -> bool:
    return path.parent.name == "coefficients" and path.name.startswith(".c.")


def identify_finished(store: Path) -> dict[Path, tuple[int, int]]:
    """(inode, mtime) of every file of every finished shard: its data, its receipt."""
    return {
        path: (path.stat().st_ino, path.stat().st_mtime_ns)
        for receipt in list_receipts(store)
        for path in list_shard_files(receipt)
    }


def list_shard_files(receipt: Path) -> Iterator[Path]:
    yield from (receipt, receipt.parent.parent / f"c.{int(receipt.stem)}.0.0.0")


def make_images(folder: Path, n_images: int, *, side: int = 16, classes: int = 2, seed: int = 0) -> Path:
    """A folder of n_images PNG files of side x side pixels in class folders, the same for the same seed."""
    generator = np.random.default_rng(seed)
    for index in range(n_images):
        place = folder / f"class{index % classes}"
        place.mkdir(parents=True, exist_ok=True)
        coarse = generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC).save(place / f"{index:04d}.png")
    return folder


@dataclass(frozen=True)
class Outcome:
    """How a command ended. code: its exit code; out, err: what it wrote."""

    code: int
    out: str
    err: str

    @property
    def result(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        assert self.out.count("\n") == 1, self.out
        return json.loads(self.out)


def call(*arguments: object) -> Outcome:
    """Runs the command in this process, which spares its start; an exception it lets pass, passes here."""
    handlers = {signum: signal.getsignal(signum) for signum in interruption.SIGNALS}
    out, err = io.StringIO(), io.StringIO()
    typed, sys.argv = sys.argv, ["scatcache", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            commands.main()
    except SystemExit as left:
        return Outcome(int(left.code or 0), out.getvalue(), err.getvalue())
    finally:
        sys.argv = typed
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
    raise AssertionError("the command did not end by sys.exit")


@contextlib.contextmanager
def dask_cluster(
    folder: Path, *, n_workers: int = 2, preload: str | None = None
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """(address, the process that started the workers) of a Dask cluster that someone else runs.

    preload: a program that each worker runs first.
    """
    file = folder / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "text": True, "start_new_session": True}
    place = ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"]
    scheduler = subprocess.Popen([*dask, "scheduler", *place, "--port", "0", "--scheduler-file", file], **quiet)
    workers = None
    try:
        address = wait_for(lambda: file.exists() and json.loads(file.read_text() or "{}").get("address"))
        counts = ["--nworkers", str(n_workers), "--nthreads", "1", "--local-directory", folder / "dask"]
        if preload is not None:
            (folder / "preload.py").write_text(preload)
            counts += ["--preload", folder / "preload.py"]
        workers = subprocess.Popen([*dask, "worker", address, *place, *counts], **quiet)
        with distributed.Client(address, set_as_default=False) as client:
            client.wait_for_workers(n_workers, timeout=60)
        yield address, workers
    finally:
        for process in (workers, scheduler):
            if process is not None:
                with contextlib.suppress(ProcessLookupError):
                    kill_group(process)
