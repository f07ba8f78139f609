"""Runs without Hypothesis and Kymatio, where a GPU's interpreter has neither."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from scatcache.errors import BackendUnavailable
from scatcache.scattering import open_transform
from scatcache.scattering.backends import resolve_backend
from scatcache.scattering.batched import TorchBatches
from scatcache.scattering.native.library import choose_core, find_core_for
from scatcache.scattering.native.transform import NativeTransform
from scatcache.scattering.reference import scattering2d
from scatcache.spec import SCALES, Pixels, ScatteringSpec
from tests.scattering.tolerances import assert_orders_close

SHAPES = [(32, 32), (33, 47), (30, 30), (31, 29), (96, 96), (128, 128), (224, 224)]
RGB = Pixels()
# Of each type of samples; numbers of planes that fill no register.
KINDS = [Pixels("grey", 1), Pixels("native", 5, "uint16", 4095.0), Pixels("native", 2, "float32", 0.3)]
SPECS = [ScatteringSpec(J=2), ScatteringSpec(J=3, L=5), ScatteringSpec(J=1, L=3, max_order=1)]
NEEDS_NATIVE = pytest.mark.skipif(choose_core().core is None, reason="needs a native core")
BACKENDS = [pytest.param("native", marks=NEEDS_NATIVE), "torch"]
PLACES = [
    pytest.param("native", "cpu", marks=NEEDS_NATIVE, id="native"),
    pytest.param("torch", "cpu", id="torch"),
    pytest.param("torch", "cuda", marks=pytest.mark.gpu, id="torch-cuda"),
]


def images_of(n, shape, seed=0, pixels=RGB):
    """Noise of the whole range of a dtype, floats from -20 to 40; (n, H, W, colours)."""
    noise = np.random.default_rng(seed).random((n, *shape, pixels.colours))
    low, high = (-20, 40) if pixels.dtype == "float32" else (0, SCALES[pixels.dtype] + 1)
    return (low + (high - low) * noise).astype(pixels.dtype)


def coefficients_of(transform, images, dtype=np.float32):
    """What the transform writes, into a buffer of NaN."""
    out = np.full((len(images), *transform.output_shape), np.nan, dtype)
    transform(images, out)
    assert np.isfinite(out).all()
    return out


@pytest.mark.parametrize(("backend", "device"), PLACES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("shape", [(32, 32), (33, 47), (70, 66)])
def test_channels_are_the_references_colour_by_colour(shape, dtype, backend, device):
    spec, images = ScatteringSpec(J=2, L=4), images_of(2, shape)
    found = coefficients_of(open_transform(spec, shape, device=device, backend=backend), images, dtype)
    assert found.shape == (2, *spec.output_shape(*shape))
    by_colour = found.reshape(2, 3, spec.n_paths, *found.shape[-2:])
    assert_orders_close(by_colour, scattering2d(images.transpose(0, 3, 1, 2), spec), spec)


@pytest.mark.parametrize(("backend", "device"), PLACES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_bits_do_not_depend_on_place_neighbours_or_batch(shape, backend, device):
    transform = open_transform(ScatteringSpec(J=2), shape, device=device, backend=backend)
    check_bits(transform, n=min(transform.batch_images, 8 if max(shape) < 96 else 3))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("spec", SPECS[1:], ids=str)
@pytest.mark.parametrize("shape", [(32, 32), (33, 47)], ids=str)
def test_bits_do_not_depend_on_place_at_other_settings(spec, shape, backend):
    check_bits(open_transform(spec, shape, backend=backend), n=7)


@pytest.mark.parametrize(("backend", "device"), PLACES)
@pytest.mark.parametrize("pixels", KINDS, ids=lambda pixels: f"{pixels.colours}x{pixels.dtype}")
@pytest.mark.parametrize("shape", [(28, 28), (33, 47)], ids=str)
def test_bits_do_not_depend_on_place_for_pixels_of_any_kind(shape, pixels, backend, device):
    spec = ScatteringSpec(J=2, L=8, colours=pixels.colours)
    check_bits(open_transform(spec, shape, pixels=pixels, device=device, backend=backend), n=9)


def check_bits(transform, n):
    images, rng = images_of(n, transform.shape, pixels=transform.pixels), np.random.default_rng(1)
    alone = np.concatenate([coefficients_of(transform, image[None]) for image in images])
    assert np.array_equal(coefficients_of(transform, images), alone)
    for _ in range(3):
        rows = rng.permutation(n)[: rng.integers(1, n + 1)]
        assert np.array_equal(coefficients_of(transform, images[rows]), alone[rows])
        others = images_of(n, transform.shape, seed=int(rng.integers(1 << 30)), pixels=transform.pixels)
        place = int(rng.integers(n))
        others[place] = images[0]
        assert np.array_equal(coefficients_of(transform, others)[place], alone[0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_full_batch_gives_the_bits_of_single_images(backend):
    transform = open_transform(ScatteringSpec(J=2), (32, 32), backend=backend)
    images = images_of(transform.batch_images, (32, 32))
    found = coefficients_of(transform, images)
    for row in (0, 1, 5, 6, 31, len(images) - 1):
        assert np.array_equal(coefficients_of(transform, images[row : row + 1])[0], found[row])


def test_images_are_computed_one_by_one_where_positions_disagree(monkeypatch):
    spec = ScatteringSpec(J=2)
    agreeing = open_transform(spec, (32, 32), backend="torch")
    batch_images = agreeing.batch_images
    assert agreeing._pass_images > 1
    monkeypatch.setattr(TorchBatches, "_positions_agree", lambda self: False)
    transform = open_transform(spec, (32, 32), backend="torch")
    assert transform._pass_images == 1 and transform.batch_images == batch_images
    check_bits(transform, n=4)


def test_disagreeing_positions_are_noticed(monkeypatch):
    transform = open_transform(ScatteringSpec(J=2), (32, 32), backend="torch")
    assert transform._positions_agree()
    compute = transform._compute

    def perturbed(images):
        coefficients = compute(images)
        coefficients[-1, 0, 0, 0] = torch.nextafter(coefficients[-1, 0, 0, 0], torch.tensor(9.0))
        return coefficients

    monkeypatch.setattr(transform, "_compute", perturbed)
    assert not transform._positions_agree()


@pytest.mark.parametrize("backend", BACKENDS)
def test_threads_share_a_transform_without_mixing_rows(backend):
    transform = open_transform(ScatteringSpec(J=2), (32, 32), backend=backend)
    batches = [images_of(7, (32, 32), seed=seed) for seed in range(4)]
    expected = [coefficients_of(transform, batch) for batch in batches]
    found = [np.full_like(batch, np.nan) for batch in expected]
    threads = [threading.Thread(target=transform, args=pair) for pair in zip(batches, found, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
def test_batch_size_is_a_function_of_spec_shape_and_backend(backend):
    for shape in ((32, 32), (224, 224)):
        first, second = (open_transform(ScatteringSpec(J=2), shape, backend=backend) for _ in range(2))
        assert first.batch_images == second.batch_images >= 1
        assert (first.name, first.device) == (backend, torch.device("cpu"))
        assert first.core == (find_core_for(first.spec.padded_shape(*shape)) if backend == "native" else "")


@pytest.mark.parametrize("backend", BACKENDS)
def test_batches_count_planes_and_hold_one_image_at_least(backend):
    """One-colour images come in as large batches as RGB, or they would leave registers empty."""
    for colours, most in ((1, 192), (3, 64), (12, 16), (500, 1)):
        transform = open_transform(ScatteringSpec(J=1, L=2, max_order=1, colours=colours), (8, 8), backend=backend)
        assert 0.9 * most <= transform.batch_images <= most


@NEEDS_NATIVE
@pytest.mark.parametrize(("colours", "spec"), [(200, ScatteringSpec(J=2, L=4)), (32767, ScatteringSpec(1, 1, 0))])
def test_bands_are_as_many_as_a_spec_takes(colours, spec):
    images = np.random.default_rng(0).integers(0, 65536, (1, 12, 10, colours), dtype=np.uint16)
    one = NativeTransform(spec, (12, 10))
    found = np.full((colours, 1, spec.n_paths, *spec.output_shape(12, 10)[1:]), np.nan, np.float32)
    one(images.transpose(3, 0, 1, 2), found.reshape(colours, *found.shape[2:]))
    for backend in ("native", "torch"):
        pixels = Pixels("native", colours, "uint16", 65535.0)
        transform = open_transform(replace(spec, colours=colours), (12, 10), pixels=pixels, backend=backend)
        together = coefficients_of(transform, images).reshape(found.shape)
        assert_orders_close(together[:, 0], found[:, 0], spec)
        assert backend == "torch" or np.array_equal(together, found)


def test_pixels_of_other_colours_than_the_specs_are_refused():
    with pytest.raises(ValueError, match="pixels are of 3 colours, the spec of 1: expected as many"):
        open_transform(ScatteringSpec(J=2, colours=1), (32, 32), pixels=RGB)
    assert open_transform(ScatteringSpec(J=2, colours=1), (32, 32)).pixels.scale == 255


def test_auto_is_what_resolve_backend_says():
    assert open_transform(ScatteringSpec(J=2), (32, 32)).name == resolve_backend("auto")


@pytest.mark.parametrize("backend", BACKENDS)
def test_read_only_images_are_taken_and_strided_buffers_filled(backend):
    transform = open_transform(ScatteringSpec(J=2), (32, 32), backend=backend)
    images = images_of(3, (32, 32))
    expected = coefficients_of(transform, images)
    images.setflags(write=False)
    room = np.full((6, *transform.output_shape), np.nan, np.float32)
    transform(images, room[::2])
    assert np.array_equal(room[::2], expected) and np.isnan(room[1::2]).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_wrong_arrays_are_refused(backend):
    transform = open_transform(ScatteringSpec(J=2), (32, 32), backend=backend)
    out = np.zeros((1, *transform.output_shape), np.float32)
    with pytest.raises(TypeError, match="images are float32, out float32: expected uint8, and float16 or float32"):
        transform(np.zeros((1, 32, 32, 3), np.float32), out)
    floats = open_transform(transform.spec, (32, 32), pixels=Pixels("native", 3, "float32", 1.0), backend=backend)
    for wrong in (images_of(1, (32, 32)), np.zeros((1, 32, 32, 3), ">f4"), np.zeros((1, 32, 32, 3))):
        with pytest.raises(TypeError, match="out float32: expected float32, and float16 or float32"):
            floats(wrong, out)
    with pytest.raises(TypeError, match="out float64"):
        floats(np.zeros((1, 32, 32, 3), np.float32), out.astype(np.float64))
    with pytest.raises(TypeError, match="out float64"):
        transform(images_of(1, (32, 32)), out.astype(np.float64))
    with pytest.raises(ValueError, match=r"expected \(B, 32, 32, 3\)"):
        transform(np.zeros((1, 3, 32, 32), np.uint8), out)
    with pytest.raises(ValueError, match="B at most"):
        transform(images_of(transform.batch_images + 1, (32, 32)), out)
    with pytest.raises(ValueError, match="out has shape"):
        transform(images_of(2, (32, 32)), out)


def test_absent_device_and_unknown_backend_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BackendUnavailable, match="choose the device cpu"):
        open_transform(ScatteringSpec(J=2), (32, 32), device="cuda")
    with pytest.raises(ValueError, match="expected one of auto, fused, native, torch"):
        open_transform(ScatteringSpec(J=2), (32, 32), backend="fast")


def test_what_is_started_ends_as_what_is_called():
    transform = open_transform(ScatteringSpec(J=2), (32, 32))
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    for dtype in (np.float16, np.float32):
        out = np.full((3, *transform.output_shape), np.nan, dtype)
        transform(images, out)
        started = transform.start(images, np.dtype(dtype))()
        assert started.dtype == dtype and np.array_equal(started, out)
