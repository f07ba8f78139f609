"""One writer at a time, by a lock that the kernel drops with its holder, however the holder dies."""

import contextlib
import errno
import fcntl
import logging
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from scatcache.durable import make_folder
from scatcache.errors import ScatcacheError, StoreLocked
from scatcache.retries import retried

logger = logging.getLogger(__name__)

# Some network file systems have no locks.
_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)


class WriterLock:
    """Holds STORE.job/lock while used as a context; raises StoreLocked on entering where another process does.

    By flock(2), which spawned processes do not inherit and which ends with the last descriptor. Correctness does not
    rest on it: writers of equal tasks write equal bytes under unique temporary names. Where the file system has no
    locks, that is logged and the run goes on.
    """

    def __init__(self, path: Path):
        self.path = path
        self._descriptor = -1

    def __enter__(self) -> Self:
        make_folder(self.path.parent)
        descriptor = _open(self.path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            store = str(self.path.parent).removesuffix(".job")
            if isinstance(error, BlockingIOError | PermissionError):
                os.close(descriptor)
                raise StoreLocked(f"{store}: another process is writing it: wait for it to end, or stop it") from error
            if error.errno not in _UNSUPPORTED:
                os.close(descriptor)
                raise
            logger.warning("%s: no lock to be had here (%s): see to it that one command writes it", store, error)
        if not _is_at(descriptor, self.path):
            # Whoever held it has removed the file meanwhile: the lock that counts is on its successor.
            os.close(descriptor)
            return self.__enter__()
        self._descriptor = descriptor
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Said, not left to closing: a forked child holds the descriptor too.
        with contextlib.suppress(OSError):
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        os.close(self._descriptor)
        self._descriptor = -1


@retried
def _open(path: Path) -> int:
    """The lock's file, made where there is none; never one that a link leads to, and never waiting."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ScatcacheError(f"{path} is a link, expected the lock's own file: delete it") from error
        raise


@retried
def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
