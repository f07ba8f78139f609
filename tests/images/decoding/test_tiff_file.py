import io
import logging
import struct
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

from scatcache.errors import SourceError, UnreadableImage
from scatcache.images.decode import decode, decode_noted, read_form
from scatcache.images.decoding.notes import FIRST
from scatcache.images.forms import Decoding
from tests.images.files import write_tiff
from tests.images.sample_files import F32, RGB8, RGB16, U8, U16, WIDE, save_picture, write_tiff_by_tifffile

pytest.importorskip("tifffile")
NATIVE = Decoding("native")
INTEGERS = np.random.default_rng(0).integers(-(2**31), 2**31, (30, 41))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"])
@pytest.mark.parametrize("planar", [False, True])
def test_tiffs_made_by_hand_come_back_exactly(dtype, order, planar):
    samples = (INTEGERS % 100 - 50 * (dtype[0] != "u")).astype(order + dtype)
    samples = np.stack([samples, samples[::-1], samples[:, ::-1]], axis=2)
    found = decode_noted(write_tiff(samples, planar=planar), NATIVE)
    np.testing.assert_array_equal(found.pixels, samples)
    assert found.notes == () and found.pixels.flags.c_contiguous and found.pixels.flags.writeable


@pytest.mark.parametrize(
    "samples", [U8, U16, F32, WIDE, F32.astype("f8"), RGB8, RGB16], ids=lambda s: f"{s.dtype}{s.ndim}"
)
@pytest.mark.parametrize(
    "options",
    [
        {"compression": "lzw", "predictor": True},
        {"compression": "deflate", "predictor": True, "tile": (16, 16)},
        {"compression": "deflate", "bigtiff": True},
        {"compression": "packbits", "rowsperstrip": 7},
        {"compression": "zstd"},
        {"compression": "lzma", "byteorder": ">"},
        {"tile": (32, 16), "byteorder": ">"},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)  # fmt: skip
def test_compressions_tiles_and_byte_orders_change_no_sample(samples, options):
    data = write_tiff_by_tifffile(samples, photometric="rgb" if samples.ndim == 3 else "minisblack", **options)
    expected = samples.astype(np.float32) if samples.dtype == np.float64 else samples
    np.testing.assert_array_equal(decode(data, kind="native"), expected.reshape(30, 41, -1))


def test_many_bands_and_planes_by_tifffile():
    bands = np.random.default_rng(1).normal(size=(13, 20, 31)).astype(np.float32)
    planar = write_tiff_by_tifffile(bands, photometric="minisblack", planarconfig="separate", tile=(16, 16))
    together = write_tiff_by_tifffile(bands.transpose(1, 2, 0), photometric="minisblack", planarconfig="contig")
    for data in (planar, together):
        np.testing.assert_array_equal(decode(data, kind="native"), bands.transpose(1, 2, 0))
        assert read_form(data, NATIVE) == (20, 31, 13, "float32")


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
@pytest.mark.parametrize("samples", [U8, U16, F32, INTEGERS.astype(np.int32), RGB8], ids=lambda s: f"{s.dtype}{s.ndim}")
def test_tiffs_by_pillow(samples, compression):
    found = decode(save_picture(samples, "TIFF", compression=compression), kind="native")
    np.testing.assert_array_equal(found, samples.reshape(30, 41, -1).astype(found.dtype))


def test_jpeg_in_tiff_is_what_libjpeg_makes_of_it():
    smooth = np.add.outer(np.arange(64), np.arange(96)).astype(np.uint8)[..., None].repeat(3, 2)
    data = write_tiff_by_tifffile(smooth, photometric="rgb", compression="jpeg", tile=(32, 32))
    with Image.open(io.BytesIO(data)) as by_libtiff:
        np.testing.assert_allclose(decode(data, kind="native").astype(int), np.asarray(by_libtiff), atol=1)


# Cases of pictures that would come out black or white as 8 bits.


@pytest.mark.parametrize("top", [1.0, 255.0, 40.0])
def test_floats_and_12_bits_in_16_keep_their_range_where_a_picture_is_refused_or_dark(top):
    floats = np.random.default_rng(2).uniform(0, top, (64, 64)).astype(np.float32)
    np.testing.assert_array_equal(decode(save_picture(floats, "TIFF"), kind="native")[..., 0], floats)
    with pytest.raises(UnreadableImage, match=r"^32-bit float samples: .* give --pixels native$"):
        decode(save_picture(floats, "TIFF"))
    twelve = np.random.default_rng(3).integers(0, 4096, (64, 64), dtype=np.uint16)
    found = decode_noted(save_picture(twelve, "TIFF"), NATIVE)
    np.testing.assert_array_equal(found.pixels[..., 0], twelve)
    assert (found.pixels.dtype, found.notes) == (np.uint16, ())


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_packed_samples_are_unpacked_exactly(bits):
    samples = U16 >> (16 - bits)
    rows = np.unpackbits(samples.astype(">u2").view(np.uint8).reshape(30, 41, 2), axis=2)[..., 16 - bits :]
    packed = np.packbits(rows.reshape(30, -1), axis=1)
    data = write_tiff(packed, tag_256=(3, (41,)), tag_258=(3, (bits,)))
    np.testing.assert_array_equal(decode(data, kind="native")[..., 0], samples)


def test_white_is_zero_stays_so_and_no_orientation_turns():
    data = write_tiff(U16, tag_262=(3, (0,)), tag_274=(3, (6,)))
    np.testing.assert_array_equal(decode(data, kind="native")[..., 0], U16)
    assert read_form(data, NATIVE).shape == (30, 41)


def test_the_first_page_is_taken_and_the_others_noted():
    data = write_tiff_by_tifffile(np.stack([F32, F32 + 1]), photometric="minisblack")
    found = decode_noted(data, NATIVE)
    np.testing.assert_array_equal(found.pixels[..., 0], F32)
    assert found.notes == (FIRST,)


ONE_STRIP = write_tiff(U8)
REFUSED = {
    "palette": (write_tiff(U8, tag_262=(3, (3,)), tag_320=(3, (0,) * 768)), "palette colours.*give --pixels rgb"),
    "1 bit": (write_tiff(U8, tag_258=(3, (1,))), "1-bit samples.*give --pixels grey or rgb"),
    "4 bits": (write_tiff(U8, tag_258=(3, (4,))), "4-bit samples"),
    "depths": (write_tiff(RGB8, tag_258=(3, (8, 8, 16))), r"several depths, \(8, 8, 16\) bits"),
    "formats": (write_tiff(RGB16, tag_339=(3, (1, 1, 2))), "several formats, 1, 2: expected one"),
    "complex": (write_tiff(F32, tag_339=(3, (6,)), tag_258=(3, (64,))), "sample format 6: expected numbers"),
    "volume": (write_tiff(U8, tag_257=(3, (10,)), tag_32997=(3, (3,)), tag_278=(3, (10,))), "a volume"),
    "fax": (write_tiff(U8, tag_259=(3, (4,))), "TIFF compression 4: expected none, LZW"),
    "webp": (write_tiff(U8, tag_259=(3, (50001,))), "TIFF compression 50001"),
    "predictor": (write_tiff(U8, tag_317=(3, (34893,))), "TIFF predictor"),
    "cut": (write_tiff(U8).replace(write_tiff(U8)[8:1000], b"")[:500], "directory|end"),
    "strip behind the end": (write_tiff(U8, tag_273=(4, (10**6,))), "end at byte 1001230, the file at"),
    "strip too long": (write_tiff(U8, tag_279=(4, (10**6,))), "end at byte"),
    "strip too short": (write_tiff(U8, tag_279=(4, (100,))), "hold 100 bytes, too few"),
    "strip missing": (write_tiff(U8, tag_273=(4, (0,))), "0 strips or tiles: expected 1"),
    "strips missing": (write_tiff(U8, tag_278=(3, (1,))), "1 strips or tiles: expected 30"),
    "rows": (write_tiff(U8, tag_278=(3, (0,))), "rowsperstrip"),
    "bomb": (write_tiff(U8, tag_256=(4, (10**6,)), tag_257=(4, (10**6,))), "1000000x1000000 pixels, more than"),
    "bands": (write_tiff(U8, tag_277=(4, (10**9,))), "samples allowed"),
    "tile": (
        write_tiff(U8, tag_322=(4, (2**20,)), tag_323=(4, (2**20,)), tag_324=(4, (8,)), tag_325=(4, (9,))),
        "tiles of .* samples, more than an image may have",
    ),
    "count": (
        ONE_STRIP.replace(struct.pack("<HHI", 279, 4, 1), struct.pack("<HHI", 279, 4, 2**31)),
        "2147483648 values of the TIFF tag 279",
    ),
    "no directory": (b"II*\0" + struct.pack("<I", 2**31), "without a directory"),
    "empty directory": (b"II*\0" + struct.pack("<IHI", 8, 0, 0), "without a directory"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_taken_as_it_is_is_refused_by_header_alone(data, reason):
    reasons = set()
    for read in (decode_noted, read_form, decode_noted):
        with pytest.raises(UnreadableImage, match=reason) as caught:
            read(data, NATIVE)
        reasons.add(str(caught.value))
    (reason,) = reasons
    assert reason.isprintable() and reason.isascii() and len(reason) <= 200


@pytest.mark.parametrize("compression", [None, "lzw", "deflate", "packbits", "zstd", "lzma"])
def test_strips_of_fewer_bytes_than_they_need_are_unreadable(compression):
    import tifffile

    data = bytearray(write_tiff_by_tifffile(U16, compression=compression))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tag = file.pages[0].tags[279]
    assert tag.count == 1
    struct.pack_into("<I" if tag.dtype == 4 else "<H", data, tag.valueoffset, tag.value[0] // 2)
    with pytest.raises(UnreadableImage):
        decode(bytes(data), kind="native")


def test_a_jpeg_larger_than_its_strip_or_cut_is_refused():
    data = write_tiff_by_tifffile(RGB8, photometric="rgb", compression="jpeg")
    frame = data.index(b"\xff\xc0") + 5
    larger = data[:frame] + struct.pack(">HH", 60_000, 60_000) + data[frame + 4 :]
    with pytest.raises(UnreadableImage, match="a JPEG of 60000x60000 pixels in a strip or tile of 30x41"):
        decode(larger, kind="native")
    with pytest.raises(UnreadableImage, match="no whole JPEG in a strip or tile of 30x41"):
        decode(data.replace(b"\xff\xd9", b"\0\0"), kind="native")


def test_tifffile_is_quiet_while_decoding_and_as_ever_otherwise(caplog):
    import tifffile

    odd = write_tiff(U8, tag_279=(4, (1230, 7)))
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decode(odd, kind="native")
    assert caplog.records == []
    tifffile.TiffFile(io.BytesIO(odd)).pages[0]
    assert {record.name for record in caplog.records} == {"tifffile"}


@pytest.mark.parametrize("missing", ["tifffile", "imagecodecs"])
def test_without_the_library_the_extra_is_named(monkeypatch, missing):
    from scatcache.images.decoding import extra_libraries

    monkeypatch.setattr(extra_libraries, "_quiet", {})
    monkeypatch.setitem(sys.modules, missing, None)
    for read in (decode_noted, read_form):
        with pytest.raises(
            SourceError, match=rf"^reading TIFF samples needs {missing}: pip install 'scatcache\[tiff\]'$"
        ):
            read(write_tiff(U8), NATIVE)
    assert decode(write_tiff(U8)).shape == (30, 41, 3)


@pytest.mark.parametrize("entry", [(257, 4, 100, 8), (256, 2, 1, 65), (257, 7, 1, 65), (323, 12, 1, 8)])
def test_a_size_that_is_no_single_integer_takes_no_memory(entry):
    """Multiplied by the width, a height of 100 numbers once took all the memory there was."""
    data = write_tiff_by_tifffile(U8, tile=(16, 16))
    for tag, *rest in ((256, 4, 1, 2**31 - 12), entry):
        place = next(at for at in range(10, len(data), 12) if data[at : at + 2] == struct.pack("<H", tag))
        data = data[:place] + struct.pack("<HHII", tag, *rest) + data[place + 12 :]
    with pytest.raises(UnreadableImage, match=r"a TIFF file whose .* is not one integer"):
        read_form(data, NATIVE)
