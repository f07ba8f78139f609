"""Kymatio 0.3.0's Morlet filter bank, vectorised; the same numbers to float32 rounding.

psi(u) = g(u) (exp(i xi.u) - K) and phi(u) = g(u), each summed over periods of the padded image, where
g(u) = exp(-u^T C u) slant / (2 NORM_PI sigma^2), C = R diag(1, slant^2) R^T / (2 sigma^2), and K makes psi's mean zero.
Source: kymatio/scattering2d/filter_bank.py (filter_bank, gabor_2d, morlet_2d, periodize_filter_fft).

For the centered grid these are the same filters, mirror images equal to the last bit: the wavelets of an eighth of the
circle are computed, the others are their reflections.
"""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scatcache.scattering.morlet import FilterParameters, MorletParameters, draw_gabors, draw_morlet
from scatcache.scattering.reduction import cell_bounds
from scatcache.spec import ScatteringSpec

FILTERS_VERSION = 1
# Kymatio writes pi as 3.1415 here; with the true pi every coefficient moves by 3e-5.
NORM_PI = 3.1415
N_PERIODS = 2
PADDING_RULE = "reflect to ((M + 2^J) // 2^J + 1) 2^J, (P - M) // 2 before; one cell cropped at each end"
HASH_DIGITS = 12

Spectrum = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class FilterBank:
    """Filters of one padded shape (P, Q) in Fourier space, float32, read-only.

    psi[j][res]: (L, P / 2^res, Q / 2^res), for res up to min(j, max(J - 2, 0)); phi[res]: (P / 2^res, Q / 2^res).
    """

    psi: tuple[tuple[NDArray[np.float32], ...], ...]
    phi: tuple[NDArray[np.float32], ...]


def filter_parameters(spec: ScatteringSpec) -> FilterParameters:
    """The parameters that build the bank of a spec, and that its hash is taken of."""
    psi = tuple(
        MorletParameters(
            sigma=0.8 * 2**j,
            angle=(first_angle(spec.L) - theta) * math.pi / spec.L,
            xi=3.0 / 4.0 * math.pi / 2**j,
            slant=4.0 / spec.L,
        )
        for j in range(spec.J)
        for theta in range(spec.L)
    )
    phi = MorletParameters(sigma=0.8 * 2 ** (spec.J - 1), angle=0.0, xi=0.0, slant=1.0)
    return FilterParameters(FILTERS_VERSION, NORM_PI, N_PERIODS, PADDING_RULE, spec.L, psi, phi, spec.is_centered)


def first_angle(L: int) -> int:
    """The angle of theta 0 in units of pi / L from the row axis; theta's is this minus theta."""
    return int(L - L / 2 - 1)


