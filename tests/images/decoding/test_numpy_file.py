import struct
import tracemalloc
import warnings

import numpy as np
import pytest

from scatcache.errors import UnreadableImage
from scatcache.images.decode import decode, decode_noted, read_form
from scatcache.images.forms import Decoding
from tests.images.sample_files import F32, RGB8, U8, U16, WIDE, write_npy

NATIVE = Decoding("native")


def write_header(header: str, data: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    text = header.encode("latin1")
    length = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + length + text + data


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("array", [U8, U16, F32, WIDE, F32.astype(">f8"), np.asfortranarray(F32), F32[::2, ::-1]])
def test_arrays_come_back_exactly_in_every_version_order_and_layout(array, version):
    found = decode(write_npy(array, version), kind="native")
    np.testing.assert_array_equal(found[..., 0], array)
    assert found.dtype.isnative and found.flags.c_contiguous and found.flags.writeable


@pytest.mark.parametrize(
    ("shape", "axes", "order"),
    [
        ((28, 30, 3), None, (0, 1, 2)),
        ((3, 28, 30), None, (1, 2, 0)),
        ((1, 9, 9), None, (1, 2, 0)),
        ((9, 9, 1), None, (0, 1, 2)),
        ((20, 20, 19), None, (0, 1, 2)),
        ((3, 28, 3), "CHW", (1, 2, 0)),
        ((3, 28, 3), "HWC", (0, 1, 2)),
        ((3, 28, 30), "HWC", (0, 1, 2)),
    ],
)
def test_bands_are_the_smaller_outer_axis_unless_axes_say_otherwise(shape, axes, order):
    array = np.random.default_rng(0).integers(0, 2**16, shape, dtype=np.uint16)
    for data in (write_npy(array), write_npy(np.asfortranarray(array))):
        np.testing.assert_array_equal(decode(data, kind="native", axes=axes), array.transpose(order))
        assert read_form(data, Decoding("native", axes=axes)).bands == array.transpose(order).shape[2]


@pytest.mark.parametrize(
    ("shape", "axes", "reason"),
    [
        ((3, 28, 3), None, r"\(3, 28, 3\), whose shape does not say where its bands are: give --axes HWC or CHW$"),
        ((28, 5, 30), None, "give --axes HWC or CHW"),
        ((28, 30), "HWC", r"an array of \(28, 30\): expected HWC"),
        ((28, 30, 3), "HW", r"an array of \(28, 30, 3\): expected HW$"),
        ((28,), None, "expected HW, HWC or CHW"),
        ((1, 28, 30, 3), None, "expected HW, HWC or CHW"),
    ],
)
def test_a_shape_that_says_nothing_or_not_what_was_given_is_refused(shape, axes, reason):
    how = Decoding("native", axes=axes)
    for read in (decode_noted, read_form):
        with pytest.raises(UnreadableImage, match=reason):
            read(write_npy(np.zeros(shape)), how)


PLAIN = "{'descr': '<f4', 'fortran_order': False, 'shape': (10, 10), }"
HOSTILE = {
    "10 PB": (write_header(PLAIN.replace("(10, 10)", "(100000000, 100000000)")), "40{16} bytes, and 0 f"),
    "digits": (write_header(PLAIN.replace("(10, 10)", f"({'9' * 9000}, 1)")), "Exceeds the limit"),
    "objects": (write_npy(np.array([[1, None]], object)), r"samples of object|none of a plain array"),
    "structure": (write_npy(np.zeros((4, 4), "f4,f4")), "none of a plain array"),
    "code": (write_header("__import__('os').system('touch ran')"), "none of a plain array"),
    "code after": (write_header(PLAIN + " + __import__('os')"), "none of a plain array"),
    "nested": (write_header("-" * 9000 + "1"), "none of a plain array"),
    "escape": (write_header(PLAIN.replace("<f4", r"\d")), "none of a plain array"),
    "long header": (write_header(PLAIN + " " * 20000), "a .npy header of 20061 bytes"),
    "cut header": (write_npy(F32)[:40], "ends in its header"),
    "cut": (write_npy(F32)[:-1], "4920 bytes, and 4919 follow it"),
    "trailing": (write_npy(F32) + b"\0", "4920 bytes, and 4921 follow it"),
    "version": (write_npy(F32).replace(b"NUMPY\1", b"NUMPY\7"), r"version 7\.0"),
    "magic alone": (b"\x93NUMPY", r"version : expected"),
    "negative": (write_header(PLAIN.replace("(10, 10)", "(-10, -10)"), bytes(400)), "none of a plain array"),
    "text": (write_npy(np.full((4, 4), "abc")), "samples of <U3"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_headers_are_refused_before_memory_is_taken(data, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tracemalloc.start()
        for read in (decode_noted, read_form):
            with pytest.raises(UnreadableImage, match=reason) as caught:
                read(data, NATIVE)
            assert str(caught.value).isprintable()
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
        tracemalloc.stop()
    assert not (tmp_path / "ran").exists()


def test_the_form_of_a_file_is_read_without_its_samples(tmp_path):
    path = tmp_path / "sparse.npy"
    path.write_bytes(write_header(PLAIN.replace("(10, 10)", "(10000, 10000)").ljust(118)))
    with open(path, "r+b") as file:
        file.truncate(128 + 4 * 10**8)
    tracemalloc.start()
    with open(path, "rb") as file:
        assert read_form(file, NATIVE)[:3] == (10000, 10000, 1)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("array", [U8, RGB8, RGB8.transpose(2, 0, 1)])
def test_uint8_arrays_may_be_pictures(array):
    hwc = array if array.shape[-1] == 3 or array.ndim == 2 else array.transpose(1, 2, 0)
    for kind in ("rgb", "grey"):
        np.testing.assert_array_equal(decode(write_npy(array), kind=kind), decode(hwc, kind=kind))
        assert read_form(write_npy(array), Decoding(kind)) == read_form(hwc, Decoding(kind))


def test_other_arrays_are_no_pictures():
    for read in (decode_noted, read_form):
        with pytest.raises(UnreadableImage, match="give --pixels native"):
            read(write_npy(F32), Decoding("rgb"))
