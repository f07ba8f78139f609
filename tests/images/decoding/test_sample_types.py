import numpy as np
import pytest

from scatcache.errors import UnreadableImage
from scatcache.images.decode import decode, decode_noted, read_form
from scatcache.images.decoding.notes import CONSTANT, ROUNDED
from scatcache.images.decoding.own_pillow import MAX_PIXELS
from scatcache.images.decoding.sample_types import MAX_SAMPLES, check_shape_of_samples
from scatcache.images.forms import Decoding, ImageForm

NATIVE = Decoding("native")
ENTERS = {"u1": "uint8", "u2": "uint16", "f4": "float32"}
EXACT = ("i1", "i2", "f2")
MAY_ROUND = ("i4", "u4", "i8", "u8", "f8")
SMALL = np.arange(30 * 40 * 2).reshape(30, 40, 2) % 120


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", [*ENTERS, *EXACT, *MAY_ROUND])
def test_samples_of_every_dtype_and_byte_order_keep_their_values(dtype, order):
    samples = SMALL.astype(order + dtype)
    found = decode_noted(samples, NATIVE)
    assert (found.pixels.dtype, found.notes) == (np.dtype(ENTERS.get(dtype, "float32")), ())
    assert found.pixels.flags.c_contiguous and found.pixels.dtype.isnative
    np.testing.assert_array_equal(found.pixels, SMALL)
    assert read_form(samples, NATIVE) == ImageForm(30, 40, 2, str(found.pixels.dtype))


@pytest.mark.parametrize("dtype", ["i1", "i2", "f2"])
def test_every_value_of_small_types_is_exact(dtype):
    bits = np.arange(2 ** (8 * np.dtype(dtype).itemsize)).astype(f"u{np.dtype(dtype).itemsize}").view(dtype)
    samples = bits[np.isfinite(bits)].reshape(-1, 2)
    found = decode_noted(samples, NATIVE)
    np.testing.assert_array_equal(found.pixels[..., 0].astype(np.float64), samples.astype(np.float64))
    assert found.notes == ()


@pytest.mark.parametrize(
    ("value", "dtype", "notes"),
    [
        (2**24, "i4", ()),
        (2**24 + 1, "i4", (ROUNDED,)),
        (-(2**31), "i4", ()),
        (2**31 - 1, "i4", (ROUNDED,)),
        (2**32 - 1, "u4", (ROUNDED,)),
        (2**53 + 1, "i8", (ROUNDED,)),
        (2**63 - 1, "i8", (ROUNDED,)),
        (-(2**63), "i8", ()),
        (2**63, "u8", ()),
        (2**64 - 1, "u8", (ROUNDED,)),
        (0.5, "f8", ()),
        (0.1, "f8", (ROUNDED,)),
        (1e-300, "f8", (ROUNDED,)),
    ],
)
def test_what_float32_does_not_hold_is_rounded_and_noted(value, dtype, notes):
    samples = np.zeros((3, 4), dtype)
    samples[1, 2] = value
    # A cast beyond a type's range means another number on every kind of processor.
    with np.errstate(invalid="raise"):
        found = decode_noted(samples, NATIVE)
    assert (found.pixels[1, 2, 0], found.notes) == (np.float32(value), notes)


@pytest.mark.parametrize(
    ("value", "dtype", "reason"),
    [
        (np.nan, "f4", "nan at row 3, column 17, band 1: expected finite samples"),
        (-np.inf, ">f8", "-inf at row 3, column 17, band 1: expected finite samples"),
        (np.inf, "f2", "inf at row 3, column 17, band 1: expected finite samples"),
        (-1e39, "f8", "-1e+39 at row 3, column 17, band 1, beyond float32: expected finite samples"),
    ],
)
def test_the_first_sample_that_is_not_finite_is_named(value, dtype, reason):
    samples = SMALL.astype(dtype)
    samples[3, 17, 1] = value
    samples[9, 0, 0] = samples[3, 18, 0] = np.nan
    for size in (None, 8):
        with pytest.raises(UnreadableImage) as caught:
            decode(samples, kind="native", size=size)
        assert str(caught.value) == reason


@pytest.mark.parametrize(
    "samples",
    [
        SMALL.astype(bool),
        SMALL.astype(complex),
        SMALL.astype(object),
        SMALL.astype(str),
        SMALL.astype("S3"),
        SMALL.astype(np.longdouble),
        SMALL.astype("M8[s]"),
        np.zeros((4, 4), "f4,f4"),
    ],
    ids=lambda samples: str(samples.dtype),
)
def test_other_dtypes_are_refused_by_name(samples):
    for read in (decode_noted, read_form):
        with pytest.raises(UnreadableImage, match=r"^samples of .*: expected unsigned or signed integers"):
            read(samples, NATIVE)


@pytest.mark.parametrize("shape", [(5,), (0, 4), (4, 4, 0), (1, 4, 4, 3), ()])
def test_other_shapes_are_refused(shape):
    for read in (decode_noted, read_form):
        with pytest.raises(UnreadableImage, match=r"expected \(height, width\) or \(height, width, bands\)"):
            read(np.zeros(shape, np.uint8), NATIVE)


def test_more_pixels_or_samples_than_allowed_are_refused():
    assert check_shape_of_samples((1, MAX_PIXELS, 4)) == (1, MAX_PIXELS, 4)
    for shape in ((1, MAX_PIXELS + 1), (1, MAX_PIXELS, 5), (8, 10, MAX_SAMPLES)):
        with pytest.raises(UnreadableImage, match=r"more than the \d+ (samples )?allowed"):
            check_shape_of_samples(shape)


@pytest.mark.parametrize("dtype", ["u1", "u2", "f8"])
def test_constant_images_are_noted_whatever_their_bands(dtype):
    samples = np.zeros((5, 6, 4), dtype) + np.arange(4).astype(dtype)
    assert decode_noted(samples, NATIVE).notes == decode_noted(samples, Decoding("native", 4)).notes == (CONSTANT,)
    samples[2, 2, 3] += 1
    assert decode_noted(samples, NATIVE).notes == ()
