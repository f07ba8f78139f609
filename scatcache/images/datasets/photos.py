"""The photographs in scikit-image's wheel, cut into crops: real images for a first run with no data at hand."""

import importlib.resources
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources.abc import Traversable

import numpy as np

from scatcache.errors import SourceError
from scatcache.images.decode import decode, read_form
from scatcache.images.forms import Decoding, ImageForm
from scatcache.images.image_source import WHOLE, ImageSource
from scatcache.images.source import Listing, Row

CROP = 128
FORM_OF_ALL = ImageForm(CROP, CROP, 3, "uint8")
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
class CropsPart:
    """128 x 128 crops on a grid from the top left of each photograph; the label is the photograph."""

    image_form: ImageForm = FORM_OF_ALL

    @cached_property
    def listing(self) -> Listing:
        """Every crop, named photograph/top-left in pixels."""
        return Listing(sorted(row for label, photo in enumerate(FILES) for row in _list_crops(photo, label)))

    def form(self, i: int, how: Decoding) -> ImageForm:
        """That of all."""
        return self.image_form

    def read(self, i: int) -> np.ndarray:
        """One crop, uint8 (128, 128, 3)."""
        photo, _, corner = self.listing.rows[i].key.partition("/")
        top, left = map(int, corner.split("-"))
        return _decode_photo(photo)[top : top + CROP, left : left + CROP].copy()

    def locate(self, i: int) -> None:
        """Crops are cut from photographs in memory."""


def open_photos() -> ImageSource:
    """The photographs of the installed scikit-image.

    Raises SourceError where scikit-image is not installed, or its wheel lacks one of the photographs.
    """
    for file_name in FILES.values():
        if not (_find_data() / file_name).is_file():
            raise SourceError(f"the installed scikit-image holds no {file_name}: pip install 'scatcache[photos]'")
    return ImageSource("photos", tuple(FILES), {WHOLE: CropsPart()})


def _find_data() -> Traversable:
    try:
        return importlib.resources.files("skimage") / "data"
    except ModuleNotFoundError as error:
        raise SourceError("photos needs scikit-image: pip install 'scatcache[photos]'") from error


def _list_crops(photo: str, label: int) -> list[Row]:
    height, width = read_form((_find_data() / FILES[photo]).read_bytes(), Decoding()).shape
    corners = [(top, left) for top in range(0, height - CROP + 1, CROP) for left in range(0, width - CROP + 1, CROP)]
    return [Row(f"{photo}/{top:04d}-{left:04d}", label, CROP_BYTES) for top, left in corners]


@lru_cache(maxsize=len(FILES))
def _decode_photo(photo: str) -> np.ndarray:
    """One whole photograph, uint8 (height, width, 3), kept for the life of the process (12 MB for all)."""
    return decode((_find_data() / FILES[photo]).read_bytes(), size=None)
