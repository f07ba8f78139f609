"""PNG files as the samples they hold, 16-bit ones at full depth: without palette, gamma or transparent colour."""

from typing import BinaryIO

import numpy as np

from scatcache.errors import UnreadableImage
from scatcache.images.decoding.extra_libraries import import_extra
from scatcache.images.decoding.image_metadata import PNG_SIGNATURE, separate
from scatcache.images.decoding.pillow_files import is_animated, open_picture
from scatcache.images.decoding.pillow_samples import open_by_pillow
from scatcache.images.decoding.sample_types import SampleFile, check_shape_of_samples

# Colour type -> bands.
_BANDS = {0: 1, 2: 3, 4: 2, 6: 4}
_PALETTE = 3


def open_png(file: BinaryIO, axes: str | None) -> SampleFile:
    """A PNG file of 8 or 16 bits. Raises UnreadableImage for others; SourceError for 16 bits without imagecodecs."""
    file.seek(len(PNG_SIGNATURE))
    head = file.read(18)
    if len(head) < 18 or head[4:8] != b"IHDR":
        raise UnreadableImage("a PNG file that ends in its header")
    bits, colours = head[16], head[17]
    if colours == _PALETTE:
        raise UnreadableImage("palette colours: expected samples; give --pixels rgb")
    if bits < 8:
        raise UnreadableImage(f"{bits}-bit samples: expected 8 bits or more; give --pixels grey or rgb")
    if bits != 16 or colours not in _BANDS:
        return open_by_pillow(file, axes)
    imagecodecs = import_extra("imagecodecs", "PNG of 16 bits", "tiff")
    # What is not decoded here, transparent colour and gamma among it, is left out there.
    parts = separate(file)
    # Pillow, too, looks at the chunks and what they say.
    image = open_picture(parts.file)
    width, height = image.size
    shape = check_shape_of_samples((height, width, _BANDS[colours]))

    def load() -> np.ndarray:
        parts.file.seek(0)
        data = parts.file.read()
        found = imagecodecs.png_decode(data)
        if found.dtype != np.uint16 or found.size != height * width * shape[2]:
            raise ValueError(f"{found.dtype} {found.shape} decoded, where the header says uint16 {shape}")
        return found.reshape(shape)

    return SampleFile(shape, np.dtype(np.uint16), load, lambda: parts.several or is_animated(image))
