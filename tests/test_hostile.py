"""Folders of hostile files through the whole command: every row is right or recorded, and nothing else happens."""

import io
import json
import os
import subprocess
import time
import zlib
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

import scatcache
from scatcache.images.keys import has_image_name, unescape_name
from tests.benchmarks.peak_memory import Peaks
from tests.images.test_decode import REFUSED_BY_PILLOW, decode_by_hand, resize_whole
from tests.runs import command, run

SIZE = 64


def run_measured(*arguments: object) -> tuple[int, dict, str, int]:
    """(exit code, JSON, stderr, peak PSS in bytes) of a command."""
    child = subprocess.Popen(command(*arguments, "--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peaks = Peaks()
    while child.poll() is None:
        try:
            peaks.look(psutil.Process(child.pid))
        except psutil.Error:
            break
        time.sleep(0.05)
    out, err = child.communicate(timeout=120)
    return child.returncode, json.loads(out or "{}"), err, peaks.pss


def list_tree(folder: Path) -> set[bytes]:
    return {os.path.join(parent, name) for parent, _, files in os.walk(os.fsencode(folder)) for name in files}


@pytest.mark.slow
def test_the_nasty_folder_is_stored_or_recorded_row_by_row(robustness, tmp_path):
    out = tmp_path / "nasty.zarr"
    before = list_tree(robustness)
    code, report, err, peak = run_measured(
        "extract", f"{robustness}/", "--J", 2, "--max-order", 1, "--size", SIZE, "--encoding", "float32", "--out", out
    )
    assert code == 3 and peak < 1.5e9
    assert list_tree(robustness) == before
    cache = scatcache.open_cache(out)
    listed = {entry["key"]: entry["reason"] for entry in report["unreadable"]}
    assert set(cache.classes) == {path.name for path in robustness.iterdir() if path.is_dir()}
    n_images = sum(has_image_name(path.name) for path in robustness.rglob("*") if path.is_file())
    assert len(cache) == n_images == 810 and report["splits"]["all"]["unreadable"] == len(listed)
    assert "split all: files left out because their extension is not that of an image: 17" in err
    assert set(listed) == {key for row, key in enumerate(cache.keys) if row not in set(cache.readable.tolist())}
    assert all(reason.isprintable() and reason.isascii() and reason for reason in listed.values())
    compare_by_hand(robustness, cache, listed)


def compare_by_hand(folder: Path, cache: scatcache.Cache, listed: dict[str, str]) -> None:
    """Coefficients of the pixels that the formula gives by hand; what it cannot decode must be recorded."""
    transform = scatcache.Scattering2D(2, (SIZE, SIZE), max_order=1)
    rows, images = [], []
    for row, key in enumerate(cache.keys):
        name = os.path.basename(key)
        if name.startswith("timeout-") or name in ("tiff_tiled_jpeg_oob_read.tif", *REFUSED_BY_PILLOW):
            continue  # As in tests/images/test_decode.py.
        try:
            pixels = decode_by_hand((folder / unescape_name(key)).read_bytes())
        except Exception:  # whatever Pillow raises
            assert key in listed, f"{key} does not decode by hand"
            continue
        if key in listed or max(pixels.shape) >= 50 * min(pixels.shape[:2]):
            continue
        rows.append(row)
        images.append(resize_whole(Image.fromarray(pixels), SIZE).transpose(2, 0, 1))
    expected = transform(torch.from_numpy(np.stack(images))).flatten(1, 2).numpy()
    for row, found, by_hand in zip(rows, cache.coefficients(rows), expected, strict=True):
        assert np.linalg.norm(found - by_hand) <= 1e-5 * np.linalg.norm(by_hand) + 1e-6, cache.keys[row]
    assert len(rows) > 600


def save(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def make_png(width: int, height: int, *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG header of these sizes with further chunks and next to no pixels."""
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
    data = b"\x89PNG\r\n\x1a\n"
    for kind, content in ((b"IHDR", header), *extra, (b"IDAT", zlib.compress(bytes(2**20))), (b"IEND", b"")):
        data += len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")
    return data


@pytest.fixture
def hostile(tmp_path) -> Path:
    """Class folders of good images and of bad ones: huge in pixels, in bytes, in text, in one direction; odd names."""
    folder = tmp_path / "hostile"
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    good = save(noise, "PNG")
    long_text = zlib.compress(bytes(2**27), 9)
    names = {
        "good/plain.png": good,
        "good/1x65000.png": save(Image.new("RGB", (65000, 1), (9, 8, 7)), "PNG"),
        "good/65000x1.png": save(Image.new("RGB", (1, 65000), (9, 8, 7)), "PNG"),
        "good/escape\x1b]0;owned\x07.png": good,
        "good/line\nbreak.png": good,
        "good/right\u202eto left.png": good,
        "bad/pixels.png": make_png(2**31 - 1, 2**31 - 1),
        "bad/more pixels.png": make_png(60_000, 60_000),
        # No text costs a picture.
        "good/text.png": make_png(40, 40, (b"zTXt", b"key\0\0" + long_text)),
        "bad/empty.jpg": b"",
        "bad/pickle.jpg": b"cos\nsystem\n(S'touch ran'\ntR.",
    }
    for name, content in names.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    Path(os.fsdecode(os.fsencode(folder) + b"/good/bytes\xff\xfe.png")).write_bytes(good)
    with open(folder / "bad" / "terabyte.jpg", "wb") as file:
        file.write(b"\xff\xd8\xff\xe0")
        file.truncate(2**40)
    os.mkfifo(folder / "bad" / "fifo.jpg")
    os.symlink("/dev/zero", folder / "bad" / "device.jpg")
    os.symlink("..", folder / "bad" / "loop")
    return folder


def test_hostile_files_are_recorded_and_their_neighbours_stored(hostile, tmp_path):
    out = tmp_path / "x.zarr"
    started = time.monotonic()
    code, report, _, peak = run_measured("extract", f"{hostile}/", "--J", 2, "--size", 32, "--out", out)
    assert code == 3 and peak < 1.0e9 and time.monotonic() - started < 60
    assert sorted(os.listdir(tmp_path)) == ["hostile", "x.zarr", "x.zarr.job"]
    reasons = {entry["key"]: entry["reason"] for entry in report["unreadable"]}
    names = ("pixels.png", "more pixels.png", "empty.jpg", "pickle.jpg", "terabyte.jpg")
    assert {key for key in reasons if "loop" not in key} == {f"bad/{name}" for name in names}
    assert "more than" in reasons["bad/terabyte.jpg"] and "pixels" in reasons["bad/pixels.png"]
    cache = scatcache.open_cache(out)
    good = [row for row, key in enumerate(cache.keys) if key.startswith("good/")]
    assert set(good) <= set(cache.readable.tolist())
    assert {cache.keys[row].removeprefix("good/") for row in good} >= {
        *("escape\\u001b]0;owned\\u0007.png", "line\\u000abreak.png", "right\\u202eto left.png", "bytes\\xff\\xfe.png"),
    }


def test_names_reach_the_terminal_escaped(hostile, tmp_path):
    (hostile / "bad" / "also\x1b[2J.png").write_bytes(b"no image")
    done = run("extract", f"{hostile}/", "--J", 2, "--size", 32, "--out", tmp_path / "x.zarr")
    assert done.returncode == 3
    assert "also\\u001b[2J.png" in done.stderr
    for text in (done.stdout, done.stderr):
        assert not set(text) - {"\n"} & {chr(code) for code in (*range(32), 127, *range(128, 160), 0x202E)}
