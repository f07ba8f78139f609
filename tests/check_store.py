"""Compares a store with Kymatio in float64 on what plain Pillow or NumPy reads for its keys.

    python -m tests.check_store STORE --root ROOT [--rows 128]

ROOT: the folder that holds cifar-10-batches-bin, or the class folders themselves. Nothing of scatcache but the reader
takes part: neither its decoder nor its filters nor its transform.
"""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from kymatio.scattering2d.frontend.torch_frontend import ScatteringTorch2D
from PIL import Image, ImageOps

import scatcache

ORDER_STOPS = {0: 1, 1: 17, 2: 81}  # of J=2, L=8


def read_cifar10(root: Path, key: str) -> np.ndarray:
    """uint8 (32, 32, 3) of "data_batch_1/00000", by its place in the binary file."""
    stem, record = key.split("/")
    with open(root / "cifar-10-batches-bin" / f"{stem}.bin", "rb") as file:
        file.seek(int(record) * 3073 + 1)
        return np.frombuffer(file.read(3072), np.uint8).reshape(3, 32, 32).transpose(1, 2, 0)


def read_photograph(root: Path, key: str, size: int | None) -> np.ndarray:
    """uint8 (H, W, 3): Pillow's own resize of the whole image, then the crop, as torchvision does both."""
    with Image.open(root / key) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    if size is not None:
        short = round(256 * size / 224)
        width, height = image.size
        scaled = (short, int(short * height / width)) if width <= height else (int(short * width / height), short)
        image = image.resize(scaled, Image.Resampling.BILINEAR)
        left, top = round((scaled[0] - size) / 2.0), round((scaled[1] - size) / 2.0)
        image = image.crop((left, top, left + size, top + size))
    return np.asarray(image)


def transform(image: np.ndarray) -> np.ndarray:
    """float64 (3, 81, h, w), Kymatio's own filters cast up."""
    kymatio = make_kymatio(image.shape[:2])
    planes = torch.from_numpy(image.transpose(2, 0, 1).astype(np.float64) / 255)
    return kymatio(planes.contiguous()).numpy()


_made: dict[tuple[int, ...], ScatteringTorch2D] = {}


def make_kymatio(shape: tuple[int, ...]) -> ScatteringTorch2D:
    if shape not in _made:
        _made[shape] = ScatteringTorch2D(J=2, shape=shape).double()
    return _made[shape]


def compare(cache: scatcache.Cache, root: Path, n_rows: int) -> Iterator[tuple[str, dict[int, float]]]:
    """(key, relative error per order) of rows spread evenly over the split."""
    size = cache.manifest.settings.size
    for row in np.unique(np.linspace(0, len(cache) - 1, n_rows).astype(int)).tolist():
        key = cache.keys[row]
        image = read_cifar10(root, key) if cache.manifest.source == "cifar10" else read_photograph(root, key, size)
        expected = transform(image)
        found = cache.coefficients([row])[0].astype(np.float64).reshape(expected.shape)
        errors, start = {}, 0
        for order, stop in ORDER_STOPS.items():
            difference = np.linalg.norm(found[:, start:stop] - expected[:, start:stop])
            errors[order] = float(difference / np.linalg.norm(expected[:, start:stop]))
            start = stop
        yield key, errors


def find_worst(cache: scatcache.Cache, root: Path, n_rows: int) -> dict[int, float]:
    """The worst relative error of each order."""
    worst = dict.fromkeys(ORDER_STOPS, 0.0)
    for _, errors in compare(cache, root, n_rows):
        worst = {order: max(worst[order], errors[order]) for order in worst}
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--split")
    options = parser.parse_args()
    for split in [options.split] if options.split else sorted(os.listdir(options.store)):
        if (Path(options.store) / split / "coefficients").is_dir():
            cache = scatcache.open_cache(options.store, split)
            worst = find_worst(cache, options.root, options.rows)
            errors = ", ".join(f"order {order} {error:.2e}" for order, error in worst.items())
            print(f"{split}: {options.rows} rows, {cache.dtype}, worst ||a-b||/||b|| {errors}")


if __name__ == "__main__":
    main()
