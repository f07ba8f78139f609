"""What compresses the bytes of a chunk, and how it is known that a decoder may be trusted with them."""

import struct
import threading
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import zstandard
from numcodecs import blosc, zstd

from scatcache.errors import StoreDamaged

# Blosc's own threads give other bytes from run to run above about 1 MB; parallelism comes from our threads.
blosc.use_threads = False

# Of Blosc 1's header: its bytes, its version, flags, and its numbers for codecs.
_HEADER, _HEADER_BYTES, _VERSION = struct.Struct("<4B3I"), 16, 2
_BYTE_SHUFFLED, _STORED, _BIT_SHUFFLED = 1, 2, 4
_CODECS = {"lz4": 1, "zstd": 4}
# Of a zstd frame (RFC 8878, section 3.1.1): its magic number, and the bytes before its size can begin.
_ZSTD_MAGIC, _ZSTD_LEAST_BYTES = b"\x28\xb5\x2f\xfd", 6
# Of the tables in which the compressor looks for earlier bytes: repetitions among quantised coefficients are near.
_ZSTD_WINDOW_LOG, _ZSTD_TABLE_LOG = 19, 10


class _OfThread(threading.local):
    """What one thread alone uses."""

    def __init__(self) -> None:
        self.compressors: dict[Any, zstandard.ZstdCompressor] = {}


_of_thread = _OfThread()


class Codec(Protocol):
    """Bytes of a chunk to what is stored of it and back; a frozen dataclass, the same bytes for the same values.

    compresses: whether small chunks are better joined; parameters: its settings, as the manifest states them.
    """

    compresses: bool

    @property
    def parameters(self) -> dict[str, Any]: ...

    def describe(self, item_bytes: int) -> list[dict[str, Any]]:
        """Zarr v3's codecs between "bytes" and "crc32c" for items of that size."""

    def encode(self, values: np.ndarray) -> bytes:
        """The payload of C-contiguous little-endian values."""

    def decode(self, payload: memoryview, out: np.ndarray) -> None:
        """Fills the C-contiguous out. Raises StoreDamaged for what encode never gives for so many values, before any
        decoder that trusts its input sees it."""


@dataclass(frozen=True)
class Plain:
    """The values as they are."""

    compresses = False

    @property
    def parameters(self) -> dict[str, Any]:
        return {}

    def describe(self, item_bytes: int) -> list[dict[str, Any]]:
        return []

    def encode(self, values: np.ndarray) -> bytes:
        return values.tobytes()

    def decode(self, payload: memoryview, out: np.ndarray) -> None:
        if len(payload) != out.nbytes:
            raise StoreDamaged(f"it holds {len(payload)} bytes, expected {out.nbytes}")
        out.reshape(-1).view(np.uint8)[:] = np.frombuffer(payload, np.uint8)


@dataclass(frozen=True)
class Blosc:
    """Blosc 1 with bitshuffle. cname: its compressor, lz4 or zstd; clevel: 0 to 9."""

    cname: str
    clevel: int
    compresses = True

    @property
    def parameters(self) -> dict[str, Any]:
        return asdict(self)

    def describe(self, item_bytes: int) -> list[dict[str, Any]]:
        settings = {**asdict(self), "shuffle": "bitshuffle", "typesize": item_bytes, "blocksize": 0}
        return [{"name": "blosc", "configuration": settings}]

    def encode(self, values: np.ndarray) -> bytes:
        # Again: the setting is the process's, and another library may have changed it.
        blosc.use_threads = False
        return bytes(blosc.compress(values, self.cname.encode(), self.clevel, blosc.BITSHUFFLE, 0))

    def decode(self, payload: memoryview, out: np.ndarray) -> None:
        self._check_header(payload, out)
        try:
            blosc.decompress(payload, out)
        except (RuntimeError, ValueError) as error:
            raise StoreDamaged(f"it does not decode ({error})") from error

    def _check_header(self, payload: memoryview, out: np.ndarray) -> None:
        """Raises StoreDamaged for a header that our encoder never writes; Blosc trusts it and reads outside its buffer.

        Blosc 1's header: version, its codec's version, flags, item size, then uint32: bytes, block's bytes, compressed
        bytes.
        """
        if len(payload) < _HEADER_BYTES:
            raise StoreDamaged("it is shorter than a Blosc header")
        version, _, flags, item_bytes, found, block_bytes, compressed = _HEADER.unpack_from(payload)
        if found != out.nbytes:
            raise StoreDamaged(f"it decodes to {found} bytes, expected {out.nbytes}")
        if compressed != len(payload):
            raise StoreDamaged(f"it has {len(payload)} bytes, its Blosc header says {compressed}")
        shuffle, codec = flags & (_BYTE_SHUFFLED | _BIT_SHUFFLED), flags >> 5
        expected = (_VERSION, out.itemsize, _BIT_SHUFFLED, _CODECS[self.cname])
        if (version, item_bytes, shuffle, codec) != expected or not 0 < block_bytes <= out.nbytes:
            raise StoreDamaged("its Blosc header is none that this encoding writes")
        if flags & _STORED and compressed != out.nbytes + _HEADER_BYTES:
            raise StoreDamaged(f"it holds {compressed - _HEADER_BYTES} bytes as they are, expected {out.nbytes}")


