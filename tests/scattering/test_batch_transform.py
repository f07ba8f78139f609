"""Pixels of every kind through every backend, beside Kymatio in float64 on the samples divided by their scale."""

import numpy as np
import pytest

from scatcache.scattering import open_transform
from scatcache.scattering.native.library import VARIABLE
from scatcache.spec import Pixels, ScatteringSpec
from tests.scattering.native.cores import EACH_CORE
from tests.scattering.oracle import kymatio_coefficients
from tests.scattering.tolerances import TOLERANCES, relative_error

SHAPE, N_IMAGES = (30, 35), 2
# (dtype, scale, lowest, highest sample); a third range mixes magnitudes in one image.
SAMPLES = {
    "bytes": ("uint8", 255.0, 0, 256),
    "whole bytes": ("uint8", 1.0, 0, 256),
    "12 bits": ("uint16", 4095.0, 0, 4096),
    "16 bits": ("uint16", 65535.0, 0, 65536),
    "whole 16 bits": ("uint16", 1.0, 60000, 65536),
    "negative": ("float32", 1.0, -20, 40),
    "odd scale": ("float32", 0.3, -20, 40),
    "far from 0": ("float32", 1.0, 1e6, 1e6 + 10),
    "far below 0": ("float32", 273.15, -3e5, -3e5 + 1000),
    "tiny": ("float32", 1.0, 1e-20, 4e-20),
    "huge": ("float32", 1.0, -1e25, 1e25),
    "tiny by their scale": ("uint16", 1e30, 0, 65536),
    "huge by their scale": ("uint8", 1e-22, 0, 256),
}
BACKENDS = [*((pytest.param("native", core.values[0], marks=core.marks)) for core in EACH_CORE), ("torch", "")]


def draw(name, colours):
    """(images (N_IMAGES, H, W, colours), scale)."""
    rng = np.random.default_rng(3)
    if name == "from 1e-6 to 1e6":
        return (10 ** rng.uniform(-6, 6, (N_IMAGES, *SHAPE, colours))).astype(np.float32), 1.0
    dtype, scale, low, high = SAMPLES[name]
    return rng.uniform(low, high, (N_IMAGES, *SHAPE, colours)).astype(dtype), scale


@pytest.mark.parametrize(("backend", "core"), BACKENDS)
@pytest.mark.parametrize("colours", [1, 5])
def test_coefficients_of_pixels_of_any_kind_are_kymatios(monkeypatch, colours, backend, core):
    monkeypatch.setenv(VARIABLE, core)
    spec = ScatteringSpec(J=2, L=5, colours=colours)
    for name in (*SAMPLES, "from 1e-6 to 1e6"):
        images, scale = draw(name, colours)
        pixels = Pixels("native", colours, str(images.dtype), scale)
        transform = open_transform(spec, SHAPE, pixels=pixels, backend=backend)
        assert transform.core == core
        found = np.full((N_IMAGES, *transform.output_shape), np.nan, np.float32)
        transform(images, found)
        planes = np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float64)
        expected = kymatio_coefficients(planes / scale, spec)
        for one, wanted in zip(found, expected.reshape(found.shape), strict=True):
            assert relative_error(one, wanted) <= TOLERANCES["float32"], name
