"""The fused backend on CUDA devices, and what of it needs none."""

import copy
import pickle
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from scatcache.scattering import fused
from scatcache.scattering.batched import open_transform
from scatcache.scattering.fused import FusedScattering, FusedTransform, fused_obstacle
from scatcache.scattering.fused_plan import FusedPlan, NoFusedPlan
from scatcache.scattering.reference import scattering2d
from scatcache.scattering.scattering2d import Scattering2D
from scatcache.scattering.torch_fft import TorchScattering
from scatcache.spec import Pixels, ScatteringSpec
from tests.scattering.test_batched import KINDS, RGB, images_of
from tests.scattering.tolerances import assert_orders_close

SPEC = ScatteringSpec(J=2)


@pytest.fixture
def needs_fused() -> None:
    if obstacle := fused_obstacle():
        pytest.skip(f"needs the fused kernels: {obstacle}")


def draw_planes(n_planes: int, shape: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n_planes, *shape), dtype=np.uint8)


def compute(transform: FusedTransform, images: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Coefficients of images (B, C, H, W) on the device, every one of them written."""
    _, height, width = transform.spec.output_shape(*transform.shape)
    shape = (images.shape[0], images.shape[1] * transform.spec.n_paths, height, width)
    out = torch.full(shape, torch.nan, dtype=dtype, device=images.device)
    transform(images, out)
    assert not out.isnan().any()
    return out


@pytest.mark.gpu
@pytest.mark.usefixtures("needs_fused")
@pytest.mark.parametrize("grid", ["kymatio", "centered"])
@pytest.mark.parametrize(
    ("J", "L", "shape"),
    [(2, 8, (32, 32)), (2, 8, (28, 28)), (2, 6, (44, 68)), (2, 8, (96, 96)), (2, 8, (128, 128)), (2, 8, (224, 224)),
     (2, 8, (256, 256)), (2, 8, (224, 160)), (3, 8, (32, 32)), (3, 4, (96, 64)), (3, 8, (224, 224)),
     (3, 8, (256, 256))],
)  # fmt: skip
def test_coefficients_are_the_references(J: int, L: int, shape: tuple[int, int], grid: str) -> None:
    spec = ScatteringSpec(J=J, L=L, grid=grid)
    planes = draw_planes(2, shape)
    expected = scattering2d(planes, spec)
    device = torch.device("cuda")
    try:
        transform = FusedTransform(spec, shape, device)
    except NoFusedPlan as reason:
        pytest.skip(str(reason))
    images = torch.from_numpy(planes).to(device).unsqueeze(1)
    for dtype in (torch.float32, torch.float16):
        found = compute(transform, images, dtype).cpu().numpy()
        assert_orders_close(found, expected, spec)


@pytest.mark.gpu
@pytest.mark.usefixtures("needs_fused")
def test_bits_depend_on_nothing_else() -> None:
    """Not on the batch, on strides, on the stream, on what other threads do, nor on the memory that is free."""
    device = torch.device("cuda")
    transform = FusedTransform(SPEC, (32, 32), device)
    pixels = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (512, 32, 32, 3), dtype=np.uint8)).to(device)
    images = pixels.permute(0, 3, 1, 2)
    whole = compute(transform, images)
    for n in (1, 2, 7, 128):
        assert torch.equal(compute(transform, images[:n]), whole[:n])
    assert torch.equal(compute(transform, images.contiguous()), whole)
    assert torch.equal(compute(transform, images[::3]), whole[::3])
    assert torch.equal(compute(transform, images[:9].float() / 255), whole[:9])
    assert torch.equal(compute(transform, images[:9].to(torch.int32).mul(257).to(torch.uint16)), whole[:9])
    results: dict[int, torch.Tensor] = {}

    def work(position: int) -> None:
        with torch.cuda.stream(torch.cuda.Stream()):
            part = images[position::4].contiguous()
            for _ in range(5):
                results[position] = compute(transform, part)
            torch.cuda.current_stream().synchronize()

    torch.cuda.synchronize()
    threads = [threading.Thread(target=work, args=(position,)) for position in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(results[position], whole[position::4]) for position in range(4))


@pytest.mark.gpu
@pytest.mark.usefixtures("needs_fused")
def test_the_module_is_fused_on_cuda_and_differentiable() -> None:
    scattering = Scattering2D(2, (32, 32)).cuda()
    assert scattering.backend == "fused"
    images = torch.rand(4, 3, 32, 32, device="cuda")
    expected = Scattering2D(2, (32, 32), backend="torch").cuda()(images)
    for module in (scattering, copy.deepcopy(scattering), pickle.loads(pickle.dumps(scattering))):
        assert_orders_close(module(images).cpu().numpy(), expected.cpu().numpy(), SPEC)
    images.requires_grad_()
    scattering(images).sum().backward()
    assert images.grad is not None and images.grad.isfinite().all()
    assert scattering(images.detach().double()).dtype == torch.float64
    assert Scattering2D(4, (32, 32), backend="fused").cuda()(images.detach()).shape == (4, 3, 417, 2, 2)


@pytest.mark.gpu
@pytest.mark.usefixtures("needs_fused")
@pytest.mark.parametrize("pixels", [RGB, *KINDS], ids=lambda pixels: f"{pixels.colours}x{pixels.dtype}")
def test_batches_are_what_the_kernels_give(pixels: Pixels) -> None:
    spec = replace(SPEC, colours=pixels.colours)
    transform = open_transform(spec, (32, 32), pixels=pixels, device="cuda")
    assert transform.name == "fused"
    images = images_of(5, (32, 32), pixels=pixels)
    expected = scattering2d(images.transpose(0, 3, 1, 2).astype(np.float64) / pixels.scale, spec)
    for dtype in (np.float16, np.float32):
        out = np.full((5, *transform.output_shape), np.nan, dtype)
        transform(images, out)
        assert_orders_close(out.reshape(expected.shape), expected, spec)
        assert np.array_equal(transform.start(images[3:4], np.dtype(dtype))()[0], out[3])


@pytest.mark.gpu
@pytest.mark.usefixtures("needs_fused")
def test_every_visible_device_computes_the_same() -> None:
    n_devices = torch.cuda.device_count()
    if n_devices < 2:
        pytest.skip("needs two CUDA devices")
    planes = torch.from_numpy(draw_planes(6, (32, 32))).unsqueeze(1)
    found = []
    for index in range(n_devices):
        device = torch.device("cuda", index)
        found.append(compute(FusedTransform(SPEC, (32, 32), device), planes.to(device)).cpu())
    assert all(torch.equal(found[0], other) for other in found[1:])


class FullDevice(FusedTransform):
    """A transform whose device has memory for n_fitting planes; it writes each plane's number."""

    def __init__(self, n_fitting: int) -> None:
        self.spec, self.shape, self.device = ScatteringSpec(J=2, L=1), (8, 8), torch.device("cpu")
        self.plan = FusedPlan((), "", np.zeros(0, np.float32), np.zeros(0, np.int32), {"means": 1}, 1)
        self.n_fitting = n_fitting
        self.parts: list[int] = []

    def _run_part(self, images: torch.Tensor, out: torch.Tensor, first: int, n_planes: int, scale: float) -> None:
        if n_planes > self.n_fitting:
            raise torch.cuda.OutOfMemoryError
        self.parts.append(n_planes)
        planes = out.view(-1, self.spec.n_paths, *out.shape[2:])
        planes[first : first + n_planes] = torch.arange(first, first + n_planes)[:, None, None, None]


def test_out_of_memory_halves_the_part_and_goes_on() -> None:
    images = torch.zeros(5, 3, 8, 8)
    out = torch.full((5, 3 * 4, 2, 2), torch.nan)
    transform = FullDevice(4)
    transform(images, out)
    assert torch.equal(out[:, ::4, 0, 0].flatten(), torch.arange(15.0)) and transform.parts == [3] * 5
    with pytest.raises(torch.cuda.OutOfMemoryError):
        FullDevice(0)(images, out)


def test_wrong_arrays_are_refused() -> None:
    transform = FullDevice(1)
    good, out = torch.zeros(1, 3, 8, 8), torch.zeros(1, 12, 2, 2)
    with pytest.raises(TypeError, match=r"images are torch\.float64"):
        transform(good.double(), out)
    with pytest.raises(TypeError, match=r"out torch\.bfloat16"):
        transform(good, out.bfloat16())
    with pytest.raises(ValueError, match=r"images have shape \(3, 8, 8\)"):
        transform(good[0], out)
    with pytest.raises(ValueError, match=r"out has shape \(1, 12, 2, 2\).*contiguous"):
        transform(good, out.transpose(2, 3))
    with pytest.raises(ValueError, match="images are on meta"):
        transform(good.to("meta"), out)


def test_a_module_without_cuda_images_is_torchs() -> None:
    module = FusedScattering(SPEC, (32, 32))
    images = torch.rand(2, 32, 32)
    with torch.inference_mode():
        assert torch.equal(module(images), TorchScattering(SPEC, (32, 32))(images))
    images.requires_grad_()
    copy.deepcopy(module)(images).sum().backward()
    assert images.grad is not None and images.grad.isfinite().all()
    with pytest.raises(ValueError, match="too small"):
        FusedScattering(SPEC, (3, 32))


def test_where_nothing_runs_the_transform_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "fused_obstacle", lambda: "it rains")
    with pytest.raises(fused.BackendUnavailable, match="does not run here: it rains; choose the backend torch instead"):
        FusedTransform(SPEC, (32, 32), torch.device("cuda"))
