import copy
import io
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scatcache.scattering import Scattering2D, filters
from scatcache.scattering.backends import resolve_backend
from scatcache.spec import ScatteringSpec
from tests.scattering.grid import GRID, grid_name
from tests.scattering.oracle import kymatio_coefficients
from tests.scattering.tolerances import TOLERANCES, assert_orders_close, relative_error


def images_of(*shape, dtype=torch.float32):
    return torch.rand(*shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


def scattering_of(spec, shape, backend="auto"):
    return Scattering2D(spec.J, shape, spec.L, spec.max_order, backend=backend)


@pytest.mark.parametrize("backend", ["auto", "torch"])
@pytest.mark.parametrize(("spec", "shape"), GRID, ids=grid_name)
def test_coefficients_are_kymatios_in_both_precisions(spec, shape, backend):
    scattering, images = scattering_of(spec, shape, backend), images_of(2, *shape, dtype=torch.float64)
    expected = kymatio_coefficients(images.numpy(), spec)
    for dtype in (torch.float32, torch.float64):
        found = scattering(images.to(dtype))
        assert found.dtype == dtype
        assert_orders_close(found, expected, spec)


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 2), st.integers(0, 9), st.integers(0, 9))
def test_coefficients_are_kymatios_at_any_size(J, L, max_order, more_rows, more_columns):
    spec, shape = ScatteringSpec(J=J, L=L, max_order=max_order), (2**J + more_rows, 2**J + more_columns)
    images = images_of(1, *shape)
    expected = kymatio_coefficients(images.numpy(), spec)
    for backend in ("auto", "torch"):
        assert_orders_close(scattering_of(spec, shape, backend)(images), expected, spec)


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_perturbed_norm_breaks_parity(monkeypatch, backend):
    spec, images = ScatteringSpec(J=2), images_of(1, 32, 32)
    expected = kymatio_coefficients(images.numpy(), spec)
    monkeypatch.setattr(filters, "NORM_PI", np.pi)
    found = scattering_of(spec, (32, 32), backend)(images)
    assert relative_error(found, expected) > 10 * TOLERANCES["float32"]
    with pytest.raises(AssertionError, match="order 0"):
        assert_orders_close(found, expected, spec)


@pytest.mark.parametrize("backend", ["auto", "torch"])
@pytest.mark.parametrize("leading", [(), (2,), (2, 3), (1, 2, 3), (0, 3)])
def test_leading_dimensions_are_kept(leading, backend):
    scattering = Scattering2D(2, (32, 30), backend=backend)
    found = scattering(images_of(*leading, 32, 30))
    assert found.shape == (*leading, scattering.spec.n_paths, 8, 7)
    if 0 not in leading:
        alone = scattering(images_of(*leading, 32, 30).reshape(-1, 32, 30)[-1])
        torch.testing.assert_close(found.reshape(-1, *alone.shape)[-1], alone)


def test_settings_are_readable_and_positional_as_in_kymatio():
    scattering = Scattering2D(3, (16, 24), 4, 1)
    assert (scattering.J, scattering.shape, scattering.L, scattering.max_order) == (3, (16, 24), 4, 1)
    assert scattering.spec == ScatteringSpec(J=3, L=4, max_order=1) and scattering.backend == resolve_backend("auto")
    assert f"J=3, shape=(16, 24), L=4, max_order=1, backend={scattering.backend!r}" in repr(scattering)
    assert Scattering2D(2, (8, 8), backend="torch").backend == "torch"


def test_scattering_is_the_call():
    scattering, images = Scattering2D(J=2, shape=(16, 16)), images_of(2, 16, 16)
    assert torch.equal(scattering.scattering(images), scattering(images))


