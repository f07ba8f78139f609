"""The compiled cores that run here, what they are fed, and a call that notices what it leaves out or writes astray."""

import numpy as np
import pytest

from scatcache.scattering.native.library import CORES, choose_core, find_core, runs_here

CORES_HERE = [name for name in CORES if find_core(name) and runs_here(name)]
EACH_CORE = [
    pytest.param(name, marks=pytest.mark.skipif(name not in CORES_HERE, reason=f"no {name} core runs here"))
    for name in CORES
]
NEEDS_CORE = pytest.mark.skipif(choose_core().core is None, reason="no native core is chosen here")
N_GUARDS = 96


def coefficients_of(transform, images, dtype=np.float32, *, n_threads=1):
    """What the transform writes for images (B, C, H, W), into NaN that stands between guards."""
    spec, shape = transform.spec, transform.shape
    _, height, width = spec.output_shape(*shape)
    out_shape = (images.shape[0], images.shape[1] * spec.n_paths, height, width)
    room = np.full(2 * N_GUARDS + int(np.prod(out_shape)), 7, dtype)
    out = room[N_GUARDS : len(room) - N_GUARDS].reshape(out_shape)
    out[...] = np.nan
    transform(images, out, n_threads=n_threads)
    assert (room[:N_GUARDS] == 7).all() and (room[len(room) - N_GUARDS :] == 7).all()
    return out


def noise(*shape, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    if dtype == np.float32:
        return rng.random(shape, np.float32)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def photographs(n, shape, seed=0):
    """float32 (n, 1, H, W) in 0 to 1: 1 / f noise with an edge through it, the spectrum and borders of photographs."""
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(size) for size in shape], indexing="ij"))
    spectra = np.fft.fft2(np.random.default_rng(seed).standard_normal((n, 1, *shape)))
    images = np.fft.ifft2(spectra / np.maximum(frequency, 1 / max(shape))).real
    beyond = np.add.outer(np.arange(shape[0]), 2 * np.arange(shape[1])) > 1.2 * sum(shape)
    images[..., beyond] += 2 * images.std()
    low, high = images.min((-2, -1), keepdims=True), images.max((-2, -1), keepdims=True)
    return ((images - low) / (high - low)).astype(np.float32)


def same_bits(found, expected):
    return found.dtype == expected.dtype and found.shape == expected.shape and found.tobytes() == expected.tobytes()
