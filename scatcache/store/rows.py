"""The rows of one split in storage order: the small arrays beside the coefficients, as tables and as Zarr chunks."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numcodecs import zstd
from numcodecs.vlen import VLenUTF8

from scatcache.errors import StoreDamaged
from scatcache.store.encodings import CRC_BYTES, crc32c

ZSTD_LEVEL = 3
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
    try:
        raw = zstd.decompress(payload)
        values = VLenUTF8().decode(raw) if name == "key" else np.frombuffer(raw, ROW_ARRAYS[name][0])
    except (RuntimeError, ValueError) as error:
        raise StoreDamaged(f"it does not decode ({error})") from error
    if len(values) != n_rows:
        raise StoreDamaged(f"it holds {len(values)} rows, expected {n_rows}")
    return values


def encode_status(ok: np.ndarray, *, shard_images: int) -> bytes:
    """The status chunk of one shard from (n,) bool: OK or UNREADABLE, then MISSING up to shard_images."""
    status = np.full(shard_images, MISSING, np.uint8)
    status[: len(ok)] = np.where(ok, OK, UNREADABLE)
    return with_crc(status.tobytes())
