"""Local files as a store has them: regular ones, read without ever waiting, and what is left of killed writers."""

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from scatcache.durable import fsync_folder, is_temporary, temporary_beside
from scatcache.errors import StoreDamaged
from scatcache.retries import TRANSIENT_ERRNOS, retried, with_retries

# No record or row array of a store comes near; a file that claims more is not read into memory.
MAX_FILE_BYTES = 2**32
_BLOCK_BYTES = 2**24
# Opening what is no regular file, or may not be read. Anything else, such as EIO, is the machine's failure.
_UNOPENED = {
    errno.ENOTDIR: "its folder is no folder",
    errno.EISDIR: "it is a folder, not a file",
    errno.ELOOP: "it is a link that leads in a circle",
    errno.ENXIO: "it is a socket or device, not a file",
    errno.ENODEV: "it is a device, not a file",
    errno.EACCES: "it may not be read (permission denied)",
    errno.EPERM: "it may not be read (not permitted)",
}
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(path: Path) -> int:
    """A descriptor for reading a regular file, or a link to one; opening never waits, as it would for a FIFO.

    Raises FileNotFoundError; StoreDamaged that says what is there instead of a readable file; OSError as the disk does.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in _UNOPENED:
            raise StoreDamaged(_UNOPENED[error.errno]) from error
        raise
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise StoreDamaged(f"it is {_KINDS.get(stat.S_IFMT(mode), 'something')}, not a file")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@retried
def read_regular(path: Path) -> bytes:
    """A whole file. Raises as open_regular does, and StoreDamaged beyond MAX_FILE_BYTES."""
    descriptor = open_regular(path)
    try:
        if (n_bytes := os.fstat(descriptor).st_size) > MAX_FILE_BYTES:
            raise StoreDamaged(f"it has {n_bytes} bytes, which none of these files has")
        blocks = []
        while block := os.read(descriptor, _BLOCK_BYTES):
            blocks.append(block)
        return b"".join(blocks)
    finally:
        os.close(descriptor)


@retried
def exists(path: Path) -> bool:
    """Whether anything is at a path, a link to nothing not. Raises OSError where the disk does not say."""
    try:
        os.stat(path)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
        return False
    return True


@retried
def is_folder(path: Path, *, follow_links: bool = True) -> bool:
    """Whether a folder, or a link to one, is at a path. Raises OSError where the disk does not say."""
    try:
        return stat.S_ISDIR(os.stat(path, follow_symlinks=follow_links).st_mode)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
        return False


def append_line(path: Path, line: str) -> None:
    """Adds a line to a log, never to what a link leads to, and without waiting for a FIFO's reader. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o644)
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.write(descriptor, line.encode() + b"\n")
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Removes a file, a link or a folder with all below it, durably; what is missing is gone already.

    A folder goes under a temporary name first, so that none is ever seen in part.
    """
    temporary = temporary_beside(path)
    with_retries(lambda: _remove(path, temporary))


def _remove(path: Path, temporary: Path) -> None:
    missing = contextlib.suppress(FileNotFoundError, NotADirectoryError)
    with missing:
        if stat.S_ISDIR(os.lstat(path).st_mode):
            os.replace(path, temporary)
        else:
            os.unlink(path)
    # Of what is missing too: an earlier try may have come as far as the name.
    with missing:
        fsync_folder(path.parent)
    _remove_tree(os.fspath(temporary))


@retried
def remove_temporaries(folder: Path, *, is_left: Callable[[str], bool] = is_temporary) -> None:
    """Removes what killed writers left in a folder; a missing one is empty, a vanished file is gone.

    is_left: by its name; where users may keep files of their own, is_own_temporary.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            if not is_left(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                _remove_tree(entry.path)
            else:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(entry.path)


def _remove_tree(path: str) -> None:
    """Removes a temporary folder; what stays of it for good, verify names."""
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno in TRANSIENT_ERRNOS:
            raise
