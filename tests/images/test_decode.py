import io
import resource
import struct
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps

from scatcache.errors import UnreadableImage
from scatcache.images import decode as decode_module
from scatcache.images.datasets.photos import open_photos
from scatcache.images.decode import decode, decode_noted, read_form
from scatcache.images.decoding.notes import CONSTANT, CUT, DARK
from scatcache.images.forms import Decoding
from tests.images.files import write_tiff
from tests.images.parts import read_key

NOISE = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
ORIENTATION = 0x0112


def encode(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def resize_whole(image, size):
    """torchvision's Resize(round(256 N / 224)) and CenterCrop(N), from their documentation, on a PIL image."""
    short = round(256 * size / 224)
    width, height = image.size
    if width <= height:
        image = image.resize((short, int(short * height / width)), Image.Resampling.BILINEAR)
    else:
        image = image.resize((int(short * width / height), short), Image.Resampling.BILINEAR)
    left, top = int(round((image.width - size) / 2.0)), int(round((image.height - size) / 2.0))  # noqa: RUF046
    return np.asarray(image.crop((left, top, left + size, top + size)))


def decode_by_hand(data):
    """The formula of docs: upright, RGB, and 16-bit grey by its high byte."""
    with Image.open(io.BytesIO(data)) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I;16") or (image.mode == "I" and opened.format == "PPM"):
            return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, 2)
        return np.asarray(image.convert("RGB"))


def assert_within_one_level(found, expected):
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= 1


# What comes out


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("BMP", {}), ("PPM", {}), ("TIFF", {}), ("TGA", {})])
def test_lossless_files_come_back_exactly(kind, options):
    pixels = decode(encode(Image.fromarray(NOISE), kind, **options), size=None)
    assert (pixels.dtype, pixels.flags.c_contiguous, pixels.flags.writeable) == (np.uint8, True, True)
    np.testing.assert_array_equal(pixels, NOISE)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("WEBP", {"lossless": True}),
        ("QOI", {}),
        ("PCX", {}),
        ("JPEG2000", {}),
        ("DIB", {}),
        ("ICO", {"sizes": [(40, 30)]}),
    ],
)
def test_more_lossless_formats_come_back_exactly(kind, options):
    np.testing.assert_array_equal(decode(encode(Image.fromarray(NOISE), kind, **options), size=None), NOISE)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "LAB"])
def test_every_mode_becomes_rgb_as_pillow_has_it(mode):
    image = Image.fromarray(NOISE)
    image = Image.merge("LAB", image.split()) if mode == "LAB" else image.convert(mode)
    data = encode(image, "TIFF")
    np.testing.assert_array_equal(decode(data, size=None), decode_by_hand(data))


def test_alpha_is_dropped_not_blended():
    image = Image.fromarray(NOISE)
    image.putalpha(0)
    np.testing.assert_array_equal(decode(encode(image), size=None), NOISE)


