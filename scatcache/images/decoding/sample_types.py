"""Which samples enter the transform, and as what: no value is changed but for what float32 cannot hold."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from scatcache.errors import UnreadableImage
from scatcache.images.decoding.extra_libraries import call_library
from scatcache.images.decoding.notes import CONSTANT, ROUNDED
from scatcache.images.decoding.own_pillow import MAX_PIXELS

# By the dtype of a file or an array, that which enters the transform.
_ENTERS = {
    "uint8": "uint8", "uint16": "uint16", "float32": "float32",
    "int8": "float32", "int16": "float32", "float16": "float32",
    "int32": "float32", "uint32": "float32", "int64": "float32", "uint64": "float32", "float64": "float32",
}  # fmt: skip
# The most bytes of samples that float32 never has to round, by the kind of their dtype.
_EXACT = {"i": 2, "u": 2, "f": 4}
_ACCEPTED = "expected unsigned or signed integers of 8 to 64 bits, or floats of 16, 32 or 64"
# As many as four bands of the most pixels have; more of float32 than this would take 2.7 GiB.
MAX_SAMPLES = 4 * MAX_PIXELS


@dataclass(frozen=True)
class SampleFile:
    """shape: (height, width) or (height, width, bands); dtype: as the file has it; load: reads the samples; has_more:
    whether the file holds others than these, asked after loading."""

    shape: tuple[int, ...]
    dtype: np.dtype
    load: Callable[[], np.ndarray]
    has_more: Callable[[], bool] = bool

    def check(self) -> None:
        """Raises UnreadableImage for what cannot enter the transform, before anything is loaded."""
        check_shape_of_samples(self.shape)
        find_sample_type(self.dtype)

    def read(self) -> np.ndarray:
        """The samples, as many and of the kind that the header says. Raises as load does."""
        with np.errstate(all="ignore"):
            found = call_library(self.load)
        if found.dtype.newbyteorder("=") != self.dtype.newbyteorder("="):
            raise UnreadableImage(f"{found.dtype} samples, where the header says {self.dtype}")
        return found.reshape(self.shape)


@cache
def find_sample_type(dtype: np.dtype) -> str:
    """The dtype, "uint8", "uint16" or "float32", that samples of another enter the transform as.

    Raises UnreadableImage for those that no such dtype can hold.
    """
    name = dtype.newbyteorder("=").name
    if name not in _ENTERS:
        raise UnreadableImage(f"samples of {dtype}: {_ACCEPTED}")
    return _ENTERS[name]


def check_shape_of_samples(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(height, width, bands) of (height, width) or (height, width, bands).

    Raises UnreadableImage for other shapes, and for more pixels or samples than an image may have.
    """
    if len(shape) not in (2, 3) or 0 in shape:
        raise UnreadableImage(f"an array of {shape}: expected (height, width) or (height, width, bands)")
    height, width, bands = (*shape, 1)[:3]
    if height * width > MAX_PIXELS:
        raise UnreadableImage(f"{height}x{width} pixels, more than the {MAX_PIXELS} allowed")
    if height * width * bands > MAX_SAMPLES:
        raise UnreadableImage(f"{height}x{width} pixels of {bands} bands, more than the {MAX_SAMPLES} samples allowed")
    return height, width, bands


def settle_samples(found: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """(height, width) or (height, width, bands) of any accepted dtype and byte order as they enter the transform.

    Returns C-contiguous uint8, uint16 or float32 (height, width, bands), and the codes of what is to be told of it.

    Raises UnreadableImage for other dtypes, and where a sample is no finite float32, naming the place of the first.
    """
    kind = find_sample_type(found.dtype)
    shape = check_shape_of_samples(found.shape)
    found = found if found.ndim == 3 else found.reshape(shape)
    notes = (CONSTANT,) if is_constant(found) else ()
    if kind != "float32":
        return np.ascontiguousarray(found, kind), notes
    with np.errstate(over="ignore", invalid="ignore"):
        samples = np.ascontiguousarray(found, kind)
    _check_finite(samples, found)
    if found.dtype.itemsize > _EXACT[found.dtype.kind] and _is_rounded(samples, found):
        notes = (ROUNDED, *notes)
    return samples, notes


def is_constant(pixels: np.ndarray) -> bool:
    """Whether all pixels of (height, width, bands) are alike."""
    # Almost every image is told from a constant one by two of its pixels.
    return pixels.item(0) == pixels.item(pixels.size - pixels.shape[2]) and bool((pixels == pixels[0, 0]).all())


def _check_finite(samples: np.ndarray, found: np.ndarray) -> None:
    is_finite = np.isfinite(samples)
    if is_finite.all():
        return
    value = float(found[np.unravel_index(int(is_finite.argmin()), samples.shape)])
    beyond = ", beyond float32" if np.isfinite(value) else ""
    raise UnreadableImage(f"{value:g} at {name_place(~is_finite)}{beyond}: expected finite samples")


def refuse_mask(found: np.ndarray) -> None:
    """Raises UnreadableImage for a masked array: what is masked would be read as if it were not."""
    if isinstance(found, np.ma.MaskedArray):
        raise UnreadableImage("a masked array: give .filled(value) of it, for samples have no mask")


def name_place(is_bad: np.ndarray) -> str:
    """The first place, row by row, of (height, width) or (height, width, bands) where it is so."""
    row, column, band = (*np.unravel_index(int(is_bad.argmax()), is_bad.shape), 0)[:3]
    return f"row {row}, column {column}, band {band}"


def _is_rounded(samples: np.ndarray, found: np.ndarray) -> bool:
    """Whether a sample, float32 now, is no longer what was found."""
    if found.dtype.kind == "f":
        return bool((samples != found).any())
    # Compared as integers: float64 holds no more than 53 bits either. The power of two that an integer was rounded up
    # to may lie beyond its type.
    bound = np.float32(2.0 ** (8 * found.dtype.itemsize - (found.dtype.kind == "i")))
    is_beyond = samples >= bound
    return bool(is_beyond.any()) or bool((samples.astype(found.dtype) != found).any())
