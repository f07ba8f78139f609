"""What is known of each finished shard, and of a finished split: the only state that resuming needs."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import numpy as np

from scatcache.errors import StoreDamaged
from scatcache.store.format.encodings import crc32c
from scatcache.store.format.json_text import parse_json, to_json
from scatcache.store.format.layout import SplitLayout
from scatcache.store.format.rows import encode_status
from scatcache.typed import build

# No values of float16 or float32 add up to it, and its square is no infinity yet.
MAX_SUM = 1e100


@dataclass(frozen=True)
class Unreadable:
    """row: in storage order within the split; key: of the source; reason: one line."""

    row: int
    key: str
    reason: str


@dataclass(frozen=True)
class Receipt:
    """One finished shard.

    manifest, rows: digests of the store's manifest and of the shard's rows; n_ok: rows with coefficients; file_bytes,
    sha256, index_crc32c: of the shard file; chunk_crc32c: of each chunk's bytes, None where no row of it is readable;
    sums, square_sums: per channel over the stored values of the readable rows, float64; backend: name and device;
    versions: of what made the bytes; notes: numbers of images by code of what is to be told of them, such as how many
    were cut to 8 bits, each image counted at its plain view.
    """

    split: str
    shard: int
    manifest: str
    rows: str
    n_rows: int
    n_ok: int
    file_bytes: int
    sha256: str
    index_crc32c: int
    chunk_crc32c: tuple[int | None, ...]
    sums: tuple[float, ...]
    square_sums: tuple[float, ...]
    unreadable: tuple[Unreadable, ...]
    backend: dict[str, str]
    versions: dict[str, str]
    notes: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Receipt":
        """Raises KeyError, TypeError, ValueError for fields that are missing, unknown or of another kind."""
        return build(cls, values)


@dataclass(frozen=True)
class ShardSummary:
    """What opening a finished split needs of one shard; receipt: sha256 of the receipt's bytes."""

    receipt: str
    rows: str
    file_bytes: int
    n_ok: int


@dataclass(frozen=True)
class Summary:
    """A finished split: what its receipts add up to, in the order of its shards."""

    split: str
    manifest: str
    n_rows: int
    n_ok: int
    shards: tuple[ShardSummary, ...]
    sums: tuple[float, ...]
    square_sums: tuple[float, ...]
    unreadable: tuple[Unreadable, ...]
    notes: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Summary":
        """Raises KeyError, TypeError, ValueError for fields that are missing, unknown or of another kind."""
        return build(cls, values)


Record = TypeVar("Record", Receipt, Summary)


def hash_bytes(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def encode_record(record: Receipt | Summary) -> bytes:
    """The one text of a receipt or summary: its fields, and the crc32c of their text without it."""
    fields = record.to_dict()
    return to_json({**fields, "crc32c": crc32c(to_json(fields))})


def parse_receipt(data: bytes) -> Receipt:
    """The receipt in a file's bytes. Raises StoreDamaged where they are not encode_record's, to the last byte."""
    return _parse_record(Receipt, data)


def parse_summary(data: bytes) -> Summary:
    """The summary in a file's bytes. Raises StoreDamaged where they are not encode_record's, to the last byte."""
    return _parse_record(Summary, data)


def _parse_record(kind: type[Record], data: bytes) -> Record:
    try:
        fields = parse_json(data)
        del fields["crc32c"]
        record = kind.from_dict(fields)
        written = encode_record(record)
    except (ValueError, TypeError, KeyError) as error:
        raise StoreDamaged(f"it holds no {kind.__name__.lower()} ({type(error).__name__})") from error
    if written != data:
        raise StoreDamaged("its bytes do not match their crc32c")
    return record


def fits(receipt: Receipt, layout: SplitLayout, *, n_channels: int) -> bool:
    """Whether a receipt's counts are those of its shard; its checksums say nothing of what was edited with them."""
    rows = layout.rows_of(receipt.shard) if receipt.shard < layout.n_shards else range(0)
    return (
        len(rows) == receipt.n_rows > 0
        and len(receipt.chunk_crc32c) == layout.n_chunks
        and _are_sums(receipt.sums, receipt.square_sums, n_channels)
        and _counts(receipt.unreadable, rows, n_ok=receipt.n_ok)
    )


def summary_fits(summary: Summary, layout: SplitLayout, *, n_channels: int) -> bool:
    """Whether a summary's counts are those of its split."""
    return (
        summary.n_rows == layout.n_rows
        and len(summary.shards) == layout.n_shards
        and sum(shard.n_ok for shard in summary.shards) == summary.n_ok
        and _are_sums(summary.sums, summary.square_sums, n_channels)
        and _counts(summary.unreadable, range(layout.n_rows), n_ok=summary.n_ok)
    )


def _are_sums(sums: tuple[float, ...], square_sums: tuple[float, ...], n_channels: int) -> bool:
    if not len(sums) == len(square_sums) == n_channels:
        return False
    return max(map(abs, sums)) < MAX_SUM and 0 <= min(square_sums) <= max(square_sums) < MAX_SUM


def _counts(unreadable: tuple[Unreadable, ...], rows: range, *, n_ok: int) -> bool:
    bad = {entry.row for entry in unreadable}
    return len(bad) == len(unreadable) == len(rows) - n_ok and all(row in rows for row in bad)


def encode_receipt_status(layout: SplitLayout, receipt: Receipt) -> bytes:
    """The statuses of a shard's rows, one chunk. Raises StoreDamaged where the receipt states rows of no such shard."""
    span = layout.rows_of(receipt.shard)
    bad = [entry.row for entry in receipt.unreadable]
    if receipt.n_rows != len(span) or not all(row in span for row in bad):
        raise StoreDamaged("the receipt states rows that are not the shard's")
    ok = np.ones(len(span), bool)
    ok[[row - span.start for row in bad]] = False
    return encode_status(ok, shard_images=layout.shard_images)


def summarize(receipts: Iterable[Receipt]) -> Summary:
    """Adds up all receipts of one split, given in the order of its shards, one at a time."""
    shards: list[ShardSummary] = []
    unreadable: list[Unreadable] = []
    notes: Counter[str] = Counter()
    n_rows = n_ok = 0
    sums = square_sums = np.zeros(0)
    for receipt in receipts:
        if not shards:
            first = receipt
            sums, square_sums = np.zeros(len(receipt.sums)), np.zeros(len(receipt.square_sums))
        n_rows, n_ok = n_rows + receipt.n_rows, n_ok + receipt.n_ok
        digest = hash_bytes(encode_record(receipt))
        shards.append(ShardSummary(digest, receipt.rows, receipt.file_bytes, receipt.n_ok))
        # Added shard by shard, not pairwise: the last bit then depends on nothing but the receipts.
        sums += receipt.sums
        square_sums += receipt.square_sums
        unreadable += receipt.unreadable
        notes.update(receipt.notes)
    return Summary(
        split=first.split,
        manifest=first.manifest,
        n_rows=n_rows,
        n_ok=n_ok,
        shards=tuple(shards),
        sums=tuple(sums.tolist()),
        square_sums=tuple(square_sums.tolist()),
        unreadable=tuple(unreadable),
        notes=dict(sorted(notes.items())),
    )
