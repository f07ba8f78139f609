"""A plane's coefficients are those of the plane near 1, times a power of two, to the bit."""

import numpy as np
import pytest

from scatcache.scattering import open_transform
from scatcache.scattering.magnitudes import MOST_EXPONENT, settle_scale
from scatcache.spec import Pixels, ScatteringSpec
from tests.scattering.test_batched import BACKENDS

SPEC, SHAPE = ScatteringSpec(J=2, L=4, colours=2), (18, 21)


def open_floats(backend, scale=1.0, dtype="float32"):
    return open_transform(SPEC, SHAPE, pixels=Pixels("native", 2, dtype, scale), backend=backend)


def compute(transform, images, dtype=np.float32):
    out = np.full((len(images), *transform.output_shape), np.nan, dtype)
    transform(images, out)
    started = transform.start(images, np.dtype(dtype))()
    assert started.dtype == out.dtype and started.tobytes() == out.tobytes()
    return out


@pytest.fixture
def images():
    return np.random.default_rng(0).standard_normal((3, *SHAPE, 2)).astype(np.float32)


@pytest.mark.parametrize("backend", BACKENDS)
def test_powers_of_two_change_exponents_alone(images, backend):
    transform = open_floats(backend)
    near = compute(transform, images)
    assert np.isfinite(near).all()
    for power in (-100, -MOST_EXPONENT - 9, -MOST_EXPONENT + 4, 7, MOST_EXPONENT - 4, MOST_EXPONENT + 9, 118):
        assert np.array_equal(compute(transform, np.ldexp(images, power)), np.ldexp(near, power))
    for power in (-100, 7, 118):
        assert np.array_equal(compute(open_floats(backend, 2.0**power), images), np.ldexp(near, -power))
        # Both ways at once, beyond what float32 has.
        far = compute(open_floats(backend, 2.0 ** (5 * power)), np.ldexp(images, power))
        with np.errstate(over="ignore", under="ignore"):
            assert np.array_equal(far, np.ldexp(near, -4 * power))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_plane_is_shifted_alone_and_what_is_not_finite_stays_in_it(images, backend):
    transform = open_floats(backend)
    near = compute(transform, images).reshape(3, 2, SPEC.n_paths, -1)
    images[0, ..., 0] = np.ldexp(images[0, ..., 0], -90)
    images[1, ..., 1] = 0
    images[2, 4, 4, 1] = np.nan
    found = compute(transform, images).reshape(near.shape)
    assert np.array_equal(found[0, 0], np.ldexp(near[0, 0], -90)) and np.array_equal(found[0, 1], near[0, 1])
    assert np.array_equal(found[1, 0], near[1, 0]) and not found[1, 1].any()
    assert np.array_equal(found[2, 0], near[2, 0]) and np.isnan(found[2, 1]).any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_float16_and_whole_numbers_are_shifted_too(images, backend):
    tiny = np.ldexp(images, -60)
    transform = open_floats(backend)
    found = compute(open_floats(backend, 2.0**-60), tiny, np.float16)
    assert np.array_equal(found, compute(transform, images, np.float16))
    whole = np.random.default_rng(1).integers(0, 65536, (3, *SHAPE, 2), dtype=np.uint16)
    near = compute(open_floats(backend, 1.0, "uint16"), whole)
    assert np.array_equal(compute(open_floats(backend, 2.0**90, "uint16"), whole), np.ldexp(near, -90))
    assert compute(transform, images[:0]).shape == (0, *transform.output_shape)


def test_ordinary_scales_are_left_alone():
    for scale in (255.0, 65535.0, 1.0, 0.3, 2.0**31, 2.0**-32):
        pixels = Pixels("native", 1, "float32", scale)
        assert settle_scale(pixels) == (pixels, 0)
    settled, shift = settle_scale(Pixels("native", 1, "float32", 3e-300))
    assert settled.scale * 2.0**shift == 3e-300 and 0.5 <= settled.scale < 1
