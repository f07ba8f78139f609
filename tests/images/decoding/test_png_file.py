import struct
import sys
import zlib

import numpy as np
import pytest

from scatcache.errors import SourceError, UnreadableImage
from scatcache.images.decode import decode, decode_noted, read_form
from scatcache.images.forms import Decoding
from tests.images.files import add_to_png, png_chunk
from tests.images.sample_files import RGB8, RGB16, U8, U16, save_picture, write_png_by_imagecodecs

pytest.importorskip("imagecodecs")
NATIVE = Decoding("native")
COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}
RGBA16 = np.dstack([RGB16, U16])


def write_png(samples: np.ndarray, **others: int) -> bytes:
    """A PNG without filters, from its specification; others: width=, height=, bits=, colours= of its header."""
    height, width, bands = (*samples.shape, 1)[:3]
    rows = samples.astype(samples.dtype.newbyteorder(">")).reshape(height, -1).view(np.uint8)
    bits, colours = others.get("bits", 8 * samples.dtype.itemsize), others.get("colours", COLOURS[bands])
    header = struct.pack(">IIBBBBB", others.get("width", width), others.get("height", height), bits, colours, 0, 0, 0)
    data = zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes())
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")


SAMPLES = {
    "L": U8,
    "LA": RGB8[..., :2],
    "RGB": RGB8,
    "RGBA": np.dstack([RGB8, U8]),
    "L16": U16,
    "LA16": RGB16[..., :2],
    "RGB16": RGB16,
    "RGBA16": RGBA16,
}


@pytest.mark.parametrize("samples", SAMPLES.values(), ids=SAMPLES)
def test_every_kind_of_png_comes_back_at_full_depth(samples):
    hand = write_png(samples)
    for data in (hand, write_png_by_imagecodecs(np.ascontiguousarray(samples))):
        found = decode(data, kind="native")
        np.testing.assert_array_equal(found, samples.reshape(30, 41, -1))
        assert found.flags.writeable and found.flags.c_contiguous
        assert read_form(data[: data.index(b"IDAT") + 4], NATIVE) == (*found.shape, str(samples.dtype))


@pytest.mark.parametrize("samples", [U16, RGB16, U8, RGB8], ids=lambda samples: f"{samples.dtype}{samples.ndim}")
def test_transparent_colour_gamma_significant_bits_and_orientation_change_nothing(samples):
    first = samples.reshape(30, 41, -1)[0, 0].astype(">u2").tobytes()
    added = [
        png_chunk(b"gAMA", struct.pack(">I", 45455)),
        png_chunk(b"sBIT", bytes([5] * (1 if samples.ndim == 2 else 3))),
        png_chunk(b"tRNS", first),
        png_chunk(b"eXIf", b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"),
    ]
    data = add_to_png(write_png(samples), *added)
    np.testing.assert_array_equal(decode(data, kind="native"), samples.reshape(30, 41, -1))


def test_transparency_of_pillow_and_interlacing_change_nothing():
    np.testing.assert_array_equal(decode(save_picture(U16), kind="native")[..., 0], U16)
    np.testing.assert_array_equal(decode(save_picture(RGB8, transparency=(1, 2, 3)), kind="native"), RGB8)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (write_png(U8, colours=3), "palette colours: expected samples; give --pixels rgb"),
        (write_png(U8, bits=4), "4-bit samples: expected 8 bits or more; give --pixels grey or rgb"),
        (write_png(U8)[:20], "ends in its header"),
        (write_png(U16, bits=16, colours=5), "cannot identify"),
        (write_png(U16, width=50_000, height=50_000), "50000x50000 pixels, more than the"),
    ],
)
def test_pngs_that_hold_no_whole_samples_are_refused_by_header_alone(data, reason):
    for read in (decode_noted, read_form):
        with pytest.raises(UnreadableImage, match=reason):
            read(data, NATIVE)


def test_cut_or_damaged_pixels_of_16_bits_are_unreadable():
    data = write_png(RGB16)
    for cut in range(data.index(b"IDAT") + 4, len(data) - 40, 300):
        with pytest.raises(UnreadableImage):
            decode(data[:cut], kind="native")
        damaged = data[:cut] + bytes([data[cut] ^ 255]) + data[cut + 1 :]
        with pytest.raises(UnreadableImage):
            decode(damaged, kind="native")


def test_only_16_bits_take_imagecodecs(monkeypatch):
    from scatcache.images.decoding import extra_libraries

    monkeypatch.setattr(extra_libraries, "_quiet", {})
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    np.testing.assert_array_equal(decode(write_png(RGB8), kind="native"), RGB8)
    for read in (decode_noted, read_form):
        with pytest.raises(
            SourceError, match=r"^reading PNG of 16 bits needs imagecodecs: pip install 'scatcache\[tiff\]'$"
        ):
            read(write_png(RGB16), NATIVE)
