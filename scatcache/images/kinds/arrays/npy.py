"""Arrays as NumPy saves them, .npy: the header checked against the file, the samples read where they lie."""

import os
import tokenize
from pathlib import Path
from typing import IO

import numpy as np

from scatcache.errors import SourceError
from scatcache.images.archives.stamps import Stamp
from scatcache.images.keys import show_path
from scatcache.images.kinds.arrays.image_array import (
    ArrayHead,
    ImageArray,
    PlainArray,
    ScatteredArray,
    check_inside,
    stamp_regular,
)

# What NumPy is known to raise on a header that is none.
_MALFORMED = (ValueError, TypeError, SyntaxError, EOFError, RecursionError, MemoryError, tokenize.TokenError)
_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def list_npy(path: Path) -> dict[str, ArrayHead]:
    """The one array of a .npy file, under no name. Raises SourceError where it is none, OSError as the disk does."""
    where, stamp = show_path(path), stamp_regular(os.fspath(path))
    with open(path, "rb") as file:
        shape, dtype, is_fortran = read_npy_header(where, file)
        offset = file.tell()
    if not dtype.hasobject:
        check_inside(where, stamp, offset, shape, dtype)
    return {"": ArrayHead(shape, dtype, lambda: place_npy(where, stamp, offset, shape, dtype, is_fortran=is_fortran))}


def read_npy_header(where: str, file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype, bool]:
    """(shape, dtype, whether in Fortran's order), the file left where the samples begin; nothing is unpickled.

    Raises SourceError where it is no header.
    """
    try:
        version = np.lib.format.read_magic(file)
        if version not in _READERS:
            raise ValueError(f"version {version}")
        shape, is_fortran, dtype = _READERS[version](file)
    except _MALFORMED as error:
        raise SourceError(
            f"{where} is no .npy that NumPy wrote, or truncated: write it again with numpy.save"
        ) from error
    if not all(type(n) is int and n >= 0 for n in shape):
        raise SourceError(f"{where} claims the shape {shape}: expected numbers of 0 or more; write it again")
    return shape, dtype, is_fortran and len(shape) > 1


def place_npy(
    where: str, stamp: Stamp, offset: int, shape: tuple[int, ...], dtype: np.dtype, *, is_fortran: bool
) -> ImageArray:
    """An array whose samples lie at offset. Raises SourceError where it would end beyond the file's end."""
    refuse_objects(where, dtype)
    check_inside(where, stamp, offset, shape, dtype)
    return (ScatteredArray if is_fortran else PlainArray)(stamp, offset, shape, dtype, stamp.n_bytes)


def refuse_objects(where: str, dtype: np.dtype) -> None:
    """Raises SourceError for what would have to be unpickled."""
    if dtype.hasobject:
        raise SourceError(
            f"{where} holds Python objects, which are never unpickled: save numbers, as numpy.stack(x) makes of a list"
        )
