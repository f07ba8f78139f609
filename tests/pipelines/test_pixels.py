import numpy as np
import pytest
import torch

import scatcache
from pipelines.pixels import PixelRows, RandomCrops

SPEC = scatcache.ScatteringSpec(J=1, L=4)


@pytest.fixture
def pixels():
    """Twelve images of random pixels; each one's label is its place."""
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
    return PixelRows(images, np.arange(12), SPEC)


def make_loader(pixels, **options):
    return scatcache.CacheLoader(pixels, scatcache.LoaderOptions(5, True, augment=RandomCrops(2), **options))


def list_crops(image):
    """Every crop of the image and its mirror image, transformed."""
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="reflect")
    crops = [padded[y : y + 8, x : x + 8] for y in range(5) for x in range(5)]
    planes = np.stack([image.transpose(2, 0, 1) for crop in crops for image in (crop, crop[:, ::-1])])
    return scatcache.Scattering2D(J=1, L=4, shape=(8, 8), backend="torch")(torch.from_numpy(planes)).flatten(1, 2)


def test_each_epoch_has_each_image_once_as_one_of_its_crops(pixels):
    loader = make_loader(pixels)
    for _ in range(2):
        batches = list(loader)
        assert [len(y) for _, y in batches] == [5, 5, 2] and len(loader) == 3
        assert sorted(torch.cat([y for _, y in batches]).tolist()) == list(range(12))
        for S, y in batches:
            for coefficients, row in zip(S, y.tolist(), strict=True):
                errors = (list_crops(pixels.images[row]) - coefficients).abs().amax((1, 2, 3))
                assert errors.min() < 1e-5


def test_epochs_and_seeds_differ_and_repeat(pixels):
    loader = make_loader(pixels)
    first, second = (torch.cat([S for S, _ in loader]) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(first, torch.cat([S for S, _ in make_loader(pixels)]))
    assert not torch.equal(first, torch.cat([S for S, _ in make_loader(pixels, seed=1)]))


def test_a_state_goes_on_in_mid_epoch(pixels):
    loader = make_loader(pixels)
    straight = [*loader, *loader]
    interrupted = make_loader(pixels)
    for _, _ in zip(range(2), interrupted, strict=False):
        pass
    resumed = make_loader(pixels)
    resumed.load_state_dict(interrupted.state_dict())
    again = [*resumed, *resumed]
    assert len(again) == 4
    for (S, y), (S_again, y_again) in zip(straight[2:], again, strict=True):
        assert torch.equal(S, S_again) and torch.equal(y, y_again)


def test_rows_and_labels_are_those_given(pixels):
    batches = list(make_loader(pixels, rows=[1, 4, 7, 9, 10, 11], labels=100 + np.arange(12), drop_last=True))
    assert len(batches) == 1 and set(batches[0][1].tolist()) <= {101, 104, 107, 109, 110, 111}
