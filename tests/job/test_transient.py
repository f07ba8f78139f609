"""One failure that passes, at any call that a run makes on the store's own files: the run goes on."""

import builtins
import errno
import io
import os
import threading
from pathlib import Path

import pytest

import scatcache
from scatcache import retries
from tests.runs import find_differences, list_temporaries, make_images

SETTINGS = {"J": 1, "L": 2, "max_order": 1, "shard_images": 2, "workers": 1}
BY_PATH = ("open", "replace", "rename", "unlink", "mkdir", "rmdir", "stat", "lstat", "scandir", "listdir")
BY_DESCRIPTOR = ("fsync", "fstat", "read", "pread", "write")


class Faults:
    """Counts the calls of this thread below a folder, and fails the one at `position` with EIO."""

    def __init__(self, monkeypatch, below: Path, position: int = -1):
        self.below, self.position, self.calls = str(below), position, []
        self._thread, self._readlink = threading.get_ident(), os.readlink
        for name in (*BY_PATH, *BY_DESCRIPTOR):
            monkeypatch.setattr(os, name, self._wrap(name, getattr(os, name)))
        opened = self._wrap("open", builtins.open)
        monkeypatch.setattr(builtins, "open", opened)
        monkeypatch.setattr(io, "open", opened)

    def _wrap(self, name, function):
        def call(*args, **options):
            if threading.get_ident() == self._thread and self._is_below(args[0] if args else "."):
                self.calls.append((name, args[0]))
                if len(self.calls) - 1 == self.position:
                    raise OSError(errno.EIO, os.strerror(errno.EIO), str(args[0]))
            return function(*args, **options)

        return call

    def _is_below(self, place) -> bool:
        if isinstance(place, int):
            try:
                place = self._readlink(f"/proc/self/fd/{place}")
            except OSError:
                return False
        return str(os.fspath(place)).startswith(self.below)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    return make_images(tmp_path_factory.mktemp("images"), 4, side=8)


@pytest.fixture(scope="module")
def straight(images, tmp_path_factory) -> Path:
    """The store of a run that nothing disturbed; read only."""
    out = tmp_path_factory.mktemp("straight") / "store.zarr"
    scatcache.extract(images, out=out, **SETTINGS)
    return out


def extract(images: Path, folder: Path, monkeypatch, position: int) -> Faults:
    with monkeypatch.context() as patched:
        patched.setattr(retries, "RETRY_PAUSES_S", (0.0, 0.0, 0.0))
        faults = Faults(patched, folder, position)
        report = scatcache.extract(images, out=folder / "store.zarr", **SETTINGS)
    assert report.state == "complete"
    return faults


def count_calls(images, folder, monkeypatch) -> int:
    folder.mkdir()
    return len(extract(images, folder, monkeypatch, -1).calls)


@pytest.mark.parametrize("part", range(4))
def test_one_failure_that_passes_is_tried_again(images, straight, tmp_path, monkeypatch, part):
    """Every 22nd call, from another one in each part; SCATCACHE_EVERY_FAULT=1 takes all."""
    n_calls = count_calls(images, tmp_path / "counted", monkeypatch)
    assert n_calls > 150
    step = 4 if os.environ.get("SCATCACHE_EVERY_FAULT") else 88
    for position in range(part * (step // 4), n_calls, step):
        folder = tmp_path / str(position)
        folder.mkdir()
        faults = extract(images, folder, monkeypatch, position)
        assert find_differences(straight, folder / "store.zarr") == [], faults.calls[position]
        assert list_temporaries(folder) == [], faults.calls[position]
