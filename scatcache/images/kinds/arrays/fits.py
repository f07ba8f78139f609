"""Arrays of FITS files: cubes that lie plainly are read as files are, scaled and compressed ones through astropy."""

import os
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from scatcache.errors import SourceError, UnreadableImage
from scatcache.images.archives.stamps import Stamp, check_stamp
from scatcache.images.keys import show_path
from scatcache.images.kinds.arrays.image_array import ArrayHead, ImageArray, PlainArray, check_inside, stamp_regular

# What astropy is known to raise on a damaged file, besides an OSError without an errno, and its VerifyError.
_MALFORMED = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError)
_DTYPES = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}


@dataclass(frozen=True)
class FitsArray:
    """A cube read section by section through astropy, which scales and decompresses; one thread at a time does so.
    dtype: that of the scaled samples."""

    stamp: Stamp
    index: int
    shape: tuple[int, ...]
    dtype: np.dtype

    rows_per_block = 1

    @property
    def n_bytes(self) -> int:
        return self.stamp.n_bytes

    def read_rows(self, start: int, stop: int) -> np.ndarray:
        check_stamp(self.stamp)
        where = show_path(self.stamp.path)
        with _explain(where):
            hdus, lock = _open_hdus(os.getpid(), self.stamp)
        try:
            with lock:
                return np.asarray(hdus[self.index].section[start:stop])
        except (OSError, *_MALFORMED) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise UnreadableImage(f"its samples do not decode ({type(error).__name__})") from error

    def locate_row(self, row: int) -> None:
        """Sections are read, and not bytes."""


def list_fits(path: Path) -> dict[str, ArrayHead]:
    """The images and cubes of a FITS file by the names of their HDUs, "NAME,VERSION" where several bear one.

    Raises SourceError where it is none, or truncated; OSError as the disk does.
    """
    where, stamp = show_path(path), stamp_regular(os.fspath(path))
    _import_fits(where)
    with _explain(where):
        hdus, lock = _open_hdus(os.getpid(), stamp)
        with lock:
            images = [(index, hdu) for index, hdu in enumerate(hdus) if hdu.is_image and hdu.shape]
            n_named = Counter(hdu.name for _, hdu in images)
            found: dict[str, ArrayHead] = {}
            for index, hdu in images:
                name = hdu.name if n_named[hdu.name] == 1 else f"{hdu.name},{hdu.ver}"
                if min(hdu.shape) < 0:
                    raise SourceError(f"{where} claims the shape {hdu.shape}: expected numbers of 0 or more")
                dtype = np.dtype(_DTYPES[hdu.header["BITPIX"]])
                found[name] = ArrayHead(hdu.shape, dtype, partial(_place, f"{name} in {where}", stamp, index))
            return found


def _place(where: str, stamp: Stamp, index: int) -> ImageArray:
    """A cube as it is best read. Raises SourceError where the file ends before it."""
    fits = _import_fits(where)
    with _explain(where):
        hdus, lock = _open_hdus(os.getpid(), stamp)
        with lock:
            hdu = hdus[index]
            place, header, shape = hdu.fileinfo(), hdu.header, tuple(hdu.shape)
            stored = np.dtype(_DTYPES[header["BITPIX"]])
            is_plain = not isinstance(hdu, fits.CompImageHDU)
            if is_plain:
                check_inside(where, stamp, place["datLoc"], shape, stored)
            elif place["datLoc"] + place["datSpan"] > stamp.n_bytes:
                raise SourceError(f"{where} is truncated: its packed samples end behind the file: fetch it again")
            scaled = ("BZERO", 0), ("BSCALE", 1), ("BLANK", None)
            if is_plain and all(header.get(key, default) == default for key, default in scaled):
                return PlainArray(stamp, place["datLoc"], shape, stored, stamp.n_bytes)
            dtype = hdu.section[0:1].dtype
    return FitsArray(stamp, index, shape, dtype)


def _import_fits(where: str) -> Any:
    try:
        from astropy.io import fits
    except ImportError as error:
        raise SourceError(f"reading {where} needs astropy: pip install 'scatcache[fits]'") from error
    return fits


@lru_cache(maxsize=8)
def _open_hdus(process: int, stamp: Stamp) -> tuple[Any, threading.Lock]:
    """The HDUs of an open file of this process, after a fork others, and what to hold while reading."""
    check_stamp(stamp)
    hdus = _import_fits(show_path(stamp.path)).open(stamp.path, memmap=False, lazy_load_hdus=False)
    return hdus, threading.Lock()


@contextmanager
def _explain(where: str) -> Iterator[None]:
    """Turns what astropy raises, and what it only warns of, into SourceError or silence."""
    fits = _import_fits(where)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except SourceError:
        raise
    except (OSError, fits.VerifyError, *_MALFORMED) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = " ".join(str(error).split())
        raise SourceError(
            f"{where} is truncated, damaged or no FITS file ({reason}): fetch or write it again"
        ) from error
