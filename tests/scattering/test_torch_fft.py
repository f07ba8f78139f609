"""Runs without Hypothesis and Kymatio, where a GPU's interpreter has neither; the oracle is reference.py."""

import pytest
import torch

from scatcache.scattering import torch_fft
from scatcache.scattering.reference import scattering2d
from scatcache.scattering.torch_fft import TorchScattering, scale_pixels
from scatcache.spec import ScatteringSpec
from tests.scattering.grid import GRID, grid_name
from tests.scattering.tolerances import assert_orders_close

DTYPES = [torch.float32, torch.float64]


def planes_of(shape, n=2, dtype=torch.float64):
    return torch.rand(n, *shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("spec", "shape"), GRID, ids=grid_name)
def test_coefficients_are_the_references(spec, shape, dtype):
    planes = planes_of(shape, dtype=dtype)
    found = TorchScattering(spec, shape)(planes)
    assert found.dtype == dtype
    assert_orders_close(found, scattering2d(planes.numpy(), spec), spec)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_differentiable_coefficients_are_the_references(dtype):
    spec, planes = ScatteringSpec(J=3, L=4), planes_of((66, 67), dtype=dtype)
    found = TorchScattering(spec, (66, 67))(planes.clone().requires_grad_())
    assert_orders_close(found.detach(), scattering2d(planes.numpy(), spec), spec)


@pytest.mark.parametrize("budget_bytes", [1, 1 << 16, 1 << 30])
def test_coefficients_do_not_depend_on_how_work_is_cut(monkeypatch, budget_bytes):
    spec, planes = ScatteringSpec(J=3, L=4), planes_of((30, 35), n=5)
    expected = scattering2d(planes.numpy(), spec)
    monkeypatch.setitem(torch_fft.BUDGET_BYTES, "cpu", budget_bytes)
    assert_orders_close(TorchScattering(spec, (30, 35))(planes), expected, spec)


def test_gradient_is_the_numerical_one():
    module = TorchScattering(ScatteringSpec(J=2, L=3), (8, 9))
    assert torch.autograd.gradcheck(module, planes_of((8, 9), n=1).requires_grad_())


@pytest.mark.parametrize("shape", [(16, 16), (64, 70)])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_gradient_of_a_flat_image_is_finite(shape, value):
    image = torch.full((1, *shape), value, requires_grad=True)
    TorchScattering(ScatteringSpec(J=2), shape)(image).sum().backward()
    assert torch.isfinite(image.grad).all()


def test_filters_keep_their_precision_when_a_model_is_cast():
    spec, planes = ScatteringSpec(J=2, L=4), planes_of((16, 16))
    module = TorchScattering(spec, (16, 16))
    expected = module(planes)
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        assert torch.equal(module.to(dtype)(planes), expected)


def test_autocast_and_reduced_matmul_precision_do_not_reach_the_transform():
    module, planes = TorchScattering(ScatteringSpec(J=2, L=4), (16, 16)), planes_of((16, 16), dtype=torch.float32)
    expected = module(planes)
    found_setting = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(module(planes), expected)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(found_setting)


@pytest.mark.parametrize("max_order", [0, 2])
def test_no_planes_give_no_coefficients(max_order):
    spec = ScatteringSpec(J=2, max_order=max_order)
    assert TorchScattering(spec, (32, 30))(torch.empty(0, 32, 30)).shape == (0, spec.n_paths, 8, 7)


def test_pixels_are_scaled_to_one_and_floats_left_alone():
    assert torch.equal(scale_pixels(torch.tensor([0, 51, 255], dtype=torch.uint8)), torch.tensor([0.0, 0.2, 1.0]))
    floats = torch.tensor([0.0, 51.0, 255.0])
    assert scale_pixels(floats) is floats
    for dtype in (torch.float16, torch.bfloat16, torch.int64, torch.complex64):
        with pytest.raises(TypeError, match="float32"):
            scale_pixels(torch.zeros(3, dtype=dtype))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("spec", "shape"), GRID, ids=grid_name)
def test_coefficients_on_a_gpu_are_the_references(spec, shape, dtype):
    planes = planes_of(shape, dtype=dtype)
    poison_gpu_memory()
    found = TorchScattering(spec, shape).to("cuda")(planes.to("cuda"))
    assert_orders_close(found.cpu(), scattering2d(planes.numpy(), spec), spec)


@pytest.mark.gpu
def test_gradient_on_a_gpu_is_the_cpus():
    module, planes = TorchScattering(ScatteringSpec(J=2, L=3), (16, 17)), planes_of((16, 17))
    gradients = []
    for device in ("cpu", "cuda"):
        leaf = planes.to(device).requires_grad_()
        poison_gpu_memory()
        module.to(device)(leaf).square().sum().backward()
        gradients.append(leaf.grad.cpu())
    torch.testing.assert_close(gradients[1], gradients[0])


@pytest.mark.gpu
def test_tf32_does_not_reach_the_transform():
    spec, planes = ScatteringSpec(J=2), planes_of((32, 32), dtype=torch.float32)
    found_setting = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        found = TorchScattering(spec, (32, 32)).to("cuda")(planes.to("cuda"))
    finally:
        torch.set_float32_matmul_precision(found_setting)
    assert_orders_close(found.cpu(), scattering2d(planes.numpy(), spec), spec)


def poison_gpu_memory():
    """Leave NaN in the allocator's free blocks, so that an element nobody writes shows."""
    blocks = [torch.full((2**k,), torch.nan, device="cuda") for k in range(8, 24)]
    del blocks
