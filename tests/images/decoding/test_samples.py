import io

import numpy as np
import pytest
from PIL import Image

from scatcache.errors import UnreadableImage
from scatcache.images.decode import decode, decode_noted, read_form
from scatcache.images.decoding.notes import CONSTANT, CUT, DARK
from scatcache.images.forms import Decoding
from tests.images.files import write_tiff

NOISE = np.random.default_rng(0).integers(0, 2**32, (30, 40), dtype=np.uint32)
GREY16 = NOISE.astype(np.uint16)
COLOUR16 = np.random.default_rng(1).integers(0, 2**16, (30, 40, 3), dtype=np.uint16)


def encode(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pack_samples(pixels, order):
    return pixels.astype(pixels.dtype.newbyteorder(order))


REFUSED = {
    "float": (write_tiff(NOISE.astype(np.float32) / 2**32), "32-bit float samples"),
    "float big-endian": (write_tiff(pack_samples(NOISE.astype(np.float32), ">")), "32-bit float samples"),
    "float whose 0 is white": (write_tiff(NOISE.astype(np.float32), tag_262=(3, (0,))), "32-bit float samples"),
    "32-bit": (write_tiff(NOISE), "32-bit samples"),
    "32-bit signed": (write_tiff(NOISE.view(np.int32)), "32-bit signed samples"),
    "16-bit signed": (write_tiff(GREY16.view(np.int16)), "16-bit signed samples"),
    "16-bit signed big-endian": (write_tiff(pack_samples(GREY16.view(np.int16), ">")), "16-bit signed samples"),
    "8-bit signed": (write_tiff(NOISE.astype(np.int8)), "8-bit signed samples"),
    "16-bit, 0 is white": (write_tiff(GREY16, tag_262=(3, (0,))), "16-bit grey whose 0 is white"),
    "16-bit planes": (write_tiff(COLOUR16, planar=True), "16-bit colours in separate planes"),
    "16-bit planes big-endian": (write_tiff(pack_samples(COLOUR16, ">"), planar=True), "16-bit colours in separate"),
    "float of Pillow's": (encode(Image.fromarray(NOISE.astype(np.float32)), "TIFF"), "32-bit float samples"),
    "32-bit of Pillow's": (encode(Image.fromarray(NOISE.view(np.int32)), "TIFF"), "32-bit signed samples"),
    "PFM": (encode(Image.fromarray(NOISE.astype(np.float32)), "PPM"), r"float samples \(mode F\)"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "found"), REFUSED.values(), ids=REFUSED)
def test_samples_that_are_not_8_or_unsigned_16_bits_are_refused_by_name(data, found):
    for read in (decode, lambda data: read_form(data, Decoding())):
        with pytest.raises(UnreadableImage, match=f"^{found}.*: expected "):
            read(data)


HIGH_BYTES = (COLOUR16 >> 8).astype(np.uint8)
CUTS = {
    "grey png": (encode(Image.fromarray(GREY16)), None),
    "grey tiff": (write_tiff(GREY16), None),
    "grey jpeg2000": (encode(Image.fromarray(GREY16), "JPEG2000"), None),
    "grey pgm": (b"P5 40 30 65535\n" + GREY16.astype(">u2").tobytes(), None),
    "rgb tiff": (write_tiff(COLOUR16), HIGH_BYTES),
    "rgb tiff big-endian": (write_tiff(pack_samples(COLOUR16, ">")), HIGH_BYTES),
    "rgb ppm": (b"P6 40 30 65535\n" + COLOUR16.astype(">u2").tobytes(), None),
}


@pytest.mark.parametrize(("data", "pixels"), CUTS.values(), ids=CUTS)
def test_what_is_cut_to_8_bits_is_noted(data, pixels):
    found = decode_noted(data, Decoding())
    assert found.notes == (CUT,)
    expected = (GREY16 >> 8).astype(np.uint8)[..., None].repeat(3, 2) if pixels is None else pixels
    if b"P6" not in data[:2]:
        np.testing.assert_array_equal(found.pixels, expected)
    assert decode_noted(data, Decoding(size=8)).notes == (CUT,)


def test_16_bit_colours_of_a_png_are_noted():
    import zlib

    from tests.images.files import png_chunk

    rows = np.pad(COLOUR16.astype(">u2").view(np.uint8).reshape(30, -1), ((0, 0), (1, 0)))
    header = (40).to_bytes(4, "big") + (30).to_bytes(4, "big") + bytes((16, 2, 0, 0, 0))
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b""))
    data = b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)
    found = decode_noted(data, Decoding())
    np.testing.assert_array_equal(found.pixels, HIGH_BYTES)
    assert found.notes == (CUT,)


@pytest.mark.parametrize(("limit", "notes"), [(65535, (CUT,)), (4097, (CUT,)), (4096, (CUT, DARK)), (300, (CUT, DARK))])
def test_fewer_bits_in_16_leave_an_image_nearly_black_which_is_noted(limit, notes):
    pixels = GREY16 % limit
    pixels[0, 0] = limit - 1
    for data in (write_tiff(pixels), write_tiff(pixels[..., None].repeat(3, 2)), encode(Image.fromarray(pixels))):
        assert decode_noted(data, Decoding()).notes == notes


def test_one_colour_is_noted():
    black = write_tiff(GREY16 % 256)
    assert decode_noted(black, Decoding()).notes == (CUT, DARK, CONSTANT)
    for image in (Image.new("RGB", (9, 7), "teal"), Image.new("P", (9, 7), 3), Image.new("L", (9, 7), 255)):
        for size in (None, 4):
            assert decode_noted(encode(image), Decoding(size=size)).notes == (CONSTANT,)
            assert decode_noted(image, Decoding(size=size)).notes == (CONSTANT,)
            assert decode_noted(np.asarray(image.convert("RGB")), Decoding(size=size)).notes == (CONSTANT,)
    framed = np.full((9, 7, 3), 5, np.uint8)
    framed[4, 3, 2] = 6
    for data in (framed, Image.fromarray(framed), encode(Image.fromarray(framed))):
        assert decode_noted(data, Decoding()).notes == ()


def test_8_bits_in_every_format_are_not_noted():
    image = Image.fromarray(HIGH_BYTES)
    for kind in ("PNG", "TIFF", "JPEG", "JPEG2000", "PPM", "GIF", "BMP", "WEBP", "AVIF", "TGA", "ICO"):
        assert decode_noted(encode(image, kind), Decoding()).notes == (), kind
    for mode in ("L", "LA", "RGBA", "CMYK", "P", "1"):
        assert decode_noted(encode(image.convert(mode), "TIFF"), Decoding()).notes == (), mode
    assert decode_noted(write_tiff(HIGH_BYTES, planar=True), Decoding()).notes == ()


def test_a_pil_image_of_16_bits_is_cut_and_noted():
    found = decode_noted(Image.fromarray(GREY16), Decoding())
    np.testing.assert_array_equal(found.pixels[..., 0], GREY16 >> 8)
    assert found.notes == (CUT,)
    assert decode_noted(Image.open(io.BytesIO(write_tiff(COLOUR16))), Decoding()).notes == (CUT,)


@pytest.mark.parametrize("name", ["16-bit planes", "16-bit, 0 is white", "16-bit signed", "float", "PFM"])
def test_a_file_opened_by_pillow_is_refused_as_well(name):
    with pytest.raises(UnreadableImage, match="expected"):
        decode(Image.open(io.BytesIO(REFUSED[name][0])))
