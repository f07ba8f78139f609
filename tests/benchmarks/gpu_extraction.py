"""Extraction end to end on a device, beside what decoding, the transform and writing do alone on the same machine."""

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

import scatcache
from scatcache.images.decode import decode
from scatcache.resources import count_cores
from scatcache.scattering.batched import open_transform
from scatcache.spec import ScatteringSpec
from scatcache.store.format.encodings import find_encoding

SIZE, N_IMAGES, N_DISTINCT = 224, 2048, 64


def draw_photographs(folder: Path, n_images: int) -> list[Path]:
    """JPEG files of 375x500 pixels with the grain and the size of photographs, in two classes; few differ."""
    random = np.random.default_rng(0)
    paths = [folder / f"class{index % 2}" / f"{index:05d}.jpg" for index in range(n_images)]
    for index, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        if index >= N_DISTINCT:
            path.write_bytes(paths[index % N_DISTINCT].read_bytes())
            continue
        coarse = Image.fromarray(random.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC), np.float32)
        grain = random.normal(0, 12, smooth.shape).astype(np.float32)
        Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8)).save(path, quality=90)
    return paths


def measure_extraction(device: str, n_images: int = N_IMAGES, size: int = SIZE) -> dict[str, float | str]:
    """Images/s of extraction, start-up included, and of each of its parts alone on the device or on all cores."""
    with tempfile.TemporaryDirectory(prefix="gpu-extraction-") as name:
        folder = Path(name)
        paths = draw_photographs(folder / "images" / "train", n_images)
        rates: dict[str, float | str] = {"decode": _time_decoding(paths, size)}
        rates["transform"] = _time_transform(device, size)
        rates["write"] = _time_writing(folder, size)
        started = time.monotonic()
        report = scatcache.extract(str(folder / "images"), out=folder / "store.zarr", J=2, size=size, device=device)
        rates["whole"] = n_images / (time.monotonic() - started)
        rates["backend"] = report.backend
        return rates


def _time_decoding(paths: list[Path], size: int) -> float:
    with ThreadPoolExecutor(count_cores()) as pool:
        started = time.monotonic()
        done = sum(1 for _ in pool.map(lambda path: decode(path.read_bytes(), size=size), paths[:1024]))
        return done / (time.monotonic() - started)


def _time_transform(device: str, size: int) -> float:
    """Copies to and from the device included, one batch begun while the last one comes back."""
    transform = open_transform(ScatteringSpec(J=2), (size, size), device=device)
    images = np.random.default_rng(0).integers(0, 256, (transform.batch_images, size, size, 3), dtype=np.uint8)
    transform.start(images, np.dtype(np.float16))()
    started, n_batches = time.monotonic(), 0
    waiting = transform.start(images, np.dtype(np.float16))
    while time.monotonic() - started < 3:
        following = transform.start(images, np.dtype(np.float16))
        waiting()
        waiting, n_batches = following, n_batches + 1
    waiting()
    return (n_batches + 1) * len(images) / (time.monotonic() - started)


def _time_writing(folder: Path, size: int) -> float:
    """Encoding and writing of float16 coefficients, on all cores."""
    spec, encoding = ScatteringSpec(J=2), find_encoding("float16")
    row = np.abs(np.random.default_rng(0).normal(size=(1, *spec.output_shape(size, size)))).astype(np.float16)
    n_cores = count_cores()

    def write(position: int) -> int:
        n_written = 0
        with (folder / f"written-{position}").open("wb") as file:
            while time.monotonic() - started < 3:
                file.write(encoding.encode(row)[0])
                n_written += 1
        return n_written

    with ThreadPoolExecutor(n_cores) as pool:
        started = time.monotonic()
        n_written = sum(pool.map(write, range(n_cores)))
        elapsed_s = time.monotonic() - started
    for position in range(n_cores):
        (folder / f"written-{position}").unlink()
    return n_written / elapsed_s
