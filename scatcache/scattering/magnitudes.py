"""Samples far from 1, whose squares leave the range of float32: planes go in nearer to 1 by a power of two.

S(2^k x) = 2^k S(x), and a power of two rounds nothing: a plane's coefficients have the bits that they would have if
float32 had no smallest and no largest number. The power depends on the plane alone.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scatcache.scattering.batch_transform import BatchTransform, check_arrays
from scatcache.spec import Pixels

# Up to this power of two either way a plane's largest sample leaves room: 1e-7 of it, squared, is 2^-110, and an FFT's
# sums of 2^27 pixels, squared, are 2^118.
MOST_EXPONENT = 32


def settle_scale(pixels: Pixels) -> tuple[Pixels, int]:
    """The same pixels with a scale that float32 holds with room to spare, and the power of two it is smaller by."""
    fraction, exponent = math.frexp(pixels.scale)
    return (pixels, 0) if abs(exponent) <= MOST_EXPONENT else (replace(pixels, scale=fraction), exponent)


class ShiftedBatches:
    """A BatchTransform around another: planes near enough to 1 go straight through it.

    transform, shift: of settle_scale(pixels).
    """

    def __init__(self, transform: BatchTransform, pixels: Pixels, shift: int) -> None:
        self.spec = transform.spec
        self.shape = transform.shape
        self.pixels = pixels
        self.name = transform.name
        self.core = transform.core
        self.versions = transform.versions
        self.device = transform.device
        self.output_shape = transform.output_shape
        self.batch_images = transform.batch_images
        self._transform = transform
        self._shift = shift

    def __call__(self, images: NDArray[Any], out: NDArray[np.floating]) -> None:
        check_arrays(self, images, out)
        exponents = self._find_exponents(images)
        if not self._shift and not exponents.any():
            self._transform(images, out)
            return
        coefficients = np.empty(out.shape, np.float32)
        self._transform(_shift_images(images, -exponents), coefficients)
        self._write_back(coefficients, exponents, out)

    def start(self, images: NDArray[Any], dtype: np.dtype[Any]) -> Callable[[], NDArray[np.floating]]:
        exponents = self._find_exponents(images)
        if not self._shift and not exponents.any():
            return self._transform.start(images, dtype)
        started = self._transform.start(_shift_images(images, -exponents), np.dtype(np.float32))

        def finish() -> NDArray[np.floating]:
            coefficients = started()
            out = np.empty(coefficients.shape, dtype)
            self._write_back(coefficients, exponents, out)
            return out

        return finish

    def _find_exponents(self, images: NDArray[Any]) -> NDArray[np.int32]:
        """(B, colours): the power of two of each float32 plane that is far from 1, 0 for the others and of integers."""
        n_images, height, width, n_colours = images.shape
        if images.dtype != np.float32:
            return np.zeros((n_images, n_colours), np.int32)
        # Over rows first, as many samples at once as the processor can.
        rows = images.reshape(n_images, height, width * n_colours)
        peaks = np.maximum(rows.max(axis=1), -rows.min(axis=1)).reshape(n_images, width, n_colours).max(axis=1)
        exponents = np.frexp(peaks / np.float64(self._transform.pixels.scale))[1]
        return np.where(np.isfinite(peaks) & (np.abs(exponents) > MOST_EXPONENT), exponents, 0)

    def _write_back(
        self, coefficients: NDArray[np.floating], exponents: NDArray[np.int32], out: NDArray[np.floating]
    ) -> None:
        """What was shifted back into out, rounded to its dtype."""
        by_colour = coefficients.reshape(*exponents.shape, self.spec.n_paths, *coefficients.shape[2:])
        with np.errstate(over="ignore", under="ignore"):
            shifted = np.ldexp(by_colour, (exponents - self._shift)[:, :, None, None, None])
            out[...] = shifted.reshape(out.shape)


def _shift_images(images: NDArray[Any], exponents: NDArray[np.int32]) -> NDArray[Any]:
    """2^exponents images, of float32 alone; exponents: (B, colours)."""
    if not exponents.any():
        return images
    with np.errstate(under="ignore"):
        return np.ldexp(images, exponents[:, None, None, :])
