"""The photographs in scikit-image's wheel, cut into crops: real images for a first run with no data at hand."""

import importlib.resources
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources.abc import Traversable
from typing import Any

import numpy as np

from scatcache.errors import SourceError
from scatcache.images.decode import decode, read_shape
from scatcache.images.listing import Listing, Row

SPLIT = "all"
CROP = 128
CROP_BYTES = CROP * CROP * 3
FILES = {
    "astronaut": "astronaut.png",
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "rocket": "rocket.jpg",
    "retina": "retina.jpg",
    "hubble_deep_field": "hubble_deep_field.jpg",
    "immunohistochemistry": "ihc.png",
}


@dataclass(frozen=True)
class PhotosSource:
    """128 x 128 crops on a grid from the top left of each photograph; the label is the photograph."""

    name: str = "photos"
    base_name: str = "photos"
    root: None = None
    default_size: None = None
    splits: tuple[str, ...] = (SPLIT,)
    default_splits: tuple[str, ...] = (SPLIT,)
    classes: tuple[str, ...] = tuple(FILES)
    official: None = None
    warnings: tuple[str, ...] = ()
    in_process: bool = False

    @property
    def options(self) -> dict[str, Any]:
        return {}

    def list_rows(self, split: str) -> Listing:
        """Every crop, named photograph/top-left in pixels. Raises SourceError for another split than "all"."""
        _check_split(split)
        rows = [row for label, photo in enumerate(self.classes) for row in _list_crops(photo, label)]
        return Listing(tuple(sorted(rows)))

    def native_shape(self, split: str, rows: Sequence[Row]) -> tuple[int, int]:
        """(128, 128)."""
        _check_split(split)
        return CROP, CROP

    def read(self, split: str, key: str) -> np.ndarray:
        """One crop, uint8 (128, 128, 3)."""
        _check_split(split)
        photo, _, corner = key.partition("/")
        top, left = map(int, corner.split("-"))
        return _decode_photo(photo)[top : top + CROP, left : left + CROP].copy()

    def locate(self, split: str, key: str) -> None:
        """Crops are cut from photographs in memory."""


def open_photos() -> PhotosSource:
    """The photographs of the installed scikit-image.

    Raises SourceError where scikit-image is not installed, or its wheel lacks one of the photographs.
    """
    for file_name in FILES.values():
        if not (_find_data() / file_name).is_file():
            raise SourceError(f"the installed scikit-image holds no {file_name}: pip install 'scatcache[photos]'")
    return PhotosSource()


def _find_data() -> Traversable:
    try:
        return importlib.resources.files("skimage") / "data"
    except ModuleNotFoundError as error:
        raise SourceError("photos needs scikit-image: pip install 'scatcache[photos]'") from error


def _list_crops(photo: str, label: int) -> list[Row]:
    height, width = read_shape(io.BytesIO((_find_data() / FILES[photo]).read_bytes()))
    corners = [(top, left) for top in range(0, height - CROP + 1, CROP) for left in range(0, width - CROP + 1, CROP)]
    return [Row(f"{photo}/{top:04d}-{left:04d}", label, CROP_BYTES) for top, left in corners]


@lru_cache(maxsize=len(FILES))
def _decode_photo(photo: str) -> np.ndarray:
    """One whole photograph, uint8 (height, width, 3), kept for the life of the process (12 MB for all)."""
    return decode((_find_data() / FILES[photo]).read_bytes(), size=None)


def _check_split(split: str) -> None:
    if split != SPLIT:
        raise SourceError(f"photos has no split {split}: expected {SPLIT}")
