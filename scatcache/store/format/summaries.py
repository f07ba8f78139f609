"""What is known of a finished split, and what finishes one: its statuses, index and summary, all from its receipts."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from scatcache.errors import StoreDamaged
from scatcache.store.format.chunk_index import encode_index, find_index_bytes, index_of
from scatcache.store.format.encodings import CRC_BYTES
from scatcache.store.format.layout import SplitLayout
from scatcache.store.format.receipts import (
    Receipt,
    Unreadable,
    are_sums,
    counts,
    encode_record,
    hash_bytes,
    pack,
    pack_arrays,
    parse_record,
    unpack,
    unpack_arrays,
)
from scatcache.store.format.row_arrays import (
    ABSENT,
    OK,
    REMOVED,
    STATUS,
    UNREADABLE,
    RowTable,
    hash_rows,
    list_arrays,
)
from scatcache.typed import build

ARRAYS = {"sums": "<f8", "square_sums": "<f8"}
_HASH_BYTES = 32
_PREFIX = "sha256:"


@dataclass(frozen=True)
class IndexDigest:
    """Of index.bin: its size, and the crc32c at its end."""

    bytes: int
    crc32c: int


@dataclass(frozen=True)
class Summary:
    """A finished split. layout: its record as in its zarr.json; n_rows, n_ok, sums, square_sums, unreadable, notes:
    what its receipts add up to; rows: hash of each row array by its name, the statuses' too; index: of index.bin;
    receipts: sha256 of each receipt's bytes, in the order of the shards."""

    split: str
    settings: str
    layout: SplitLayout
    n_rows: int
    n_ok: int
    rows: dict[str, str]
    index: IndexDigest
    receipts: tuple[str, ...]
    sums: tuple[float, ...]
    square_sums: tuple[float, ...]
    unreadable: tuple[Unreadable, ...]
    notes: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The receipts' hashes as base64 of 32 bytes each."""
        hashes = b"".join(bytes.fromhex(digest.removeprefix(_PREFIX)) for digest in self.receipts)
        fields = pack_arrays(replace(self, receipts=()), ARRAYS)
        return {**fields, "layout": self.layout.to_dict(), "receipts": pack(hashes)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Summary":
        """Raises KeyError, TypeError, ValueError for fields that are missing, unknown or of another kind."""
        fields = unpack_arrays(values, ARRAYS)
        data = unpack(fields["receipts"])
        starts = range(0, len(data), _HASH_BYTES)
        return build(cls, {**fields, "receipts": [_PREFIX + data[at : at + _HASH_BYTES].hex() for at in starts]})


@dataclass(frozen=True)
class FinishedSplit:
    """What is written of a split once all of its shards are done. status: (n_positions,) uint8; index: the bytes of
    index.bin."""

    summary: Summary
    status: np.ndarray
    index: bytes


def parse_summary(data: bytes) -> Summary:
    """The summary in a file's bytes. Raises StoreDamaged where they are not encode_record's, to the last byte."""
    return parse_record(Summary, data)


def summary_fits(summary: Summary, layout: SplitLayout, *, n_channels: int) -> bool:
    """Whether a summary's counts are those of its split."""
    return (
        summary.layout == layout
        and summary.n_rows == layout.n_rows
        and len(summary.receipts) == layout.n_shards
        and summary.rows.keys() == {*list_arrays(layout, finished=True)}
        and summary.index.bytes == find_index_bytes(layout)
        and are_sums(summary.sums, summary.square_sums, n_channels)
        and counts(summary.unreadable, layout.spans, n_ok=summary.n_ok)
    )


def fill_status(status: np.ndarray, receipt: Receipt, layout: SplitLayout) -> None:
    """Sets the statuses of a shard's rows in a split's. Raises StoreDamaged where it states rows of no such shard."""
    span = layout.rows_of(receipt.shard) if receipt.shard < layout.n_shards else range(0)
    bad = [entry.row for entry in receipt.unreadable]
    if receipt.n_rows != len(span) or not all(row in span for row in bad):
        raise StoreDamaged("the receipt states rows that are not the shard's")
    status[span.start : span.stop] = OK
    status[bad] = UNREADABLE


def finish_split(
    receipts: Iterable[Receipt], layout: SplitLayout, rows: RowTable, *, removed: Collection[int] = ()
) -> FinishedSplit:
    """Adds up all receipts of one split, given in the order of its shards, one at a time.

    removed: positions of rows that are no longer in the source.
    """
    status = np.full(layout.n_positions, ABSENT, np.uint8)
    digests: list[str] = []
    pieces: list[np.ndarray] = []
    unreadable: list[Unreadable] = []
    notes: Counter[str] = Counter()
    n_ok = 0
    sums = square_sums = np.zeros(0)
    for receipt in receipts:
        if not digests:
            first = receipt
            sums, square_sums = np.zeros(len(receipt.sums)), np.zeros(len(receipt.square_sums))
        fill_status(status, receipt, layout)
        digests.append(hash_bytes(encode_record(receipt)))
        pieces.append(index_of(receipt))
        n_ok += receipt.n_ok
        # Added shard by shard, not pairwise: the last bit then depends on nothing but the receipts.
        sums += receipt.sums
        square_sums += receipt.square_sums
        unreadable += receipt.unreadable
        notes.update(receipt.notes)
    status[list(removed)] = REMOVED
    index = encode_index(pieces)
    arrays = {**{name: getattr(rows, name) for name in list_arrays(layout, finished=False)}, STATUS: status}
    summary = Summary(
        split=first.split,
        settings=first.settings,
        layout=layout,
        n_rows=layout.n_rows,
        n_ok=n_ok,
        rows={name: hash_rows(name, values) for name, values in arrays.items()},
        index=IndexDigest(len(index), int.from_bytes(index[-CRC_BYTES:], "little")),
        receipts=tuple(digests),
        sums=tuple(sums.tolist()),
        square_sums=tuple(square_sums.tolist()),
        unreadable=tuple(unreadable),
        notes=dict(sorted(notes.items())),
    )
    return FinishedSplit(summary, status, index)
