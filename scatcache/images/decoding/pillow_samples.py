"""Pictures that Pillow reads, as the samples they hold."""

from typing import BinaryIO

import numpy as np

from scatcache.errors import UnreadableImage
from scatcache.images.decoding.image_metadata import separate
from scatcache.images.decoding.own_pillow import Image
from scatcache.images.decoding.pillow_files import is_animated, load_picture, open_picture
from scatcache.images.decoding.sample_types import SampleFile
from scatcache.images.decoding.samples import is_cut, is_grey_16_bit

# Mode -> bands and dtype of what np.asarray shows.
_MODES = {
    "L": (1, "uint8"), "LA": (2, "uint8"), "RGB": (3, "uint8"), "RGBA": (4, "uint8"), "CMYK": (4, "uint8"),
    "I": (1, "int32"), "F": (1, "float32"),
}  # fmt: skip
_NO_SAMPLES = {"1": "1-bit samples (mode 1)", "P": "palette colours (mode P)", "PA": "palette colours (mode PA)"}


def open_by_pillow(file: BinaryIO, axes: str | None) -> SampleFile:
    """A picture of any format of Pillow's, not turned; axes are Pillow's own."""
    parts = separate(file)
    image = open_picture(parts.file)
    found = take_samples(image, cut=is_cut(image, file))
    return SampleFile(found.shape, found.dtype, found.load, lambda: parts.several or is_animated(image))


def take_samples(image: Image.Image, *, cut: bool) -> SampleFile:
    """The samples of an image that Pillow has opened; cut: as is_cut says.

    Raises UnreadableImage where Pillow would change them.
    """
    _check_mode(image, cut=cut)
    bands, dtype = (1, "uint16") if is_grey_16_bit(image) else _MODES[image.mode]

    def load() -> np.ndarray:
        load_picture(image)
        return np.asarray(image).astype(dtype, copy=False)

    width, height = image.size
    return SampleFile((height, width, bands), np.dtype(dtype), load)


def _check_mode(image: Image.Image, *, cut: bool) -> None:
    if is_grey_16_bit(image):
        return
    if image.mode not in _MODES:
        found = _NO_SAMPLES.get(image.mode, f"colours of mode {image.mode}")
        raise UnreadableImage(f"{found}: expected samples of 8 bits or more; give --pixels grey or rgb")
    if cut:
        raise UnreadableImage(
            f"more than 8 bits a sample, which only grey {image.format} keeps here: convert it to TIFF or 16-bit PNG"
        )
