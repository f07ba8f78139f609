import contextlib
import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scatcache.errors import ScatcacheError, StoreLocked
from scatcache.store.lock import WriterLock

HOLD = "import sys, pathlib; from scatcache.store.lock import WriterLock\n"
HOLD += "with WriterLock(pathlib.Path(sys.argv[1])):\n print('held', flush=True)\n sys.stdin.read()"


@contextlib.contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cifar10-J2.zarr.job/lock"


def test_second_process_is_told_which_store_is_written(path):
    with holder(path), pytest.raises(StoreLocked, match=r"cifar10-J2\.zarr: another process is writing it"):
        WriterLock(path).__enter__()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_lock_ends_with_its_holder_however_it_dies(path, number):
    with holder(path) as process:
        process.send_signal(number)
        process.wait()
        with WriterLock(path):
            pass


def test_lock_follows_no_link_and_waits_for_no_fifo(path, tmp_path):
    path.parent.mkdir()
    path.symlink_to(tmp_path / "precious")
    with pytest.raises(ScatcacheError, match=r"lock is a link, expected the lock's own file: delete it"):
        WriterLock(path).__enter__()
    assert not (tmp_path / "precious").exists()
    path.unlink()
    os.mkfifo(path)
    with contextlib.suppress(ScatcacheError, OSError), WriterLock(path):
        pass


def test_second_holder_in_one_process_is_refused_and_the_first_keeps_it(path):
    with WriterLock(path):
        for _ in range(2):
            with pytest.raises(StoreLocked):
                WriterLock(path).__enter__()
    with WriterLock(path):
        pass


def test_lock_is_not_inherited_by_a_started_process(path):
    with WriterLock(path):
        process = subprocess.Popen(["sleep", "30"], close_fds=False)
    try:
        with WriterLock(path):
            pass
    finally:
        process.kill()
        process.wait()


def test_failed_locking_closes_the_file(path, monkeypatch):
    def fail(*arguments):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", fail)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match="Input/output error"):
        WriterLock(path).__enter__()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_file_system_without_locks_is_no_obstacle(tmp_path, monkeypatch, caplog):
    def refuse(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with WriterLock(tmp_path / "s.zarr.job" / "lock"):
        assert "no lock to be had" in caplog.text
