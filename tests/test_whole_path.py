"""From the images to the stored numbers, against Kymatio in float64 on what plain Pillow or NumPy reads."""

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import scatcache
from tests import check_store

# ||a - b|| / ||b|| of one row and one order.
TOLERANCE = {"float32": 2e-6, "float16": 5e-4, "float16raw": 5e-4}


def assert_close(store: Path, split: str, root: Path, n_rows: int) -> None:
    cache = scatcache.open_cache(store, split)
    worst = check_store.find_worst(cache, root, n_rows)
    assert all(error < TOLERANCE[cache.manifest.encoding] for error in worst.values()), worst


@pytest.fixture(scope="module", autouse=True)
def kymatio_once() -> Iterator[None]:
    """Kymatio transforms an image once, however many encodings are compared with that."""
    transform = check_store.transform

    @functools.lru_cache(maxsize=160)
    def transform_once(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
        return transform(np.frombuffer(data, np.uint8).reshape(shape))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check_store, "transform", lambda image: transform_once(image.tobytes(), image.shape))
        yield


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of crops of photographs, of many sizes and shapes, some on their side by EXIF."""
    data = pytest.importorskip("skimage.data")
    from PIL import Image

    folder = tmp_path_factory.mktemp("crops")
    generator = np.random.default_rng(0)
    for name in ("astronaut", "coffee", "retina"):
        photo = Image.fromarray(getattr(data, name)())
        (folder / name).mkdir()
        for index in range(6):
            height, width = generator.integers(120, min(photo.size), 2)
            exif = Image.Exif()
            exif[0x0112] = index + 1
            photo.crop((0, 0, int(width), int(height))).save(folder / name / f"{index}.jpg", quality=90, exif=exif)
    return folder


@pytest.mark.parametrize("encoding", sorted(TOLERANCE))
def test_crops_of_photographs_equal_kymatio(crops, tmp_path, encoding):
    report = scatcache.extract(crops, out=tmp_path / "s.zarr", J=2, size=112, encoding=encoding)
    assert report.splits["all"].ok == 18
    assert_close(tmp_path / "s.zarr", "all", crops, 18)


@pytest.mark.parametrize("encoding", ["float16", "float32"])
def test_cifar10_equals_kymatio(cifar10_root, tmp_path, encoding):
    scatcache.extract("cifar10", root=cifar10_root, out=tmp_path / "s.zarr", J=2, limit=128, encoding=encoding)
    for split in ("train", "test"):
        assert_close(tmp_path / "s.zarr", split, cifar10_root, 64)


@pytest.mark.parametrize("encoding", ["float16", "float32"])
def test_photographs_of_imagenet_equal_kymatio(imagenet_folder, tmp_path, encoding):
    scatcache.extract(imagenet_folder, out=tmp_path / "s.zarr", J=2, size=224, limit=16, encoding=encoding)
    assert_close(tmp_path / "s.zarr", "all", imagenet_folder, 16)


def test_a_store_of_another_image_is_told_apart(crops, tmp_path, monkeypatch):
    scatcache.extract(crops, out=tmp_path / "s.zarr", J=2, size=112)
    read = check_store.read_photograph
    # One grey level on every pixel: what a wrong rounding in decoding would do.
    monkeypatch.setattr(check_store, "read_photograph", lambda *place: read(*place) ^ 1)
    with pytest.raises(AssertionError):
        assert_close(tmp_path / "s.zarr", "all", crops, 6)
