import numpy as np
import pytest
import torch
from PIL import Image

from scatcache.images.decode import decode
from tests.images.test_decode import resize_whole


def resize_by_torch(samples, size):
    """torchvision's Resize(round(256 N / 224)) and CenterCrop(N) of a float tensor, from their documentation."""
    height, width = samples.shape[:2]
    short = round(256 * size / 224)
    scaled = (int(short * height / width), short) if width <= height else (short, int(short * width / height))
    planes = torch.from_numpy(samples.astype(np.float64)).permute(2, 0, 1)[None]
    found = torch.nn.functional.interpolate(planes, scaled, mode="bilinear", antialias=True, align_corners=False)
    top, left = (int(round((side - size) / 2.0)) for side in scaled)  # noqa: RUF046
    return found[0, :, top : top + size, left : left + size].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("size", [7, 24, 60])
@pytest.mark.parametrize("shape", [(30, 40, 1), (41, 30, 3), (9, 64, 17), (33, 33, 2)])
@pytest.mark.parametrize(("low", "high", "dtype"), [(-20, 40, "f4"), (0, 1e6, "f8"), (0, 65535, "u2"), (0, 255, "u1")])
def test_native_samples_are_scaled_as_torchvision_scales_float_tensors(low, high, dtype, shape, size):
    samples = np.random.default_rng(3).uniform(low, high, shape).astype(dtype)
    found = decode(samples, kind="native", size=size)
    assert (found.dtype, found.shape) == (np.dtype("f4"), (size, size, shape[2])) and found.flags.c_contiguous
    np.testing.assert_allclose(found, resize_by_torch(samples, size), rtol=0, atol=1e-6 * (high - low))


def test_values_over_many_decades_are_scaled_each_to_its_own_precision():
    samples = 10.0 ** np.linspace(-6, 6, 40)[None, :, None].repeat(30, 0)
    np.testing.assert_allclose(decode(samples, kind="native", size=12), resize_by_torch(samples, 12), rtol=1e-5)


def test_a_constant_keeps_its_value_and_the_largest_float_does_not_overflow():
    for value in (np.float32(0.1), np.finfo(np.float32).max):
        found = decode(np.full((50, 60), value), kind="native", size=20)
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found, value, rtol=1e-6)


@pytest.mark.parametrize("size", [7, 24, 60])
@pytest.mark.parametrize("shape", [(30, 40), (41, 30), (64, 9)])
def test_grey_is_scaled_as_a_whole_resize_and_crop_of_the_grey_picture_would(shape, size):
    picture = np.random.default_rng(4).integers(0, 256, (*shape, 3), dtype=np.uint8)
    grey = Image.fromarray(picture).convert("L")
    for pixels in (picture, np.asarray(grey)):
        np.testing.assert_array_equal(decode(pixels, kind="grey", size=size)[..., 0], resize_whole(grey, size))


@pytest.mark.parametrize("shape", [(1, 65000), (65000, 1)])
def test_extreme_shapes_need_no_huge_planes(shape):
    samples = np.random.default_rng(5).uniform(0, 1, shape)
    assert decode(samples, kind="native", size=224).shape == (224, 224, 1)
