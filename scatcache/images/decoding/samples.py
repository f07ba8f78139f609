"""Which samples an 8-bit picture can be made of: what is refused, and what is cut and told."""

from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from scatcache.images.decoding.codestreams import is_deep_avif, list_jpeg2000_depths
from scatcache.images.decoding.notes import CUT, DARK
from scatcache.images.decoding.own_pillow import Image

_BITS, _PHOTOMETRIC, _N_SAMPLES, _PLANAR, _FORMAT = 258, 262, 277, 284, 339
_WHITE_IS_ZERO, _SEPARATE_PLANES = 0, 2
_FORMATS = {2: "signed", 3: "float", 5: "complex integer", 6: "complex float"}
_EXPECTED = "expected 8 bits, or unsigned 16-bit samples, which are cut to 8; for others give --pixels native"
# DDS: the variant of BCn of float samples.
_BC6H = 6


def check_samples(image: Image.Image) -> None:
    """Raises ValueError where an image, opened and not loaded, would be clipped or misread as 8 bits."""
    if tags := getattr(image, "tag_v2", None):
        _check_tiff(lambda tag: _list_values(tags.get(tag, ())))
    if image.mode == "F":
        raise ValueError(f"float samples (mode F): {_EXPECTED}")
    if image.mode.startswith("I") and not is_grey_16_bit(image):
        raise ValueError(f"32-bit integer samples (mode {image.mode}): {_EXPECTED}")
    for tile in getattr(image, "tile", ()):
        if tile[0] == "bcn" and tile[3][0] == _BC6H:
            raise ValueError(f"float samples (BC6H): {_EXPECTED}")


def _check_tiff(find_values: Callable[[int], tuple[Any, ...]]) -> None:
    """find_values: tag -> its values, none where it is missing."""
    n_samples = max(find_values(_N_SAMPLES), default=1)
    # Pillow takes one number of bits for all samples, and leaves out those beyond the last.
    bits = max(find_values(_BITS)[:n_samples], default=1)
    for found in find_values(_FORMAT):
        if found in _FORMATS:
            raise ValueError(f"{bits}-bit {_FORMATS[found]} samples: {_EXPECTED}")
    if bits > 16:
        raise ValueError(f"{bits}-bit samples: {_EXPECTED}")
    if bits > 8 and find_values(_PHOTOMETRIC) == (_WHITE_IS_ZERO,):
        raise ValueError(f"{bits}-bit grey whose 0 is white: expected one whose 0 is black, or give --pixels native")
    if bits > 8 and find_values(_PLANAR) == (_SEPARATE_PLANES,) and n_samples > 1:
        raise ValueError(
            f"{bits}-bit colours in separate planes: expected them pixel by pixel, or give --pixels native"
        )


def is_grey_16_bit(image: Image.Image) -> bool:
    """Whether the pixels are 16-bit grey: modes I;16*, or "I" where the format can mean nothing else by it.

    PPM, PGM and (before Pillow 11) PNG open as "I" only at 16 bits.
    """
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PPM", "PNG"))


def cut_grey(image: Image.Image) -> np.ndarray:
    """uint8 (height, width), the high bytes of a 16-bit grey image."""
    # Pillow would clip at 255 here, leaving white; its 16-bit colour decoders keep the high byte, as this does.
    return (np.asarray(image) >> 8).astype(np.uint8)


def note_cut(image: Image.Image) -> tuple[str, ...]:
    """The notes of an image, RGB, that was cut to 8 bits."""
    # Of 12 bits in 16, four are left.
    return (CUT, DARK) if np.asarray(image).max() < 16 else (CUT,)


def is_cut(image: Image.Image, file: BinaryIO | None) -> bool:
    """Whether an image's samples are cut to 8 bits; image: opened from the file, where there is one, and not loaded.

    Raises ValueError where its reader cuts them wrongly.
    """
    if is_grey_16_bit(image):
        return True
    arguments = [argument for tile in getattr(image, "tile", ()) for argument in _list_values(tile[3])]
    if image.format in ("PNG", "TIFF"):
        return any(isinstance(argument, str) and ";16" in argument for argument in arguments)
    if image.format == "PPM":
        return any(isinstance(argument, int) and argument > 255 for argument in arguments)
    if image.format in ("JPEG2000", "AVIF") and file is not None:
        file.seek(0)
        data = file.read()
        if image.format == "AVIF":
            return is_deep_avif(data)
        if bits := next((abs(depth) for depth in list_jpeg2000_depths(data) if abs(depth) > 8), 0):
            # Pillow 13 rounds them up, and what is 256 then becomes 0: white turns black.
            raise ValueError(f"JPEG 2000 of {bits}-bit colour, which its reader misreads: convert it to PNG or TIFF")
    return False


def _list_values(values: Any) -> tuple[Any, ...]:
    return values if isinstance(values, tuple) else (values,)
