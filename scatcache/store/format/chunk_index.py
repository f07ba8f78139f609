"""index.bin of a finished split: where each chunk of each shard lies, and its checksum, in one file.

20 bytes a chunk, shard after shard (offset uint64, length uint64, crc32c uint32, little-endian), then the crc32c of all
that. A chunk that is absent has an offset and a length of all ones, and the checksum 0.
"""

from collections.abc import Iterable

import numpy as np

from scatcache.errors import StoreDamaged
from scatcache.store.format.encodings import CRC_BYTES, crc32c
from scatcache.store.format.layout import SplitLayout
from scatcache.store.format.receipts import Receipt
from scatcache.store.format.shard_file import ABSENT, index_bytes

ENTRY = np.dtype([("offset", "<u8"), ("length", "<u8"), ("crc32c", "<u4")])
# No chunk has as many: what adds up to less never wraps around.
MAX_CHUNK_BYTES = 2**40


def index_of(receipt: Receipt) -> np.ndarray:
    """(n_chunks,) ENTRY of one shard: a receipt states the lengths, and chunks lie one after the other."""
    lengths = np.array(receipt.chunk_bytes, np.uint64)
    entries = np.zeros(len(lengths), ENTRY)
    entries["offset"] = np.cumsum(lengths) - lengths
    entries["length"] = lengths
    entries["crc32c"] = receipt.chunk_crc32c
    entries[lengths == 0] = (ABSENT, ABSENT, 0)
    return entries


def encode_index(shards: Iterable[np.ndarray]) -> bytes:
    """The file from index_of each shard of a split, in order."""
    data = b"".join(entries.tobytes() for entries in shards)
    return data + crc32c(data).to_bytes(CRC_BYTES, "little")


def find_index_bytes(layout: SplitLayout) -> int:
    """Size of the file."""
    return ENTRY.itemsize * layout.n_shards * layout.n_chunks + CRC_BYTES


def parse_index(data: bytes, layout: SplitLayout, *, crc: int) -> np.ndarray:
    """(n_shards, n_chunks) ENTRY. Raises StoreDamaged where the bytes are not those with the recorded crc32c."""
    if len(data) != find_index_bytes(layout):
        raise StoreDamaged(f"it has {len(data)} bytes, expected {find_index_bytes(layout)}")
    stored = int.from_bytes(data[-CRC_BYTES:], "little")
    if crc32c(data[:-CRC_BYTES]) != stored:
        raise StoreDamaged("its bytes do not match their crc32c")
    if stored != crc:
        raise StoreDamaged("it is sound but not the index that the summary recorded")
    index = np.frombuffer(data[:-CRC_BYTES], ENTRY).reshape(layout.n_shards, layout.n_chunks)
    present = np.where(index["offset"] == ABSENT, np.uint64(0), index["length"])
    ends = np.cumsum(present, axis=1)
    follows = np.where(index["offset"] == ABSENT, index["length"] == ABSENT, index["offset"] == ends - present)
    if (present > MAX_CHUNK_BYTES).any() or not follows.all():
        raise StoreDamaged("it leaves gaps between chunks, or exchanges them")
    return index


def find_file_bytes(index: np.ndarray) -> np.ndarray:
    """(n_shards,) int64: size of each shard's file by the index: its chunks, then the shard's own index."""
    present = np.where(index["offset"] == ABSENT, np.uint64(0), index["length"])
    return present.sum(axis=1).astype(np.int64) + index_bytes(index.shape[1])