def test_a_palette_with_transparency_is_its_colours():
    image = Image.fromarray(NOISE).quantize(16)
    data = encode(image, transparency=bytes(range(16)))
    np.testing.assert_array_equal(decode(data, size=None), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_of_several_frames_is_taken(kind):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    np.testing.assert_array_equal(decode(data, size=None), np.full((8, 8, 3), (255, 0, 0), np.uint8))


# Sixteen bits

GREY16 = np.random.default_rng(1).integers(0, 65536, (30, 40)).astype(np.uint16)
HIGH_BYTE = np.repeat((GREY16 >> 8).astype(np.uint8)[..., None], 3, 2)


@pytest.mark.parametrize(
    "data",
    [
        encode(Image.fromarray(GREY16), "PNG"),
        encode(Image.fromarray(GREY16), "TIFF"),
        encode(Image.fromarray(GREY16), "TIFF", compression="tiff_lzw"),
        encode(Image.fromarray(GREY16), "JPEG2000"),
        b"P5 40 30 65535\n" + GREY16.astype(">u2").tobytes(),
        b"P2 40 30 65535\n" + " ".join(map(str, GREY16.ravel())).encode() + b"\n",
        write_tiff(GREY16),
        write_tiff(GREY16.astype(">u2")),
    ],
    ids=["png", "tiff", "tiff-lzw", "jpeg2000", "pgm", "plain-pgm", "tiff-little", "tiff-big"],
)
def test_grey_of_16_bits_keeps_its_high_byte(data):
    np.testing.assert_array_equal(decode(data, size=None), HIGH_BYTE)


@pytest.mark.parametrize("size", [7, 16])
def test_grey_of_16_bits_is_resized_after_its_high_byte_is_taken(size):
    expected = resize_whole(Image.fromarray(HIGH_BYTE), size)
    assert_within_one_level(decode(encode(Image.fromarray(GREY16)), size=size), expected)


def test_grey_of_16_bits_is_turned_upright():
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    data = encode(Image.fromarray(GREY16), exif=exif)
    np.testing.assert_array_equal(decode(data, size=None), np.rot90(HIGH_BYTE, -1))
    assert read_form(data, Decoding()).shape == (40, 30)


# Grey

GREYS = {
    "grey": (encode(Image.fromarray(NOISE[..., 0])), NOISE[..., 0]),
    "grey bmp": (encode(Image.fromarray(NOISE[..., 0]), "BMP"), NOISE[..., 0]),
    "grey and alpha": (encode(Image.merge("LA", [Image.fromarray(NOISE[..., b]) for b in (0, 1)])), NOISE[..., 0]),
    "grey of 16 bits": (encode(Image.fromarray(GREY16)), HIGH_BYTE[..., 0]),
}


@pytest.mark.parametrize(("data", "samples"), GREYS.values(), ids=GREYS)
def test_grey_files_are_grey_unchanged(data, samples):
    found = decode(data, kind="grey")
    np.testing.assert_array_equal(found, samples[..., None])
    assert found.flags.c_contiguous and found.flags.writeable


@pytest.mark.parametrize("mode", ["1", "P", "RGBA", "CMYK", "LAB"])
@pytest.mark.parametrize("size", [None, 16])
def test_grey_is_pillows_l_of_the_rgb(mode, size):
    image = Image.fromarray(NOISE)
    image = Image.merge("LAB", image.split()) if mode == "LAB" else image.convert(mode)
    data = encode(image, "TIFF")
    grey = Image.fromarray(decode_by_hand(data)).convert("L")
    expected = np.asarray(grey) if size is None else resize_whole(grey, size)
    for found in (data, image):
        np.testing.assert_array_equal(decode(found, kind="grey", size=size), expected[..., None])
    assert read_form(data, Decoding("grey")) == read_form(image, Decoding("grey")) == (30, 40, 1, "uint8")


@pytest.mark.parametrize("kind", ["rgb", "grey"])
def test_notes_and_refusals_of_grey_are_those_of_rgb(kind):
    dark = GREY16 >> 4
    assert decode_noted(encode(Image.fromarray(dark)), Decoding(kind)).notes == (CUT, DARK)
    assert decode_noted(encode(Image.new("RGB", (9, 9), "red")), Decoding(kind)).notes == (CONSTANT,)
    for refused in (write_tiff(GREY16.astype(np.float32)), Image.fromarray(GREY16.astype(np.float32))):
        with pytest.raises(UnreadableImage, match=r"float samples.*; for others give --pixels native$"):
            decode(refused, kind=kind)


# EXIF

UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda a: a.transpose(1, 0, 2)[::-1],
}


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_images_are_turned_upright_and_so_is_their_shape(kind, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encode(Image.fromarray(NOISE), kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    expected = UPRIGHT.get(orientation, UPRIGHT[1])(NOISE)
    np.testing.assert_array_equal(decode(data, size=None), expected)
    assert read_form(data, Decoding()).shape == expected.shape[:2]
    np.testing.assert_array_equal(decode(data, kind="grey")[..., 0], Image.fromarray(expected).convert("L"))
    np.testing.assert_array_equal(decode(data, kind="native"), NOISE)
    assert read_form(data, Decoding("native")) == (30, 40, 3, "uint8")


def test_exif_behind_the_pixels_of_a_png_counts(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    data = encode(Image.fromarray(NOISE), exif=exif)
    start = data.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(data[start : start + 4], "big")
    late = data[:start] + data[end:-12] + data[start:end] + data[-12:]
    np.testing.assert_array_equal(decode(late, size=None), UPRIGHT[6](NOISE))
    assert read_form(late, Decoding()).shape == (40, 30)
    (tmp_path / "late.png").write_bytes(late)
    with open(tmp_path / "late.png", "rb") as file:
        assert read_form(file, Decoding()).shape == (40, 30)


def test_the_shape_of_a_png_is_read_without_its_pixels():
    data = encode(Image.fromarray(NOISE))
    assert read_form(data[: data.index(b"IDAT") + 4], Decoding()).shape == (30, 40)


# Resizing


@pytest.mark.parametrize("size", [224, 96, 33, 8])
@pytest.mark.parametrize("key", ["chelsea", "coffee", "rocket", "hubble_deep_field"])
def test_photographs_are_resized_as_a_whole_resize_and_crop_would(key, size):
    skimage_data = pytest.importorskip("skimage.data")
    photo = Image.fromarray(getattr(skimage_data, key)()[..., :3])
    expected = resize_whole(photo, size)
    np.testing.assert_array_equal(decode(np.asarray(photo), size=size), expected)
    np.testing.assert_array_equal(decode(encode(photo), size=size), expected)


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_any_shape_is_resized_as_a_whole_resize_and_crop_would(height, width, size, seed):
    # Black and white noise: the hardest edges there are.
    pixels = np.random.default_rng(seed).integers(0, 2, (height, width, 3)).astype(np.uint8) * 255
    found = decode(pixels, size=size)
    assert (found.shape, found.dtype, found.flags.c_contiguous) == ((size, size, 3), np.uint8, True)
    np.testing.assert_array_equal(found, resize_whole(Image.fromarray(pixels), size))


def test_photographs_of_imagenet_are_resized_as_a_whole_resize_and_crop_would(imagenet_folder):
    for path in sorted(imagenet_folder.rglob("*.JPEG"))[::50]:
        image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        np.testing.assert_array_equal(decode(path.read_bytes(), size=224), resize_whole(image, 224))


@pytest.mark.parametrize("shape", [(1, 65000), (65000, 1), (2, 30000)])
def test_extreme_shapes_need_no_huge_image(shape):
    pixels = np.random.default_rng(2).integers(0, 256, (*shape, 3), dtype=np.uint8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = decode(encode(Image.fromarray(pixels)), size=224)
    assert found.shape == (224, 224, 3)
    # ru_maxrss is in KiB; the scaled image would take 17 GB.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000
    assert_within_one_level(decode(pixels, size=7), resize_whole(Image.fromarray(pixels), 7))


def test_an_array_without_size_is_as_it_is_and_contiguous():
    np.testing.assert_array_equal(decode(NOISE[:, ::-1], size=None), NOISE[:, ::-1])
    assert decode(NOISE[:, ::-1], size=None).flags.c_contiguous
    assert_within_one_level(decode(NOISE[:, ::-1], size=9), resize_whole(Image.fromarray(NOISE[:, ::-1].copy()), 9))


@pytest.mark.parametrize("kind", ["rgb", "grey"])
@pytest.mark.parametrize("pixels", [NOISE / 255, NOISE[..., :2], NOISE[:0], NOISE.astype(np.int64), NOISE[0, 0]])
def test_other_arrays_are_refused(kind, pixels):
    with pytest.raises(UnreadableImage, match=r"or \(height, width, 3\); for others give --pixels native$"):
        decode(pixels, kind=kind)


@pytest.mark.parametrize("grey", [NOISE[..., 0], NOISE[..., :1]])
def test_an_array_of_one_band_is_grey_and_as_rgb_three_alike(grey):
    np.testing.assert_array_equal(decode(grey), np.repeat(NOISE[..., :1], 3, axis=2))
    np.testing.assert_array_equal(decode(grey, kind="grey"), NOISE[..., :1])


# What does not decode


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"no image", "cannot identify image file"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "cannot identify image file"),
        (encode(Image.fromarray(NOISE), "JPEG")[:-300], r"image file is truncated \(\d+ bytes not processed\)"),
        (encode(Image.fromarray(NOISE))[:-1500], "image file is truncated"),
        (encode(Image.fromarray(NOISE), "SGI"), "cannot identify image file"),
    ],
)
def test_reasons_are_short_printable_and_the_same_every_time(data, reason):
    reasons = set()
    for _ in range(3):
        with pytest.raises(UnreadableImage, match=f"^{reason}$") as caught:
            decode(data, size=None)
        reasons.add(str(caught.value))
    assert len(reasons) == 1


def test_a_reason_is_one_line_of_ascii(monkeypatch):
    def fail(image):
        raise ValueError(f"two\nlines \x1b[31m é {object()} " + "long " * 99)

    monkeypatch.setattr(decode_module, "_convert_to_rgb", fail)
    with pytest.raises(UnreadableImage) as caught:
        decode(encode(Image.fromarray(NOISE)), size=None)
    assert str(caught.value).startswith("two lines [31m long long")
    assert len(str(caught.value)) <= 200


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(5, "Input/output error"),
        RuntimeError("dictionary changed size during iteration"),
        RuntimeError("can't start new thread"),
        ImportError("no module"),
    ],
)
def test_failures_of_the_machine_are_no_unreadable_image(monkeypatch, error):
    def fail(image):
        raise error

    monkeypatch.setattr(decode_module, "_convert_to_rgb", fail)
    with pytest.raises(type(error)) as caught:
        decode(encode(Image.fromarray(NOISE)), size=None)
    assert caught.value is error


