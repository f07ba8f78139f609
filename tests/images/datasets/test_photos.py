import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from scatcache.errors import SourceError
from scatcache.images.datasets.photos import FILES, open_photos
from scatcache.images.forms import Decoding
from scatcache.images.native_form import find_form
from tests.images.parts import read_key

skimage_data = pytest.importorskip("skimage.data")

PHOTOS = ("astronaut", "chelsea", "coffee", "rocket", "retina", "hubble_deep_field", "immunohistochemistry")


def test_classes_are_the_photographs_in_this_order():
    assert open_photos().classes == PHOTOS
    assert (tuple(open_photos().splits), open_photos().default_splits, open_photos().root) == (("all",), ("all",), None)


@pytest.mark.parametrize("photo", PHOTOS)
def test_crops_are_those_of_scikit_image_on_a_grid_from_the_top_left(photo):
    pixels = getattr(skimage_data, photo)()[..., :3]
    source = open_photos()
    rows = [row for row in source.find("all").listing.rows if row.key.startswith(photo + "/")]
    height, width = pixels.shape[:2]
    assert len(rows) == (height // 128) * (width // 128)
    for row in rows[:: max(1, len(rows) // 5)]:
        top, left = (int(part) for part in row.key.partition("/")[2].split("-"))
        assert row == (f"{photo}/{top:04d}-{left:04d}", PHOTOS.index(photo), 128 * 128 * 3)
        crop = read_key(source, "all", row.key)
        assert crop.dtype == np.uint8
        assert crop.flags.c_contiguous
        np.testing.assert_array_equal(crop, pixels[top : top + 128, left : left + 128])


def test_rows_are_sorted_by_key_and_all_of_one_shape():
    source = open_photos()
    keys = [row.key for row in source.find("all").listing.rows]
    assert keys == sorted(keys)
    assert "astronaut/0128-0256" in keys
    assert find_form(source.find("all"), Decoding()).shape == (128, 128)


def test_a_crop_that_is_changed_does_not_change_the_photograph():
    source = open_photos()
    read_key(source, "all", "coffee/0000-0000")[:] = 0
    assert read_key(source, "all", "coffee/0000-0000").any()


def test_threads_read_the_same_crops():
    source = open_photos()
    keys = [row.key for row in source.find("all").listing.rows][:40]
    with ThreadPoolExecutor(8) as pool:
        crops = list(pool.map(lambda key: read_key(source, "all", key), keys))
    for key, crop in zip(keys, crops, strict=True):
        np.testing.assert_array_equal(crop, read_key(source, "all", key))


def test_without_scikit_image_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(SourceError, match=r"pip install 'scatcache\[photos\]'"):
        open_photos()


def test_a_wheel_without_a_photograph_is_named(monkeypatch):
    monkeypatch.setitem(FILES, "astronaut", "cosmonaut.png")
    with pytest.raises(SourceError, match=r"cosmonaut\.png"):
        open_photos()


def test_another_split_is_refused():
    with pytest.raises(SourceError, match="photos has no split 'train': expected one of all"):
        open_photos().find("train").listing
