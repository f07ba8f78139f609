"""The rows of one split in storage order: the small arrays beside the coefficients, as tables and as Zarr chunks."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numcodecs import zstd
from numcodecs.vlen import VLenUTF8

from scatcache.errors import StoreDamaged
from scatcache.resources import free_memory_bytes
from scatcache.store.format.encodings import CRC_BYTES, crc32c

ZSTD_LEVEL = 3
# Of a key in UTF-8, each of its parts escaped: Linux allows paths of 4096 bytes.
MAX_KEY_BYTES = 2**16
_LENGTH_BYTES = 4
# Beyond this it is asked whether the memory is there.
_SMALL_BYTES = 2**28
MISSING, OK, UNREADABLE = 0, 1, 2
# name: (dtype of the array, Zarr v3 data type)
ROW_ARRAYS = {
    "label": ("int64", "int64"),
    "source_index": ("int64", "int64"),
    "view": ("uint16", "uint16"),
    "file_bytes": ("int64", "int64"),
    "key": ("object", "string"),
}


@dataclass(frozen=True)
class RowTable:
    """key: object array of str; label, source_index: int64; view: uint16; file_bytes: int64, of the encoded image as it
    was listed; each (n_rows,), in storage order."""

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
            values = getattr(self, name)[part]
            hashed.update(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes())
        return "sha256:" + hashed.hexdigest()


def row_codecs(name: str) -> list[dict[str, Any]]:
    """The Zarr v3 codec chain of a row array (one chunk holds the whole split)."""
    serializer = {"name": "vlen-utf8"} if name == "key" else {"name": "bytes", "configuration": {"endian": "little"}}
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


def encode_rows(name: str, values: np.ndarray) -> bytes:
    """The one chunk of a row array."""
    if name == "key":
        raw = bytes(VLenUTF8().encode(values))
    else:
        raw = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
    return with_crc(bytes(zstd.compress(raw, ZSTD_LEVEL)))


def decode_rows(name: str, data: bytes, *, n_rows: int) -> np.ndarray:
    """(n_rows,) values of a row array from its one chunk. Raises StoreDamaged where it does not hold them."""
    payload = check_crc(data)
    is_key, item_bytes = name == "key", np.dtype(ROW_ARRAYS[name][0]).itemsize
    n_bytes = _find_content_bytes(payload)
    most = _LENGTH_BYTES + n_rows * (_LENGTH_BYTES + MAX_KEY_BYTES)
    if is_key and not _LENGTH_BYTES <= n_bytes <= most:
        raise StoreDamaged(f"it holds {n_bytes} bytes, which are no {n_rows} keys")
    if not is_key and n_bytes != n_rows * item_bytes:
        raise StoreDamaged(f"it holds {n_bytes / item_bytes:g} rows, expected {n_rows}")
    # Some bytes of a zstd frame can claim gigabytes.
    if n_bytes > _SMALL_BYTES and n_bytes > free_memory_bytes():
        raise StoreDamaged(f"it claims {n_bytes} bytes, more than this machine has free")
    try:
        raw = zstd.decompress(payload)
    except (RuntimeError, ValueError) as error:
        raise StoreDamaged(f"it does not decode ({error})") from error
    if len(raw) != n_bytes:
        raise StoreDamaged(f"it decodes to {len(raw)} bytes, its frame says {n_bytes}")
    return _decode_keys(raw, n_rows) if is_key else np.frombuffer(raw, ROW_ARRAYS[name][0])


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
    if int.from_bytes(raw[:_LENGTH_BYTES], "little") != n_rows:
        raise StoreDamaged(f"it holds {int.from_bytes(raw[:_LENGTH_BYTES], 'little')} rows, expected {n_rows}")
    keys = np.empty(n_rows, object)
    position = _LENGTH_BYTES
    try:
        for row in range(n_rows):
            start = position + _LENGTH_BYTES
            position = start + int.from_bytes(raw[position:start], "little")
            keys[row] = str(raw[start:position], "utf-8")
    except UnicodeDecodeError as error:
        raise StoreDamaged(f"it does not decode ({error.reason})") from error
    if position != len(raw):
        raise StoreDamaged("it does not decode (the lengths of its keys are not those of its bytes)")
    return keys


def encode_status(ok: np.ndarray, *, shard_images: int) -> bytes:
    """The status chunk of one shard from (n,) bool: OK or UNREADABLE, then MISSING up to shard_images."""
    status = np.full(shard_images, MISSING, np.uint8)
    status[: len(ok)] = np.where(ok, OK, UNREADABLE)
    return with_crc(status.tobytes())
