"""Any image file as the samples it holds: which function reads which format."""

from collections.abc import Callable
from typing import BinaryIO

from scatcache.images.decoding.extra_libraries import call_library
from scatcache.images.decoding.fits_file import open_fits
from scatcache.images.decoding.image_metadata import PNG_SIGNATURE
from scatcache.images.decoding.numpy_file import NPY_SIGNATURE, open_numpy
from scatcache.images.decoding.pillow_samples import open_by_pillow
from scatcache.images.decoding.png_file import open_png
from scatcache.images.decoding.sample_types import SampleFile
from scatcache.images.decoding.tiff_file import open_tiff

FITS_SIGNATURE = b"SIMPLE  ="

# Format -> its reader: an open file and the axes that the user gave -> what is in it.
READERS: dict[str, Callable[[BinaryIO, str | None], SampleFile]] = {
    "npy": open_numpy,
    "TIFF": open_tiff,
    "FITS": open_fits,
    "PNG": open_png,
    "other": open_by_pillow,
}
_SIGNATURES = {
    NPY_SIGNATURE: "npy",
    FITS_SIGNATURE: "FITS",
    PNG_SIGNATURE: "PNG",
    **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "TIFF"),
}


def open_samples(file: BinaryIO, axes: str | None) -> SampleFile:
    """What an image file, open for binary reading, holds; by its header, and nothing of its samples.

    Raises UnreadableImage, and what readers raise on damaged bytes; SourceError where the library it takes is missing.
    """
    reader = READERS[find_format(file)]
    found = call_library(lambda: reader(file, axes))
    found.check()
    return found


def find_format(file: BinaryIO) -> str:
    """The key of the reader of a file, by its first bytes."""
    file.seek(0)
    head = file.read(16)
    return next((name for signature, name in _SIGNATURES.items() if head.startswith(signature)), "other")
