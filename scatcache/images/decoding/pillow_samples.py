"""Pictures that Pillow reads, as the samples they hold."""

import re
from typing import BinaryIO

import numpy as np

from scatcache.errors import UnreadableImage
from scatcache.images.decoding.codestreams import list_jpeg2000_depths
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
# Among Pillow's raw modes, those of fewer or of more bits than the 8 that it makes of them.
_STRETCHED = re.compile(r".*;[0-9]")
# Of PPM files: with these highest values Pillow stretches nothing.
_WHOLE_RANGES = (255, 65535)
_CONVERT = "convert it to TIFF or 16-bit PNG"
_NO_SAMPLES = {"1": "1-bit samples (mode 1)", "P": "palette colours (mode P)", "PA": "palette colours (mode PA)"}


def open_by_pillow(file: BinaryIO, axes: str | None) -> SampleFile:
    """A picture of any format of Pillow's, not turned; axes are Pillow's own."""
    parts = separate(file)
    image = open_picture(parts.file)
    found = take_samples(image, cut=is_cut(image, file))
    _check_unstretched(image, file)
    return SampleFile(found.shape, found.dtype, found.load, lambda: parts.several or is_animated(image))


def take_samples(image: Image.Image, *, cut: bool) -> SampleFile:
    """The samples of an image that Pillow has opened; cut: as is_cut says.

    Raises UnreadableImage where Pillow would change them.
    """
    _check_mode(image, cut=cut)
    bands, dtype = (1, "uint16") if is_grey_16_bit(image) else _MODES[image.mode]

    def load() -> np.ndarray:
        load_picture(image)
        return np.array(image).astype(dtype, copy=False)

    width, height = image.size
    return SampleFile((height, width, bands), np.dtype(dtype), load)


def _check_mode(image: Image.Image, *, cut: bool) -> None:
    if is_grey_16_bit(image):
        return
    if image.mode not in _MODES:
        found = _NO_SAMPLES.get(image.mode, f"colours of mode {image.mode}")
        raise UnreadableImage(f"{found}: expected samples of 8 bits or more; give --pixels grey or rgb")
    if cut:
        raise UnreadableImage(f"{image.format} of more than 8 bits a sample, of which 8 are read here: {_CONVERT}")


def _check_unstretched(image: Image.Image, file: BinaryIO) -> None:
    """Raises UnreadableImage where Pillow would stretch the samples of an opened file to 8 or 16 bits."""
    for tile in getattr(image, "tile", ()):
        raw, *others = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        if image.mode in ("L", "LA", "RGB", "RGBA", "CMYK") and isinstance(raw, str) and _STRETCHED.match(raw):
            raise UnreadableImage(f"{image.format} of {raw} samples, which are stretched to 8 bits: give --pixels rgb")
        if image.format == "PPM" and any(type(most) is int and most not in (*_WHOLE_RANGES, 0) for most in others[:1]):
            raise UnreadableImage(f"samples of 0 to {others[0]}, which are stretched here: {_CONVERT}")
    if image.format == "JPEG2000":
        file.seek(0)
        depths = set(list_jpeg2000_depths(file.read()))
        if depths != ({16} if is_grey_16_bit(image) else {8}):
            found = ", ".join(map(str, sorted(depths)))
            raise UnreadableImage(f"JPEG 2000 of {found} bits (signed: below 0), which are stretched here: {_CONVERT}")
