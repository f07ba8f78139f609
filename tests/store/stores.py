"""Small stores, made once a session through extract(), and the ways in which tests damage copies of them."""

import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

import scatcache
from scatcache.images.source import ListedRows, Listing
from scatcache.spec import Pixels
from scatcache.store.format.manifest import Manifest

# float16 chunks then hold 4 rows; the last of the 5 shards holds 2 rows, and so an unfilled chunk.
N_IMAGES, SIDE, SHARD_IMAGES = 50, 24, 12
SETTINGS = {"J": 2, "L": 4, "shard_images": SHARD_IMAGES}
UNREADABLE = (5, 17, 18)
ENCODINGS = ("float16", "float16raw", "float32", "quantised")
READ_ERRORS = (scatcache.StoreDamaged, scatcache.NotAStore, scatcache.StoreIncomplete)


def draw_images(folder: Path, *, seed: int, n_images: int = N_IMAGES, unreadable: tuple[int, ...] = ()) -> Path:
    """Folders a, b, c of noise; image i is (a, b, c)[i % 3]/00i.png, no image at all where i is unreadable."""
    rng = np.random.default_rng(seed)
    for image in range(n_images):
        path = folder / "abc"[image % 3] / f"{image:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if image in unreadable:
            path.write_bytes(b"no image")
        else:
            # Without compression every file has the same size.
            pixels = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path, compress_level=0)
    return folder


@functools.cache
def made_images(base: Path, seed: int = 0) -> Path:
    """50 images, three of them unreadable. Read them, never write there."""
    return draw_images(base / "stores" / f"images-{seed}", seed=seed, unreadable=UNREADABLE)


@functools.cache
def made_store(base: Path, encoding: str = "float16", seed: int = 0) -> Path:
    """The finished store of made_images, split "all". Read it, never write there."""
    out = base / "stores" / f"{encoding}-{seed}.zarr"
    scatcache.extract(made_images(base, seed), out=out, encoding=encoding, workers=1, **SETTINGS)
    return out


@functools.cache
def made_many_shards(base: Path) -> Path:
    """The finished store of made_images with one row a shard."""
    out = base / "stores" / "many.zarr"
    scatcache.extract(made_images(base), out=out, workers=1, **{**SETTINGS, "shard_images": 1})
    return out


@functools.cache
def made_splits(base: Path) -> Path:
    """A finished store with the splits test and train."""
    images = base / "stores" / "images-of-splits"
    for split in ("train", "test"):
        draw_images(images / split, seed=3, n_images=6)
    out = images.with_name("splits.zarr")
    scatcache.extract(images, out=out, J=1, L=2, workers=1)
    return out


N_TARGETS, N_MEASURED = 3, 20


class Measured:
    """A source of noise: each image of its split train has three targets, some unknown, of its split test none.

    shift: what is added to the first target of image 0.
    """

    name, classes, official, pixels, parallel = "measured", ("a", "b"), None, Pixels(), "threads"

    def __init__(self, shift: float = 0):
        targets = np.random.default_rng(0).normal(size=(N_MEASURED, N_TARGETS)).astype(np.float32)
        targets[4], targets[0, 0] = np.nan, targets[0, 0] + shift
        self.splits = {"train": Noise(seed=0, targets=targets), "test": Noise(seed=1)}


class Noise:
    """A split of Measured; image 3 cannot be read."""

    def __init__(self, *, seed: int, targets: np.ndarray | None = None):
        rng = np.random.default_rng(seed)
        self.images = rng.integers(0, 256, (N_MEASURED, SIDE, SIDE, 3), dtype=np.uint8)
        self.listing = Listing(ListedRows.numbered(N_MEASURED, labels=np.arange(N_MEASURED) % 2), targets=targets)

    def read(self, i: int) -> np.ndarray:
        if i == 3:
            raise scatcache.UnreadableImage("it is torn")
        return self.images[i]

    def locate(self, i: int) -> None:
        return None


@functools.cache
def made_measured(base: Path) -> Path:
    """The finished store of Measured. Read it, never write there."""
    out = base / "stores" / "measured.zarr"
    scatcache.extract(Measured(), out=out, workers=1, **{**SETTINGS, "shard_images": 4})
    return out


def copy_store(store: Path, folder: Path) -> Path:
    """A copy to damage, its STORE.job beside it."""
    copy = folder / store.name
    shutil.copytree(store, copy)
    shutil.copytree(f"{store}.job", f"{copy}.job")
    return copy


def make_partial(store: Path, *, missing: tuple[int, ...] = (1, 4)) -> None:
    """Makes of a finished store what a killed run leaves: no summary, and shards without receipt."""
    coefficients = store / "all/coefficients"
    for name in ("all/status/c.0", "all/coefficients/receipts/index.bin", "all/coefficients/receipts/summary.json"):
        (store / name).unlink()
    for shard in missing:
        (coefficients / f"receipts/{shard:05d}.json").unlink()
        (coefficients / f"c.{shard}.0.0.0").unlink()


def read_everything(store: Path) -> dict[str, object]:
    """All that open_cache tells of a split, as plain values that == compares."""
    cache = scatcache.open_cache(store, "all")
    return {
        "coefficients": cache.coefficients(cache.readable).tobytes(),
        "rows": cache.readable.tolist(),
        "labels": cache.labels.tolist(),
        "keys": cache.keys,
        "classes": cache.classes,
        "spec": cache.spec,
        "mean": cache.channel_mean.tolist(),
        "std": cache.channel_std.tolist(),
    }


def open_manifest(store: Path) -> Manifest:
    return scatcache.open_cache(store, "all", allow_partial=True).manifest


def swap(one: Path, other: Path) -> None:
    """Exchanges two files."""
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)


def edit(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def flip(path: Path, offset: int, bits: int = 1) -> None:
    """Changes one byte."""

    def change(data: bytes) -> bytes:
        return data[:offset] + bytes([data[offset] ^ bits]) + data[offset + 1 :]

    edit(path, change)
