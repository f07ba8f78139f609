import io
import struct
import sys
import threading
import warnings
import zlib

import pytest
from PIL import Image, ImageFile

from scatcache.images.decoding import strict_pillow as strict_module
from scatcache.images.decoding.own_pillow import MAX_PIXELS
from scatcache.images.decoding.strict_pillow import strict_pillow


def make_png_header(width, height):
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    header = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + header + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


DOUBTFUL = make_png_header(10_000, 10_000)  # Pillow warns from 89 million pixels on.


def open_png(data):
    return Image.open(io.BytesIO(data), formats=["PNG"])


def test_pillow_is_quiet_inside_and_as_ever_outside():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with strict_pillow():
            open_png(DOUBTFUL)
        with pytest.raises(Image.DecompressionBombWarning):
            open_png(DOUBTFUL)


def test_a_warning_outside_names_the_line_it_always_named():
    with warnings.catch_warnings(record=True) as before:
        warnings.simplefilter("always")
        with strict_pillow():
            pass
        open_png(DOUBTFUL)
    (warning,) = before
    assert warning.filename == Image.__file__


def test_other_threads_are_warned_meanwhile():
    inside, done = threading.Event(), threading.Event()

    def stay_inside():
        with strict_pillow():
            inside.set()
            done.wait(10)

    thread = threading.Thread(target=stay_inside)
    thread.start()
    inside.wait(10)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        open_png(DOUBTFUL)
    done.set()
    thread.join()
    assert [warning.category for warning in seen] == [Image.DecompressionBombWarning]


def test_an_error_inside_ends_the_strict_rules():
    with pytest.raises(KeyError), strict_pillow(), strict_pillow():
        raise KeyError
    with pytest.warns(Image.DecompressionBombWarning):
        open_png(DOUBTFUL)


@pytest.mark.parametrize("limit", [None, 1, 10**9])
def test_the_limit_inside_is_ours_and_outside_the_users(monkeypatch, limit):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with strict_pillow():
        assert open_png(make_png_header(MAX_PIXELS, 1)).size == (MAX_PIXELS, 1)
        with pytest.raises(Image.DecompressionBombError, match=f"1x{MAX_PIXELS + 1} pixels"):
            open_png(make_png_header(MAX_PIXELS + 1, 1))
    if limit == 1:
        with pytest.raises(Image.DecompressionBombError):
            open_png(make_png_header(2, 2))
    else:
        open_png(make_png_header(3, 3))


def test_truncated_files_are_refused_inside_though_the_user_accepts_them(monkeypatch):
    file = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(file, "PNG")
    half = file.getvalue()[: len(file.getvalue()) // 2]
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with strict_pillow(), pytest.raises(OSError, match="truncated"):
        open_png(half).load()
    open_png(half).load()


class Changing(dict):
    """A dictionary that another thread changes whenever it is gone through."""

    def _fail(self):
        raise RuntimeError("dictionary changed size during iteration")

    __iter__ = items = keys = values = _fail


def test_modules_imported_meanwhile_do_not_matter(monkeypatch):
    monkeypatch.setattr(strict_module, "_adopted", set())
    monkeypatch.setattr(sys, "modules", Changing(sys.modules))
    with strict_pillow():
        pass
    assert strict_module._adopted >= {"PNG", "JPEG"}