def test_constant_image_has_only_order_zero():
    found = Scattering2D(2, (32, 32))(torch.ones(32, 32, dtype=torch.float64))
    torch.testing.assert_close(found[0], torch.full((8, 8), 1.0000294, dtype=torch.float64), atol=3e-7, rtol=0)
    assert found[1:].abs().max() < 1e-7


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_uint8_is_divided_by_255_and_floats_are_not(backend):
    scattering = Scattering2D(2, (32, 32), backend=backend)
    pixels = torch.randint(0, 256, (2, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    by_255 = scattering(pixels.float() / 255)
    assert_orders_close(scattering(pixels), by_255, scattering.spec)
    # The native core sums the bytes themselves to an image's mean, which rounds otherwise than a sum of floats.
    assert torch.equal(scattering(pixels), by_255) or scattering.backend == "native"
    torch.testing.assert_close(scattering(pixels.float()), 255 * scattering(pixels), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int32, torch.complex64])
def test_other_dtypes_are_refused_with_advice(dtype):
    with pytest.raises(TypeError, match=r"expected uint8, float32 or float64; convert with .to\(torch.float32\)"):
        Scattering2D(2, (32, 32))(torch.zeros(32, 32, dtype=dtype))


def test_wrong_inputs_are_refused_with_found_and_expected():
    scattering = Scattering2D(2, (32, 32))
    with pytest.raises(TypeError, match="images are a ndarray: expected a torch"):
        scattering(np.zeros((32, 32), np.float32))
    with pytest.raises(ValueError, match=r"shape \(3, 28, 28\), expected \(\.\.\., 32, 32\)$"):
        scattering(torch.zeros(3, 28, 28))
    with pytest.raises(ValueError, match=r"shape \(5, 32, 32, 3\).*channels stand last, try images.movedim"):
        scattering(torch.zeros(5, 32, 32, 3))
    with pytest.raises(ValueError, match=r"shape \(32,\)"):
        scattering(torch.zeros(32))
    with pytest.raises(ValueError, match="images are on meta, this Scattering2D on cpu"):
        scattering(torch.zeros(32, 32, device="meta"))


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="too small for J=3"):
        Scattering2D(3, (7, 32))
    with pytest.raises(ValueError, match="expected one of auto, fused, native, torch"):
        Scattering2D(2, (32, 32), backend="numpy")
    for shape in (32, (32,), (3, 32, 32), (32.0, 32), "ab"):
        with pytest.raises(TypeError, match="height, width"):
            Scattering2D(2, shape)


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_non_contiguous_images_give_the_same_coefficients(backend):
    scattering, images = Scattering2D(2, (32, 30), backend=backend), images_of(30, 32, 2).permute(2, 1, 0)
    assert torch.equal(scattering(images), scattering(images.contiguous()))


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_copies_and_pickles_compute_the_same_bits(backend):
    scattering, images = Scattering2D(2, (32, 32), backend=backend), images_of(2, 32, 32)
    saved = io.BytesIO()
    torch.save(scattering, saved)
    saved.seek(0)
    copies = [copy.deepcopy(scattering), pickle.loads(pickle.dumps(scattering)), torch.load(saved, weights_only=False)]
    assert all(torch.equal(other(images), scattering(images)) for other in copies)


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_filters_are_no_part_of_the_state_and_hold_no_parameters(backend):
    scattering = Scattering2D(2, (32, 32), backend=backend)
    scattering(torch.zeros(32, 32, dtype=torch.float64))
    assert not scattering.state_dict() and not list(scattering.parameters())


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_float64_in_a_default_module_computes_in_float64(backend):
    images = images_of(1, 32, 32, dtype=torch.float64)
    scattering = Scattering2D(2, (32, 32), backend=backend)
    exact = scattering(images)
    assert 1e-9 < relative_error(scattering(images.float()), exact) < TOLERANCES["float32"]
    assert torch.equal(torch.nn.Sequential(scattering).half()(images), exact)


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_gradient_reaches_the_images(backend):
    images = images_of(2, 16, 16).requires_grad_()
    Scattering2D(2, (16, 16), backend=backend)(images).square().sum().backward()
    assert torch.isfinite(images.grad).all() and images.grad.abs().max() > 0


@pytest.mark.gpu
def test_moved_module_computes_on_the_gpu_and_refuses_cpu_images():
    scattering, images = Scattering2D(2, (32, 32)), images_of(2, 3, 32, 32)
    expected = scattering(images)
    scattering.to("cuda")
    torch.full((1 << 22,), torch.nan, device="cuda")
    torch.testing.assert_close(scattering(images.to("cuda")).cpu(), expected)
    with pytest.raises(ValueError, match="images are on cpu"):
        scattering(images)
