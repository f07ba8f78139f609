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
from scatcache.store.format.encodings import CRC_BYTES, crc32c
from scatcache.store.format.layout import SplitLayout

# Rows of one chunk of a row array: many, for a file each, and not all, so that an update adds to the end.
ROW_CHUNK = 65536
ZSTD_LEVEL = 3
# Of a key in UTF-8, each of its parts escaped: Linux allows paths of 4096 bytes.
MAX_KEY_BYTES = 2**16
_LENGTH_BYTES = 4
# Beyond this it is asked whether the memory is there.
_SMALL_BYTES = 2**28
# Of a row; 0 too of a position that holds none, 3 of one that is no longer in the source: on disk, not delivered.
ABSENT, OK, UNREADABLE, REMOVED = 0, 1, 2, 3
STATUSES = (ABSENT, OK, UNREADABLE, REMOVED)
# name: (dtype of the array, Zarr v3 data type)
ROW_ARRAYS = {
    "label": ("int64", "int64"),
    "source_index": ("int64", "int64"),
    "view": ("uint16", "uint16"),
    "file_bytes": ("int64", "int64"),
    "key": ("object", "string"),
}
# Known when the split is finished.
STATUS = "status"
ALL_ROW_ARRAYS = {**ROW_ARRAYS, STATUS: ("uint8", "uint8")}


@dataclass(frozen=True)
class RowTable:
    """key: object array of str; label, source_index: int64; view: uint16; file_bytes: int64, of the encoded image as it
    was listed; each (n_positions,), in storage order."""

    key: np.ndarray
    label: np.ndarray
    source_index: np.ndarray
    view: np.ndarray
    file_bytes: np.ndarray

    def __len__(self) -> int:
        return len(self.key)

    def digest(self, rows: range) -> str:
        """Hash of everything known of these rows before their pixels; a shard's receipt carries it."""
        part = slice(rows.start, rows.stop)
        hashed = hashlib.sha256("\n".join(self.key[part]).encode("utf-8"))
        for name in ("label", "source_index", "view", "file_bytes"):
            hashed.update(_to_bytes(name, getattr(self, name)[part]))
        return "sha256:" + hashed.hexdigest()


def row_codecs(name: str) -> list[dict[str, Any]]:
    """The Zarr v3 codec chain of a row array."""
    serializer: dict[str, Any] = {"name": "vlen-utf8" if name == "key" else "bytes"}
    if name != "key" and np.dtype(ALL_ROW_ARRAYS[name][0]).itemsize > 1:
        serializer["configuration"] = {"endian": "little"}
    return [
        serializer,
        {"name": "zstd", "configuration": {"level": ZSTD_LEVEL, "checksum": False}},
        {"name": "crc32c"},
    ]


def with_crc(payload: bytes) -> bytes:
    """The payload followed by its crc32c, as Zarr's crc32c codec stores it."""
    return payload + crc32c(payload).to_bytes(CRC_BYTES, "little")


def check_crc(data: bytes) -> bytes:
    """The payload of with_crc. Raises StoreDamaged where it does not match."""
    payload = data[:-CRC_BYTES]
    if len(data) <= CRC_BYTES or crc32c(payload) != int.from_bytes(data[-CRC_BYTES:], "little"):
        raise StoreDamaged("its bytes do not match their crc32c")
    return payload


def row_chunk_name(chunk: int) -> str:
    """File of a chunk of a row array in the array's folder."""
    return f"c.{chunk}"


def row_chunks(layout: SplitLayout) -> list[range]:
    """The positions that each chunk of a split's row arrays holds."""
    n = layout.n_positions
    return [range(start, min(start + ROW_CHUNK, n)) for start in range(0, max(1, n), ROW_CHUNK)]


def encode_rows(name: str, values: np.ndarray) -> dict[str, bytes]:
    """The chunks of a row array by file, the last one filled up with the array's fill value."""
    chunks = {}
    for chunk in range(math.ceil(len(values) / ROW_CHUNK) or 1):
        part = values[chunk * ROW_CHUNK : (chunk + 1) * ROW_CHUNK]
        fill = np.full(ROW_CHUNK - len(part), "" if name == "key" else 0, values.dtype)
        raw = _to_bytes(name, np.concatenate([part, fill]))
        chunks[row_chunk_name(chunk)] = with_crc(bytes(zstd.compress(raw, ZSTD_LEVEL)))
    return chunks


def _to_bytes(name: str, values: np.ndarray) -> bytes:
    """Values as Zarr's codecs "bytes" and "vlen-utf8" write them."""
    if name == "key":
        return bytes(VLenUTF8().encode(values))
    return np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()


def hash_rows(name: str, values: np.ndarray) -> str:
    """sha256 of a row array's values, gaps included: little-endian; of keys, the length of each (uint32) and UTF-8."""
    raw = _to_bytes(name, values)
    return "sha256:" + hashlib.sha256(raw[_LENGTH_BYTES:] if name == "key" else raw).hexdigest()


def decode_rows(name: str, data: bytes, *, n_rows: int) -> np.ndarray:
    """(n_rows,) values of a row array, the first of one chunk. Raises StoreDamaged where it does not hold them."""
    payload = check_crc(data)
    is_key, dtype = name == "key", np.dtype(ALL_ROW_ARRAYS[name][0])
    n_bytes = _find_content_bytes(payload)
    most = _LENGTH_BYTES + ROW_CHUNK * _LENGTH_BYTES + n_rows * MAX_KEY_BYTES
    if is_key and not _LENGTH_BYTES <= n_bytes <= most:
        raise StoreDamaged(f"it holds {n_bytes} bytes, which are no {n_rows} keys")
    if not is_key and n_bytes != ROW_CHUNK * dtype.itemsize:
        raise StoreDamaged(f"it holds {n_bytes / dtype.itemsize:g} rows, expected {ROW_CHUNK}")
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
    values = np.frombuffer(raw, dtype.newbyteorder("<")).astype(dtype, copy=False)
    if values[n_rows:].any():
        raise StoreDamaged(f"it holds values beyond the split's last row, expected {n_rows} rows")
    return values[:n_rows]


def _find_content_bytes(payload: bytes) -> int:
    """Decoded bytes of a zstd frame by its header (RFC 8878, section 3.1.1.1); our encoder always states them."""
    if len(payload) < 6 or payload[:4] != b"\x28\xb5\x2f\xfd":
        raise StoreDamaged("it does not decode (no zstd frame)")
    descriptor = payload[4]
    single_segment, size_flag = descriptor >> 5 & 1, descriptor >> 6
    size_bytes = (1 if single_segment else 0, 2, 4, 8)[size_flag]
    start = 5 + (not single_segment) + (0, 1, 2, 4)[descriptor & 3]
    stated = payload[start : start + size_bytes]
    if not size_bytes or len(stated) < size_bytes:
        raise StoreDamaged("it does not decode (its zstd frame states no size)")
    return int.from_bytes(stated, "little") + (256 if size_bytes == 2 else 0)


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
