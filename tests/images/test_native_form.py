import pytest

from scatcache.errors import SourceError, UnreadableImage
from scatcache.images.forms import Decoding, ImageForm
from scatcache.images.native_form import find_form
from scatcache.images.source import Listing


class Headers:
    """A part of which the headers alone are read."""

    image_form = None

    def __init__(self, n_rows, read_header):
        self.listing = Listing((f"{number:05d}.png", -1, 1) for number in range(n_rows))
        self.read_header = read_header

    def form(self, i, how):
        found = self.read_header(self.listing.rows[i].key)
        return ImageForm(*found, *(3, "uint8")[len(found) - 2 :])


def test_one_size_is_found_and_bad_headers_are_passed_over():
    def read_header(key):
        if key == "00000.png":
            raise UnreadableImage("cannot identify image file")
        return 30, 40

    assert find_form(Headers(1200, read_header), Decoding()) == (30, 40, 3, "uint8")


def test_mixed_sizes_name_the_commonest_its_count_and_the_option():
    def read_header(key):
        return (30, 40) if key < "00007.png" else (50, 60)

    with pytest.raises(
        SourceError,
        match=r"2 different sizes.*30x40.* is that of 7 of the 10 read; 00007.png is 50x60.*: give --size N",
    ):
        find_form(Headers(10, read_header), Decoding())


def test_reading_stops_once_sizes_are_mixed_and_2000_headers_are_read():
    keys_read = []

    def read_header(key):
        keys_read.append(key)
        return 30, 40 + (key == "00001.png")

    with pytest.raises(SourceError, match="1999 of the 2000 read"):
        find_form(Headers(5000, read_header), Decoding())
    assert len(keys_read) == 2000


def test_one_other_size_at_the_very_end_is_not_missed():
    with pytest.raises(SourceError, match="2 different sizes"):
        find_form(Headers(5000, lambda key: (30, 41) if key == "04999.png" else (30, 40)), Decoding())


def test_no_readable_header_names_a_reason():
    def read_header(key):
        raise UnreadableImage("the file is empty")

    with pytest.raises(SourceError, match=r"none of the 3 images.*00000.png: the file is empty"):
        find_form(Headers(3, read_header), Decoding())


def test_a_failing_disk_is_no_unreadable_header():
    def read_header(key):
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output error"):
        find_form(Headers(3, read_header), Decoding())


def test_mixed_kinds_name_one_image_of_each_other_kind():
    forms = {"00003.png": (30, 40, 1, "uint8"), "00005.png": (30, 40, 3, "uint16")}
    others = "00003.png is 30x40 .* of 1 band of uint8; 00005.png is 30x40 .* of 3 bands of uint16: give --pixels rgb"
    with pytest.raises(
        SourceError, match=f"3 different kinds.*3 bands of uint8, is that of 8 of the 10 read; {others}"
    ):
        find_form(Headers(10, lambda key: forms.get(key, (30, 40))), Decoding("native"))


def test_size_allows_images_of_any_size_and_no_other_kinds():
    forms = {"00003.png": (31, 41, 1, "uint16")}
    part = Headers(10, lambda key: forms.get(key, (30, 40, 1, "uint16")))
    assert find_form(part, Decoding("native", size=8)) == (8, 8, 1, "uint16")
    forms["00003.png"] = (31, 41, 2, "uint16")
    with pytest.raises(SourceError, match=r"2 different kinds.*00003.png is 31x41 .* of 2 bands of uint16"):
        find_form(part, Decoding("native", size=8))


@pytest.mark.parametrize(("kind", "bands"), [("rgb", 3), ("grey", 1)])
def test_form_known_of_all_is_taken_as_a_picture_where_it_is_one(kind, bands):
    part = Headers(1, None)
    part.image_form = ImageForm(8, 9, 3, "uint8")
    assert find_form(part, Decoding(kind)) == (8, 9, bands, "uint8")
    part.image_form = ImageForm(8, 9, 3, "float32")
    with pytest.raises(SourceError, match=f"3 bands of float32: --pixels {kind} takes uint8.*: give --pixels native"):
        find_form(part, Decoding(kind))