@given(st.data())
def test_damaged_files_decode_or_are_unreadable_and_nothing_else(data):
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "JPEG2000", "TGA", "QOI", "PCX"]))
    content = bytearray(encode(Image.fromarray(NOISE), kind))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, min(len(content), 600) - 1))] = data.draw(st.integers(0, 255))
    content = bytes(content[: data.draw(st.integers(0, len(content)))])
    for read in (lambda: decode(content, size=8).shape, lambda: read_form(content, Decoding())):
        try:
            assert len(read()) in (3, 4)
        except UnreadableImage as error:
            assert "0x7" not in str(error)


BOMBS = {
    "png": lambda width, height: (
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    ),
    "bmp": lambda width, height: b"BM" + struct.pack("<IIIIiiHHIIIIII", 54, 0, 54, 40, width, height, 1, 24, *[0] * 6),
    "ppm": lambda width, height: b"P6 %d %d 255\n" % (width, height),
    "tga": lambda width, height: struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, width, height, 24, 0),
    "gif": lambda width, height: (
        b"GIF89a" + struct.pack("<HHBBBBHHHHBB", width, height, 0, 0, 0, 0x2C, 0, 0, width, height, 0, 2) + b"\0;"
    ),
}
BOMB_SCRIPT = """
import resource, sys
from PIL import Image
from scatcache.errors import UnreadableImage
from scatcache.images.decode import decode, read_form
from scatcache.images.forms import Decoding
Image.MAX_IMAGE_PIXELS = eval(sys.argv[1])
data = bytes.fromhex(sys.argv[2])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for read in (lambda: decode(data, size=None), lambda: decode(data, size=8), lambda: read_form(data, Decoding())):
    try:
        read()
    except UnreadableImage as error:
        print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000)
"""


