import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from scatcache.errors import UnreadableImage
from scatcache.images.decode import decode, decode_noted, read_form
from scatcache.images.decoding.image_metadata import MOST_BYTES, separate
from scatcache.images.decoding.notes import FIRST
from scatcache.images.forms import Decoding
from tests.images.files import add_to_jpeg, add_to_png, add_to_webp, png_chunk, write_exif, write_tiff

NOISE = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
SIDEWAYS = write_exif({274: (3, (6,))})
XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def encode(kind, **options):
    file = io.BytesIO()
    options = {"lossless": True, **options} if kind == "WEBP" else options
    Image.fromarray(NOISE).save(file, kind, **options)
    return file.getvalue()


PLAIN = {kind: encode(kind) for kind in ("JPEG", "PNG", "WEBP")}


def with_exif(kind, block):
    if kind == "JPEG":
        return add_to_jpeg(PLAIN[kind], (0xE1, block))
    if kind == "PNG":
        return add_to_png(PLAIN[kind], png_chunk(b"eXIf", block.removeprefix(b"Exif\0\0")))
    extended = encode("WEBP", exif=b"Exif\0\0some")
    return add_to_webp(extended[: extended.index(b"EXIF")], (b"EXIF", block))


def with_xmp(kind, packet):
    if kind == "JPEG":
        return add_to_jpeg(PLAIN[kind], (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet))
    if kind == "PNG":
        return add_to_png(PLAIN[kind], png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet))
    extended = encode("WEBP", exif=b"Exif\0\0some")
    return add_to_webp(extended[: extended.index(b"EXIF")], (b"XMP ", packet))


def assert_same(data, plain, *, turned):
    expected = decode(plain)
    expected = np.rot90(expected, -1) if turned else expected
    np.testing.assert_array_equal(decode(data), expected)
    assert read_form(data, Decoding()).shape == read_form(io.BytesIO(data), Decoding()).shape == expected.shape[:2]


