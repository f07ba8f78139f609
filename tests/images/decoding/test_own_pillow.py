import io
import json
import pickle
import subprocess
import sys
import types
import zlib

import numpy as np
import pytest
from PIL import Image

from scatcache.errors import UnreadableImage
from scatcache.images.decode import decode, read_form
from scatcache.images.decoding.own_pillow import NAME
from scatcache.images.forms import Decoding
from tests.images.files import add_to_png, png_chunk, write_tiff

NOISE = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
KINDS = (
    *(
        "JPEG",
        "PNG",
        "GIF",
        "BMP",
        "DIB",
        "TIFF",
        "WEBP",
        "AVIF",
        "JPEG2000",
        "PPM",
        "TGA",
        "ICO",
        "ICNS",
        "PCX",
        "DDS",
    ),
    *("QOI", "MPO"),
)


def save(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture(scope="module", name="samples")
def make_samples():
    """One file of each format and some at the limits of what is read."""
    image = Image.fromarray(NOISE)
    frames = [Image.fromarray(np.roll(NOISE, n)).quantize(16) for n in range(3)]
    samples = {kind: save(image, kind) for kind in KINDS}
    return samples | {
        "lzw": save(image, "TIFF", compression="tiff_lzw"),
        "alpha": save(image.convert("RGBA"), "BMP"),
        "animated": save(frames[0], "GIF", save_all=True, append_images=frames[1:], transparency=0, disposal=2),
        "text": add_to_png(samples["PNG"], png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**21)))),
        "profile": add_to_png(samples["PNG"], png_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(2**21)))),
        "float": write_tiff(np.ones((4, 4), np.float32)),
        "five samples": write_tiff(np.ones((4, 4, 5), np.uint8)),
        "truncated": samples["JPEG"][:-400],
        "bomb": samples["PNG"][:16] + b"\0\1\0\0\0\1\0\0" + samples["PNG"][24:29] + zlib.crc32(b"").to_bytes(4, "big"),
    }


def describe(samples):
    """What comes of each: shape and checksum of the pixels, or why there are none."""
    found = {}
    for name, data in samples.items():
        try:
            pixels = decode(data)
            found[name] = [*pixels.shape, zlib.crc32(pixels), *read_form(data, Decoding())]
        except UnreadableImage as error:
            found[name] = str(error)
    return found


@pytest.fixture(scope="module")
def expected(samples):
    return describe(samples)


def spoil_pillow():
    """Changes every constant, setting and table of all of Pillow's modules; returns how many."""
    n_spoilt = 0
    for module in [module for name, module in list(sys.modules.items()) if name.startswith("PIL.")]:
        for name, value in list(vars(module).items()):
            if name.startswith("__") or callable(value) or isinstance(value, types.ModuleType):
                continue
            if isinstance(value, dict | list | set):
                value.clear()
            elif isinstance(value, bool | int | float | str | bytes | tuple | type(None)):
                spoilt = (
                    not value if isinstance(value, bool) else 1 if isinstance(value, int | float) else type(value)()
                )
                setattr(module, name, spoilt)
            n_spoilt += 1
    return n_spoilt


SPOIL_AND_DECODE = """
import json, pickle, sys
from PIL import Image
Image.init()
from tests.images.decoding import test_own_pillow as tests
samples = pickle.loads(sys.stdin.buffer.read())
print(tests.spoil_pillow())
print(json.dumps(tests.describe(samples)))
print(tests.spoil_pillow())
print(json.dumps(tests.describe(samples)))
"""


def test_no_global_of_pillow_decides_what_is_readable(samples, expected):
    assert sum(isinstance(found, str) for found in expected.values()) == 4
    command = [sys.executable, "-c", SPOIL_AND_DECODE]
    done = subprocess.run(command, input=pickle.dumps(samples), capture_output=True, check=True)
    n_first, first, n_second, second = map(json.loads, done.stdout.splitlines())
    assert min(n_first, n_second) > 300
    assert first == second == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PngImagePlugin.MAX_TEXT_CHUNK", 10),
        ("PngImagePlugin.MAX_TEXT_CHUNK", 10**9),
        ("PngImagePlugin.MAX_TEXT_MEMORY", 1),
        ("ImageFile.LOAD_TRUNCATED_IMAGES", True),
        ("ImageFile.MAXBLOCK", 7),
        ("Image.MAX_IMAGE_PIXELS", 1),
        ("GifImagePlugin.LOADING_STRATEGY", 2),
        ("TiffImagePlugin.READ_LIBTIFF", True),
        ("TiffImagePlugin.OPEN_INFO", {}),
        ("JpegImagePlugin.MARKER", {}),
        ("BmpImagePlugin.USE_RAW_ALPHA", True),
        ("AvifImagePlugin.DECODE_CODEC_CHOICE", "none"),
        ("Image.OPEN", {}),
        ("Image.DECODERS", {"zip": None, "raw": None, "jpeg": None}),
    ],
)
def test_a_global_set_while_we_run_decides_nothing(monkeypatch, samples, expected, name, value):
    monkeypatch.setattr(f"PIL.{name}", value)
    assert describe(samples) == expected


def test_a_reader_registered_for_a_format_of_pillow_is_not_asked(monkeypatch):
    data = save(Image.fromarray(NOISE), "PNG")
    monkeypatch.setitem(Image.OPEN, "PNG", (lambda file, name: Image.new("RGB", (1, 1)), None))
    assert Image.open(io.BytesIO(data)).size == (1, 1)
    np.testing.assert_array_equal(decode(data), NOISE)


def test_damaged_avif_is_unreadable_and_no_failure_of_the_process():
    data = bytearray(save(Image.fromarray(np.tile(NOISE, (4, 4, 1))), "AVIF"))
    data[-len(data) // 2 :] = bytes(len(data) // 2)
    with pytest.raises(UnreadableImage):
        decode(bytes(data))


IMPORT_AND_DECODE = """
import io, sys, threading, types
import numpy as np
from PIL import Image
done = threading.Event()
def import_on():
    number = 0
    while not done.is_set():
        number += 1
        sys.modules[f"made_up_{number}"] = types.ModuleType("made_up")
        sys.modules.pop(f"made_up_{number - 999}", None)
threads = [threading.Thread(target=import_on) for _ in range(2)]
[thread.start() for thread in threads]
sys.setswitchinterval(1e-5)
file = io.BytesIO()
Image.new("RGB", (8, 6), "red").save(file, "PNG")
try:
    from concurrent.futures import ThreadPoolExecutor
    from scatcache.images.decoding import strict_pillow
    from scatcache.images.decode import decode
    def read(_):
        strict_pillow._adopted.clear()
        return decode(file.getvalue()).tolist() == [[[255, 0, 0]] * 8] * 6 and decode(Image.new("L", (2, 2))).sum() == 0
    with ThreadPoolExecutor(4) as pool:
        print(all(pool.map(read, range(40))))
finally:
    done.set()
"""


def test_threads_that_import_meanwhile_cost_no_picture():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", IMPORT_AND_DECODE], capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("True\n", "", 0)


def test_nothing_is_imported_while_an_image_is_decoded(samples):
    known = {name for name in sys.modules if name.startswith(NAME)}
    describe(samples)
    assert {name for name in sys.modules if name.startswith(NAME)} == known


def test_the_copy_is_quiet(caplog, samples):
    caplog.set_level("DEBUG")
    describe(samples)
    assert [record.name for record in caplog.records if record.name.startswith(NAME)] == []
