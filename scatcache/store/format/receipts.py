"""What is known of each finished shard: the only state that resuming needs."""

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, Self, TypeVar

import numpy as np

from scatcache.errors import StoreDamaged
from scatcache.store.format.encodings import crc32c
from scatcache.store.format.json_text import parse_json, to_json
from scatcache.store.format.layout import SplitLayout
from scatcache.store.format.shard_file import index_bytes
from scatcache.typed import build

# No values of float16 or float32 add up to it, and its square is no infinity yet.
MAX_SUM = 1e100
# Fields that are arrays, written as base64 of their little-endian values: decimal text is thrice as long and as slow.
ARRAYS = {"chunk_bytes": "<u8", "chunk_crc32c": "<u4", "sums": "<f8", "square_sums": "<f8"}


class Record(Protocol):
    def to_dict(self) -> dict[str, Any]: ...

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self: ...


Kind = TypeVar("Kind", bound=Record)


@dataclass(frozen=True)
class Unreadable:
    """row: in storage order within the split; key: of the source; reason: one line."""

    row: int
    key: str
    reason: str


@dataclass(frozen=True)
class Receipt:
    """One finished shard.

    settings, rows: digests of the store's manifest and of the shard's rows; image_shape: (height, width) in pixels;
    n_ok: rows with coefficients; file_bytes, sha256, index_crc32c: of the shard file; chunk_bytes, chunk_crc32c: of
    each chunk, 0 where no row of it is readable; sums, square_sums: per channel over the stored values of the readable
    rows, float64; backend: name and device; versions: of what made the bytes; notes: numbers of images by code of what
    is to be told of them, such as how many were cut to 8 bits, each image counted at its plain view.
    """

    split: str
    shard: int
    settings: str
    rows: str
    image_shape: tuple[int, int]
    n_rows: int
    n_ok: int
    file_bytes: int
    sha256: str
    index_crc32c: int
    chunk_bytes: tuple[int, ...]
    chunk_crc32c: tuple[int, ...]
    sums: tuple[float, ...]
    square_sums: tuple[float, ...]
    unreadable: tuple[Unreadable, ...]
    backend: dict[str, str]
    versions: dict[str, str]
    notes: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return pack_arrays(self, ARRAYS)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Receipt":
        """Raises KeyError, TypeError, ValueError for fields that are missing, unknown or of another kind."""
        return build(cls, unpack_arrays(values, ARRAYS))


def pack_arrays(record: Any, arrays: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a dataclass, its arrays as base64. arrays: their dtypes by field."""
    packed = {name: pack(np.array(getattr(record, name), dtype).tobytes()) for name, dtype in arrays.items()}
    return {**{name: value for name, value in asdict(record).items() if name not in arrays}, **packed}


def unpack_arrays(values: Any, arrays: Mapping[str, str]) -> dict[str, Any]:
    """Fields with arrays as lists in place of base64. Raises KeyError, TypeError, ValueError for what is none."""
    if type(values) is not dict:
        raise TypeError("it is no object")
    return {**values, **{name: np.frombuffer(unpack(values[name]), dtype).tolist() for name, dtype in arrays.items()}}


def pack(data: bytes) -> str:
    """Base64 as RFC 4648, section 4, has it."""
    return base64.b64encode(data).decode("ascii")


def unpack(text: Any) -> bytes:
    """Raises TypeError, ValueError for what pack never gives."""
    if type(text) is not str:
        raise TypeError("an array is no base64 text")
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error
    return data


def hash_bytes(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def encode_record(record: Record) -> bytes:
    """The one text of a receipt or summary: its fields, and the crc32c of their text without it."""
    fields = record.to_dict()
    return to_json({**fields, "crc32c": crc32c(to_json(fields))})


def parse_receipt(data: bytes) -> Receipt:
    """The receipt in a file's bytes. Raises StoreDamaged where they are not encode_record's, to the last byte."""
    return parse_record(Receipt, data)


def parse_record(kind: type[Kind], data: bytes) -> Kind:
    """A record from encode_record's bytes. Raises StoreDamaged for others, to the last byte."""
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
        and receipt.image_shape == layout.image_shape
        and len(receipt.chunk_crc32c) == len(receipt.chunk_bytes) == layout.n_chunks
        and sum(receipt.chunk_bytes) + index_bytes(layout.n_chunks) == receipt.file_bytes
        and are_sums(receipt.sums, receipt.square_sums, n_channels)
        and counts(receipt.unreadable, [rows], n_ok=receipt.n_ok)
    )


def are_sums(sums: tuple[float, ...], square_sums: tuple[float, ...], n_channels: int) -> bool:
    """Whether these can be the sums and sums of squares of so many channels."""
    if not len(sums) == len(square_sums) == n_channels:
        return False
    return max(map(abs, sums)) < MAX_SUM and 0 <= min(square_sums) <= max(square_sums) < MAX_SUM


def counts(unreadable: tuple[Unreadable, ...], spans: Sequence[range], *, n_ok: int) -> bool:
    """Whether these are the rows without coefficients where n_ok of those in spans have some."""
    bad = {entry.row for entry in unreadable}
    is_all = len(bad) == len(unreadable) == sum(map(len, spans)) - n_ok
    return is_all and all(any(row in span for span in spans) for row in bad)
