"""Where files are made before they get their names: folders that a later run finds and removes after a kill."""

import contextlib
import fcntl
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

_STAGE = re.compile(r"\..+\.[0-9a-f]{32}\.stage", re.DOTALL)
_LOCK = "lock"


@contextlib.contextmanager
def stage(parent: Path, name: str) -> Iterator[Path]:
    """A new folder `.NAME.<random>.stage` in parent, removed at the end with whatever has not been moved out of it.

    Whoever is killed leaves it; sweep() tells by its lock, which ends with its holder. Raises OSError as the disk does.
    """
    folder, descriptor = _make(parent, name)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _make(parent: Path, name: str) -> tuple[Path, int]:
    while True:
        folder = parent / f".{name}.{uuid.uuid4().hex}.stage"
        folder.mkdir(parents=True)
        try:
            descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:
            # Swept away before it had a lock.
            continue
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(folder / _LOCK)):
                return folder, descriptor
        os.close(descriptor)


def sweep(*parents: Path | None) -> None:
    """Removes the stages that killed processes left in these folders; those of living ones stay."""
    for parent in parents:
        names: list[str] = []
        with contextlib.suppress(OSError):
            names = os.listdir(parent) if parent is not None else []
        for name in filter(_STAGE.fullmatch, names):
            assert parent is not None
            with contextlib.suppress(OSError):
                _remove_if_left(parent / name)


def _remove_if_left(folder: Path) -> None:
    try:
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        _remove_unlocked(folder)
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder)
    finally:
        os.close(descriptor)


def _remove_unlocked(folder: Path) -> None:
    """Removes a stage without a lock: its maker was killed, or is about to get one, and then starts again.

    The lock is made first: a stage that holds anything else and no lock is what a removal that failed left.
    """
    try:
        folder.rmdir()
    except OSError:
        if not os.path.lexists(folder / _LOCK):
            shutil.rmtree(folder)


def choose_staging(beside: Path, work_dir: Path | None) -> Path:
    """Where to stage what will lie in the folder `beside`: in work_dir where both are on one file system, else there.

    Makes work_dir. Raises OSError as the disk does.
    """
    if work_dir is None:
        return beside
    work_dir.mkdir(parents=True, exist_ok=True)
    existing = beside.absolute()
    while not existing.exists():
        existing = existing.parent
    return work_dir if os.stat(work_dir).st_dev == os.stat(existing).st_dev else beside