ODD_TAGS = {
    "resolution as text": {282: (2, b"72 dpi\0")},
    "resolution as nothing": {282: (2, b"\0")},
    "resolution not a number": {282: (12, (float("nan"),)), 296: (3, (2,))},
    "resolution 0/0": {282: (5, (0, 0)), 283: (5, (7, 0))},
    "description as float": {270: (11, (float("nan"),))},
    "width as bytes": {256: (1, b"\x01\x02\x03\x04\x05")},
    "a directory as text": {34665: (2, b"none at all\0")},
    "GPS as rational": {34853: (5, (1, 0))},
    "date as short": {306: (3, (1, 2, 3))},
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("odd", ODD_TAGS.values(), ids=ODD_TAGS)
def test_odd_tags_beside_the_orientation_do_not_matter(kind, odd):
    for order in "<>":
        block = write_exif({274: (3, (6,)), **odd}, order=order)
        assert_same(with_exif(kind, block), PLAIN[kind], turned=True)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "block",
    [b"", b"\0", b"nothing like EXIF", SIDEWAYS[:9], SIDEWAYS[:15], SIDEWAYS[:20], b"Exif\0\0II*\0\xff\xff\xff\xff",
     b"Exif\0\0MM\0+\0\x08", b"Exif\0\0II+\0" + bytes(20), b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\xff" * 40],
)  # fmt: skip
def test_broken_exif_is_no_orientation(kind, block):
    assert_same(with_exif(kind, b"Exif\0\0" + block), PLAIN[kind], turned=False)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_orientation_in_xmp_counts_where_exif_has_none(kind):
    assert_same(with_xmp(kind, XMP), PLAIN[kind], turned=True)
    assert_same(with_xmp(kind, b"\xff\xfe" + XMP), PLAIN[kind], turned=True)
    assert_same(with_xmp(kind, b'\xff tiff:Orientation="'), PLAIN[kind], turned=False)


@given(st.data())
def test_whatever_metadata_holds_the_pixels_are_the_same(data):
    kind = data.draw(st.sampled_from(["JPEG", "PNG", "WEBP"]))
    block = bytearray(write_exif({274: (3, (1,)), 282: (5, (72, 1)), 34665: (4, (60,)), 700: (7, XMP[:9])}))
    for _ in range(data.draw(st.integers(0, 6))):
        block[data.draw(st.integers(0, len(block) - 1))] = data.draw(st.integers(0, 255))
    block = bytes(block[: data.draw(st.integers(0, len(block)))])
    found = decode(data.draw(st.sampled_from([with_exif, with_xmp]))(kind, block))
    assert sorted(found.shape) == sorted(NOISE.shape)
    assert sorted(found.ravel().tolist()) == sorted(decode(PLAIN[kind]).ravel().tolist())


# PNG

BOMB = zlib.compress(bytes(50 * MOST_BYTES))
EMPTY = (b"iCCP", b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"tRNS", b"tEXt", b"zTXt", b"iTXt", b"eXIf")
PNG_CHUNKS = {
    "text bomb": [(b"zTXt", b"Comment\0\0" + BOMB)],
    "bomb of XMP": [(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + BOMB)],
    "bomb of EXIF": [(b"zTXt", b"Raw profile type exif\0\0" + BOMB)],
    "profile bomb": [(b"iCCP", b"icc\0\0" + BOMB)],
    "64 MiB of texts": [(b"tEXt", b"Comment\0" + bytes(2**20))] * 66,
    "other compression": [(b"zTXt", b"a\0\7x"), (b"iCCP", b"a\0\7x"), (b"iTXt", b"a\0\1\7\0\0x")],
    "exif as text": [(b"iTXt", b"exif\0\0\0\0\0II*"), (b"tEXt", b"xmp\0<x"), (b"zTXt", b"exif\0\0x")],
    "raw profile": [(b"tEXt", b"Raw profile type exif\0\nexif\n  4\n4zz-\xe9")],
    "empty": [(kind, b"") for kind in EMPTY],
}


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("chunks", PNG_CHUNKS.values(), ids=PNG_CHUNKS)
def test_no_chunk_beside_the_pixels_costs_the_picture(chunks, behind):
    data = add_to_png(PLAIN["PNG"], *(png_chunk(*chunk) for chunk in chunks), behind=behind)
    assert_same(data, PLAIN["PNG"], turned=False)


def test_a_checksum_that_does_not_fit_costs_the_picture_where_it_bears_on_pixels():
    chunks = png_chunk(b"tEXt", b"a\0b", crc=1), png_chunk(b"eXIf", b"II*\0", crc=2)
    assert_same(add_to_png(PLAIN["PNG"], *chunks), PLAIN["PNG"], turned=False)
    with pytest.raises(UnreadableImage):
        decode(add_to_png(PLAIN["PNG"], png_chunk(b"PLTE", bytes(9), crc=1)))


def test_text_cut_off_behind_the_pixels_costs_nothing():
    data = add_to_png(PLAIN["PNG"], png_chunk(b"tEXt", b"Comment\0" + bytes(999)), behind=True)
    assert_same(data[: data.index(b"tEXt") + 99], PLAIN["PNG"], turned=False)


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt"])
def test_exif_written_as_text_counts(kind):
    block = SIDEWAYS.removeprefix(b"Exif\0\0")
    text = b"\nexif\n%8d\n%s\n" % (len(block), block.hex().encode())
    rest = {b"tEXt": text, b"zTXt": b"\0" + zlib.compress(text), b"iTXt": b"\0\0\0\0" + text}[kind]
    data = add_to_png(PLAIN["PNG"], png_chunk(kind, b"Raw profile type exif\0" + rest))
    assert_same(data, PLAIN["PNG"], turned=True)


def test_a_damaged_palette_or_header_still_counts():
    for kind in (b"IHDR", b"IDAT"):
        data = PLAIN["PNG"].replace(kind, kind[:3] + b"?")
        with pytest.raises(UnreadableImage):
            decode(data)


# JPEG


@pytest.mark.parametrize(
    "segment",
    [(0xE0, b"JFIF"), (0xE0, b"JFIF\0\1"), (0xE2, b"ICC_PROFILE\0"), (0xE2, b"ICC_PROFILE\0\1"), (0xEE, b"Adobe"),
     (0xED, b"Photoshop 3.0\0" + b"8BIM\4\4"), (0xE2, b"MPF\0"), (0xE2, b"MPF\0II*\0" + bytes(60)), (0xFE, b""),
     (0xE1, b"Exif\0\0"), (0xE1, b"http://ns.adobe.com/xap/1.0/\0")],
)  # fmt: skip
def test_no_segment_of_an_application_costs_the_picture(segment):
    assert_same(add_to_jpeg(PLAIN["JPEG"], segment), PLAIN["JPEG"], turned=False)


def test_exif_in_several_segments_is_one():
    block = SIDEWAYS + bytes(70_000)
    data = add_to_jpeg(PLAIN["JPEG"], (0xE1, block[:8]), (0xE1, b"Exif\0\0" + block[8:30_000]))
    assert_same(data, PLAIN["JPEG"], turned=True)


@pytest.mark.parametrize("junk", [b"\0", b"junk" * 200, b"\xff\xff", b"\xff\0\1", b"\xff" * 700])
def test_bytes_between_segments_are_passed_over(junk):
    data = add_to_jpeg(PLAIN["JPEG"], (0xE1, SIDEWAYS), (0xFE, b"a comment"))
    at = data.index(b"\xff\xfe")
    assert_same(data[:at] + junk + data[at:], PLAIN["JPEG"], turned=True)


def test_how_colours_are_coded_is_kept():
    for mode in ("CMYK", "L", "RGB"):
        file = io.BytesIO()
        Image.fromarray(NOISE).convert(mode).save(file, "JPEG", quality=95, keep_rgb=mode == "RGB")
        data = add_to_jpeg(file.getvalue(), (0xE1, SIDEWAYS))
        expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
        np.testing.assert_array_equal(decode(data), np.asarray(expected))


# AVIF


@pytest.mark.parametrize("orientation", [1, 6])
def test_an_avif_is_turned_as_its_container_says_whatever_its_exif_holds(orientation):
    exif = Image.Exif()
    exif[271], exif[274] = "a maker", orientation
    data, plain = (encode("AVIF", exif=block, quality=90) for block in (exif.tobytes(), b""))
    assert_same(data, plain, turned=orientation == 6)
    at = data.index(b"II*\0" if b"II*\0" in data else b"MM\0*")
    broken = data[:at] + b"none" + data[at + 4 :]
    with pytest.raises(ValueError, match="Exif"):
        Image.open(io.BytesIO(broken))
    assert_same(broken, plain, turned=orientation == 6)


# TIFF


def test_odd_tags_of_a_tiff_do_not_matter():
    odd = {f"tag_{tag}": value for tags in ODD_TAGS.values() for tag, value in tags.items() if tag > 257}
    for order in "<>":
        pixels = NOISE.astype(order + "u1")
        assert_same(write_tiff(pixels, tag_274=(3, (6,)), **odd), write_tiff(pixels), turned=True)
    assert_same(write_tiff(NOISE, tag_700=(1, XMP)), write_tiff(NOISE), turned=True)
    assert_same(write_tiff(NOISE, tag_34675=(7, b"no profile")), write_tiff(NOISE), turned=False)


def test_a_tiff_tag_that_lies_beyond_the_end_does_not_matter():
    whole = write_tiff(NOISE, tag_270=(2, b"a long description\0"), tag_274=(3, (6,)))
    entry = struct.pack("<HHI", 270, 2, 19)
    at = whole.index(entry) + 8
    for offset, count in ((2**32 - 1, 19), (len(whole) - 2, 19), (0, 2**31)):
        data = whole[: at - 4] + struct.pack("<II", count, offset) + whole[at + 4 :]
        assert_same(data, write_tiff(NOISE), turned=True)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"])
@pytest.mark.parametrize("big", [False, True])
def test_a_tiff_of_each_kind_is_as_pillow_has_it(compression, big):
    options = {"big_tiff": True} if big else {}
    for mode in ("RGB", "L", "P", "CMYK", "1", "YCbCr"):
        # Pillow 11.3 does not read its own raw YCbCr.
        if (compression, mode) in (("jpeg", "P"), ("jpeg", "1"), ("raw", "YCbCr")):
            continue
        file = io.BytesIO()
        Image.fromarray(NOISE).convert(mode).save(file, "TIFF", compression=compression, dpi=(72, 72), **options)
        expected = np.asarray(Image.open(io.BytesIO(file.getvalue())).convert("RGB"))
        np.testing.assert_array_equal(decode(file.getvalue()), expected)


# Several pictures


def save_frames(kind, n_frames=3, **options):
    file = io.BytesIO()
    frames = [Image.fromarray(np.roll(NOISE, shift, 0)) for shift in range(n_frames)]
    options = {"lossless": True} if kind == "WEBP" else options
    frames[0].save(file, kind, save_all=True, append_images=frames[1:], **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["TIFF", "MPO", "GIF", "PNG", "WEBP", "AVIF"])
def test_more_pages_or_frames_are_noted(kind):
    assert decode_noted(save_frames(kind), Decoding()).notes == (FIRST,)
    assert decode_noted(save_frames(kind, n_frames=1), Decoding()).notes == ()


def test_a_smaller_copy_in_a_tiff_is_no_page():
    file = io.BytesIO()
    Image.fromarray(NOISE).save(file, "TIFF", save_all=True, append_images=[Image.fromarray(NOISE[::2, ::2])])
    data = bytearray(file.getvalue())
    assert decode_noted(bytes(data), Decoding()).notes == (FIRST,)
    single = io.BytesIO()
    Image.fromarray(NOISE).save(single, "TIFF", save_all=True, append_images=[Image.fromarray(NOISE[::2, ::2])],
                                tiffinfo={254: 1})  # fmt: skip
    assert decode_noted(single.getvalue(), Decoding()).notes == ()


def test_an_imagej_stack_with_one_directory_is_several_pages():
    for n_images, notes in ((1, ()), (12, (FIRST,))):
        text = b"ImageJ=1.53k\nimages=%d\nslices=%d\n\0" % (n_images, n_images)
        assert decode_noted(write_tiff(NOISE, tag_270=(2, text)), Decoding()).notes == notes


def test_a_file_without_metadata_is_read_where_it_lies():
    file = io.BytesIO(PLAIN["JPEG"])
    assert separate(file).file is file


# Cut files


@pytest.mark.parametrize("options", [{}, {"compression": "tiff_lzw"}, {"big_tiff": True}], ids=str)
@pytest.mark.parametrize("mode", ["RGB", "L", "1"])
def test_a_cut_tiff_is_refused_or_whole(options, mode):
    file = io.BytesIO()
    Image.fromarray(NOISE).convert(mode).save(file, "TIFF", **options)
    assert_cut_is_refused_or_whole(file.getvalue())


def test_a_cut_webp_that_lies_on_its_side_is_refused():
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.fromarray(NOISE).save(file, "WEBP", exif=exif)
    assert_cut_is_refused_or_whole(file.getvalue())


def assert_cut_is_refused_or_whole(data):
    """Whatever is cut off: what lies behind the pixels may be missing, never a pixel or a turn."""
    whole, n_refused = decode(data), 0
    for n_bytes in range(1, min(len(data), 160)):
        try:
            np.testing.assert_array_equal(decode(data[:-n_bytes]), whole)
        except UnreadableImage:
            n_refused += 1
    assert n_refused > 50
