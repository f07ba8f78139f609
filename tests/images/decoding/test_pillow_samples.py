import io
import struct

import numpy as np
import pytest
from PIL import Image

from scatcache.errors import UnreadableImage
from scatcache.images.decode import decode, decode_noted, read_form
from scatcache.images.decoding.notes import CUT, FIRST
from scatcache.images.forms import Decoding, ImageForm
from tests.images.files import write_tiff
from tests.images.sample_files import F32, RGB8, RGB16, U8, U16, into_bytes, save_picture

NATIVE = Decoding("native")
ORIENTATION = 0x0112
I32 = np.random.default_rng(0).integers(-(2**20), 2**20, (30, 41), dtype=np.int32)


def encode_image(image, kind, **options):
    return into_bytes(lambda file: image.save(file, kind, **options))


FILES = {
    "bmp": (save_picture(RGB8, "BMP"), RGB8),
    "tga": (save_picture(np.dstack([RGB8, U8]), "TGA"), np.dstack([RGB8, U8])),
    "webp": (save_picture(RGB8, "WEBP", lossless=True), RGB8),
    "qoi": (save_picture(RGB8, "QOI"), RGB8),
    "jpeg2000": (save_picture(RGB8, "JPEG2000"), RGB8),
    "jpeg2000 grey": (save_picture(U16, "JPEG2000"), U16),
    "ppm": (b"P6 41 30 255\n" + RGB8.tobytes(), RGB8),
    "pgm": (b"P5 41 30 255\n" + U8.tobytes(), U8),
    "pgm 16": (b"P5 41 30 65535\n" + U16.astype(">u2").tobytes(), U16),
    "plain pgm 16": (b"P2 41 30 65535\n" + " ".join(map(str, U16.ravel())).encode() + b"\n", U16),
    "pfm": (b"Pf\n41 30\n-1.0\n" + F32[::-1].astype("<f4").tobytes(), F32),
}


@pytest.mark.parametrize(("data", "samples"), FILES.values(), ids=FILES)
def test_files_without_loss_come_back_exactly(data, samples):
    found = decode_noted(data, NATIVE)
    np.testing.assert_array_equal(found.pixels, samples.reshape(30, 41, -1))
    assert found.pixels.dtype == samples.dtype and found.pixels.flags.writeable and found.notes == ()
    assert read_form(io.BytesIO(data), NATIVE) == (*found.pixels.shape, str(samples.dtype))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_is_what_pillow_decodes_and_is_not_turned(mode):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    data = encode_image(Image.fromarray(RGB8).convert(mode), "JPEG", exif=exif)
    with Image.open(io.BytesIO(data)) as by_pillow:
        expected = np.asarray(by_pillow)
    np.testing.assert_array_equal(decode(data, kind="native"), expected.reshape(30, 41, -1))
    assert read_form(data, NATIVE).shape == (30, 41) and read_form(data, Decoding("rgb")).shape == (41, 30)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_the_first_frame_is_taken_and_the_others_noted(kind):
    frames = [Image.fromarray(U8 // divisor) for divisor in (1, 2, 4)]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode_image(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    if kind == "GIF":
        with pytest.raises(UnreadableImage, match=r"palette colours|stretched"):
            decode(data, kind="native")
        return
    found = decode_noted(data, NATIVE)
    np.testing.assert_array_equal(found.pixels[..., :1], U8[..., None])
    assert found.notes == (FIRST,)


def write_jpeg2000(samples, bits):
    import imagecodecs

    return imagecodecs.jpeg2k_encode(samples, level=0, bitspersample=bits)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (encode_image(Image.fromarray(RGB8).quantize(), "PNG"), "palette colours: .* give --pixels rgb$"),
        (
            encode_image(Image.fromarray(RGB8).quantize(), "BMP"),
            r"palette colours \(mode P\): .* --pixels grey or rgb$",
        ),
        (encode_image(Image.fromarray(U8).convert("1"), "BMP"), r"1-bit samples \(mode 1\)"),
        (
            b"P6 41 30 65535\n" + RGB16.astype(">u2").tobytes(),
            "PPM of more than 8 bits a sample, .* convert it to TIFF",
        ),
        (b"P5 41 30 4095\n" + (U16 >> 4).astype(">u2").tobytes(), "samples of 0 to 4095, which are stretched here"),
        (b"P5 41 30 100\n" + (U8 % 101).tobytes(), "samples of 0 to 100, which are stretched here"),
        (
            b"BM" + struct.pack("<IIIIiiHHIIIIII", 62, 0, 54, 40, 2, 2, 1, 16, *[0] * 6) + bytes(8),
            "BMP of BGR;15 samples",
        ),
    ],
)
def test_what_pillow_would_change_is_refused_by_header_alone(data, reason):
    for read in (decode_noted, read_form):
        with pytest.raises(UnreadableImage, match=reason):
            read(data, NATIVE)
    assert decode(data).shape[2] == 3


def test_jpeg2000_of_other_depths_is_refused_and_of_deep_colour_for_every_kind():
    pytest.importorskip("imagecodecs")
    twelve, colour = write_jpeg2000(U16 >> 4, 12), write_jpeg2000(RGB16, 16)
    with pytest.raises(UnreadableImage, match=r"JPEG 2000 of 12 bits .* stretched here"):
        decode(twelve, kind="native")
    for kind in ("rgb", "grey", "native"):
        with pytest.raises(UnreadableImage, match="JPEG 2000 of 16-bit colour, which its reader misreads: convert it"):
            decode(colour, kind=kind)


# PIL images


@pytest.mark.parametrize("samples", [U8, RGB8, np.dstack([RGB8, U8]), RGB8[..., :2], U16, I32, F32])
def test_pil_images_are_what_np_asarray_shows(samples):
    image = Image.fromarray(np.ascontiguousarray(samples))
    found = decode_noted(image, NATIVE)
    np.testing.assert_array_equal(found.pixels, samples.reshape(30, 41, -1))
    assert read_form(image, NATIVE) == ImageForm(*found.pixels.shape, str(found.pixels.dtype))


@pytest.mark.parametrize("mode", ["1", "P", "PA", "LAB", "YCbCr", "HSV", "RGBX", "La"])
def test_pil_images_of_other_modes_are_refused(mode):
    for read in (decode_noted, read_form):
        with pytest.raises(UnreadableImage, match=f"mode {mode}.*give --pixels grey or rgb"):
            read(Image.new(mode, (4, 4)), NATIVE)


def test_a_pil_image_whose_samples_pillow_cuts_is_refused_each_time():
    def open_again():
        return Image.open(io.BytesIO(write_tiff(RGB16)))

    image = open_again()
    assert decode_noted(image, Decoding()).notes == (CUT,)
    for asked in (image, open_again(), image):
        for read in (decode_noted, read_form):
            with pytest.raises(UnreadableImage, match="of more than 8 bits a sample"):
                read(asked, NATIVE)
        assert decode_noted(asked, Decoding()).notes == (CUT,)


def test_a_pil_image_that_fails_to_load_is_refused_whatever_is_asked_for():
    image = Image.open(io.BytesIO(save_picture(RGB8)[:-900]))
    for kind in ("native", "rgb", "grey", "native"):
        with pytest.raises(UnreadableImage, match="truncated"):
            decode(image, kind=kind)
