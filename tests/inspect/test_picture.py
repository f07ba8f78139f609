"""What a picture shows of pixels of each kind, read from its own pixels."""

import io
import warnings
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from scatcache.inspect import picture
from scatcache.inspect.picture import DISK_TOP, IMAGE, LEFTS, MAP, MAP_TOP, MARGIN, Portrait, render
from scatcache.scattering.reference import scattering2d
from scatcache.spec import Pixels, ScatteringSpec

SIDE = 32
# Black, white, and what lies between.
PATTERN = np.add.outer(np.arange(SIDE) // 8 * 8, np.arange(SIDE) // 8) / 27


def portray(samples, pixels, max_order=0):
    """The portrait of samples (H, W, bands), with the coefficients that they have; without disks it is soon drawn."""
    spec = ScatteringSpec(J=2, L=4, max_order=max_order, colours=pixels.colours)
    coefficients = scattering2d(samples.transpose(2, 0, 1).astype(np.float64) / pixels.scale, spec)
    by_channel = coefficients.reshape(spec.n_channels, *coefficients.shape[-2:]).astype(np.float32)
    return Portrait("title", "key", "label", "settings", spec, by_channel, samples, pixels=pixels)


def draw(portrait):
    """(the picture, (image panel, low-pass panel) without their frames), uint8 (.., .., 3)."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = np.array(Image.open(io.BytesIO(render(portrait))))
    boxes = ((DISK_TOP, IMAGE), (MAP_TOP, MAP))
    return drawn, tuple(drawn[top + 4 : top + side - 4, MARGIN + 4 : MARGIN + side - 4] for top, side in boxes)


def floats(low, high, bands=1):
    """PATTERN from low to high in the first band, others anywhere."""
    others = np.random.default_rng(0).uniform(low, high, (SIDE, SIDE, bands))
    others[..., 0] = low + (high - low) * PATTERN
    return others.astype(np.float32)


@pytest.fixture
def written(monkeypatch):
    """The texts that stand in a picture."""
    texts, write = [], picture.write
    monkeypatch.setattr(picture, "write", lambda *a, **k: (texts.append(a[3]), write(*a, **k))[1])
    return texts


def test_rgb_is_drawn_as_it_is_and_says_nothing_more(written):
    samples = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    drawn, (image, _) = draw(portray(samples, Pixels()))
    centres = (np.arange(4) * 2 + 1) * len(image) // 8
    assert np.array_equal(image[centres][:, centres], samples[4::8, 4::8])
    assert "Image, 32 x 32 pixels" in written and not any("black" in text or "band" in text for text in written)
    native = portray(samples, Pixels("native"))
    assert np.array_equal(draw(replace(native, pixels=Pixels()))[0], drawn)
    assert np.array_equal(draw(native)[0], drawn)


@pytest.mark.parametrize(
    ("samples", "pixels", "below"),
    [
        (floats(-20, 40), Pixels("native", 1, "float32", 1.0), "black: -20, white: 40"),
        (floats(0, 4095).astype(np.uint16), Pixels("native", 1, "uint16", 65535.0), "black: 0, white: 4095"),
        (floats(-3e-19, 5e-19), Pixels("native", 1, "float32", 1.0), "black: -3e-19, white: 5e-19"),
        (floats(0, 255).astype(np.uint8), Pixels("grey", 1), ""),
        (floats(0, 255).astype(np.uint8), Pixels("native", 1, "uint8", 1.0), ""),
    ],
    ids=lambda value: "" if isinstance(value, np.ndarray) else str(value),
)
def test_one_colour_is_grey_from_its_least_to_its_largest(written, samples, pixels, below):
    _, panels = draw(portray(samples, pixels))
    for panel in panels:
        assert (panel == panel[..., :1]).all() and (np.diff(panel[:, len(panel) // 2, 0].astype(int)) >= 0).all()
        assert panel.min() < 30 and panel.max() > 225
    assert below in written


def test_three_bands_of_any_range_are_rgb():
    reference = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    reference[0, 0], reference[-1, -1] = 0, 255
    samples = (reference / 255 * 60 - 20).astype(np.float32)
    (_, panels), (_, others) = (
        draw(portray(reference, Pixels())),
        draw(portray(samples, Pixels("native", 3, "float32", 1.0))),
    )
    assert np.abs(panels[0].astype(int) - others[0]).max() <= 1


def test_of_other_numbers_the_first_band_is_drawn_and_named(written):
    samples, five = floats(-20, 40, 5), Pixels("native", 5, "float32", 1.0)
    alone = draw(portray(samples[..., :1], replace(five, colours=1)))[1]
    written.clear()
    panels = draw(portray(samples, five))[1]
    assert all(np.array_equal(*pair) for pair in zip(panels, alone, strict=True))
    assert "Image, 32 x 32 pixels, band 1 of 5" in written and any(
        text.startswith("band 1 of 5, black") for text in written
    )


def test_disks_are_lit_by_samples_of_any_size_and_not_by_flat_ones():
    pixels = Pixels("native", 2, "float32", 1.0)
    for samples, lit in (
        (np.zeros((SIDE, SIDE, 2), np.float32), False),
        (np.full((SIDE, SIDE, 2), -1e30, np.float32), False),
        (floats(-3e-19, 5e-19, 2), True),
    ):
        drawn, _ = draw(replace(portray(samples, pixels, max_order=1), image=None, image_note="gone"))
        # In the middle of a sector, away from lines and labels.
        sector = drawn[DISK_TOP + 234 - 8 : DISK_TOP + 234 + 8, LEFTS[1] + 80 : LEFTS[1] + 100]
        assert (sector.max() > 120) == lit, sector.max()
