import pytest

from scatcache.errors import SourceError, UnreadableImage
from scatcache.images.native_shape import find_native_shape
from scatcache.images.source import Listing


class Headers:
    """A part of which the headers alone are read."""

    image_shape = None

    def __init__(self, n_rows, read_header):
        self.listing = Listing((f"{number:05d}.png", -1, 1) for number in range(n_rows))
        self.read_header = read_header

    def shape(self, i):
        return self.read_header(self.listing.rows[i].key)


def test_one_size_is_found_and_bad_headers_are_passed_over():
    def read_header(key):
        if key == "00000.png":
            raise UnreadableImage("cannot identify image file")
        return 30, 40

    assert find_native_shape(Headers(1200, read_header)) == (30, 40)


def test_mixed_sizes_name_the_commonest_its_count_and_the_option():
    def read_header(key):
        return (30, 40) if key < "00007.png" else (50, 60)

    with pytest.raises(SourceError, match=r"2 different sizes.*30x40.* is that of 7 of the 10 read: give --size N"):
        find_native_shape(Headers(10, read_header))


def test_reading_stops_once_sizes_are_mixed_and_2000_headers_are_read():
    keys_read = []

    def read_header(key):
        keys_read.append(key)
        return 30, 40 + (key == "00001.png")

    with pytest.raises(SourceError, match="1999 of the 2000 read"):
        find_native_shape(Headers(5000, read_header))
    assert len(keys_read) == 2000


def test_one_other_size_at_the_very_end_is_not_missed():
    with pytest.raises(SourceError, match="2 different sizes"):
        find_native_shape(Headers(5000, lambda key: (30, 41) if key == "04999.png" else (30, 40)))


def test_no_readable_header_names_a_reason():
    def read_header(key):
        raise UnreadableImage("the file is empty")

    with pytest.raises(SourceError, match=r"none of the 3 images.*00000.png: the file is empty"):
        find_native_shape(Headers(3, read_header))


def test_a_failing_disk_is_no_unreadable_header():
    def read_header(key):
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output error"):
        find_native_shape(Headers(3, read_header))
