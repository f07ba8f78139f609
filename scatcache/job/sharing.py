"""What all tasks of a run have in common: one object in each process, however many tasks bring it."""

import pickle
import threading
import uuid
import weakref
from collections import deque
from typing import Any

_known: "weakref.WeakValueDictionary[str, Shared]" = weakref.WeakValueDictionary()
_lock = threading.RLock()
# What came from elsewhere stays between two tasks; a cluster that is somebody else's may serve two runs at once.
_kept: "deque[Shared]" = deque(maxlen=2)


class Shared:
    """A value that every task of a run takes, behind a token that is all a message of this process holds of it.

    Whoever unpickles it in a process that knows it gets the object that is there: Dask keeps many messages, and each
    copy of a source would hold its own images and descriptors. Elsewhere it is made of data on first use, so that a
    scheduler which only hands it on never opens a source.
    """

    def __init__(self, token: str, data: bytes, value: Any = None):
        self.token, self._data, self._value = token, data, value

    def __reduce__(self) -> tuple[Any, ...]:
        return _find, (self.token, self._data)

    @property
    def value(self) -> Any:
        with _lock:
            if self._value is None and self._data:
                self._value = pickle.loads(self._data)
            return self._value


def share(value: Any, *, here: bool) -> Shared:
    """here: whether all tasks run in this process, which need not be able to pickle the value then."""
    token = uuid.uuid4().hex
    shared = Shared(token, b"" if here else pickle.dumps(value), value)
    if here:
        _known[token] = shared
    return shared


def forget(token: str) -> None:
    """Lets go of what came from a run that is over."""
    with _lock:
        for shared in [shared for shared in _kept if shared.token == token]:
            _kept.remove(shared)


def _find(token: str, data: bytes) -> Shared:
    with _lock:
        known = _known.get(token)
        if known is None:
            known = _known[token] = Shared(token, data)
            _kept.append(known)
        return known
