"""What all tasks of a run have in common: one object in each process, however many tasks bring it."""

import contextlib
import pickle
import tempfile
import threading
import uuid
import weakref
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scatcache.durable import temporary_beside
from scatcache.errors import ScatcacheError

_known: "weakref.WeakValueDictionary[str, Shared]" = weakref.WeakValueDictionary()
_lock = threading.RLock()
# What came from elsewhere stays between two tasks; a cluster that is somebody else's may serve two runs at once.
_kept: "deque[Shared]" = deque(maxlen=2)


class Shared:
    """A value that every task of a run takes, behind a token that is all that a message holds of it, and the name of a
    file.

    Whoever unpickles it in a process that knows it gets the object that is there: Dask keeps many messages, and each
    copy of a source would hold its own images and descriptors. Elsewhere it is read from the file on first use: a
    listing of a million images is no part of every message, and a scheduler that only hands it on never opens a source.
    """

    def __init__(self, token: str, path: str, value: Any = None):
        self.token, self._path, self._value = token, path, value

    def __reduce__(self) -> tuple[Any, ...]:
        return _find, (self.token, self._path)

    @property
    def value(self) -> Any:
        """Raises ScatcacheError where the file is gone, OSError as the disk does."""
        with _lock:
            if self._value is None and self._path:
                try:
                    data = Path(self._path).read_bytes()
                except FileNotFoundError as error:
                    raise ScatcacheError(
                        f"{self._path} is gone: the run is over, or a newer run has taken the store over"
                    ) from error
                self._value = pickle.loads(data)
            return self._value


@contextlib.contextmanager
def share(value: Any, *, here: bool, folder: Path | None = None) -> Iterator[Shared]:
    """The value for a run's tasks. here: whether all run in this process, which need not be able to pickle the value
    then; folder: where the file goes meanwhile, which every worker sees and no other run uses; by default a temporary
    one of this machine."""
    token = uuid.uuid4().hex
    if here:
        shared = _known[token] = Shared(token, "", value)
        yield shared
        return
    with contextlib.ExitStack() as held:
        if folder is None:
            folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="scatcache-")))
        # Called as a temporary, so that the next run removes what a killed one left.
        path = temporary_beside(folder / "shared")
        held.callback(path.unlink, missing_ok=True)
        path.write_bytes(pickle.dumps(value))
        yield Shared(token, str(path), value)


def forget(token: str) -> None:
    """Lets go of what came from a run that is over."""
    with _lock:
        for shared in [shared for shared in _kept if shared.token == token]:
            _kept.remove(shared)


def _find(token: str, path: str) -> Shared:
    with _lock:
        known = _known.get(token)
        if known is None:
            known = _known[token] = Shared(token, path)
            _kept.append(known)
        return known
