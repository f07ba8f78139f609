import hashlib
import resource
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scatcache.errors import UnreadableImage
from scatcache.images.decode import decode_noted, read_form
from scatcache.images.decoding.sample_files import READERS, find_format
from scatcache.images.forms import Decoding, ImageForm
from tests.images.files import write_tiff
from tests.images.sample_files import (
    F32,
    RGB8,
    RGB16,
    U8,
    U16,
    into_bytes,
    save_picture,
    write_fits,
    write_npy,
    write_png_by_imagecodecs,
    write_tiff_by_tifffile,
)

for library in ("tifffile", "imagecodecs", "astropy"):
    pytest.importorskip(library)
NATIVE = Decoding("native")
FILES = {
    "npy": write_npy(F32),
    "npy bands first": write_npy(RGB16.transpose(2, 0, 1)),
    "TIFF": write_tiff(RGB16),
    "TIFF float": write_tiff(F32.astype(">f8"), tag_254=(4, (0,))),
    "TIFF lzw": write_tiff_by_tifffile(U16, compression="lzw"),
    "TIFF tiles": write_tiff_by_tifffile(F32, tile=(16, 16), compression="deflate", predictor=True),
    "TIFF jpeg": write_tiff_by_tifffile(RGB8, photometric="rgb", compression="jpeg", tile=(16, 16)),
    "PNG": save_picture(U8),
    "PNG 16": write_png_by_imagecodecs(RGB16),
    "FITS": write_fits(F32),
    "FITS rice": write_fits(None, U16, compression="RICE_1"),
    "other": save_picture(RGB8, "JPEG"),
    "other pgm": b"P5 41 30 65535\n" + U16.tobytes(),
}
REFUSED = {
    "cut npy": FILES["npy"][:-9],
    "nan": write_npy(np.where(F32 > 39, np.nan, F32)),
    "cut TIFF": FILES["TIFF"][:-900],
    "cut PNG": FILES["PNG 16"][:-900],
    "cut FITS": FILES["FITS"][:-2880],
    "damaged rice": FILES["FITS rice"].replace(FILES["FITS rice"][-2880:-1000], bytes(1880)),
}


def digest(data):
    """What comes of a file, pixels or reason, short."""
    try:
        found = decode_noted(data, NATIVE)
    except UnreadableImage as error:
        return str(error)
    return f"{found.pixels.shape} {found.pixels.dtype} {found.notes} {hashlib.sha256(found.pixels).hexdigest()}"


@pytest.mark.parametrize("name", FILES)
def test_the_form_is_that_of_what_is_decoded_for_bytes_and_open_files(name, tmp_path):
    pixels = decode_noted(FILES[name], NATIVE).pixels
    assert pixels.flags.c_contiguous and pixels.flags.writeable and pixels.dtype.isnative
    (tmp_path / "file.tif").write_bytes(FILES[name])
    with open(tmp_path / "file.tif", "rb") as file:
        forms = {read_form(FILES[name], NATIVE), read_form(file, NATIVE), read_form(file, NATIVE)}
        assert find_format(file) == name.split()[0] and not file.closed
    assert forms == {ImageForm(*pixels.shape, str(pixels.dtype))}


def test_every_reader_is_tested():
    assert {name.split()[0] for name in FILES} == READERS.keys()


def test_eight_threads_find_what_one_finds():
    everything = [*FILES.values(), *REFUSED.values()]
    alone = [digest(data) for data in everything]
    assert all(found.isascii() and found.isprintable() for found in alone)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(digest, everything * 6))
    assert together == alone * 6


FIRST_SCRIPT = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from scatcache.images.decode import decode
files = [Path(name).read_bytes() for name in sys.argv[1:]] * 4
with ThreadPoolExecutor(8) as pool:
    print(*[pixels.shape for pixels in pool.map(lambda data: decode(data, kind="native"), files)])
"""


def test_threads_may_all_be_the_first_to_need_the_libraries(tmp_path):
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    names = [str(tmp_path / name) for name in FILES]
    command = [sys.executable, "-W", "error::UserWarning", "-c", FIRST_SCRIPT, *names]
    found = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.count("(") == 4 * len(FILES)


@settings(max_examples=80)
@given(st.data())
def test_damaged_files_decode_to_their_form_or_are_unreadable(data):
    content = bytearray(FILES[data.draw(st.sampled_from(sorted(FILES)))])
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, 399)) - data.draw(st.sampled_from([0, 400]))
        content[at] = data.draw(st.integers(0, 255))
    content = bytes(content[: data.draw(st.sampled_from([None, -1, -300, 50]))])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            found = decode_noted(content, NATIVE).pixels
        except UnreadableImage as error:
            assert "0x7" not in str(error) and str(error).isprintable() and str(error).isascii()
        else:
            assert read_form(content, NATIVE) == (*found.shape, str(found.dtype))


def test_each_nasty_file_is_taken_whole_or_refused_soon(robustness):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    taken = {"TIFF": 0, "PNG": 0, "FITS": 0, "other": 0}
    for path in sorted(robustness.rglob("*")):
        if path.is_dir() or path.name == "MANIFEST.csv" or path.name.startswith("timeout-"):
            continue
        started = time.monotonic()
        with warnings.catch_warnings(), open(path, "rb") as file:
            warnings.simplefilter("error")
            try:
                found = decode_noted(path.read_bytes(), NATIVE)
            except UnreadableImage as error:
                assert str(error).isprintable() and str(error).isascii() and " at 0x" not in str(error), path
            else:
                assert read_form(file, NATIVE) == (*found.pixels.shape, str(found.pixels.dtype)), path
                taken[find_format(file)] += 1
        assert time.monotonic() - started < 5, path
    assert taken["TIFF"] >= 80 and taken["PNG"] >= 100 and taken["FITS"] == 3 and taken["other"] >= 150
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000


def test_an_empty_file_has_no_samples():
    with pytest.raises(UnreadableImage, match="the file is empty"):
        decode_noted(into_bytes(lambda file: None), NATIVE)
