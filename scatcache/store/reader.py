"""Rows of one split as NumPy, read from the shard files directly and checked against the receipts; no torch."""

import os
import resource
import threading
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from scatcache.errors import StoreDamaged, StoreIncomplete
from scatcache.store.format.encodings import find_encoding
from scatcache.store.format.layout import receipt_name, shard_name
from scatcache.store.format.manifest import Manifest
from scatcache.store.format.receipts import Receipt, Summary, Unreadable, fits, summary_fits
from scatcache.store.format.shard_file import ABSENT, index_bytes, read_index
from scatcache.store.places.place import OpenFile
from scatcache.store.records import StoreView, open_view, shard_path

# Shards that a reader keeps open at once; a shard costs one descriptor where it is local, and its index (16 bytes a
# chunk).
MAX_OPEN_SHARDS = 256
# All readers of the process together take no more of the descriptors that it may have (RLIMIT_NOFILE).
DESCRIPTORS_SHARE = 0.5
# Neighbouring chunks are fetched by one read up to this size.
MAX_READ_BYTES = 8 * 2**20
N_THREADS = min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


class OpenShard:
    """One shard's file, index and receipt; safe for threads (positional reads only)."""

    def __init__(self, file: OpenFile, receipt: Receipt, *, n_chunks: int):
        self.receipt = receipt
        self.read_range = file.read_range
        found = file.file_bytes
        if found != receipt.file_bytes:
            raise StoreDamaged(f"it has {found} bytes, its receipt says {receipt.file_bytes}")
        self.index = read_index(file.read_range, file_bytes=found, n_chunks=n_chunks, crc=receipt.index_crc32c)


