"""What a split says of itself, each of its records checked against the others: which rows there are, and where."""

from collections.abc import Iterable
from functools import cached_property

import numpy as np

from scatcache.errors import StoreDamaged, StoreIncomplete
from scatcache.store.format.chunk_index import ENTRY, index_of
from scatcache.store.format.layout import receipt_name
from scatcache.store.format.manifest import Manifest
from scatcache.store.format.receipts import Receipt, Unreadable, fits
from scatcache.store.format.row_arrays import ABSENT, OK, STATUS, hash_rows, list_arrays, row_chunk_name
from scatcache.store.format.shard_file import ABSENT as ABSENT_CHUNK
from scatcache.store.format.summaries import Summary, fill_status, summary_fits
from scatcache.store.records import StoreRecords


class SplitRecords:
    """One split for reading. layout: its shards and chunks; summary: None where it is unfinished; rows: its row table,
    in storage order; row_shape: (n_channels, h, w).

    Of an unfinished split it knows the shards that were finished when it was made. Raises StoreIncomplete for one
    unless allow_partial, StoreDamaged where the records do not agree.
    """

    def __init__(self, store: StoreRecords, manifest: Manifest, split: str, *, allow_partial: bool = False):
        self.store, self.manifest, self.split = store, manifest, split
        self.layout = store.read_layout(manifest, split)
        self.encoding = manifest.stored_as
        self.row_shape = manifest.spec.output_shape(*self.layout.image_shape)
        self.summary = self._read_summary()
        if self.summary is None and not allow_partial:
            raise StoreIncomplete(
                f"{store.name}: split {split} is incomplete: {store.place.finish}, or pass allow_partial=True to read "
                f"what is there"
            )
        self.rows = store.read_rows(self.layout, split)
        self._check_rows()
        self._finished = self._find_finished()

    def damaged(self, where: str, reason: object) -> StoreDamaged:
        """The error for something of this split."""
        return StoreDamaged(f"{self.store.name}: split {self.split}, {where}: {reason}: see `scatcache verify`")

    def _read_summary(self) -> Summary | None:
        try:
            summary = self.store.read_summary(self.split)
        except StoreDamaged as error:
            raise self.damaged("receipts/summary.json", error) from error
        if summary is None:
            return None
        if (summary.split, summary.settings) != (self.split, self.manifest.digest):
            raise self.damaged("receipts/summary.json", "it belongs to another store, or zarr.json was edited")
        if not summary_fits(summary, self.layout, n_channels=self.row_shape[0]):
            raise self.damaged("receipts/summary.json", f"it counts other rows or shards than {self.split}/zarr.json")
        return summary

    def _check_rows(self) -> None:
        if self.summary is not None:
            for name in list_arrays(self.layout, finished=False):
                self._check_hash(name, getattr(self.rows, name))
        found = np.sort(self.rows.source_index[self.layout.is_row()])
        if not np.array_equal(found, np.arange(self.layout.n_rows)):
            raise self.damaged("array source_index (c.0)", "it does not hold each row once")

    def _check_hash(self, name: str, values: np.ndarray) -> None:
        assert self.summary is not None
        if hash_rows(name, values) != self.summary.rows[name]:
            raise self.damaged(
                f"array {name} ({row_chunk_name(name, 0)})", "its values are not those that the summary recorded"
            )

    def _find_finished(self) -> frozenset[int]:
        shards = range(self.layout.n_shards)
        if self.summary is not None:
            return frozenset(shards)
        names = self.store.place.list_sizes(f"{self.split}/coefficients/receipts")
        if names is None:
            raise StoreIncomplete(
                f"{self.store.name}: split {self.split} is incomplete, and which of its shards are there cannot be "
                f"listed at this place: {self.store.place.finish}, or copy what is there to a local folder and open "
                f"that"
            )
        return frozenset(shard for shard in shards if receipt_name(shard) in names)

    def finished_shards(self) -> list[int]:
        return sorted(self._finished)

    def receipt(self, shard: int) -> Receipt:
        """The checked receipt of a finished shard. Raises StoreIncomplete, StoreDamaged."""
        where = f"shard {shard} (receipts/{receipt_name(shard)})"
        # One that was finished since then may hold unreadable rows that nobody here knows of.
        if shard not in self._finished:
            raise self.unfinished(shard)
        try:
            found = self.store.read_receipt(self.split, shard)
        except StoreDamaged as error:
            raise self.damaged(where, error) from error
        if found is None:
            raise self.damaged(where, "the receipt is missing")
        receipt, digest = found
        if self.summary is not None and digest != self.summary.receipts[shard]:
            raise self.damaged(where, "it is not the receipt that the summary recorded")
        expected = (self.split, shard, self.manifest.digest, self.rows.digest(self.layout.rows_of(shard)))
        if (receipt.split, receipt.shard, receipt.settings, receipt.rows) != expected:
            raise self.damaged(where, "it belongs to another shard or store")
        if not fits(receipt, self.layout, n_channels=self.row_shape[0]):
            raise self.damaged(where, "its counts are not those of the shard")
        return receipt

    def unfinished(self, shard: int) -> StoreIncomplete:
        """The error for a shard that is not there."""
        return StoreIncomplete(
            f"{self.store.name}: split {self.split}, shard {shard} was not extracted yet when it was opened: "
            f"{self.store.place.finish}, then open it again"
        )

    def receipts(self) -> Iterable[Receipt]:
        """Those of the finished shards, one after another."""
        return (self.receipt(shard) for shard in self.finished_shards())

    @cached_property
    def status(self) -> np.ndarray:
        """(n_positions,) uint8: see rows.py; of an unfinished split, ABSENT where the shard is not done."""
        return self._positions[0]

    @cached_property
    def index(self) -> np.ndarray:
        """(n_shards, n_chunks) ENTRY: where each chunk lies in its shard's file; read once, as the statuses are."""
        return self._positions[1]

    @cached_property
    def unreadable(self) -> dict[int, Unreadable]:
        """What the finished shards recorded as unreadable, by position."""
        return {entry.row: entry for entry in self._positions[2]}

    @cached_property
    def _positions(self) -> tuple[np.ndarray, np.ndarray, tuple[Unreadable, ...]]:
        if self.summary is None:
            return self._read_receipts()
        status = self.store.read_row_array(self.layout, self.split, STATUS)
        self._check_hash(STATUS, status)
        try:
            index = self.store.read_index(self.summary)
        except StoreDamaged as error:
            raise self.damaged("receipts/index.bin", error) from error
        self._check_present(status, index, "receipts/index.bin")
        return status, index, self.summary.unreadable

    def _check_present(self, status: np.ndarray, index: np.ndarray, where: str) -> None:
        """A chunk that is absent reads as the fill value: no row that has coefficients may lie there."""
        chunks = np.flatnonzero(status == OK) // self.layout.chunk_images
        absent = chunks[index["offset"].reshape(-1)[chunks] == ABSENT_CHUNK]
        if len(absent):
            shard = int(absent[0]) // self.layout.n_chunks
            raise self.damaged(f"shard {shard} ({where})", "it lacks chunks of rows that have coefficients")

    def _read_receipts(self) -> tuple[np.ndarray, np.ndarray, tuple[Unreadable, ...]]:
        """The same of the shards that are done, for nothing else knows of them yet."""
        index = np.full((self.layout.n_shards, self.layout.n_chunks), np.array((ABSENT_CHUNK, ABSENT_CHUNK, 0), ENTRY))
        status = np.full(self.layout.n_positions, ABSENT, np.uint8)
        unreadable: list[Unreadable] = []
        for receipt in self.receipts():
            fill_status(status, receipt, self.layout)
            index[receipt.shard] = index_of(receipt)
            unreadable += receipt.unreadable
        self._check_present(status, index, "receipts")
        return status, index, tuple(unreadable)
