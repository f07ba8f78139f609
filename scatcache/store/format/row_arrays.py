"""The rows of one split in storage order: the small arrays beside the coefficients, as tables and as Zarr chunks."""

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numcodecs import zstd
from numcodecs.vlen import VLenUTF8

from scatcache.errors import StoreDamaged
from scatcache.resources import free_memory_bytes
from scatcache.store.format.codecs import zstd_content_bytes
from scatcache.store.format.encodings import CRC_BYTES, crc32c
from scatcache.store.format.layout import SplitLayout

# Rows of one chunk of a row array: many, for a file each, and not all, so that an update adds to the end.
ROW_CHUNK = 65536
# Numbers of one chunk of targets at most (4 MiB): as many rows of thousands of numbers each would be a gigabyte.
TARGET_CHUNK_VALUES = 2**20
ZSTD_LEVEL = 3
# Of a key in UTF-8, each of its parts escaped: Linux allows paths of 4096 bytes.
MAX_KEY_BYTES = 2**16
_LENGTH_BYTES = 4
# Beyond this it is asked whether the memory is there.
_SMALL_BYTES = 2**28
# Of a row; 0 too of a position that holds none, 3 of one that is no longer in the source: on disk, not delivered.
ABSENT, OK, UNREADABLE, REMOVED = 0, 1, 2, 3
STATUSES = (ABSENT, OK, UNREADABLE, REMOVED)
# Those of every split. name: (dtype of the array, Zarr v3 data type)
ROW_ARRAYS = {
    "label": ("int64", "int64"),
    "source_index": ("int64", "int64"),
    "view": ("uint16", "uint16"),
    "file_bytes": ("int64", "int64"),
    "key": ("object", "string"),
}
# Of splits whose images come with numbers to predict.
TARGET = "target"
# Known when the split is finished.
STATUS = "status"
ALL_ROW_ARRAYS = {**ROW_ARRAYS, TARGET: ("float32", "float32"), STATUS: ("uint8", "uint8")}
# What positions without a row hold, where that is not 0.
_FILLS: dict[str, Any] = {"key": "", TARGET: np.nan}


@dataclass(frozen=True)
class RowTable:
    """key: object array of str; label, source_index: int64; view: uint16; file_bytes: int64, of the encoded image as it
    was listed; each (n_positions,), in storage order; target: float32 (n_positions, k), NaN in gaps, None where the
    split has none."""

    key: np.ndarray
    label: np.ndarray
    source_index: np.ndarray
    view: np.ndarray
    file_bytes: np.ndarray
    target: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.key)

    def digest(self, rows: range) -> str:
        """Hash of everything known of these rows before their pixels; a shard's receipt carries it."""
        part = slice(rows.start, rows.stop)
        hashed = hashlib.sha256("\n".join(self.key[part]).encode("utf-8"))
        for name in ("label", "source_index", "view", "file_bytes"):
            hashed.update(_to_bytes(name, getattr(self, name)[part]))
        if self.target is not None:
            hashed.update(_to_bytes(TARGET, self.target[part]))
        return "sha256:" + hashed.hexdigest()


def list_arrays(layout: SplitLayout, *, finished: bool) -> tuple[str, ...]:
    """The row arrays that a split has, the statuses among them where it is finished."""
    return (*ROW_ARRAYS, *([TARGET] if layout.n_targets else []), *([STATUS] if finished else []))


def array_shape(layout: SplitLayout, name: str) -> tuple[int, ...]:
    """The shape of a row array: (n_positions,), of targets (n_positions, k)."""
    return (layout.n_positions, layout.n_targets) if name == TARGET else (layout.n_positions,)


