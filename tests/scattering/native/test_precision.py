"""How exact the cores are: beside Kymatio's own float32, beside each other, and when they round to float16."""

import numpy as np
import pytest

from scatcache.scattering.native.transform import NativeTransform
from scatcache.scattering.paths import path_table
from scatcache.scattering.reference import scattering2d
from scatcache.spec import ScatteringSpec
from tests.scattering.grid import GRID, grid_name
from tests.scattering.native.cores import CORES_HERE, EACH_CORE, NEEDS_CORE, coefficients_of, noise, photographs
from tests.scattering.oracle import kymatio_in_float32
from tests.scattering.tolerances import assert_orders_close, relative_error

# ||found - expected|| / ||expected|| over all channels.
MOST_ERROR = 2e-7
# Of Kymatio's error in float32, order by order.
MOST_OF_KYMATIOS = 1.2
SHAPES = [
    *[((size, size), 6) for size in (32, 64, 96, 128)],
    *[((33, 47), 6), ((31, 29), 6), ((61, 77), 4), ((99, 101), 3)],
    *[pytest.param(shape, 2, marks=pytest.mark.slow) for shape in ((224, 224), (225, 223))],
]


def errors_by_order(found, expected, spec):
    order = path_table(spec)["order"]
    return [relative_error(found[:, order == m], expected[:, order == m]) for m in range(spec.max_order + 1)]


@NEEDS_CORE
@pytest.mark.parametrize(("shape", "n"), SHAPES, ids=grid_name)
def test_error_on_photographs_is_kymatios_in_float32(shape, n):
    spec, images = ScatteringSpec(J=2), photographs(n, shape)
    expected = scattering2d(images[:, 0].astype(np.float64), spec)
    kymatio = errors_by_order(kymatio_in_float32(images[:, 0], spec), expected, spec)
    for core in CORES_HERE:
        found = coefficients_of(NativeTransform(spec, shape, core=core), images)
        whole, orders = relative_error(found, expected), errors_by_order(found, expected, spec)
        assert whole <= MOST_ERROR, core
        for error, most in zip(orders, kymatio, strict=True):
            assert error <= MOST_OF_KYMATIOS * most, (core, orders, kymatio)


@pytest.mark.skipif(len(CORES_HERE) < 2, reason="needs two native cores")
@pytest.mark.parametrize(("spec", "shape"), GRID, ids=grid_name)
def test_cores_agree(spec, shape):
    images = noise(3, 2, *shape)
    found = [coefficients_of(NativeTransform(spec, shape, core=core), images) for core in CORES_HERE]
    by_plane = [coefficients.reshape(6, spec.n_paths, *coefficients.shape[-2:]) for coefficients in found]
    for other in by_plane[1:]:
        assert_orders_close(by_plane[0], other, spec)


def assert_rounded(half, single):
    """half is single as NumPy rounds it, to the bit, but for the payload of NaN."""
    with np.errstate(over="ignore"):
        expected = single.astype(np.float16)
    is_nan = np.isnan(expected)
    assert np.array_equal(np.isnan(half), is_nan)
    assert np.array_equal(half.view(np.uint16)[~is_nan], expected.view(np.uint16)[~is_nan])


@pytest.mark.parametrize("core", EACH_CORE)
@pytest.mark.parametrize("shape", [(32, 32), (33, 47), (30, 71)], ids=str)
@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e-7, 3e4, 3e6])
def test_float16_is_float32_rounded(core, shape, scale):
    transform, images = NativeTransform(ScatteringSpec(J=2, L=4), shape, core=core), noise(3, 3, *shape) * scale
    images = images.astype(np.float32)
    half, single = coefficients_of(transform, images, np.float16), coefficients_of(transform, images)
    assert_rounded(half, single)
    subnormal = (np.abs(half) < np.finfo(np.float16).smallest_normal) & (half != 0)
    assert subnormal.any() if scale < 1e-3 else np.isinf(half).any() == (scale > 1e5)


@pytest.mark.parametrize("core", EACH_CORE)
def test_every_float16_is_reached_and_rounded_to(core):
    """Order 0 of a flat image is its value times 1.0000294: values on and around every float16 and between two."""
    exact = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
    exact = np.unique(exact[np.isfinite(exact)])
    between = (exact[1:] + exact[:-1]) / 2
    values = np.concatenate([exact, between, [65520, -65520, 1e9, -1e9, np.inf, -np.inf, np.nan]]).astype(np.float32)
    gain = coefficients_of(
        NativeTransform(ScatteringSpec(J=1, max_order=0), (2, 2), core=core), np.ones((1, 1, 2, 2), np.float32)
    )
    pixels = values / gain.ravel()[0]
    nearby = np.concatenate([np.nextafter(pixels, np.float32(side)) for side in (-np.inf, np.inf)])
    pixels = np.concatenate([pixels, nearby]).astype(np.float32)
    images = np.broadcast_to(pixels[:, None, None, None], (len(pixels), 1, 2, 2))
    transform = NativeTransform(ScatteringSpec(J=1, max_order=0), (2, 2), core=core)
    half, single = coefficients_of(transform, images, np.float16), coefficients_of(transform, images)
    assert_rounded(half, single)
    assert len(np.unique(half[np.isfinite(half)])) >= len(exact) - 2 and np.isinf(half).any()
    bits = single[np.isfinite(single)].view(np.uint32)
    assert (bits & 0x1FFF == 0x1000).sum() > 1000  # ties of normal numbers