@dataclass(frozen=True)
class Zstd:
    """Zstandard, without a checksum of its own. min_match: bytes of a repetition at least, 3 to 7. Among quantised
    coefficients short ones cost more bytes and time than the numbers that they stand for: with 7, CIFAR-10 takes 0.95
    of the bytes of zstd's level 1, and two thirds of its time."""

    min_match: int
    compresses = True

    @property
    def parameters(self) -> dict[str, Any]:
        return asdict(self)

    def describe(self, item_bytes: int) -> list[dict[str, Any]]:
        # Whoever rewrites a chunk by this gets what any reader decodes, a little larger.
        return [{"name": "zstd", "configuration": {"level": 1, "checksum": False}}]

    def encode(self, values: np.ndarray) -> bytes:
        return self._compressor().compress(values.data)

    def _compressor(self) -> zstandard.ZstdCompressor:
        """This thread's: none serves two at a time."""
        if self not in _of_thread.compressors:
            parameters = zstandard.ZstdCompressionParameters(
                window_log=_ZSTD_WINDOW_LOG,
                chain_log=_ZSTD_TABLE_LOG,
                hash_log=_ZSTD_TABLE_LOG,
                search_log=1,
                min_match=self.min_match,
                target_length=0,
                strategy=zstandard.STRATEGY_DFAST,
                write_content_size=True,
                write_checksum=False,
            )
            _of_thread.compressors[self] = zstandard.ZstdCompressor(compression_params=parameters)
        return _of_thread.compressors[self]

    def decode(self, payload: memoryview, out: np.ndarray) -> None:
        found = zstd_content_bytes(payload)
        if found != out.nbytes:
            raise StoreDamaged(f"it decodes to {found} bytes, expected {out.nbytes}")
        try:
            zstd.decompress(payload, out)
        except (RuntimeError, ValueError) as error:
            raise StoreDamaged(f"it does not decode ({error})") from error


def zstd_content_bytes(payload: bytes | memoryview) -> int:
    """Decoded bytes of a zstd frame by its header; our encoder always states them. Raises StoreDamaged."""
    if len(payload) < _ZSTD_LEAST_BYTES or payload[:4] != _ZSTD_MAGIC:
        raise StoreDamaged("it does not decode (no zstd frame)")
    descriptor = payload[4]
    single_segment, size_flag = descriptor >> 5 & 1, descriptor >> 6
    size_bytes = (1 if single_segment else 0, 2, 4, 8)[size_flag]
    start = 5 + (not single_segment) + (0, 1, 2, 4)[descriptor & 3]
    stated = payload[start : start + size_bytes]
    if not size_bytes or len(stated) < size_bytes:
        raise StoreDamaged("it does not decode (its zstd frame states no size)")
    return int.from_bytes(stated, "little") + (256 if size_bytes == 2 else 0)
