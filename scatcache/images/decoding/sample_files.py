"""Any image file as the samples it holds: which function reads which format."""

from collections.abc import Callable
from typing import BinaryIO

from scatcache.images.decoding.numpy_file import NPY_SIGNATURE, open_numpy
from scatcache.images.decoding.pillow_samples import open_by_pillow
from scatcache.images.decoding.sample_types import SampleFile

FITS_SIGNATURE = b"SIMPLE  ="

# Format -> its reader: an open file and the axes that the user gave -> what is in it.
READERS: dict[str, Callable[[BinaryIO, str | None], SampleFile]] = {
    "npy": open_numpy,
    "other": open_by_pillow,
}
# These hold arrays and no picture.
ARRAY_FORMATS = ("npy",)
_SIGNATURES = {NPY_SIGNATURE: "npy"}


def open_samples(file: BinaryIO, axes: str | None) -> SampleFile:
    """What an image file, open for binary reading, holds; by its header, and nothing of its samples.

    Raises UnreadableImage, and what readers raise on damaged bytes; SourceError where the library it takes is missing.
    """
    found = READERS[find_format(file)](file, axes)
    found.check()
    return found


def find_format(file: BinaryIO) -> str:
    """The key of the reader of a file, by its first bytes."""
    file.seek(0)
    head = file.read(16)
    return next((name for signature, name in _SIGNATURES.items() if head.startswith(signature)), "other")