@pytest.mark.parametrize(("kind", "limit"), [("png", "None"), ("tga", "10**12")])
def test_bombs_are_refused_before_memory_is_taken_whatever_the_users_limit(kind, limit):
    data = fix_png(BOMBS[kind](60_000, 60_000))
    command = [sys.executable, "-W", "error", "-c", BOMB_SCRIPT, limit, data.hex()]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    reason = "60000x60000 pixels, more than the 178956970 allowed\n"
    assert found.stdout == reason * 3 + "True\n"
    assert found.stderr == ""


def fix_png(data):
    """Adds the checksum and an empty IDAT a PNG header needs."""
    return data + struct.pack(">I", zlib.crc32(data[12:])) + b"\0\0\0\0IDAT" if data.startswith(b"\x89PNG") else data


@pytest.mark.parametrize("kind", sorted(BOMBS))
def test_every_format_refuses_bombs(kind):
    with pytest.raises(UnreadableImage, match="more than the 178956970 allowed"):
        decode(fix_png(BOMBS[kind](50_000, 50_000)), size=None)


@pytest.mark.parametrize("limit", [1, None])
def test_images_below_the_limit_decode_whatever_the_users_limit(monkeypatch, limit):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    np.testing.assert_array_equal(decode(encode(Image.fromarray(NOISE)), size=None), NOISE)
    assert read_form(fix_png(BOMBS["png"](178_956_970, 1)), Decoding()).shape == (1, 178_956_970)