def filter_bank_hash(spec: ScatteringSpec) -> str:
    """ "sha256:..." of the filters' parameters, rounded to 12 digits so that every machine agrees."""
    rounded = _round_floats(asdict(filter_parameters(spec)))
    if not rounded["centered"]:
        del rounded["centered"]  # the hashes of stores that are older than the second grid
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
    space. On the centered grid both what comes in and what goes out is sampled in the centres of cells. Where maps are
    pooled, the means over cells are in it: their rows and columns are independent too.
    Returns float64 (P / 2^J - 2, P / 2^j), pooled (pool, P / 2^j), read-only.
    """
    return _build_lowpass_matrix(filter_parameters(spec), padded_size, j, spec.reduction.pool)


def centering_ramp(spec: ScatteringSpec, size: int, log2_stride: int) -> NDArray[np.complex128]:
    """What an axis's spectrum is multiplied by before it is folded by 2^log2_stride: complex128 (size,), FFT order.

    On the centered grid exp(2 pi i k s / size) with s = (2^log2_stride - 1) / 2, which moves sample n to n + s, the
    centre of the samples that become one; at the Nyquist frequency its real part, so that real maps stay real and
    mirrored ones mirrored. Ones on Kymatio's grid.
    """
    return _ramp(size, log2_stride if spec.is_centered else 0)


def reflect_indices(size: int, padded_size: int) -> NDArray[np.int64]:
    """Where each sample of a padded axis comes from: (padded_size,) indices into size samples, size >= 2.

    Plain reflection without repeating the border; Kymatio's special case for size == 2^J gives the same indices.
    """
    position = np.abs(np.arange(padded_size) - (padded_size - size) // 2) % (2 * (size - 1))
    return np.minimum(position, 2 * (size - 1) - position)


@lru_cache(maxsize=8)
def _build_bank(parameters: FilterParameters, padded_shape: tuple[int, int]) -> FilterBank:
    J, centered = parameters.J, parameters.centered
    psi = []
    for j in range(J):
        spectrum = (_mirrored_psi if centered else _plain_psi)(parameters, padded_shape, j)
        psi.append(tuple(_crop_spectrum(spectrum, res, centered) for res in range(min(j + 1, max(J - 1, 1)))))
    phi: Spectrum = (
        np.outer(*[_phi_axis(parameters, size) for size in padded_shape])
        if centered
        else np.fft.fft2(draw_gabors(parameters.phi, padded_shape, parameters)[0]).real
    )
    return FilterBank(tuple(psi), tuple(_crop_spectrum(phi, res, centered) for res in range(J)))


@lru_cache(maxsize=64)
def _build_lowpass_matrix(
    parameters: FilterParameters, padded_size: int, j: int, pool: int | None
) -> NDArray[np.float64]:
    J, spectrum = parameters.J, _crop_axis(_phi_axis(parameters, padded_size), j, 0, parameters.centered)
    kernel = np.fft.ifft(spectrum * _ramp(padded_size >> j, J - j if parameters.centered else 0)).real
    centres = (np.arange(1, (padded_size >> J) - 1) << (J - j))[:, None]
    matrix = kernel[(centres - np.arange(padded_size >> j)) % (padded_size >> j)]
    if pool is not None:
        matrix = np.stack([matrix[start:stop].mean(axis=0) for start, stop in cell_bounds(len(matrix), pool)])
    matrix.setflags(write=False)
    return matrix


def _ramp(size: int, log2_stride: int) -> NDArray[np.complex128]:
    shift = (2**log2_stride - 1) / 2
    ramp = np.exp(2j * np.pi * shift * np.fft.fftfreq(size))
    if log2_stride and size % 2 == 0:
        ramp[size // 2] = 0  # cos(pi s), for s is half an odd number
    return ramp


def _phi_axis(parameters: FilterParameters, size: int) -> NDArray[np.float64]:
    """The spectrum of one axis of phi, float64 (size,)."""
    sigma = parameters.phi.sigma
    periods = np.arange(-parameters.n_periods, parameters.n_periods + 1)
    position = np.arange(size) + size * periods[:, None]
    gaussian = np.exp(-(position**2) / (2 * sigma**2)).sum(0) / math.sqrt(2 * parameters.norm_pi * sigma**2)
    spectrum = np.fft.fft(gaussian).real
    return (spectrum + _reflect(spectrum, 0)) / 2 if parameters.centered else spectrum


def _plain_psi(parameters: FilterParameters, padded_shape: tuple[int, int], j: int) -> Spectrum:
    """Spectra of psi_{j, theta}, float32 (L, P, Q)."""
    waves = parameters.psi[j * parameters.L : (j + 1) * parameters.L]
    return np.fft.fft2(np.stack([draw_morlet(wave, padded_shape, parameters) for wave in waves])).real


def _mirrored_psi(parameters: FilterParameters, padded_shape: tuple[int, int], j: int) -> Spectrum:
    """Spectra of psi_{j, theta}, float32 (L, P, Q), each a reflection of one with an angle in 0 .. L / 4 (L / 2 for odd
    L) times pi / L. Those on an axis of symmetry are the mean of themselves and their mirror image."""
    L = parameters.L

    @lru_cache
    def compute(angle: int, shape: tuple[int, int]) -> Spectrum:
        wave = replace(parameters.psi[j * L], angle=angle * math.pi / L)
        return np.fft.fft2(draw_morlet(wave, shape, parameters)).real

    spectra = []
    for theta in range(L):
        angle, axes, transposed = _fold_angle(L, theta)
        shape = padded_shape[::-1] if transposed else padded_shape
        spectrum = compute(angle, shape)
        if angle == 0:
            spectrum = (spectrum + _reflect(spectrum, 1)) / 2
        if 4 * angle == L:
            spectrum = (spectrum + compute(angle, shape[::-1]).T) / 2
        spectra.append(_reflect(spectrum.T if transposed else spectrum, axes))
    return np.stack(spectra)


def _fold_angle(L: int, theta: int) -> tuple[int, tuple[int, ...], bool]:
    """(angle, axes, transposed): psi_theta is the wavelet of this angle (times pi / L), transposed, then reflected."""
    angle = first_angle(L) - theta
    axes: tuple[int, ...] = (1,) if angle < 0 else ()
    angle = abs(angle)
    if 2 * angle > L:
        angle, axes = L - angle, (*axes, 0)
    transposed = L % 2 == 0 and 4 * angle > L
    return (L // 2 - angle if transposed else angle), axes, transposed


def _reflect(spectrum: Spectrum, axes: int | tuple[int, ...]) -> Spectrum:
    """The spectrum at -k instead of k."""
    return np.roll(np.flip(spectrum, axes), (1,) * np.size(axes), axes)


def _crop_spectrum(spectrum: Spectrum, res: int, centered: bool) -> NDArray[np.float32]:
    """Low frequencies of the last two axes, 2^res times fewer; of the Nyquist pair the negative one alone stays, or on
    the centered grid the mean."""
    cropped = _crop_axis(_crop_axis(spectrum, res, -2, centered), res, -1, centered).astype(np.float32)
    cropped.setflags(write=False)
    return cropped


def _crop_axis(spectrum: Spectrum, res: int, axis: int, centered: bool) -> Spectrum:
    size = spectrum.shape[axis]
    half, n_dropped = size >> (res + 1), size - (size >> res)
    cropped = np.take(spectrum, np.r_[0:half, half + n_dropped : size], axis=axis)
    if centered:
        with_positive = np.take(spectrum, np.r_[0 : half + 1, half + 1 + n_dropped : size], axis=axis)
        cropped = (cropped + with_positive) / 2
    return cropped


def _round_floats(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{HASH_DIGITS}g}")
    if isinstance(value, dict):
        return {key: _round_floats(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_round_floats(item) for item in value]
    return value
