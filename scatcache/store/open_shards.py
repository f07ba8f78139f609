"""The shard files that a reader keeps open, and how many all readers of a process may."""

import os
import resource
import threading
import weakref
from collections import OrderedDict

import numpy as np

from scatcache.errors import StoreDamaged
from scatcache.store.format.chunk_index import find_file_bytes
from scatcache.store.format.layout import shard_name
from scatcache.store.places.place import OpenFile
from scatcache.store.records import shard_path
from scatcache.store.split_records import SplitRecords

# That a reader keeps open at once; a shard costs one descriptor where it is local.
MAX_OPEN_SHARDS = 256
# All readers of the process together take no more of the descriptors that it may have (RLIMIT_NOFILE).
DESCRIPTORS_SHARE = 0.5
# Threads that one reader reads with.
N_THREADS = min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


class OpenShards:
    """The files of one split's shards, opened when they are read first, the oldest closed; safe for threads."""

    def __init__(self, records: SplitRecords):
        self._records = records
        self._files: OrderedDict[int, OpenFile] = OrderedDict()
        self._lock = threading.Lock()
        self._sizes: np.ndarray | None = None
        with _all_lock:
            _all.add(self)

    def renew_lock(self) -> None:
        """A lock that another thread held when this process was forked would stay locked for ever."""
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._files)

    def read(self, shard: int, start: int, n_bytes: int) -> bytes:
        """n_bytes bytes of a shard's file, fewer at its end. Raises StoreDamaged for a missing or strange file."""
        try:
            return self._find(shard).read_range(start, n_bytes)
        except FileNotFoundError as error:
            raise self._damaged(shard, "the file is missing") from error

    def _find(self, shard: int) -> OpenFile:
        with self._lock:
            if shard in self._files:
                self._files.move_to_end(shard)
                return self._files[shard]
        _close_surplus(keep=self)
        try:
            file = self._records.store.place.open(shard_path(self._records.split, shard), tail_bytes=0)
        except StoreDamaged as error:
            raise self._damaged(shard, error) from error
        if self._sizes is None:
            self._sizes = find_file_bytes(self._records.index)
        if file.file_bytes not in (None, expected := int(self._sizes[shard])):
            raise self._damaged(shard, f"it has {file.file_bytes} bytes, its receipt says {expected}")
        with self._lock:
            self._files[shard] = file
        self.close_oldest(MAX_OPEN_SHARDS)
        return file

    def _damaged(self, shard: int, reason: object) -> StoreDamaged:
        return self._records.damaged(f"shard {shard} ({shard_name(shard)})", reason)

    def close_oldest(self, n_kept: int) -> None:
        """Closes all but the n_kept that were used last; one that is being read stays open until it is."""
        with self._lock:
            while len(self._files) > n_kept:
                self._files.popitem(last=False)


_all_lock = threading.Lock()
_all: "weakref.WeakSet[OpenShards]" = weakref.WeakSet()


def _close_surplus(keep: OpenShards) -> None:
    """Makes room for one more open shard of this reader: others give theirs up first."""
    with _all_lock:
        others = [shards for shards in _all if shards is not keep]
    n_free = find_max_open() - sum(map(len, (*others, keep)))
    for shards in (*others, keep):
        if n_free > 0:
            return
        n_before = len(shards)
        shards.close_oldest(max(0, n_before + n_free - 1))
        n_free += n_before - len(shards)


def find_max_open() -> int:
    """How many shards the readers of this process may have open together."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    # Each thread holds the one that it reads.
    return 2**31 if limit == resource.RLIM_INFINITY else max(1, int(limit * DESCRIPTORS_SHARE) - N_THREADS)


def _renew_locks() -> None:
    global _all_lock
    _all_lock = threading.Lock()
    for shards in _all:
        shards.renew_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
