"""One shard as one file in the layout of Zarr's sharding_indexed codec: chunks in order, then index, then crc32c."""

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from scatcache.errors import StoreDamaged
from scatcache.store.format.encodings import CRC_BYTES, crc32c

# Offset and length of a chunk that was not written: it reads as the fill value.
ABSENT = 2**64 - 1


def index_bytes(n_chunks: int) -> int:
    """Bytes of a shard's index: two little-endian uint64 per chunk, then a crc32c."""
    return 16 * n_chunks + CRC_BYTES


@dataclass(frozen=True)
class ShardDigests:
    """file_bytes: size; sha256: of the whole file; index_crc32c, chunk_bytes, chunk_crc32c: as in a receipt."""

    file_bytes: int
    sha256: str
    index_crc32c: int
    chunk_bytes: tuple[int, ...]
    chunk_crc32c: tuple[int, ...]


class ShardEncoder:
    """Hands the bytes of one shard to write(), chunk by chunk; finish() writes the index.

    chunks come in order, each once, as (encoded bytes, crc32c), or None where no row of it is readable. Memory: none
    beyond the chunk in hand.
    """

    def __init__(self, write: Callable[[bytes], Any], *, n_chunks: int):
        self._index = np.full((n_chunks, 2), ABSENT, "<u8")
        self._crcs: list[int] = []
        self._hash = hashlib.sha256()
        self._offset = 0
        self._write_to = write

    def append(self, chunk: tuple[bytes, int] | None) -> None:
        """Writes the next chunk, or leaves it absent."""
        position = len(self._crcs)
        if chunk is None:
            self._crcs.append(0)
            return
        data, crc = chunk
        self._index[position] = self._offset, len(data)
        self._write(data)
        self._crcs.append(crc)

    def _write(self, data: bytes) -> None:
        self._write_to(data)
        self._hash.update(data)
        self._offset += len(data)

    def finish(self) -> ShardDigests:
        """Writes the index; returns what the receipt records."""
        index = self._index.tobytes()
        index_crc = crc32c(index)
        self._write(index + index_crc.to_bytes(CRC_BYTES, "little"))
        lengths = np.where(self._index[:, 0] == ABSENT, 0, self._index[:, 1])
        crcs = (*self._crcs, *[0] * (len(self._index) - len(self._crcs)))
        return ShardDigests(self._offset, "sha256:" + self._hash.hexdigest(), index_crc, tuple(lengths.tolist()), crcs)


def read_index(read_range: Callable[[int, int], bytes], *, file_bytes: int, n_chunks: int, crc: int) -> np.ndarray:
    """(n_chunks, 2) uint64 offsets and lengths from the end of a shard file of file_bytes bytes.

    read_range(start, n) returns n bytes, or fewer at the end. Raises StoreDamaged where the index is torn, flipped or
    not the one whose crc32c the receipt recorded.
    """
    n_bytes = index_bytes(n_chunks)
    data = read_range(file_bytes - n_bytes, n_bytes) if file_bytes >= n_bytes else b""
    if len(data) != n_bytes:
        raise StoreDamaged("it is shorter than its own index")
    (stored,) = struct.unpack("<I", data[-CRC_BYTES:])
    if crc32c(data[:-CRC_BYTES]) != stored:
        raise StoreDamaged("its index does not match the index's crc32c")
    if stored != crc:
        raise StoreDamaged("its index is sound but not the one that the receipt recorded")
    index = np.frombuffer(data[:-CRC_BYTES], "<u8").reshape(n_chunks, 2)
    written = index[index[:, 0] != ABSENT]
    # Subtracted, not added: a hostile offset near 2^64 would wrap around.
    if (written[:, 1] > file_bytes - n_bytes).any() or (written[:, 0] > file_bytes - n_bytes - written[:, 1]).any():
        raise StoreDamaged("its index points outside the file")
    ends = np.cumsum(written[:, 1])
    if not np.array_equal(written[:, 0], ends - written[:, 1]) or ends[-1:].sum() != file_bytes - n_bytes:
        raise StoreDamaged("its index leaves gaps between the chunks, or exchanges them")
    return index
