import gzip
import socket
import sys
import tracemalloc
import warnings

import numpy as np
import pytest

from scatcache.errors import SourceError, UnreadableImage
from scatcache.images.decode import decode, decode_noted, read_form
from scatcache.images.decoding.notes import FIRST
from scatcache.images.forms import Decoding
from tests.images.sample_files import F32, RGB16, U8, U16, WIDE, write_fits

pytest.importorskip("astropy")
NATIVE = Decoding("native")
I16 = U16.view(np.int16)


def write_unit(*cards: tuple[str, object], data: bytes = b"", first: bool = True) -> bytes:
    """A unit of a FITS file, from the standard: cards of 80 characters, blocks of 2880 bytes."""
    head = [("SIMPLE", "T")] if first else [("XTENSION", "'IMAGE   '")]
    text = "".join(f"{key:<8}= {value:>20}".ljust(80) for key, value in [*head, *cards]) + "END".ljust(80)
    return text.encode().ljust(-(-len(text) // 2880) * 2880) + data.ljust(-(-len(data) // 2880) * 2880, b"\0")


def write_image(samples: np.ndarray, *cards: tuple[str, object], first: bool = True) -> bytes:
    bits = 8 * samples.dtype.itemsize * (-1 if samples.dtype.kind == "f" else 1)
    axes = [(f"NAXIS{number + 1}", size) for number, size in enumerate(reversed(samples.shape))]
    data = samples.astype(samples.dtype.newbyteorder(">")).tobytes()
    return write_unit(("BITPIX", bits), ("NAXIS", samples.ndim), *axes, *cards, data=data, first=first)


EMPTY = write_unit(("BITPIX", 8), ("NAXIS", 0), ("EXTEND", "T"))


@pytest.mark.parametrize("samples", [U8, I16, F32, WIDE, I16.astype("i4"), I16.astype("i8"), F32.astype("f8")])
def test_fits_made_by_hand_comes_back_exactly(samples):
    data = write_image(samples)
    found = decode_noted(data, NATIVE)
    np.testing.assert_array_equal(found.pixels[..., 0], samples)
    assert found.notes == () and found.pixels.flags.writeable and found.pixels.flags.c_contiguous
    assert found.pixels.dtype.isnative and read_form(data, NATIVE) == (*found.pixels.shape, str(found.pixels.dtype))


@pytest.mark.parametrize(
    ("stored", "zero", "moved"),
    [
        (I16, 2**15, "u2"),
        (I16.astype("i4"), 2**31, "u4"),
        (I16.astype("i8"), 2**63, "u8"),
        (U8, -128, "i1"),
    ],
)
def test_integers_moved_by_bzero_are_of_the_other_sign(stored, zero, moved):
    expected = (stored.astype(object) + zero).astype(moved)
    data = write_image(stored, ("BZERO", zero))
    np.testing.assert_array_equal(decode(data, kind="native")[..., 0], expected.astype(read_form(data, NATIVE).dtype))


@pytest.mark.parametrize(
    "samples", [U16, U8, I16, F32, RGB16.transpose(2, 0, 1), F32[None]], ids=lambda s: f"{s.dtype}{s.ndim}"
)
def test_fits_by_astropy_comes_back_with_its_planes_as_bands(samples):
    data = write_fits(samples)
    expected = samples.transpose(1, 2, 0) if samples.ndim == 3 else samples[..., None]
    np.testing.assert_array_equal(decode(data, kind="native"), expected)
    assert read_form(data, NATIVE)[:3] == expected.shape


def test_scaled_integers_are_what_bscale_and_bzero_say():
    found = decode(write_image(I16, ("BSCALE", 0.5), ("BZERO", 100)), kind="native")
    np.testing.assert_array_equal(found[..., 0], I16 * np.float32(0.5) + 100)
    wide = write_image(I16.astype("i4"), ("BSCALE", 0.25))
    np.testing.assert_array_equal(decode(wide, kind="native")[..., 0], I16 * np.float32(0.25))


@pytest.mark.parametrize("compression", ["RICE_1", "GZIP_1", "GZIP_2"])
@pytest.mark.parametrize("samples", [U16, I16, U8], ids=lambda samples: str(samples.dtype))
def test_compressed_images_come_back_exactly(samples, compression):
    data = write_fits(None, samples, compression=compression)
    found = decode_noted(data, NATIVE)
    np.testing.assert_array_equal(found.pixels[..., 0], samples)
    assert found.notes == () and read_form(data, NATIVE) == (*found.pixels.shape, str(found.pixels.dtype))


def test_compressed_floats_are_within_their_quantum():
    data = write_fits(None, F32, compression="RICE_1")
    assert np.abs(decode(data, kind="native")[..., 0] - F32).max() < 1
    assert read_form(data, NATIVE) == (30, 41, 1, "float32")


def test_the_first_unit_with_an_image_is_taken_and_others_are_noted():
    row = write_unit(("BITPIX", -32), ("NAXIS", 1), ("NAXIS1", 9), data=bytes(36))
    table = write_fits(None, F32)[2880:]
    first, second = (write_image(F32 + add, first=False) for add in (0, 1))
    for data, notes in ((EMPTY + first, ()), (row + first + second, (FIRST,)), (EMPTY + table, ())):
        found = decode_noted(data, NATIVE)
        np.testing.assert_array_equal(found.pixels[..., 0], F32)
        assert found.notes == notes


def test_blanks_are_not_finite_whatever_the_type():
    blank = I16.copy()
    blank[2, 5] = blank[9, 9] = -7
    blank[blank == -7] = -8
    blank[2, 5] = blank[9, 9] = -7
    for cards in ([], [("BZERO", 2**15)], [("BSCALE", 2.5)]):
        with pytest.raises(UnreadableImage, match="at row 2, column 5, band 0: expected finite samples"):
            decode(write_image(blank, ("BLANK", -7), *cards), kind="native")
    assert decode(write_image(np.where(blank == -7, 0, blank), ("BLANK", -7)), kind="native").dtype == np.float32


AXES = [("BITPIX", 8), ("NAXIS", 2)]
RICE = write_fits(None, I16, compression="RICE_1")
GROUPS = [("NAXIS1", 0), ("NAXIS2", 9), ("GROUPS", "T"), ("PCOUNT", 1), ("GCOUNT", 1)]


def set_card(data: bytes, keyword: str, old: int, new: int) -> bytes:
    before, after = (f"{keyword:<8}= {value:>20}".encode() for value in (old, new))
    assert data.count(before) == 1
    return data.replace(before, after)


HOSTILE = {
    "huge": (write_unit(*AXES, ("NAXIS1", 10**10), ("NAXIS2", 10**10)), "FITS data up to byte 1"),
    "axes": (write_unit(("BITPIX", 8), ("NAXIS", 999999999)), "NAXIS is 999999999"),
    "negative": (write_unit(*AXES, ("NAXIS1", -9), ("NAXIS2", 9)), "below 0"),
    "both negative": (write_unit(*AXES, ("NAXIS1", -9), ("NAXIS2", -9), data=bytes(81)), "below 0"),
    "no number": (write_unit(*AXES, ("NAXIS1", "'x'"), ("NAXIS2", 9)), "NAXIS1 is \"'x'\""),
    "no end": (b"SIMPLE  =                    T".ljust(2880 * 310), "more than 300 blocks"),
    "no end at all": (b"SIMPLE  =                    T".ljust(4000), "ends in a header"),
    "cut": (write_image(F32)[:-2880], "FITS data up to byte 7800 of a file of 5760"),
    "bits": (write_unit(("BITPIX", 9), ("NAXIS", 2), ("NAXIS1", 2), ("NAXIS2", 2), data=bytes(9)), "BITPIX is 9"),
    "no image": (EMPTY, "without an image of two or three axes"),
    "four axes": (write_image(F32[None, None]), "without an image of two or three axes"),
    "scale": (write_image(I16, ("BSCALE", "'x'")), "BSCALE is 'x'"),
    "bands": (set_card(write_image(F32[None]), "NAXIS3", 1, 10**6), "FITS data up to byte"),
    "plio": (write_fits(None, U8.astype("i2"), compression="PLIO_1"), "FITS compression 'PLIO_1'"),
    "hcompress": (write_fits(None, np.tile(I16, (2, 1)), compression="HCOMPRESS_1"), "FITS compression 'HCOMPRESS_1'"),
    "tiles": (set_card(RICE, "ZTILE2", 1, 30), "30 tiles in a FITS file: expected 1"),
    "columns": (set_card(RICE, "TFIELDS", 1, 999999999), "TFIELDS is 999999999"),
    "groups": (write_unit(("BITPIX", -32), ("NAXIS", 2), *GROUPS, data=bytes(40)), "without an image"),
}


@pytest.mark.parametrize(("data", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_headers_are_refused_before_astropy_sees_them(data, reason):
    decode_noted(write_image(F32), NATIVE)
    tracemalloc.start()
    for read in (decode_noted, read_form):
        with pytest.raises(UnreadableImage, match=reason) as caught:
            read(data, NATIVE)
        assert str(caught.value).isprintable() and str(caught.value).isascii()
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_a_tile_that_inflates_to_more_than_it_holds_is_refused():
    data = write_fits(None, U16, compression="GZIP_1")
    start = data.index(b"\x1f\x8b")
    bomb = gzip.compress(bytes(10**4), mtime=0)
    with pytest.raises(UnreadableImage, match="tile 0 of a FITS file inflates to more than 328 bytes"):
        decode(data[:start] + bomb + data[start + len(bomb) :], kind="native")


def test_damaged_tiles_are_unreadable():
    data = write_fits(None, U16, compression="RICE_1")
    with pytest.raises(UnreadableImage):
        decode(data[:-2880] + data[-2880:].replace(data[-2880:-1000], bytes(1880)), kind="native")


def test_astropy_is_quiet_and_asks_no_network(monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "socket", refuse)
    odd = write_image(F32, ("BLANK", 3), ("DATE-OBS", "'never'"), ("FOO BAR", 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(decode(odd, kind="native")[..., 0], F32)
        with pytest.raises(UnreadableImage, match=r"beyond float32|inf at row"):
            decode(write_image(I16, ("BSCALE", "1E300")), kind="native")


def test_fits_is_no_picture():
    for kind in ("rgb", "grey"):
        for read in (decode_noted, read_form):
            with pytest.raises(UnreadableImage, match=r"^FITS holds samples and no picture: give --pixels native$"):
                read(write_image(U8), Decoding(kind))


def test_without_astropy_the_extra_is_named(monkeypatch):
    from scatcache.images.decoding import extra_libraries

    monkeypatch.setattr(extra_libraries, "_quiet", {})
    monkeypatch.setitem(sys.modules, "astropy.io.fits", None)
    for read in (decode_noted, read_form):
        with pytest.raises(SourceError, match=r"^reading FITS needs astropy: pip install 'scatcache\[fits\]'$"):
            read(write_image(U8), NATIVE)


def test_a_column_of_another_type_is_damage_and_ends_no_run():
    data = write_fits(None, I16, compression="RICE_1")
    form = data.index(b"'1PB(")
    with pytest.raises(UnreadableImage, match="Invalid TFORM1"):
        decode(data[:form] + b"'1PL(" + data[form + 5 :], kind="native")
