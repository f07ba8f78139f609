import numpy as np
import pytest

from scatcache.errors import SourceError
from scatcache.images.kinds.arrays.array_axes import MAX_IMAGES, check_images, find_axes


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((9, 16, 20), "NHW"),
        ((9, 3, 32, 32), "NCHW"),
        ((9, 32, 32, 3), "NHWC"),
        ((3, 13, 128, 128), "NCHW"),
        ((9, 64, 32, 32), None),
        ((9, 32, 32, 64), None),
        ((9, 3, 2, 32), None),
        ((9, 1, 28, 28), "NCHW"),
        ((9, 28, 28, 1), "NHWC"),
        ((9, 3, 3, 3), None),
        ((9, 8, 32, 8), None),
        ((9, 3, 3, 8), None),
    ],
)
def test_bands_stand_where_the_shape_says_or_nobody_guesses(shape, axes):
    if axes is not None:
        assert find_axes("x", shape, None) == axes
        return
    with pytest.raises(SourceError, match=r"give --axes NHWC .* or --axes NCHW"):
        find_axes("x", shape, None)


def test_axes_given_are_taken_where_they_fit():
    assert find_axes("x", (9, 3, 3, 3), "NCHW") == "NCHW"
    assert find_axes("x", (9, 3, 32, 32), "NHWC") == "NHWC"
    with pytest.raises(SourceError, match="4 axes"):
        find_axes("x", (9, 3, 3, 3), "NHW")


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((MAX_IMAGES + 1, 8, 8), "claims 100000001 images"),
        ((10**12, 100, 100), "claims 1000000000000 images"),
        ((2, 10**5, 10**5), "an image of 10000000000 bytes"),
        ((2, 8, 8, 40000), "40000 bands"),
    ],
)
def test_claims_that_no_memory_holds_are_refused(shape, words):
    with pytest.raises(SourceError, match=words):
        check_images("x", shape, np.dtype("uint8"), "NHWC"[: len(shape)])
