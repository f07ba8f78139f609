"""New files that a reader sees whole or not at all, and that a power cut keeps once they have their names."""

import contextlib
import errno
import os
import re
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from scatcache.retries import retried, with_retries

TEMPORARY_SUFFIX = ".tmp"
_OWN_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}\.tmp", re.DOTALL)
_BUFFER_BYTES = 2**20


def temporary_beside(path: Path) -> Path:
    """A fresh name in path's own folder: on the same file system, so that renaming is atomic, and never shared."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")


def is_temporary(name: str) -> bool:
    """Whether a file or folder is one that a killed writer left."""
    return name.startswith(".") and name.endswith(TEMPORARY_SUFFIX)


def is_own_temporary(name: str) -> bool:
    """Whether a name is one that temporary_beside made: nothing of anybody else's looks like it."""
    return is_temporary(name) and _OWN_TEMPORARY.fullmatch(name) is not None


class NewFile:
    """A file in the making under a temporary name; commit() gives it its own, and leaving without it removes it.

    file: what write() writes to, for those who must have one. temporary: by default a fresh name beside path; another
    on the same file system where what a kill leaves is found there. Raises FileNotFoundError where the folder is
    missing, OSError as the disk does.
    """

    def __init__(self, path: Path, *, temporary: Path | None = None):
        self.path = path
        self._temporary = temporary or temporary_beside(path)
        self.file: IO[bytes] = open(self._temporary, "xb", buffering=_BUFFER_BYTES)  # noqa: SIM115, closed by __exit__

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # On a full disk closing flushes and fails again; the first error is the one worth telling.
        with contextlib.suppress(OSError):
            self.file.close()
        with contextlib.suppress(OSError):
            self._temporary.unlink()

    def write(self, data: bytes) -> Any:
        return self.file.write(data)

    def commit(self, check: Callable[[], None] = lambda: None) -> None:
        """Syncs, renames, syncs the folder. check: called just before the renaming; what it raises leaves no file."""
        sync(self.file)
        self.file.close()
        check()
        publish(self._temporary, self.path)


@retried
def write_file(path: Path, data: bytes) -> None:
    """One small file, by NewFile. A failure that passes is met by writing everything again, into a fresh file."""
    with NewFile(path) as new:
        new.write(data)
        new.commit()


def sync(file: IO[bytes]) -> None:
    """Makes the bytes written to an open file durable, its name not."""
    file.flush()
    os.fsync(file.fileno())


def publish(temporary: Path, path: Path) -> None:
    """Renames a finished, synced file or folder onto its final name and makes the name durable."""
    os.replace(temporary, path)
    fsync_folder(path.parent)


def make_folder(path: Path) -> None:
    """Makes a folder and those above it, where they are not there, and their names durable."""
    missing = with_retries(lambda: [folder for folder in (path, *path.parents) if not folder.exists()])
    with_retries(lambda: path.mkdir(parents=True, exist_ok=True))
    for folder in reversed(missing):
        with_retries(partial(fsync_folder, folder.parent))


def fsync_folder(folder: Path) -> None:
    """Makes the names in a folder durable; quietly nothing on file systems that cannot fsync folders (EINVAL)."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
