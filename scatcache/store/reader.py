"""Rows of one split as NumPy, read from the shard files directly and checked against the records; no torch."""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from scatcache.errors import StoreDamaged, StoreIncomplete
from scatcache.store.format.layout import shard_name
from scatcache.store.format.row_arrays import ABSENT
from scatcache.store.format.shard_file import ABSENT as ABSENT_CHUNK
from scatcache.store.open_shards import N_THREADS, OpenShards
from scatcache.store.records import open_records
from scatcache.store.split_records import SplitRecords

# Neighbouring chunks are fetched by one read up to this size.
MAX_READ_BYTES = 8 * 2**20

# (chunk, positions in the request) of neighbouring chunks of one shard, which one read may fetch.
Run = list[tuple[int, np.ndarray]]


class SplitReader:
    """Reads rows of one split in storage order; every byte is checked before it is returned.

    records: all that the split says of itself. Opens shards lazily, so that it may be used before a fork and pickled.
    """

    def __init__(self, records: SplitRecords):
        self.records = records
        self.split, self.manifest, self.layout = records.split, records.manifest, records.layout
        self.encoding, self.row_shape = records.encoding, records.row_shape
        self._open_shards = OpenShards(records)
        self._pools: dict[int, ThreadPoolExecutor] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return SplitReader, (self.records,)

    def read(self, rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """(len(rows), n_channels, h, w) coefficients of these storage rows, in the stored dtype and in rows' order.

        rows: integers in 0 .. n_positions - 1, repeats allowed; out: as encoding.empty gives it. A row without
        coefficients is the array's fill value. Raises IndexError for others, StoreIncomplete, StoreDamaged naming
        split, shard and row.
        """
        if len(rows) and not (rows.min() >= 0 and rows.max() < self.layout.n_positions):
            raise IndexError(f"rows are {rows.min()} to {rows.max()}: expected 0 to {self.layout.n_positions - 1}")
        if self.records.summary is None:
            self._refuse_unfinished(rows)
        if out is None:
            out = self.encoding.empty(len(rows), self.row_shape)
        order = np.argsort(rows, kind="stable")
        chunks = np.asarray(rows)[order] // self.layout.chunk_images
        cuts = np.flatnonzero(np.diff(chunks)) + 1
        groups = np.split(order, cuts) if len(order) else []
        runs = self._join(groups, [int(chunks[cut]) for cut in (0, *cuts)] if groups else [])
        # A task for each thread, for handing one over costs about as much as reading a row.
        n = min(len(runs), N_THREADS)
        tasks = [runs[len(runs) * task // n : len(runs) * (task + 1) // n] for task in range(n)]
        if len(tasks) == 1:
            self._read_runs(tasks[0], rows, out)
        else:
            # list() so that the first error of any thread is raised here.
            list(self._pool().map(lambda task: self._read_runs(task, rows, out), tasks))
        return out

    def _refuse_unfinished(self, rows: np.ndarray) -> None:
        absent = np.asarray(rows)[self.records.status[rows] == ABSENT]
        if len(absent):
            raise self.records.unfinished(int(absent[0]) // self.layout.shard_images)

    def _pool(self) -> ThreadPoolExecutor:
        """This process's own: threads do not outlive a fork. Without a lock, which a fork could leave locked."""
        pool = self._pools.get(os.getpid())
        made = pool or ThreadPoolExecutor(N_THREADS, thread_name_prefix="scatcache-read")
        return self._pools.setdefault(os.getpid(), made)

    def _join(self, groups: list[np.ndarray], chunks: list[int]) -> list[Run]:
        row_bytes = int(np.prod(self.row_shape)) * np.dtype(self.encoding.dtype).itemsize
        n_max = max(1, MAX_READ_BYTES // (row_bytes * self.layout.chunk_images))
        runs: list[Run] = []
        for chunk, group in zip(chunks, groups, strict=True):
            follows = runs and runs[-1][-1][0] == chunk - 1 and chunk % self.layout.n_chunks
            if follows and len(runs[-1]) < n_max:
                runs[-1].append((chunk, group))
            else:
                runs.append([(chunk, group)])
        return runs

    def _read_runs(self, runs: list[Run], rows: np.ndarray, out: np.ndarray) -> None:
        for run in runs:
            self._read_run(run, rows, out)

    def _read_run(self, run: Run, rows: np.ndarray, out: np.ndarray) -> None:
        shard, first = divmod(run[0][0], self.layout.n_chunks)
        entries = self.records.index[shard, first : first + len(run)].tolist()
        written = [(offset, length) for offset, length, _ in entries if offset != ABSENT_CHUNK]
        start = written[0][0] if written else 0
        end = sum(written[-1]) if written else 0
        data = memoryview(self._open_shards.read(shard, start, end - start) if written else b"")
        for (chunk, positions), (offset, length, crc) in zip(run, entries, strict=True):
            if offset == ABSENT_CHUNK:
                out[positions] = self.encoding.fill_value
            else:
                self._decode(data[offset - start : offset - start + length], crc, chunk, positions, rows, out)

    def _decode(
        self, piece: memoryview, crc: int, chunk: int, positions: np.ndarray, rows: np.ndarray, out: np.ndarray
    ) -> None:
        whole = self.layout.chunk_images == 1 and len(positions) == 1
        target = out[positions[0]] if whole else self.encoding.empty(self.layout.chunk_images, self.row_shape)
        try:
            self.encoding.decode(piece, target, crc=crc)
        except StoreDamaged as error:
            shard = chunk // self.layout.n_chunks
            where = f"shard {shard} ({shard_name(shard)}), row {int(rows[positions[0]])}"
            raise self.records.damaged(where, error) from error
        if not whole:
            out[positions] = target[np.asarray(rows)[positions] % self.layout.chunk_images]


def open_split(path: str | os.PathLike[str], split: str | None = None, *, allow_partial: bool = False) -> SplitReader:
    """The reader of one split; split=None takes the only one.

    path: of a local folder, or an s3://, https:// or http:// URL. Raises NotAStore, StoreIncomplete, StoreDamaged;
    LookupError's child StoreIncomplete for a split that was never added; ScatcacheError where a remote place refuses or
    does not answer.
    """
    store = open_records(path)
    manifest = store.read_manifest()
    present, lost = store.splits(), store.lost_splits()
    if lost and (split is None or split in lost):
        raise StoreDamaged(f"{path}: split {lost[0]}: its zarr.json is missing: see `scatcache verify`")
    listed = ", ".join(present) or "none"
    if split is None:
        if len(present) != 1:
            raise StoreIncomplete(f"{path} holds the splits {listed}: name one with split= (--split)")
        split = present[0]
    if split not in present:
        raise StoreIncomplete(f"{path} holds no split {split!r} but {listed}: extract it with --split {split}")
    return SplitReader(SplitRecords(store, manifest, split, allow_partial=allow_partial))
