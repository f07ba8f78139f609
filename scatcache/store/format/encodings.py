"""How one chunk of coefficients becomes bytes: dtype, codec, crc32c; the table of names is here alone."""

from dataclasses import dataclass
from typing import Any

import google_crc32c
import numpy as np

from scatcache.errors import StoreDamaged
from scatcache.store.format.codecs import Blosc, Codec, Plain

CRC_BYTES = 4


def crc32c(data: Any) -> int:
    """CRC-32C (RFC 3720, section 12.1) of a contiguous buffer."""
    return int(google_crc32c.value(np.frombuffer(data, np.uint8)))


@dataclass(frozen=True)
class Encoding:
    """name: as in the manifest; compute_dtype: of the coefficients that come from the transform; dtype: of the stored
    ones; fill: what Zarr's readers see where nothing is stored; tolerance: ||stored - recomputed|| / ||recomputed|| of
    a row at most: the dtype's rounding, and room for another backend's; typical_ratio: stored bytes over dtype's bytes
    on natural images; codec: what compresses a chunk."""

    name: str
    compute_dtype: str
    dtype: str
    fill: float | str
    tolerance: float
    typical_ratio: float
    codec: Codec

    def to_dict(self) -> dict[str, Any]:
        """What the manifest says of it."""
        return {
            "name": self.name,
            "compute_dtype": self.compute_dtype,
            "dtype": self.dtype,
            "fill": self.fill,
            "tolerance": self.tolerance,
            "parameters": self.codec.parameters,
        }

    @property
    def fill_value(self) -> float:
        """The fill as a number."""
        return float(self.fill)

    def codecs(self) -> list[dict[str, Any]]:
        """The Zarr v3 codec chain of one inner chunk."""
        return [
            {"name": "bytes", "configuration": {"endian": "little"}},
            *self.codec.describe(np.dtype(self.dtype).itemsize),
            {"name": "crc32c"},
        ]

    def encode(self, values: np.ndarray) -> tuple[bytes, int]:
        """(bytes with their crc32c appended, that crc32c) of C-contiguous values in compute_dtype."""
        assert values.dtype == self.compute_dtype and values.flags.c_contiguous
        payload = self.codec.encode(np.ascontiguousarray(values, np.dtype(self.dtype).newbyteorder("<")))
        crc = crc32c(payload)
        return payload + crc.to_bytes(CRC_BYTES, "little"), crc

    def decode(self, data: memoryview, out: np.ndarray, *, crc: int) -> None:
        """Fills the C-contiguous out, of dtype, from encoded bytes whose crc32c the store's records state as crc.

        Raises StoreDamaged where the bytes, their own crc32c and the recorded one do not agree.
        """
        payload = data[:-CRC_BYTES]
        if len(data) <= CRC_BYTES or crc32c(payload) != int.from_bytes(data[-CRC_BYTES:], "little"):
            raise StoreDamaged("its bytes do not match their crc32c")
        if crc != int.from_bytes(data[-CRC_BYTES:], "little"):
            raise StoreDamaged("it is sound but not the chunk that the receipt recorded")
        self.codec.decode(payload, out)


# Bytes per coefficient on natural images at J=2 and the RMS error over the channel's standard deviation:
# float16 1.64, 3e-4; float16raw 2, 3e-4; float32 3.3, exact.
ENCODINGS = {
    encoding.name: encoding
    for encoding in (
        Encoding("float16", "float16", "float16", "NaN", 1e-3, 0.82, Blosc("lz4", 5)),
        Encoding("float16raw", "float16", "float16", "NaN", 1e-3, 1.0, Plain()),
        Encoding("float32", "float32", "float32", "NaN", 1e-5, 0.82, Blosc("zstd", 3)),
    )
}
# The default by the pixels' dtype: what float16 rounds away is less than 8 bits say.
ENCODING_OF = {"uint8": "float16", "uint16": "float32", "float32": "float32"}


def find_encoding(name: str) -> Encoding:
    """The encoding of this name. Raises ValueError that lists the names."""
    if name not in ENCODINGS:
        raise ValueError(f"encoding {name!r} is unknown: expected one of {', '.join(ENCODINGS)}")
    return ENCODINGS[name]
