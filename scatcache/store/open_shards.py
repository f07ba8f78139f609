"""The shard files that a reader keeps open, and how many all readers of a process may."""

import os
import resource
import weakref
from functools import cached_property

import numpy as np

from scatcache.errors import StoreDamaged
from scatcache.store.format.chunk_index import find_file_bytes
from scatcache.store.format.layout import shard_name
from scatcache.store.places.place import OpenFile
from scatcache.store.records import shard_path
from scatcache.store.split_records import SplitRecords

# That a reader keeps open; a shard costs one descriptor where it is local. The first ones stay, and the others are
# opened for each read: of a few hundred shards all are kept, and of ten thousand in random order exchanging the
# oldest costs more than it saves (40 to 75 us of CPU a row against 20; 15 where all are open).
MAX_OPEN_SHARDS = 256
# All readers of the process together keep no more of the descriptors that it may have (RLIMIT_NOFILE).
DESCRIPTORS_SHARE = 0.5
# Threads that one reader reads with.
N_THREADS = min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)

_kept: "weakref.WeakSet[OpenFile]" = weakref.WeakSet()


class OpenShards:
    """The files of one split's shards; safe for threads, without a lock that a fork could leave locked."""

    def __init__(self, records: SplitRecords):
        self._records = records
        self._files: dict[int, OpenFile] = {}

    def __len__(self) -> int:
        return len(self._files)

    def read(self, shard: int, start: int, n_bytes: int) -> bytes:
        """n_bytes bytes of a shard's file, fewer at its end. Raises StoreDamaged for a missing or strange file."""
        try:
            file = self._files.get(shard) or self._open(shard)
            return file.read_range(start, n_bytes)
        except FileNotFoundError as error:
            raise self._damaged(shard, "the file is missing") from error

    def _open(self, shard: int) -> OpenFile:
        try:
            file = self._records.store.place.open(shard_path(self._records.split, shard), tail_bytes=0)
        except StoreDamaged as error:
            raise self._damaged(shard, error) from error
        expected = int(self._sizes[shard])
        if file.file_bytes not in (None, expected):
            raise self._damaged(shard, f"it has {file.file_bytes} bytes, its receipt says {expected}")
        if len(self._files) < MAX_OPEN_SHARDS and len(_kept) < find_max_open():
            _kept.add(file)
            self._files[shard] = file
        return file

    @cached_property
    def _sizes(self) -> np.ndarray:
        return find_file_bytes(self._records.index)

    def _damaged(self, shard: int, reason: object) -> StoreDamaged:
        return self._records.damaged(f"shard {shard} ({shard_name(shard)})", reason)


def find_max_open() -> int:
    """How many shards the readers of this process may keep open together."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    # Each thread holds the one that it reads.
    return 2**31 if limit == resource.RLIM_INFINITY else max(1, int(limit * DESCRIPTORS_SHARE) - 2 * N_THREADS)
