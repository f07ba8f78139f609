"""How a picture must be turned to stand upright, read from EXIF and XMP without asking for anything else in them."""

import io
import re

from PIL.Image import Transpose

from scatcache.images.decoding.tiff_tags import Directory, read_directory

ORIENTATION = 0x0112
# Orientations 5 to 8 lie on their side.
SIDEWAYS = (5, 6, 7, 8)
UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
_EXIF_HEAD = b"Exif\0\0"
# By these patterns Pillow finds it.
_XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:=\"|>)([0-9])")


def find_orientation(exif: bytes | Directory | None, xmp: bytes) -> int:
    """1 to 8 as EXIF counts; 1 where neither says it, or what says it is damaged. EXIF goes before XMP.

    exif: a block of EXIF, with or without its head, or the directory of a TIFF file.
    """
    if isinstance(exif, bytes):
        for _ in range(2):
            exif = exif.removeprefix(_EXIF_HEAD)
        exif = read_directory(io.BytesIO(exif))
    values = exif.numbers(ORIENTATION, most=1) if exif is not None else ()
    if not values and (found := _XMP_ORIENTATION.search(xmp)):
        values = (int(found[1]),)
    # A rational or a float counts where it is one of these exactly, as in Pillow.
    return next((known for known in UPRIGHT if known in values), 1)
