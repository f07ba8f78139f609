"""How one chunk of coefficients becomes bytes: dtype, codec, crc32c; the table of names is here alone."""

import base64
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from scatcache.errors import StoreDamaged
from scatcache.store.format.codecs import Blosc, Codec, Plain, Zstd

CRC_BYTES = 4
QUANTISED_DTYPES = ("int8", "int16")
QUANTISED = "quantised"
# Where nobody says: in standard deviations of a channel.
DEFAULT_STEP = 0.45


def crc32c(data: Any) -> int:
    """CRC-32C (RFC 3720, section 12.1) of a contiguous buffer."""
    return int(google_crc32c.value(np.frombuffer(data, np.uint8)))


@dataclass(frozen=True)
class Encoding:
    """name: as in the manifest; compute_dtype: of the coefficients that come from the transform; dtype: of the stored
    ones; fill: what Zarr's readers see where nothing is stored; tolerance: ||stored - recomputed|| / ||recomputed|| of
    a row at most: the dtype's rounding, and room for another backend's; typical_ratio: stored bytes over dtype's bytes
    on natural images; codec: what compresses a chunk; quantised: whether integers are stored, S = step * stored, their
    dtype and the step of each channel being a store's own, see Calibration; channels_last: whether the numbers of a
    chunk stand in the order (image, y, x, channel): the channels of one place resemble each other, and compress
    better side by side."""

    name: str
    compute_dtype: str
    dtype: str
    fill: float | str
    tolerance: float
    typical_ratio: float
    codec: Codec
    quantised: bool = False
    channels_last: bool = False
    calibration: "Calibration | None" = None

    def calibrated(self, calibration: "Calibration") -> "Encoding":
        """This encoding with the dtype and the steps of a store."""
        assert self.quantised
        return replace(self, dtype=calibration.dtype, calibration=calibration)

    @property
    def steps(self) -> NDArray[np.float32] | None:
        """(n_channels,) float32: what stored integers are multiplied by; None where values are stored."""
        return None if self.calibration is None else self.calibration.array

    @property
    def value_dtype(self) -> str:
        """Of coefficients as readers get them."""
        return self.compute_dtype if self.quantised else self.dtype

    def empty(self, n: int, row_shape: tuple[int, int, int], *, dtype: npt.DTypeLike | None = None) -> NDArray[Any]:
        """(n, n_channels, h, w) of dtype, by default the stored one, its memory in the order in which chunks are
        stored; values undefined."""
        dtype = dtype or self.dtype
        n_channels, height, width = row_shape
        if not self.channels_last:
            return np.empty((n, n_channels, height, width), dtype)
        return np.empty((n, height, width, n_channels), dtype).transpose(0, 3, 1, 2)

    def take(self, stored: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[Any]:
        """Rows of (n, n_channels, h, w) as empty() gives it, likewise."""
        taken = self.in_stored_order(stored).take(rows, 0)
        return taken.transpose(0, 3, 1, 2) if self.channels_last else taken

    def pick(self, stored: NDArray[Any], channels: NDArray[np.int64]) -> NDArray[Any]:
        """(n, len(channels), h, w) of (n, n_channels, h, w), its memory in the order of empty()."""
        if not self.channels_last:
            return stored.take(channels, 1)
        return self.in_stored_order(stored).take(channels, -1).transpose(0, 3, 1, 2)

    def in_stored_order(self, values: NDArray[Any]) -> NDArray[Any]:
        """A view of (n_channels, h, w), or of n of them, with its axes in the order in which chunks are stored."""
        if not self.channels_last:
            return values
        # np.moveaxis takes a fifth of the time in which a small row is decoded.
        return values.transpose(1, 2, 0) if values.ndim == 3 else values.transpose(0, 2, 3, 1)

    def to_dict(self) -> dict[str, Any]:
        """What the manifest says of it."""
        return {
            "name": self.name,
            "compute_dtype": self.compute_dtype,
            "dtype": self.dtype,
            "fill": self.fill,
            "tolerance": self.tolerance,
            "parameters": self.codec.parameters,
            **({} if self.calibration is None else self.calibration.to_dict()),
        }

    @property
    def fill_value(self) -> float:
        """The fill as a number."""
        return float(self.fill)

    def codecs(self) -> list[dict[str, Any]]:
        """The Zarr v3 codec chain of one inner chunk."""
        turned = [{"name": "transpose", "configuration": {"order": [0, 2, 3, 1]}}] if self.channels_last else []
        return [
            *turned,
            {"name": "bytes", "configuration": {"endian": "little"}},
            *self.codec.describe(np.dtype(self.dtype).itemsize),
            {"name": "crc32c"},
        ]

    def encode(self, values: np.ndarray) -> tuple[bytes, int]:
        """(bytes with their crc32c, that crc32c) of the (n, n_channels, h, w) values of a chunk, in compute_dtype, or
        of quantised ones in dtype."""
        assert values.dtype == (self.dtype if self.quantised else self.compute_dtype)
        ordered = self.in_stored_order(values)
        payload = self.codec.encode(np.ascontiguousarray(ordered, np.dtype(self.dtype).newbyteorder("<")))
        crc = crc32c(payload)
        return payload + crc.to_bytes(CRC_BYTES, "little"), crc

    def decode(self, data: memoryview, out: np.ndarray, *, crc: int) -> None:
        """Fills out, one or more rows of dtype as empty() gives them, from encoded bytes whose crc32c the store's
        records state as crc.

        Raises StoreDamaged where the bytes, their own crc32c and the recorded one do not agree.
        """
        payload = data[:-CRC_BYTES]
        if len(data) <= CRC_BYTES or crc32c(payload) != int.from_bytes(data[-CRC_BYTES:], "little"):
            raise StoreDamaged("its bytes do not match their crc32c")
        if crc != int.from_bytes(data[-CRC_BYTES:], "little"):
            raise StoreDamaged("it is sound but not the chunk that the receipt recorded")
        ordered = self.in_stored_order(out)
        assert ordered.flags.c_contiguous and ordered.dtype == self.dtype
        self.codec.decode(payload, ordered)


@dataclass(frozen=True)
class Calibration:
    """What a store's quantised coefficients are made with, fixed by its first run.

    step: in standard deviations of each channel; dtype: of the stored integers; steps: float32 (n_channels,), their
    little-endian bytes in base64.
    """

    step: float
    dtype: str
    steps: str

    def __post_init__(self) -> None:
        if self.dtype not in QUANTISED_DTYPES:
            raise ValueError(f"quantised coefficients are {self.dtype!r}: expected {' or '.join(QUANTISED_DTYPES)}")
        if not (self.array.size and np.isfinite(self.array).all() and (self.array > 0).all()):
            raise ValueError("the steps of a quantised store are not all above 0")

    @classmethod
    def of(cls, step: float, steps: NDArray[np.floating], *, dtype: str) -> "Calibration":
        """steps: (n_channels,)."""
        return cls(step, dtype, base64.b64encode(np.ascontiguousarray(steps, "<f4").tobytes()).decode("ascii"))

    @cached_property
    def array(self) -> NDArray[np.float32]:
        """The steps, read-only."""
        return np.frombuffer(base64.b64decode(self.steps, validate=True), "<f4")

    def to_dict(self) -> dict[str, Any]:
        return {"step": self.step, "steps": self.steps}


# Bytes per coefficient on natural images at J=2 and the RMS error over the channel's standard deviation:
# float16 1.64, 3e-4; float16raw 2, 3e-4; float32 3.3, exact.
ENCODINGS = {
    encoding.name: encoding
    for encoding in (
        Encoding("float16", "float16", "float16", "NaN", 1e-3, 0.82, Blosc("lz4", 5)),
        Encoding("float16raw", "float16", "float16", "NaN", 1e-3, 1.0, Plain()),
        Encoding("float32", "float32", "float32", "NaN", 1e-5, 0.82, Blosc("zstd", 3)),
        Encoding(QUANTISED, "float32", "int8", 0, 1e-5, 0.40, Blosc("lz4", 9), quantised=True, channels_last=True),
        # A fifth fewer bytes, encoded at a third to a half of the speed, decoded at about half.
        Encoding("quantised-zstd", "float32", "int8", 0, 1e-5, 0.32, Zstd(7), quantised=True, channels_last=True),
    )
}
# The default by the pixels' dtype: what float16 rounds away is less than 8 bits say.
ENCODING_OF = {"uint8": "float16", "uint16": "float32", "float32": "float32"}


def find_encoding(name: str) -> Encoding:
    """The encoding of this name. Raises ValueError that lists the names."""
    if name not in ENCODINGS:
        raise ValueError(f"encoding {name!r} is unknown: expected one of {', '.join(ENCODINGS)}")
    return ENCODINGS[name]