def test_warnings_neither_leak_nor_decide_in_any_thread():
    exif = b"Exif\0\0II*\0\x08\0\0\0\x09\0"  # announces nine entries and ends
    warns = encode(Image.fromarray(NOISE), "JPEG", exif=exif)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning):
            ImageOps.exif_transpose(Image.open(io.BytesIO(warns)))
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: decode(warns, size=None), range(64)))
        assert read_form(warns, Decoding()).shape == (30, 40)
    for pixels in found:
        np.testing.assert_array_equal(pixels, decode(encode(Image.fromarray(NOISE), "JPEG"), size=None))


def test_pillow_logs_nothing_while_decoding(caplog):
    data = encode(Image.fromarray(NOISE), "TIFF")
    caplog.set_level("DEBUG")
    decode(data, size=None)
    assert caplog.records == []
    Image.open(io.BytesIO(data)).load()
    assert {record.name for record in caplog.records} == {"PIL.TiffImagePlugin"}


class FakeHeifFile(ImageFile.ImageFile):
    format = "HEIF"

    def _open(self):
        if self.fp.read(4) != b"fake":
            raise SyntaxError("no HEIF")
        warnings.warn("a plugin's warning", stacklevel=2)
        self._mode, self._size = "RGB", (2, 1)
        self.tile = [("raw", (0, 0, 2, 1), 4, ("RGB", 0, 1))]


def test_heif_is_read_where_a_plugin_registered_it(monkeypatch):
    data = b"fake" + bytes(range(6))
    with pytest.raises(UnreadableImage, match="cannot identify"):
        decode(data, size=None)
    for name in ("OPEN", "EXTENSION"):
        monkeypatch.setattr(Image, name, dict(getattr(Image, name)))
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    Image.register_open("HEIF", FakeHeifFile)
    Image.register_extension("HEIF", ".heic")
    np.testing.assert_array_equal(decode(data, size=None), np.arange(6, dtype=np.uint8).reshape(1, 2, 3))


# Files from everywhere

# Pillow refuses them for the sake of a text and of a colour profile.
REFUSED_BY_PILLOW = ("png_decompression_dos.png", "unknown_compression_method.png")


def test_each_nasty_file_decodes_as_the_formula_or_is_unreadable(robustness):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    n_decoded = n_files = 0
    for path in sorted(robustness.rglob("*")):
        if path.is_dir() or path.name == "MANIFEST.csv":
            continue
        n_files += 1
        if path.name.startswith("timeout-") and int(Image.__version__.partition(".")[0]) < 13:
            continue  # Older Pillows decode these for minutes; that is theirs to mend, and they did.
        data = path.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                pixels = decode(data, size=None)
                small = decode(data, size=32)
            except UnreadableImage as error:
                assert " at 0x" not in str(error)
                continue
            assert read_form(data, Decoding()).shape == pixels.shape[:2], path
        n_decoded += 1
        if path.name in REFUSED_BY_PILLOW:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            by_hand = decode_by_hand(data)
        if path.name != "tiff_tiled_jpeg_oob_read.tif":  # Pillow before 13 leaves pixels of it as they were in memory.
            np.testing.assert_array_equal(pixels, by_hand, err_msg=str(path))
        if max(pixels.shape) < 50 * min(pixels.shape[:2]):
            assert_within_one_level(small, resize_whole(Image.fromarray(pixels), 32))
    assert (n_files, n_decoded > 650) == (826, True)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000


def test_crops_of_photographs_pass_through():
    pytest.importorskip("skimage")
    crop = read_key(open_photos(), "all", "chelsea/0000-0128")
    assert decode(crop, size=None) is crop


@pytest.mark.parametrize("kind", ["rgb", "native"])
def test_masked_arrays_are_refused(kind):
    masked = np.ma.array(np.zeros((8, 8, 3), np.uint8), mask=True)
    for take in (lambda: decode(masked, kind=kind), lambda: read_form(masked, Decoding(kind))):
        with pytest.raises(UnreadableImage, match=r"a masked array: give .filled"):
            take()
