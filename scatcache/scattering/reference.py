"""The scattering transform in plain NumPy and float64: slow, readable, and the oracle of every faster backend.

U1 = |x * psi_1|, U2 = |U1 * psi_2|, S_m = U_m * phi, each convolution circular on the reflect-padded image, each map
kept at the resolution of its last wavelet. Source: kymatio/scattering2d/core/scattering2d.py. On the centered grid the
samples that are kept lie half-way between those that are dropped: see filters.centering_ramp.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scatcache.scattering.filters import FilterBank, centering_ramp, filter_bank, reflect_indices
from scatcache.scattering.reduction import reduce_maps
from scatcache.spec import SCALES, ScatteringSpec

Maps = NDArray[np.float64]
Spectra = NDArray[np.complex128]


def scattering2d(images: ArrayLike, spec: ScatteringSpec) -> Maps:
    """Scattering coefficients of images (..., H, W): float64 (..., n_paths, h, w), paths in the order of paths.py.

    Floats are taken as they are; uint8 is divided by 255, uint16 by 65535. Filters are the float32 bank, computed with
    in float64. What a reduction keeps is computed from whole maps. Raises TypeError for other dtypes, ValueError for
    shapes that spec.check_shape refuses.
    """
    padded = pad_images(_as_float64(images), spec)
    bank = filter_bank(spec, (padded.shape[-2], padded.shape[-1]))
    spectrum = np.fft.fft2(padded)
    zeroth = [_lowpass(spectrum, bank, spec, res=0)]
    first: list[Maps] = []
    second: list[Maps] = []
    wavelets = [(j, theta) for j in range(spec.J) for theta in range(spec.L)] if spec.max_order >= 1 else []
    for j1, theta1 in wavelets:
        spectrum1 = np.fft.fft2(_modulus(spectrum, bank.psi[j1][0][theta1], spec, j1))
        first.append(_lowpass(spectrum1, bank, spec, res=j1))
        for j2, theta2 in wavelets:
            if spec.max_order == 2 and j2 > j1:
                spectrum2 = np.fft.fft2(_modulus(spectrum1, bank.psi[j2][j1][theta2], spec, j2 - j1))
                second.append(_lowpass(spectrum2, bank, spec, res=j2))
    return reduce_maps(np.stack(zeroth + first + second, axis=-3), spec)


def pad_images(images: Maps, spec: ScatteringSpec) -> Maps:
    """Reflect-pad (..., H, W) to (..., P, Q), spec.padded_shape."""
    height, width = images.shape[-2:]
    padded_height, padded_width = spec.padded_shape(height, width)
    rows = reflect_indices(height, padded_height)
    columns = reflect_indices(width, padded_width)
    return images[..., rows[:, None], columns]


def _as_float64(images: ArrayLike) -> Maps:
    array = np.asarray(images)
    if array.dtype in (np.uint8, np.uint16):
        return array / SCALES[array.dtype.name]
    if not np.issubdtype(array.dtype, np.floating):
        raise TypeError(f"images are {array.dtype}: expected uint8, uint16 or floats")
    return array.astype(np.float64)


def _modulus(spectrum: Spectra, psi: NDArray[np.float32], spec: ScatteringSpec, log2_stride: int) -> Maps:
    """|x * psi| sampled every 2^log2_stride pixels, from the spectrum of x."""
    return np.abs(np.fft.ifft2(_fold(spectrum * psi, spec, log2_stride)))


def _lowpass(spectrum: Spectra, bank: FilterBank, spec: ScatteringSpec, res: int) -> Maps:
    """x * phi every 2^J pixels of the image, without the padding's cell at each end; spectrum at resolution 2^res."""
    return np.fft.ifft2(_fold(spectrum * bank.phi[res], spec, spec.J - res)).real[..., 1:-1, 1:-1]


def _fold(spectrum: Spectra, spec: ScatteringSpec, log2_stride: int) -> Spectra:
    """The spectrum of every 2^log2_stride-th sample per axis, from where the grid starts: the mean of the aliases."""
    stride = 2**log2_stride
    rows, columns = (centering_ramp(spec, size, log2_stride) for size in spectrum.shape[-2:])
    spectrum = spectrum * rows[:, None] * columns
    height, width = spectrum.shape[-2] // stride, spectrum.shape[-1] // stride
    return spectrum.reshape(*spectrum.shape[:-2], stride, height, stride, width).mean(axis=(-4, -2))
