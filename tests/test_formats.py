"""Every format that is read: its coefficients are Kymatio's in float64 of what an independent reader finds."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import h5py
import imageio.v3 as imageio
import numpy as np
import pyarrow.parquet
import pytest
import tifffile
import torch
import zarr
from astropy.io import fits
from PIL import Image

import scatcache
from scatcache.resources import folder_bytes
from scatcache.scattering.paths import path_table
from tests.scattering.oracle import kymatio_coefficients

N, SIDE = 16, 16
RNG = np.random.default_rng(0)
# Relative to the norm of an order's coefficients.
TOLERANCE = 2e-6

BYTES = RNG.integers(0, 256, (N, SIDE, SIDE, 3), dtype=np.uint8)
WORDS = RNG.integers(0, 2**16, (N, SIDE, SIDE, 3), dtype=np.uint16)
TWELVE_BITS = RNG.integers(0, 2**12, (N, SIDE, SIDE), dtype=np.uint16)
DEGREES = RNG.uniform(-20, 40, (N, SIDE, SIDE)).astype(np.float32)
DECADES = (10 ** RNG.uniform(-6, 6, (N, SIDE, SIDE, 2))).astype(np.float32)
BANDS = RNG.normal(0, 1, (N, SIDE, SIDE, 5)).astype(np.float32)
SIGNED = RNG.integers(-(2**15), 2**15, (N, SIDE, SIDE)).astype(np.int16)
SCALES = {np.uint8: 255, np.uint16: 65535}


def write_files(root: Path, samples: np.ndarray, extension: str, write: Callable[[Path, np.ndarray], Any]) -> Path:
    root.mkdir()
    for i, image in enumerate(samples):
        write(root / f"{i:05d}.{extension}", image)
    return root


def read_files(read: Callable[[Path], np.ndarray]) -> Callable[[Path], np.ndarray]:
    return lambda root: np.stack([read(path) for path in sorted(root.iterdir())])


def tiff(**options: Any) -> Callable[[Path, np.ndarray], Any]:
    return lambda path, image: tifffile.imwrite(path, image, **options)


def tiff_planes(path: Path, image: np.ndarray) -> None:
    tifffile.imwrite(path, image.transpose(2, 0, 1), planarconfig="separate", photometric="minisblack")


def fits_bands(path: Path, image: np.ndarray) -> None:
    fits.writeto(path, image.transpose(2, 0, 1) if image.ndim == 3 else image)


def read_fits(path: Path) -> np.ndarray:
    found = fits.getdata(path)
    return found.transpose(1, 2, 0) if found.ndim == 3 else found


FILES = {
    "png grey": (BYTES[..., 0], "png", imageio.imwrite, imageio.imread, {}),
    "png rgb": (BYTES, "png", imageio.imwrite, imageio.imread, {}),
    "png 16-bit grey": (TWELVE_BITS, "png", imageio.imwrite, imageio.imread, {"scale": 4095}),
    "jpeg": (BYTES, "jpg", imageio.imwrite, imageio.imread, {}),
    "tiff 12 in 16 bits": (TWELVE_BITS, "tif", tiff(), tifffile.imread, {}),
    "tiff float": (DEGREES, "tif", tiff(compression="zlib", predictor=True), tifffile.imread, {}),
    "tiff float64": (DEGREES.astype("f8"), "tiff", tiff(byteorder=">"), tifffile.imread, {}),
    "tiff planes": (BANDS, "tif", tiff_planes, lambda path: tifffile.imread(path).transpose(1, 2, 0), {}),
    "big tiff in tiles": (WORDS, "tif", tiff(bigtiff=True, tile=(16, 16), photometric="rgb"), tifffile.imread, {}),
    "npy": (DECADES, "npy", np.save, np.load, {}),
    "npy signed": (SIGNED, "npy", np.save, np.load, {"scale": 2.0**15}),
    "npy half": (DEGREES.astype("f2"), "npy", np.save, np.load, {}),
    "fits bands": (BANDS, "fits", fits_bands, read_fits, {}),
    "fits unsigned": (TWELVE_BITS, "fits", fits_bands, read_fits, {}),
}


def write_h5(path: Path, samples: np.ndarray, **options: Any) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=samples, **options)
        file["offsets"] = np.arange(3)
    return path


def read_h5(path: Path) -> np.ndarray:
    with h5py.File(path) as file:
        return file["images"][:]


def write_zarr(path: Path, samples: np.ndarray, **options: Any) -> Path:
    zarr.create_array(path, data=samples, **options)
    return path


def write_npz(path: Path, samples: np.ndarray, save: Callable[..., None] = np.savez) -> Path:
    save(path, images=samples, other=np.arange(3))
    return path


def write_npy(path: Path, samples: np.ndarray) -> Path:
    np.save(path, samples)
    return path


def write_cube(path: Path, samples: np.ndarray) -> Path:
    fits.writeto(path, samples)
    return path


def read_npz(path: Path) -> np.ndarray:
    return np.load(path)["images"]


ARRAYS = {
    "a.npy": (BYTES[..., 0], write_npy, np.load, {}),
    "bands.npy": (DECADES, write_npy, np.load, {"axes": "NHWC"}),
    "first.npy": (WORDS.transpose(0, 3, 1, 2), write_npy, np.load, {}),
    "fortran.npy": (np.asfortranarray(DEGREES), write_npy, np.load, {"scale": 40.0}),
    "a.npz": (SIGNED, write_npz, read_npz, {"array": "images"}),
    "small.npz": (BANDS, lambda at, x: write_npz(at, x, np.savez_compressed), read_npz, {"array": "images"}),
    "a.h5": (TWELVE_BITS, write_h5, read_h5, {"scale": 4095}),
    "chunks.hdf5": (
        BANDS.transpose(0, 3, 1, 2),
        lambda at, x: write_h5(at, x, chunks=(3, 5, 16, 8), compression="gzip", shuffle=True),
        read_h5,
        {"axes": "NCHW"},
    ),
    "v2.zarr": (
        DEGREES,
        lambda at, x: write_zarr(at, x, chunks=(5, 16, 16), zarr_format=2),
        lambda at: zarr.open(at)[:],
        {},
    ),
    "v3.zarr": (
        WORDS,
        lambda at, x: write_zarr(at, x, chunks=(2, 8, 16, 3), shards=(4, 16, 16, 3)),
        lambda at: zarr.open(at)[:],
        {},
    ),
    "cube.fits": (DEGREES.astype("f8"), write_cube, fits.getdata, {}),
}


def to_planes(samples: np.ndarray, axes: str) -> np.ndarray:
    """float64 (n, bands, H, W)."""
    if samples.ndim == 3:
        samples = samples[:, None]
    elif axes == "NHWC":
        samples = samples.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(samples, np.float64)


def check(cache: scatcache.Cache, samples: np.ndarray, scale: float, axes: str = "NHWC") -> None:
    """samples: as an independent reader finds them, in the order of the rows."""
    planes = to_planes(samples, axes)
    bands = planes.shape[1]
    expected = kymatio_coefficients(planes / scale, scatcache.ScatteringSpec(J=2, L=4))
    found = cache.coefficients(range(N)).reshape(N, bands, -1, *expected.shape[-2:])
    assert found.dtype == np.float32 and found.shape == expected.shape
    order = path_table(cache.spec)["order"]
    for number in range(3):
        ours, theirs = found[:, :, order == number], expected[:, :, order == number]
        error = np.sqrt(((ours - theirs) ** 2).sum((1, 2, 3, 4)) / (theirs**2).sum((1, 2, 3, 4)))
        assert error.max() < TOLERANCE, f"order {number}"


def extract(source: Any, out: Path, **options: Any) -> scatcache.Cache:
    report = scatcache.extract(source, out=out, J=2, L=4, encoding="float32", shard_images=7, workers=2, **options)
    assert report.splits["all"].ok == N
    return scatcache.open_cache(out)


@pytest.mark.parametrize("form", FILES)
def test_files_of_an_image_each(tmp_path, form):
    samples, extension, write, read, options = FILES[form]
    root = write_files(tmp_path / "images", samples, extension, write)
    found = read_files(read)(root)
    assert extension == "jpg" or (found == samples).all()
    cache = extract(root, tmp_path / "out", pixels="native", **options)
    check(cache, found, options.get("scale", SCALES.get(found.dtype.type, 1)))


@pytest.mark.parametrize("name", ARRAYS)
def test_files_that_hold_an_array(tmp_path, name):
    samples, write, read, options = ARRAYS[name]
    path = write(tmp_path / name, samples)
    cache = extract(path, tmp_path / "out", **options)
    assert cache.keys == [f"{i:05d}" for i in range(N)]
    axes = cache.manifest.source_options["axes"]
    check(cache, read(path), options.get("scale", SCALES.get(samples.dtype.type, 1)), axes)


def encode(image: np.ndarray, extension: str) -> bytes:
    buffer = io.BytesIO()
    if extension == "npy":
        np.save(buffer, image)
    else:
        imageio.imwrite(buffer, image, extension=f".{extension}")
    return buffer.getvalue()


def write_parquet(path: Path, samples: np.ndarray) -> Path:
    rows = [{"bytes": encode(image, "png"), "path": None} for image in samples]
    pyarrow.parquet.write_table(pyarrow.table({"image": rows, "label": np.arange(N) % 3}), path, row_group_size=5)
    return path


def write_tar(path: Path, samples: np.ndarray, extension: str) -> Path:
    with tarfile.open(path, "w") as tar:
        for i, image in enumerate(samples):
            for name, data in ((extension, encode(image, extension)), ("cls", b"%d" % (i % 3))):
                member = tarfile.TarInfo(f"{i:03d}.{name}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return path


def make_table(samples: np.ndarray) -> datasets.Dataset:
    rows = {"image": [Image.fromarray(image) for image in samples], "label": (np.arange(N) % 3).tolist()}
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=["a", "b", "c"]))
    return datasets.Dataset.from_dict(rows, features=features)


TABLES = {
    "parquet": (BYTES, lambda at, x: write_parquet(at / "t.parquet", x), {}),
    "webdataset png": (TWELVE_BITS, lambda at, x: write_tar(at / "t.tar", x, "png"), {"scale": 4095}),
    "webdataset npy": (DEGREES, lambda at, x: write_tar(at / "t.tar", x, "npy"), {}),
    "hugging face": (BYTES, lambda _, x: make_table(x), {"name": "mine"}),
}


@pytest.mark.parametrize("kind", TABLES)
def test_tables_of_image_files(tmp_path, kind):
    samples, make, options = TABLES[kind]
    cache = extract(make(tmp_path, samples), tmp_path / "out", pixels="native", **options)
    assert cache.labels.tolist() == (np.arange(N) % 3).tolist() and len(cache.classes) == 3
    check(cache, samples, options.get("scale", SCALES.get(samples.dtype.type, 1)))


OBJECTS = {
    "numpy": (SIGNED, lambda _, x: x, "NHWC"),
    "torch": (BANDS.transpose(0, 3, 1, 2).copy(), lambda _, x: torch.from_numpy(x), "NCHW"),
    "h5py": (WORDS, lambda at, x: h5py.File(write_h5(at / "a.h5", x))["images"], "NHWC"),
    "zarr": (TWELVE_BITS, lambda at, x: zarr.open(write_zarr(at / "a.zarr", x)), "NHWC"),
}


@pytest.mark.parametrize("kind", OBJECTS)
def test_arrays_in_python(tmp_path, kind):
    samples, make, axes = OBJECTS[kind]
    labels, targets = np.arange(N) % 4, np.arange(2 * N, dtype=np.float32).reshape(N, 2)
    cache = extract(make(tmp_path, samples), tmp_path / "out", name="mine", labels=labels, targets=targets)
    assert cache.labels.tolist() == labels.tolist() and np.array_equal(cache.targets, targets)
    check(cache, samples, SCALES.get(samples.dtype.type, 1), axes)


def test_a_grey_picture_has_the_coefficients_of_each_colour_of_three_in_a_third_of_the_bytes(tmp_path):
    images = RNG.normal(128, 40, (320, 28, 28)).clip(0, 255).astype(np.uint8)
    root = write_files(tmp_path / "images", images, "png", imageio.imwrite)
    caches = {}
    for kind in ("rgb", "grey"):
        report = scatcache.extract(root, out=tmp_path / kind, J=2, pixels=kind, shard_images=320)
        caches[kind] = scatcache.open_cache(report.store)
    three = caches["rgb"].coefficients(range(320)).reshape(320, 3, -1, 7, 7)
    grey = caches["grey"].coefficients(range(320))
    assert all(np.array_equal(three[:, colour], grey) for colour in range(3))
    assert folder_bytes(tmp_path / "grey") <= 0.36 * folder_bytes(tmp_path / "rgb")