class SplitReader:
    """Reads rows of one split in storage order; every byte is checked before it is returned.

    Opens shards lazily, so that it may be used before a fork and pickled. Of an unfinished split it knows the shards
    that were finished when it was made. Raises StoreIncomplete for an unfinished split unless allow_partial,
    StoreDamaged where the split's own records do not agree.
    """

    def __init__(self, view: StoreView, manifest: Manifest, split: str, *, allow_partial: bool = False):
        self.view, self.manifest, self.split = view, manifest, split
        self.layout = manifest.splits[split]
        self.encoding = find_encoding(manifest.encoding)
        assert self.layout.image_shape is not None
        self.row_shape = manifest.spec.output_shape(*self.layout.image_shape)
        self.summary = self._read_summary()
        if self.summary is None and not allow_partial:
            raise StoreIncomplete(
                f"{view.name}: split {split} is incomplete: {view.place.finish}, or pass allow_partial=True to read "
                f"what is there"
            )
        self.rows = view.read_rows(manifest, split)
        self._check_rows()
        self._finished = self._find_finished()
        self._start_caches()

    def _start_caches(self) -> None:
        self._shards: OrderedDict[int, OpenShard] = OrderedDict()
        self._lock = threading.Lock()
        self._pools: dict[int, ThreadPoolExecutor] = {}
        with _readers_lock:
            _readers.add(self)

    def renew_lock(self) -> None:
        """A lock that another thread held when this process was forked would stay locked for ever."""
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("_shards", "_lock", "_pools")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start_caches()

    def _damaged(self, where: str, reason: object) -> StoreDamaged:
        return StoreDamaged(f"{self.view.name}: split {self.split}, {where}: {reason}: see `scatcache verify`")

    def _read_summary(self) -> Summary | None:
        try:
            summary = self.view.read_summary(self.split)
        except StoreDamaged as error:
            raise self._damaged("receipts/summary.json", error) from error
        if summary is None:
            return None
        if (summary.split, summary.manifest) != (self.split, self.manifest.digest):
            raise self._damaged("receipts/summary.json", "it belongs to another store, or zarr.json was edited")
        if not summary_fits(summary, self.layout, n_channels=self.row_shape[0]):
            raise self._damaged("receipts/summary.json", "it counts other rows or shards than zarr.json")
        return summary

    def _check_rows(self) -> None:
        if not np.array_equal(np.sort(self.rows.source_index), np.arange(self.layout.n_rows)):
            raise self._damaged("array source_index (c.0)", "it does not hold each row once")
        if self.summary is None:
            return
        for shard, entry in enumerate(self.summary.shards):
            if self.rows.digest(self.layout.rows_of(shard)) != entry.rows:
                raise self._damaged(f"shard {shard}", "the keys, labels or source indices are not those it was made of")

    def receipt(self, shard: int) -> Receipt:
        """The checked receipt of a finished shard. Raises StoreIncomplete, StoreDamaged."""
        where = f"shard {shard} (receipts/{receipt_name(shard)})"
        # One that was finished since then may hold unreadable rows that nobody here knows of.
        if shard not in self._finished:
            raise StoreIncomplete(
                f"{self.view.name}: split {self.split}, shard {shard} was not extracted yet when it was opened: "
                f"{self.view.place.finish}, then open it again"
            )
        try:
            found = self.view.read_receipt(self.split, shard)
        except StoreDamaged as error:
            raise self._damaged(where, error) from error
        if found is None:
            raise self._damaged(where, "the receipt is missing")
        receipt, digest = found
        if self.summary is not None and digest != self.summary.shards[shard].receipt:
            raise self._damaged(where, "it is not the receipt that the summary recorded")
        expected = (self.split, shard, self.manifest.digest, self.rows.digest(self.layout.rows_of(shard)))
        if (receipt.split, receipt.shard, receipt.manifest, receipt.rows) != expected:
            raise self._damaged(where, "it belongs to another shard or store")
        if not fits(receipt, self.layout, n_channels=self.row_shape[0]):
            raise self._damaged(where, "its counts are not those of the shard")
        return receipt

    def _open(self, shard: int) -> OpenShard:
        with self._lock:
            if shard in self._shards:
                self._shards.move_to_end(shard)
                return self._shards[shard]
        _close_surplus(keep=self)
        receipt = self.receipt(shard)
        n_chunks = self.layout.n_chunks
        try:
            file = self.view.place.open(shard_path(self.split, shard), tail_bytes=index_bytes(n_chunks))
            opened = OpenShard(file, receipt, n_chunks=n_chunks)
        except FileNotFoundError as error:
            raise self._damaged(f"shard {shard} ({shard_name(shard)})", "the file is missing") from error
        except StoreDamaged as error:
            raise self._damaged(f"shard {shard} ({shard_name(shard)})", error) from error
        with self._lock:
            self._shards[shard] = opened
        self.close_oldest(MAX_OPEN_SHARDS)
        return opened

    @property
    def n_open(self) -> int:
        """Shards that are open now."""
        return len(self._shards)

    def close_oldest(self, n_kept: int) -> None:
        """Closes all shards but the n_kept that were used last; one that is being read stays open until it is."""
        with self._lock:
            while len(self._shards) > n_kept:
                self._shards.popitem(last=False)

    def unreadable(self) -> dict[int, Unreadable]:
        """What the finished shards recorded as unreadable, by row."""
        if self.summary is not None:
            entries: Sequence[Unreadable] = self.summary.unreadable
        else:
            entries = [entry for shard in self.finished_shards() for entry in self.receipt(shard).unreadable]
        return {entry.row: entry for entry in entries}

    def finished_shards(self) -> list[int]:
        return sorted(self._finished)

    def _find_finished(self) -> frozenset[int]:
        shards = range(self.layout.n_shards)
        if self.summary is not None:
            return frozenset(shards)
        names = self.view.place.list_sizes(f"{self.split}/coefficients/receipts")
        if names is None:
            raise StoreIncomplete(
                f"{self.view.name}: split {self.split} is incomplete, and which of its shards are there cannot be "
                f"listed at this place: {self.view.place.finish}, or copy what is there to a local folder and open that"
            )
        return frozenset(shard for shard in shards if receipt_name(shard) in names)

    def read(self, rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """(len(rows), n_channels, h, w) coefficients of these storage rows, in the stored dtype and in rows' order.

        rows: integers in 0 .. n_rows - 1, repeats allowed. An unreadable row is NaN. Raises IndexError for others,
        StoreIncomplete, StoreDamaged naming split, shard and row.
        """
        if len(rows) and not (rows.min() >= 0 and rows.max() < self.layout.n_rows):
            raise IndexError(f"rows are {rows.min()} to {rows.max()}: expected 0 to {self.layout.n_rows - 1}")
        if out is None:
            out = np.empty((len(rows), *self.row_shape), self.encoding.dtype)
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

    def _pool(self) -> ThreadPoolExecutor:
        pid = os.getpid()
        with self._lock:
            if pid not in self._pools:
                self._pools = {pid: ThreadPoolExecutor(N_THREADS, thread_name_prefix="scatcache-read")}
            return self._pools[pid]

    def _join(self, groups: list[np.ndarray], chunks: list[int]) -> list[list[tuple[int, np.ndarray]]]:
        """Lists of (chunk, positions in the request) that one read may fetch: neighbours within one shard."""
        row_bytes = int(np.prod(self.row_shape)) * np.dtype(self.encoding.dtype).itemsize
        n_max = max(1, MAX_READ_BYTES // (row_bytes * self.layout.chunk_images))
        runs: list[list[tuple[int, np.ndarray]]] = []
        for chunk, group in zip(chunks, groups, strict=True):
            follows = runs and runs[-1][-1][0] == chunk - 1 and chunk % self.layout.n_chunks
            if follows and len(runs[-1]) < n_max:
                runs[-1].append((chunk, group))
            else:
                runs.append([(chunk, group)])
        return runs

    def _read_runs(self, runs: list[list[tuple[int, np.ndarray]]], rows: np.ndarray, out: np.ndarray) -> None:
        for run in runs:
            self._read_run(run, rows, out)

    def _read_run(self, run: list[tuple[int, np.ndarray]], rows: np.ndarray, out: np.ndarray) -> None:
        shard, first = divmod(run[0][0], self.layout.n_chunks)
        opened = self._open(shard)
        spans = opened.index[first : first + len(run)].tolist()
        written = [span for span in spans if span[0] != ABSENT]
        start = written[0][0] if written else 0
        end = sum(written[-1]) if written else 0
        try:
            data = memoryview(opened.read_range(start, end - start))
        except FileNotFoundError as error:
            raise self._damaged(f"shard {shard} ({shard_name(shard)})", "the file is missing") from error
        for (chunk, positions), (offset, length) in zip(run, spans, strict=True):
            piece = None if offset == ABSENT else data[offset - start : offset - start + length]
            self._decode(opened, chunk, piece, positions, rows, out)

    def _decode(
        self,
        opened: OpenShard,
        chunk: int,
        piece: memoryview | None,
        positions: np.ndarray,
        rows: np.ndarray,
        out: np.ndarray,
    ) -> None:
        shard, position = divmod(chunk, self.layout.n_chunks)
        crc = opened.receipt.chunk_crc32c[position]
        where = f"shard {shard} ({shard_name(shard)}), row {int(rows[positions[0]])}"
        if (piece is None) != (crc is None):
            raise self._damaged(where, "the index and the receipt disagree on which chunks are there")
        if piece is None or crc is None:
            out[positions] = np.nan
            return
        whole = self.layout.chunk_images == 1 and len(positions) == 1
        target = out[positions[0]] if whole else np.empty((self.layout.chunk_images, *self.row_shape), out.dtype)
        try:
            self.encoding.decode(piece, target, crc=crc)
        except StoreDamaged as error:
            raise self._damaged(where, error) from error
        if not whole:
            out[positions] = target[np.asarray(rows)[positions] % self.layout.chunk_images]


_readers_lock = threading.Lock()
_readers: "weakref.WeakSet[SplitReader]" = weakref.WeakSet()


def _close_surplus(keep: SplitReader) -> None:
    """Makes room for one more open shard of this reader: others give theirs up first."""
    with _readers_lock:
        others = [reader for reader in _readers if reader is not keep]
    n_free = find_max_open() - sum(reader.n_open for reader in (*others, keep))
    for reader in (*others, keep):
        if n_free > 0:
            return
        n_before = reader.n_open
        reader.close_oldest(max(0, n_before + n_free - 1))
        n_free += n_before - reader.n_open


def find_max_open() -> int:
    """How many shards the readers of this process may have open together."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    # Each thread holds the one that it reads.
    return 2**31 if limit == resource.RLIM_INFINITY else max(1, int(limit * DESCRIPTORS_SHARE) - N_THREADS)


def _renew_locks() -> None:
    global _readers_lock
    _readers_lock = threading.Lock()
    for reader in _readers:
        reader.renew_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


def open_split(path: str | os.PathLike[str], split: str | None = None, *, allow_partial: bool = False) -> SplitReader:
    """The reader of one split; split=None takes the only one.

    path: of a local folder, or an s3://, https:// or http:// URL. Raises NotAStore, StoreIncomplete, StoreDamaged;
    LookupError's child StoreIncomplete for a split that was never added; ScatcacheError where a remote place refuses or
    does not answer.
    """
    view = open_view(path)
    manifest = view.read_manifest()
    present, lost = view.splits(manifest), view.lost_splits(manifest)
    if lost and (split is None or split in lost):
        raise StoreDamaged(f"{path}: split {lost[0]}: its zarr.json is missing: see `scatcache verify`")
    listed = ", ".join(present) or "none"
    if split is None:
        if len(present) != 1:
            raise StoreIncomplete(f"{path} holds the splits {listed}: name one with split= (--split)")
        split = present[0]
    if split not in present:
        advice = f"extract it with --split {split}" if split in manifest.splits else "the source has no such split"
        raise StoreIncomplete(f"{path} holds no split {split!r} but {listed}: {advice}")
    return SplitReader(view, manifest, split, allow_partial=allow_partial)
