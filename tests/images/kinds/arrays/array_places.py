"""Arrays of images written in every format that is read, by the libraries whose formats they are."""

import warnings
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import zarr
from astropy.io import fits

N, HEIGHT, WIDTH, BANDS = 12, 16, 20, 3
SHAPES = {"NHW": (N, HEIGHT, WIDTH), "NHWC": (N, HEIGHT, WIDTH, BANDS), "NCHW": (N, BANDS, HEIGHT, WIDTH)}
LABELS = np.arange(N) % 3
TARGETS = np.linspace(-1, 1, 2 * N).reshape(N, 2)


def make_images(axes: str = "NHW", dtype: str = "float32", *, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).integers(0, 200, SHAPES[axes])
    return (values / 7 if np.dtype(dtype).kind == "f" else values).astype(dtype)


def write_hdf5(path: Path, images: np.ndarray, **options: object) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=images, **options)
        file["more/labels"] = LABELS
        file["targets"] = TARGETS


def write_zarr(path: Path, images: np.ndarray, zarr_format: int, **options: object) -> None:
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    group.create_array("images", data=images, **options)
    group.create_array("more/labels", data=LABELS)
    group.create_array("targets", data=TARGETS)


def write_fits(path: Path, images: np.ndarray, *, compressed: bool = False) -> None:
    hdu = (fits.CompImageHDU if compressed else fits.ImageHDU)(images, name="IMAGES")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)


def chunk(images: np.ndarray, n_rows: int = 5) -> tuple[int, ...]:
    return (n_rows, images.shape[1] // 2, *images.shape[2:])


Write = Callable[[Path, np.ndarray], object]
# By the name of the file.
WRITERS: dict[str, Write] = {
    "plain.npy": np.save,
    "fortran.npy": lambda path, images: np.save(path, np.asfortranarray(images)),
    "stored.npz": lambda path, images: np.savez(path, images=images, labels=LABELS, targets=TARGETS),
    "deflated.npz": lambda path, images: np.savez_compressed(path, images=images, labels=LABELS, targets=TARGETS),
    "plain.h5": write_hdf5,
    "chunked.hdf5": lambda path, images: write_hdf5(
        path, images, chunks=chunk(images), compression="gzip", shuffle=True
    ),
    "v2.zarr": lambda path, images: write_zarr(path, images, 2, chunks=chunk(images)),
    "v3.zarr": lambda path, images: write_zarr(path, images, 3, chunks=chunk(images)),
    "sharded.zarr": lambda path, images: write_zarr(
        path, images, 3, chunks=(2, *images.shape[1:]), shards=(4, *images.shape[1:])
    ),
    "alone.zarr": lambda path, images: zarr.create_array(path, data=images, chunks=chunk(images)),
    "plain.fits": write_fits,
    "packed.fits": lambda path, images: write_fits(path, images, compressed=True),
}


def write_place(folder: Path, name: str, images: np.ndarray) -> Path:
    WRITERS[name](folder / name, images)
    return folder / name
