import errno
import os

import pytest

from scatcache import retries
from scatcache.durable import write_file
from scatcache.retries import TRANSIENT_ERRNOS, retried, with_retries
from scatcache.store.places.files import read_regular
from scatcache.store.places.local import LocalPlace


@pytest.fixture
def slept(monkeypatch):
    pauses = []
    monkeypatch.setattr(retries.time, "sleep", pauses.append)
    return pauses


class Flaky:
    def __init__(self, number: int, n_failures: int):
        self.number, self.n_left = number, n_failures

    def __call__(self, *args, **options) -> str:
        self.n_left -= 1
        if self.n_left >= 0:
            raise OSError(self.number, os.strerror(self.number))
        return "done"


@pytest.mark.parametrize("number", TRANSIENT_ERRNOS)
def test_what_passes_is_tried_again_with_pauses(slept, number):
    assert with_retries(Flaky(number, 2)) == "done" and retried(Flaky.__call__)(Flaky(number, 1)) == "done"
    assert slept == [0.2, 1.0, 0.2]


def test_what_stays_is_raised_in_the_end_and_what_cannot_pass_at_once(slept):
    with pytest.raises(OSError, match="Input/output"):
        with_retries(Flaky(errno.EIO, 4))
    assert slept == [0.2, 1.0, 3.0]
    with pytest.raises(OSError, match="No space"):
        with_retries(Flaky(errno.ENOSPC, 1))
    assert len(slept) == 3


def test_after_a_failed_fsync_the_data_are_written_again(slept, tmp_path, monkeypatch):
    """The kernel may have dropped them: a second fsync alone would succeed and keep nothing."""
    opened, fsync, failures = [], os.fsync, [1]

    def fail_once(descriptor):
        opened.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        if failures.pop(0) if failures else False:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail_once)
    write_file(tmp_path / "a", b"data")
    assert opened[0] != opened[1] and (tmp_path / "a").read_bytes() == b"data"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_readers_try_again(slept, tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"0123456789")
    file = LocalPlace(tmp_path).open("a", tail_bytes=4)
    pread, failures = os.pread, [True, True]

    def fail_twice(*args):
        if failures and failures.pop():
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return pread(*args)

    monkeypatch.setattr(os, "pread", fail_twice)
    assert file.read_range(2, 3) == b"234" and slept == [0.2]
    monkeypatch.setattr(os, "read", Flaky(errno.EIO, 4))
    with pytest.raises(OSError, match="Input/output"):
        read_regular(tmp_path / "a")


def test_reads_that_come_in_parts_are_whole(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"0123456789")
    file, pread = LocalPlace(tmp_path).open("a", tail_bytes=4), os.pread
    monkeypatch.setattr(os, "pread", lambda descriptor, n_bytes, start: pread(descriptor, min(n_bytes, 3), start))
    assert file.read_range(1, 8) == b"12345678" and file.read_range(7, 8) == b"789"