def find_chunk_rows(*row_shape: int) -> int:
    """Rows of one chunk of an array whose rows have this shape: () or (k,)."""
    return max(1, min(ROW_CHUNK, TARGET_CHUNK_VALUES // math.prod(row_shape)))


def row_codecs(name: str) -> list[dict[str, Any]]:
    """The Zarr v3 codec chain of a row array."""
    return [
        {"name": "vlen-utf8"} if name == "key" else describe_bytes(np.dtype(ALL_ROW_ARRAYS[name][0])),
        {"name": "zstd", "configuration": {"level": ZSTD_LEVEL, "checksum": False}},
        {"name": "crc32c"},
    ]


def describe_bytes(dtype: np.dtype[Any]) -> dict[str, Any]:
    """Zarr's codec "bytes" for little-endian values; single bytes have no order."""
    return {"name": "bytes"} | ({"configuration": {"endian": "little"}} if dtype.itemsize > 1 else {})


def with_crc(payload: bytes) -> bytes:
    """The payload followed by its crc32c, as Zarr's crc32c codec stores it."""
    return payload + crc32c(payload).to_bytes(CRC_BYTES, "little")


def check_crc(data: bytes) -> bytes:
    """The payload of with_crc. Raises StoreDamaged where it does not match."""
    payload = data[:-CRC_BYTES]
    if len(data) <= CRC_BYTES or crc32c(payload) != int.from_bytes(data[-CRC_BYTES:], "little"):
        raise StoreDamaged("its bytes do not match their crc32c")
    return payload


def row_chunk_name(name: str, chunk: int) -> str:
    """File of a chunk of a row array in the array's folder: a number for each of its dimensions."""
    return f"c.{chunk}.0" if name == TARGET else f"c.{chunk}"


def count_row_chunks(layout: SplitLayout, name: str) -> int:
    """Chunks of one of a split's row arrays, at least 1."""
    n, *row_shape = array_shape(layout, name)
    return max(1, -(-n // find_chunk_rows(*row_shape)))


def positions_in(layout: SplitLayout, name: str, chunk: int) -> range:
    """The positions that a chunk of one of a split's row arrays holds."""
    n, *row_shape = array_shape(layout, name)
    step = find_chunk_rows(*row_shape)
    return range(chunk * step, min((chunk + 1) * step, n))


def encode_rows(name: str, values: np.ndarray) -> dict[str, bytes]:
    """The chunks of a row array by file, the last one filled up with the array's fill value."""
    chunks, row_shape = {}, values.shape[1:]
    step = find_chunk_rows(*row_shape)
    for chunk in range(math.ceil(len(values) / step) or 1):
        part = values[chunk * step : (chunk + 1) * step]
        fill = np.full((step - len(part), *row_shape), find_fill(name), values.dtype)
        raw = _to_bytes(name, np.concatenate([part, fill]))
        chunks[row_chunk_name(name, chunk)] = with_crc(bytes(zstd.compress(raw, ZSTD_LEVEL)))
    return chunks


def find_fill(name: str) -> Any:
    """The fill value of a row array."""
    return _FILLS.get(name, 0)


def _to_bytes(name: str, values: np.ndarray) -> bytes:
    """Values as Zarr's codecs "bytes" and "vlen-utf8" write them."""
    if name == "key":
        return bytes(VLenUTF8().encode(values))
    return np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()


def hash_rows(name: str, values: np.ndarray) -> str:
    """sha256 of a row array's values, gaps included: little-endian; of keys, the length of each (uint32) and UTF-8."""
    raw = _to_bytes(name, values)
    return "sha256:" + hashlib.sha256(raw[_LENGTH_BYTES:] if name == "key" else raw).hexdigest()


def hold_same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays hold the same values; floats bit for bit, so that NaN is NaN and -0 is not 0."""
    if one.dtype == other.dtype == np.float32:
        one, other = (np.ascontiguousarray(values).view(np.uint32) for values in (one, other))
    return np.array_equal(one, other)


def decode_rows(name: str, data: bytes, *, n_rows: int, row_shape: tuple[int, ...] = ()) -> np.ndarray:
    """(n_rows, *row_shape) values of a row array, the first of one chunk. Raises StoreDamaged where it does not hold
    them. row_shape: of targets (k,)."""
    payload = check_crc(data)
    is_key, dtype = name == "key", np.dtype(ALL_ROW_ARRAYS[name][0])
    n_chunk_rows, row_bytes = find_chunk_rows(*row_shape), dtype.itemsize * math.prod(row_shape)
    n_bytes = zstd_content_bytes(payload)
    most = _LENGTH_BYTES + ROW_CHUNK * _LENGTH_BYTES + n_rows * MAX_KEY_BYTES
    if is_key and not _LENGTH_BYTES <= n_bytes <= most:
        raise StoreDamaged(f"it holds {n_bytes} bytes, which are no {n_rows} keys")
    if not is_key and n_bytes != n_chunk_rows * row_bytes:
        raise StoreDamaged(f"it holds {n_bytes / row_bytes:g} rows, expected {n_chunk_rows}")
    # Some bytes of a zstd frame can claim gigabytes.
    if n_bytes > _SMALL_BYTES and n_bytes > free_memory_bytes():
        raise StoreDamaged(f"it claims {n_bytes} bytes, more than this machine has free")
    try:
        raw = zstd.decompress(payload)
    except (RuntimeError, ValueError) as error:
        raise StoreDamaged(f"it does not decode ({error})") from error
    if len(raw) != n_bytes:
        raise StoreDamaged(f"it decodes to {len(raw)} bytes, its frame says {n_bytes}")
    if is_key:
        return _decode_keys(raw, n_rows)
    values = np.frombuffer(raw, dtype.newbyteorder("<")).astype(dtype, copy=False).reshape(-1, *row_shape)
    beyond = values[n_rows:]
    if (~np.isnan(beyond) if name == TARGET else beyond).any():
        raise StoreDamaged(f"it holds values beyond the split's last row, expected {n_rows} rows")
    return values[:n_rows]


def _decode_keys(raw: bytes, n_rows: int) -> np.ndarray:
    """(n_rows,) str from Zarr's vlen-utf8: a count, then the length and bytes of each, checked against the buffer."""
    if int.from_bytes(raw[:_LENGTH_BYTES], "little") != ROW_CHUNK:
        raise StoreDamaged(f"it holds {int.from_bytes(raw[:_LENGTH_BYTES], 'little')} rows, expected {ROW_CHUNK}")
    keys = np.empty(n_rows, object)
    position = _LENGTH_BYTES
    try:
        for row in range(n_rows):
            start = position + _LENGTH_BYTES
            position = start + int.from_bytes(raw[position:start], "little")
            keys[row] = str(raw[start:position], "utf-8")
    except UnicodeDecodeError as error:
        raise StoreDamaged(f"it does not decode ({error.reason})") from error
    # The rest are empty texts.
    if raw[position:] != bytes(_LENGTH_BYTES * (ROW_CHUNK - n_rows)):
        raise StoreDamaged("it does not decode (the lengths of its keys are not those of its bytes)")
    return keys
