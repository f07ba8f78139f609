"""One Morlet or Gabor filter in space, from its parameters: what filters.py takes the Fourier transform of."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# exp(-40) = 4e-18 of the peak: far below what complex64 accumulation keeps.
NEGLIGIBLE_EXPONENT = 40.0


@dataclass(frozen=True)
class MorletParameters:
    """One filter: sigma (pixels), angle (radians from the row axis), xi (radians per pixel), slant."""

    sigma: float
    angle: float
    xi: float
    slant: float


@dataclass(frozen=True)
class FilterParameters:
    """Everything that decides the values of a filter bank but the image's size; psi in (j, theta) order; centered:
    whether mirror images are equal."""

    version: int
    norm_pi: float
    n_periods: int
    padding_rule: str
    L: int
    psi: tuple[MorletParameters, ...]
    phi: MorletParameters
    centered: bool

    @property
    def J(self) -> int:
        return len(self.psi) // self.L


def draw_morlet(
    wave: MorletParameters, padded_shape: tuple[int, int], parameters: FilterParameters
) -> NDArray[np.complex64]:
    """psi in space, complex64 (P, Q); in complex64 as Kymatio, whose rounding is part of its filters."""
    gabor, envelope = draw_gabors(wave, padded_shape, parameters)
    return gabor - np.sum(gabor) / np.sum(envelope) * envelope


def draw_gabors(
    wave: MorletParameters, padded_shape: tuple[int, int], parameters: FilterParameters
) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
    """The modulated Gaussian and its envelope, complex64 (P, Q), summed over periods of (P, Q)."""
    gabor = np.zeros(padded_shape, np.complex64)
    envelope = np.zeros(padded_shape, np.complex64)
    curvature = _curvature(wave)
    reach = math.sqrt(NEGLIGIBLE_EXPONENT * 2) * wave.sigma / min(1.0, wave.slant)
    xi_rows, xi_columns = wave.xi * math.cos(wave.angle), wave.xi * math.sin(wave.angle)
    for row_slice, y in _periods(padded_shape[0], parameters.n_periods, reach):
        for column_slice, x in _periods(padded_shape[1], parameters.n_periods, reach):
            cross = (curvature[0, 1] + curvature[1, 0]) * y[:, None] * x
            quadratic = curvature[0, 0] * (y * y)[:, None] + cross + curvature[1, 1] * (x * x)
            gaussian = np.exp(-quadratic)
            envelope[row_slice, column_slice] += gaussian
            gabor[row_slice, column_slice] += gaussian * np.exp(1j * xi_rows * y)[:, None] * np.exp(1j * xi_columns * x)
    norm = 2 * parameters.norm_pi * wave.sigma * wave.sigma / wave.slant
    return gabor / norm, envelope / norm


def _curvature(wave: MorletParameters) -> NDArray[np.float64]:
    """C of the formula in filters.py, from a rotation rounded to float32 as Kymatio's."""
    cos, sin = math.cos(wave.angle), math.sin(wave.angle)
    rotation = np.array([[cos, -sin], [sin, cos]], np.float32).astype(np.float64)
    scaled = np.diag([1.0, wave.slant * wave.slant]) @ rotation.T
    return rotation @ scaled / (2 * wave.sigma * wave.sigma)


def _periods(size: int, n_periods: int, reach: float) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """For each period of an axis: the slice whose positions lie within reach pixels of the origin, and these."""
    for period in range(-n_periods, n_periods + 1):
        start = max(0, math.ceil(-reach) - period * size)
        stop = min(size, math.floor(reach) + 1 - period * size)
        if start < stop:
            yield slice(start, stop), np.arange(start, stop, dtype=np.float64) + period * size
