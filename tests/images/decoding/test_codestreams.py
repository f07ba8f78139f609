import numpy as np
import pytest

from scatcache.images.decoding.codestreams import find_jpeg_size, list_jpeg2000_depths
from tests.images.files import add_to_jpeg
from tests.images.sample_files import RGB8, RGB16, U8, save_picture


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}])
def test_the_size_of_a_jpeg_is_found_behind_any_segments(options):
    data = save_picture(RGB8, "JPEG", **options)
    assert find_jpeg_size(data) == (30, 41)
    assert find_jpeg_size(add_to_jpeg(data, (0xE1, b"\xff\xc0\0\x11\x08" * 9), (0xFE, b"text"))) == (30, 41)
    assert find_jpeg_size(data + bytes(9)) == (30, 41)


def test_a_cut_jpeg_or_another_file_has_no_size():
    data = save_picture(RGB8, "JPEG")
    for other in (
        data[:-2],
        data[:40],
        b"",
        b"\xff\xd8",
        b"\xff\xd8\xff\xd9",
        save_picture(U8),
        b"\xff\xd8" + b"\xff" * 99,
    ):
        assert find_jpeg_size(other) is None


def test_the_depths_of_jpeg2000_are_those_of_its_components():
    imagecodecs = pytest.importorskip("imagecodecs")
    assert list_jpeg2000_depths(save_picture(RGB8, "JPEG2000")) == [8, 8, 8]
    assert list_jpeg2000_depths(imagecodecs.jpeg2k_encode(RGB16, level=0, bitspersample=12)) == [12, 12, 12]
    assert list_jpeg2000_depths(imagecodecs.jpeg2k_encode(U8.view(np.int8), level=0)) == [-8]
    assert list_jpeg2000_depths(b"no codestream") == []
