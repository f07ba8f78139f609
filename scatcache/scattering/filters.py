"""Kymatio 0.3.0's Morlet filter bank, vectorised; the same numbers to float32 rounding.

psi(u) = g(u) (exp(i xi.u) - K) and phi(u) = g(u), each summed over periods of the padded image, where
g(u) = exp(-u^T C u) slant / (2 NORM_PI sigma^2), C = R diag(1, slant^2) R^T / (2 sigma^2), and K makes psi's mean zero.
Source: kymatio/scattering2d/filter_bank.py (filter_bank, gabor_2d, morlet_2d, periodize_filter_fft).
"""

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scatcache.spec import ScatteringSpec

FILTERS_VERSION = 1
# Kymatio writes pi as 3.1415 here; with the true pi every coefficient moves by 3e-5.
NORM_PI = 3.1415
N_PERIODS = 2
PADDING_RULE = "reflect to ((M + 2^J) // 2^J + 1) 2^J, (P - M) // 2 before; one cell cropped at each end"
# exp(-40) = 4e-18 of the peak: far below what complex64 accumulation keeps.
NEGLIGIBLE_EXPONENT = 40.0
HASH_DIGITS = 12


@dataclass(frozen=True)
class MorletParameters:
    """One filter: sigma (pixels), angle (radians from the row axis), xi (radians per pixel), slant."""

    sigma: float
    angle: float
    xi: float
    slant: float


@dataclass(frozen=True)
class FilterParameters:
    """Everything that decides the values of a filter bank but the image's size; psi in (j, theta) order."""

    version: int
    norm_pi: float
    n_periods: int
    padding_rule: str
    L: int
    psi: tuple[MorletParameters, ...]
    phi: MorletParameters

    @property
    def J(self) -> int:
        return len(self.psi) // self.L


@dataclass(frozen=True, eq=False)
class FilterBank:
    """Filters of one padded shape (P, Q) in Fourier space, float32, read-only.

    psi[j][res]: (L, P / 2^res, Q / 2^res), for res up to min(j, max(J - 2, 0)); phi[res]: (P / 2^res, Q / 2^res).
    """

    psi: tuple[tuple[NDArray[np.float32], ...], ...]
    phi: tuple[NDArray[np.float32], ...]


def filter_parameters(spec: ScatteringSpec) -> FilterParameters:
    """The parameters that build the bank of a spec, and that its hash is taken of."""
    first_angle = int(spec.L - spec.L / 2 - 1)
    psi = tuple(
        MorletParameters(
            sigma=0.8 * 2**j,
            angle=(first_angle - theta) * math.pi / spec.L,
            xi=3.0 / 4.0 * math.pi / 2**j,
            slant=4.0 / spec.L,
        )
        for j in range(spec.J)
        for theta in range(spec.L)
    )
    phi = MorletParameters(sigma=0.8 * 2 ** (spec.J - 1), angle=0.0, xi=0.0, slant=1.0)
    return FilterParameters(FILTERS_VERSION, NORM_PI, N_PERIODS, PADDING_RULE, spec.L, psi, phi)


def filter_bank_hash(spec: ScatteringSpec) -> str:
    """ "sha256:..." of the filters' parameters, rounded to 12 digits so that every machine agrees."""
    rounded = _round_floats(asdict(filter_parameters(spec)))
    canonical = json.dumps(rounded, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()


def filter_bank(spec: ScatteringSpec, padded_shape: tuple[int, int]) -> FilterBank:
    """The filters of a spec at a padded shape (P, Q), multiples of 2^J; the last few are kept in memory.

    Max order does not matter: all wavelets are built.
    """
    return _build_bank(filter_parameters(spec), padded_shape)


def lowpass_matrix(spec: ScatteringSpec, padded_size: int, j: int) -> NDArray[np.float64]:
    """Low-pass of one axis at resolution 2^j, decimation to 2^J and the crop of one cell at each end, as one matrix.

    phi is separable: S = A U B^T, with these matrices A for rows and B for columns, is Kymatio's product in Fourier
    space.
    Returns float64 (P / 2^J - 2, P / 2^j), read-only.
    """
    return _build_lowpass_matrix(filter_parameters(spec), padded_size, j)


def reflect_indices(size: int, padded_size: int) -> NDArray[np.int64]:
    """Where each sample of a padded axis comes from: (padded_size,) indices into size samples, size >= 2.

    Plain reflection without repeating the border; Kymatio's special case for size == 2^J gives the same indices.
    """
    position = np.abs(np.arange(padded_size) - (padded_size - size) // 2) % (2 * (size - 1))
    return np.minimum(position, 2 * (size - 1) - position)


@lru_cache(maxsize=8)
def _build_bank(parameters: FilterParameters, padded_shape: tuple[int, int]) -> FilterBank:
    L, J = parameters.L, parameters.J
    psi = []
    for j in range(J):
        waves = np.stack([_morlet(wave, padded_shape, parameters) for wave in parameters.psi[j * L : (j + 1) * L]])
        spectrum = np.fft.fft2(waves).real
        psi.append(tuple(_crop_spectrum(spectrum, res) for res in range(min(j + 1, max(J - 1, 1)))))
    phi_spectrum = np.fft.fft2(_gabors(parameters.phi, padded_shape, parameters)[0]).real
    return FilterBank(tuple(psi), tuple(_crop_spectrum(phi_spectrum, res) for res in range(J)))


@lru_cache(maxsize=64)
def _build_lowpass_matrix(parameters: FilterParameters, padded_size: int, j: int) -> NDArray[np.float64]:
    phi, J = parameters.phi, parameters.J
    periods = np.arange(-parameters.n_periods, parameters.n_periods + 1)
    position = np.arange(padded_size) + padded_size * periods[:, None]
    gaussian = np.exp(-(position**2) / (2 * phi.sigma**2)).sum(0) / math.sqrt(2 * parameters.norm_pi * phi.sigma**2)
    kernel = np.fft.ifft(_crop_axis(np.fft.fft(gaussian).real, j, axis=0)).real
    centres = (np.arange(1, (padded_size >> J) - 1) << (J - j))[:, None]
    matrix = kernel[(centres - np.arange(padded_size >> j)) % (padded_size >> j)]
    matrix.setflags(write=False)
    return matrix


def _morlet(
    wave: MorletParameters, padded_shape: tuple[int, int], parameters: FilterParameters
) -> NDArray[np.complex64]:
    """psi in space, complex64 (P, Q); in complex64 as Kymatio, whose rounding is part of its filters."""
    gabor, envelope = _gabors(wave, padded_shape, parameters)
    return gabor - np.sum(gabor) / np.sum(envelope) * envelope


def _gabors(
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
    """C of the module's formula, from a rotation rounded to float32 as Kymatio's."""
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


def _crop_spectrum(spectrum: NDArray[np.floating[Any]], res: int) -> NDArray[np.float32]:
    """Low frequencies of the last two axes, 2^res times fewer; of the Nyquist pair only the negative one stays."""
    cropped = _crop_axis(_crop_axis(spectrum, res, axis=-2), res, axis=-1).astype(np.float32)
    cropped.setflags(write=False)
    return cropped


def _crop_axis(spectrum: NDArray[np.floating[Any]], res: int, axis: int) -> NDArray[np.floating[Any]]:
    size = spectrum.shape[axis]
    half = size >> (res + 1)
    kept = np.r_[0:half, size - (size >> res) + half : size]
    return np.take(spectrum, kept, axis=axis)


def _round_floats(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{HASH_DIGITS}g}")
    if isinstance(value, dict):
        return {key: _round_floats(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_round_floats(item) for item in value]
    return value
