import errno
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from scatcache.inspect import disk_speed
from scatcache.inspect.disk_speed import LARGE_BYTES, MEBIBYTE, measure_fsync


@pytest.fixture
def slow(monkeypatch):
    """slow(seconds): each fsync takes this long; returns the sizes that files had when they were synced.

    By a clock of its own, whose every reading takes a microsecond: a busy machine is no slow disk.
    """
    sizes, now = [], [0.0]

    def read_clock():
        now[0] += 1e-6
        return now[0]

    def start(seconds):
        def fsync(descriptor):
            sizes.append(os.fstat(descriptor).st_size)
            now[0] += seconds

        monkeypatch.setattr(disk_speed.os, "fsync", fsync)
        monkeypatch.setattr(disk_speed, "time", SimpleNamespace(perf_counter=read_clock))
        return sizes

    start.read_clock = read_clock

    return start


def test_speed_and_latency_are_those_of_the_disk(tmp_path, slow):
    sizes = slow(0.01)
    measured = measure_fsync(tmp_path)
    assert 10 <= measured["fsync_ms"] < 40
    assert 0.3 * LARGE_BYTES / 1e6 / 0.02 < measured["fsync_mb_s"] <= LARGE_BYTES / 1e6 / 0.02
    assert sizes[:9] == [4096 * n for n in range(1, 10)] and sizes[-1] == 9 * 4096 + LARGE_BYTES
    assert list(tmp_path.iterdir()) == []


def test_a_slow_disk_is_given_less_to_write(tmp_path, slow):
    sizes = slow(0.3)
    start = slow.read_clock()
    measured = measure_fsync(tmp_path)
    assert slow.read_clock() - start < 4 and len(sizes) < 9
    assert sizes[-1] - sizes[-2] == MEBIBYTE and measured["fsync_reason"].startswith("1 MiB")
    assert 2 < measured["fsync_mb_s"] < 4 and 300 <= measured["fsync_ms"] < 500


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_on_the_way_is_told(tmp_path, monkeypatch, code):
    def fail(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(disk_speed.os, "fsync", fail)
    assert measure_fsync(tmp_path) == {"fsync_mb_s": None, "fsync_ms": None, "fsync_reason": os.strerror(code)}
    assert list(tmp_path.iterdir()) == []


def test_a_read_only_folder_is_told(tmp_path):
    tmp_path.chmod(0o500)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("needs a user whom file modes bind")
    assert measure_fsync(tmp_path)["fsync_reason"] == "Permission denied"


def test_nothing_is_left_even_by_a_killed_process(tmp_path):
    program = (
        "import os, pathlib, signal, sys\n"
        "from scatcache.inspect import disk_speed\n"
        "disk_speed.os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)\n"
        "disk_speed.measure_fsync(pathlib.Path(sys.argv[1]))\n"
    )
    assert subprocess.run([sys.executable, "-c", program, tmp_path], timeout=60).returncode == -9
    assert list(tmp_path.iterdir()) == []
