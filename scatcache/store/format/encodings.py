"""How one chunk of coefficients becomes bytes: dtype, Blosc, crc32c; the table of names is here alone."""

from dataclasses import dataclass
from typing import Any

import google_crc32c
import numpy as np
from numcodecs import blosc

from scatcache.errors import StoreDamaged

# Blosc's own threads give other bytes from run to run above about 1 MB; parallelism comes from our threads.
blosc.use_threads = False

CRC_BYTES = 4
# Of Blosc 1's header: its bytes, its version, flags, and its numbers for codecs.
_HEADER_BYTES, _VERSION = 16, 2
_BYTE_SHUFFLED, _STORED, _BIT_SHUFFLED = 1, 2, 4
_CODECS = {"lz4": 1, "zstd": 4}


def crc32c(data: Any) -> int:
    """CRC-32C (RFC 3720, section 12.1) of a contiguous buffer."""
    return int(google_crc32c.value(np.frombuffer(data, np.uint8)))


@dataclass(frozen=True)
class Encoding:
    """name: as in the manifest; dtype: of the stored coefficients; typical_ratio: stored bytes over dtype's bytes on
    natural images; compressor: Blosc's, or None; level: Blosc's."""

    name: str
    dtype: str
    typical_ratio: float
    compressor: str | None = None
    level: int = 0

    def codecs(self) -> list[dict[str, Any]]:
        """The Zarr v3 codec chain of one inner chunk."""
        compression = {
            "cname": self.compressor,
            "clevel": self.level,
            "shuffle": "bitshuffle",
            "typesize": np.dtype(self.dtype).itemsize,
            "blocksize": 0,
        }
        return [
            {"name": "bytes", "configuration": {"endian": "little"}},
            *([{"name": "blosc", "configuration": compression}] if self.compressor else []),
            {"name": "crc32c"},
        ]

    def encode(self, values: np.ndarray) -> tuple[bytes, int]:
        """(bytes with their crc32c appended, that crc32c) of C-contiguous values in the stored dtype."""
        assert values.dtype == self.dtype and values.flags.c_contiguous
        little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
        if self.compressor:
            # Again: the setting is the process's, and another library may have changed it.
            blosc.use_threads = False
            payload = blosc.compress(little, self.compressor.encode(), self.level, blosc.BITSHUFFLE, 0)
        else:
            payload = little.tobytes()
        crc = crc32c(payload)
        return payload + crc.to_bytes(CRC_BYTES, "little"), crc

    def decode(self, data: memoryview, out: np.ndarray, *, crc: int) -> None:
        """Fills the C-contiguous out from encoded bytes whose crc32c the receipt recorded as crc.

        Raises StoreDamaged where the bytes, their own crc32c and the receipt's do not agree.
        """
        payload = data[:-CRC_BYTES]
        if len(data) <= CRC_BYTES or crc32c(payload) != int.from_bytes(data[-CRC_BYTES:], "little"):
            raise StoreDamaged("its bytes do not match their crc32c")
        if crc != int.from_bytes(data[-CRC_BYTES:], "little"):
            raise StoreDamaged("it is sound but not the chunk that the receipt recorded")
        if not self.compressor:
            if len(payload) != out.nbytes:
                raise StoreDamaged(f"it holds {len(payload)} bytes, expected {out.nbytes}")
            out.reshape(-1).view(np.uint8)[:] = np.frombuffer(payload, np.uint8)
            return
        self._check_header(payload, out.nbytes)
        try:
            blosc.decompress(payload, out)
        except (RuntimeError, ValueError) as error:
            raise StoreDamaged(f"it does not decode ({error})") from error

    def _check_header(self, payload: memoryview, n_bytes: int) -> None:
        """Raises StoreDamaged for a header that our encoder never writes; Blosc trusts it and reads outside its buffer.

        Blosc 1's header: version, its codec's version, flags, item size, then uint32: bytes, block's bytes, compressed
        bytes.
        """
        if len(payload) < _HEADER_BYTES:
            raise StoreDamaged("it is shorter than a Blosc header")
        version, _, flags, item_bytes = payload[:4]
        found, block_bytes, compressed = (int.from_bytes(payload[at : at + 4], "little") for at in (4, 8, 12))
        if found != n_bytes:
            raise StoreDamaged(f"it decodes to {found} bytes, expected {n_bytes}")
        if compressed != len(payload):
            raise StoreDamaged(f"it has {len(payload)} bytes, its Blosc header says {compressed}")
        shuffle, codec = flags & (_BYTE_SHUFFLED | _BIT_SHUFFLED), flags >> 5
        expected = (_VERSION, np.dtype(self.dtype).itemsize, _BIT_SHUFFLED, _CODECS[self.compressor or ""])
        if (version, item_bytes, shuffle, codec) != expected or not 0 < block_bytes <= n_bytes:
            raise StoreDamaged("its Blosc header is none that this encoding writes")
        if flags & _STORED and compressed != n_bytes + _HEADER_BYTES:
            raise StoreDamaged(f"it holds {compressed - _HEADER_BYTES} bytes as they are, expected {n_bytes}")


# Bytes per coefficient on natural images at J=2 and the RMS error over the channel's standard deviation:
# float16 1.64, 3e-4; float16raw 2, 3e-4; float32 3.3, exact.
ENCODINGS = {
    encoding.name: encoding
    for encoding in (
        Encoding("float16", "float16", 0.82, "lz4", 5),
        Encoding("float16raw", "float16", 1.0),
        Encoding("float32", "float32", 0.82, "zstd", 3),
    )
}


def find_encoding(name: str) -> Encoding:
    """The encoding of this name. Raises ValueError that lists the names."""
    if name not in ENCODINGS:
        raise ValueError(f"encoding {name!r} is unknown: expected one of {', '.join(ENCODINGS)}")
    return ENCODINGS[name]
