import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scatcache.scattering.filters import filter_bank
from scatcache.scattering.reference import pad_images, scattering2d
from scatcache.spec import ScatteringSpec
from tests.scattering.grid import GRID, grid_name
from tests.scattering.oracle import kymatio_coefficients
from tests.scattering.tolerances import TOLERANCES, assert_orders_close, relative_error


@pytest.mark.parametrize(("spec", "shape"), GRID, ids=grid_name)
def test_coefficients_are_kymatios(spec, shape):
    images = np.random.default_rng(0).random((2, *shape))
    assert_orders_close(scattering2d(images, spec), kymatio_coefficients(images, spec), spec)


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 2), st.integers(0, 9), st.integers(0, 9))
def test_coefficients_are_kymatios_at_any_size(J, L, max_order, more_rows, more_columns):
    spec, shape = ScatteringSpec(J=J, L=L, max_order=max_order), (2**J + more_rows, 2**J + more_columns)
    images = np.random.default_rng(0).random((1, *shape))
    assert_orders_close(scattering2d(images, spec), kymatio_coefficients(images, spec), spec)


@pytest.mark.parametrize(("direction", "theta"), [((1, 0), 3), ((0, 1), 7), ((1, 1), 1), ((1, -1), 5)])
def test_gratings_peak_at_their_angle(direction, theta):
    unit = np.array(direction) / np.hypot(*direction)
    rows, columns = np.mgrid[:64, :64]
    grating = np.cos(3 * np.pi / 4 * (unit[0] * rows + unit[1] * columns))
    first_scale = scattering2d(grating, ScatteringSpec(J=2))[1:9]
    assert first_scale.mean((1, 2)).argmax() == theta


def test_constant_image_has_only_order_zero():
    coefficients = scattering2d(np.ones((32, 32)), ScatteringSpec(J=2))
    np.testing.assert_allclose(coefficients[0], 1.0000294, atol=3e-7)
    assert np.abs(coefficients[1:]).max() < 1e-7


def test_coefficients_scale_with_the_image():
    spec, image = ScatteringSpec(J=2), np.random.default_rng(0).random((30, 30))
    np.testing.assert_allclose(scattering2d(255 * image, spec), 255 * scattering2d(image, spec), rtol=1e-12)


def test_whole_numbers_are_divided_by_their_largest():
    spec = ScatteringSpec(J=2)
    for dtype, largest in ((np.uint8, 255), (np.uint16, 65535)):
        samples = np.random.default_rng(0).integers(0, largest + 1, (2, 30, 30), dtype=dtype)
        np.testing.assert_array_equal(scattering2d(samples, spec), scattering2d(samples / largest, spec))


def test_borders_are_those_of_a_circular_convolution():
    spec, image = ScatteringSpec(J=2), np.random.default_rng(0).random((32, 32))
    padded = pad_images(image, spec)
    spectrum = filter_bank(spec, (40, 40)).phi[0].astype(np.float64)
    kernel = np.fft.fftshift(np.fft.ifft2(spectrum).real)
    wrapped = np.pad(padded, 20, mode="wrap")
    unwrapped = np.pad(padded, 20)
    s0 = scattering2d(image, spec)[0]
    for border, agrees in ((wrapped, True), (unwrapped, False)):
        # Output cell (0, 0) samples padded pixel (4, 4): windows of 40 start 20 before it.
        found = np.sum(border[4:44, 4:44][::-1, ::-1] * np.roll(kernel, (-1, -1), (0, 1)))
        assert (abs(found - s0[0, 0]) < 1e-9) == agrees


def test_small_images_and_other_dtypes_are_refused():
    with pytest.raises(ValueError, match="too small for J=3"):
        scattering2d(np.zeros((7, 32)), ScatteringSpec(J=3))
    with pytest.raises(TypeError, match="int64: expected uint8, uint16 or floats"):
        scattering2d(np.zeros((32, 32), np.int64), ScatteringSpec(J=3))


def test_perturbed_norm_breaks_parity(monkeypatch):
    spec, images = ScatteringSpec(J=2), np.random.default_rng(0).random((1, 32, 32))
    expected = kymatio_coefficients(images, spec)
    monkeypatch.setattr("scatcache.scattering.filters.NORM_PI", np.pi)
    assert relative_error(scattering2d(images, spec), expected) > 10 * TOLERANCES["float32"]
    with pytest.raises(AssertionError, match="order 0"):
        assert_orders_close(scattering2d(images, spec), expected, spec)
