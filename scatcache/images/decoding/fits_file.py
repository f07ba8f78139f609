"""FITS files as the samples they hold, through astropy: of the first unit that is an image."""

import io
import zlib
from itertools import islice
from math import prod
from typing import Any, BinaryIO

import numpy as np

from scatcache.errors import UnreadableImage
from scatcache.images.decoding.extra_libraries import import_extra
from scatcache.images.decoding.fits_units import MOST_UNITS, FitsUnit, find_units
from scatcache.images.decoding.sample_types import MAX_SAMPLES, SampleFile, check_shape_of_samples, name_place

_TYPES = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
# Integers whose sign is moved by BZERO (section 5.2.5 of the standard), by (BITPIX, BZERO).
_MOVED = {(8, -(2**7)): "i1", (16, 2**15): "u2", (32, 2**31): "u4", (64, 2**63): "u8"}
# astropy's decoders of the others believe what damaged bytes say.
_COMPRESSIONS = ("RICE_1", "RICE_ONE", "GZIP_1", "GZIP_2")
_GZIP = b"\x1f\x8b"
_MOST_TILES = 2**20


def open_fits(file: BinaryIO, axes: str | None) -> SampleFile:
    """The first image of a FITS file, (height, width) or (bands, height, width), scaled by BSCALE and BZERO.

    Raises UnreadableImage where there is none, or one whose compression is not known here; SourceError without astropy.
    """
    fits = import_extra("astropy.io.fits", "FITS", "fits")
    units = find_units(file)
    first = unit = next(units)
    while not unit.holds_image:
        unit = next(units, first)
        if unit is first:
            raise UnreadableImage("a FITS file without an image of two or three axes")
    file.seek(unit.start)
    header = fits.Header.fromstring(file.read(unit.data - unit.start).decode("latin1"))
    dtype = _find_dtype(unit, header)
    shape = unit.shape if len(unit.shape) == 2 else (*unit.shape[1:], unit.shape[0])
    check_shape_of_samples(shape)
    if unit.is_compressed:
        _check_tiles(unit)

    def load() -> np.ndarray:
        found = _read_image(fits, file, first, unit)
        _check_blank(found, header)
        return found if found.ndim == 2 else found.transpose(1, 2, 0)

    return SampleFile(shape, dtype, load, lambda: any(other.holds_image for other in islice(units, MOST_UNITS)))


def _find_dtype(unit: FitsUnit, header: Any) -> np.dtype:
    """The dtype that astropy gives the samples."""
    bits, zero, scale = unit.number("ZBITPIX" if unit.is_compressed else "BITPIX"), *_find_scaling(header)
    if bits not in _TYPES:
        raise UnreadableImage(f"BITPIX is {bits} in a FITS header: expected one of {', '.join(map(str, _TYPES))}")
    if scale == 1 and (bits, zero) in _MOVED:
        return np.dtype(_MOVED[bits, zero])
    if bits < 0 or (scale == 1 and zero == 0 and "BLANK" not in header):
        return np.dtype(_TYPES[bits])
    return np.dtype("f8" if bits > 16 else "f4")


def _find_scaling(header: Any) -> tuple[Any, Any]:
    zero, scale = header.get("BZERO", 0), header.get("BSCALE", 1)
    for name, value in (("BZERO", zero), ("BSCALE", scale)):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UnreadableImage(f"{name} is {value!a} in a FITS header: expected a number")
    return zero, scale


def _read_image(fits: Any, file: BinaryIO, first: FitsUnit, unit: FitsUnit) -> np.ndarray:
    """The image of a unit, which astropy reads behind the first one."""
    data = b""
    for each in dict.fromkeys((first.start, unit.start)):
        end = first.end if each == first.start else unit.end
        file.seek(each)
        # Up to the end of a block, which the last one of a file may lack.
        data += file.read(end - each).ljust(-(-(end - each) // 2880) * 2880, b"\0")
    number = int(unit.start != first.start)
    if unit.is_compressed:
        _check_gzip(fits, data, number, unit)
    try:
        with fits.open(io.BytesIO(data), memmap=False, lazy_load_hdus=True) as units:
            found = units[number].data
    except RuntimeError as error:
        # The one that astropy raises on a header; others tell of this process.
        if not str(error).startswith("Invalid TFORM"):
            raise
        raise ValueError(str(error)) from error
    if not isinstance(found, np.ndarray) or found.shape != unit.shape:
        raise ValueError(f"{getattr(found, 'shape', None)} decoded, where the FITS header says {unit.shape}")
    return found


def _tile_shape(unit: FitsUnit) -> tuple[int, ...]:
    n_axes = len(unit.shape)
    defaults = (unit.shape[-1], *[1] * (n_axes - 1))
    return tuple(unit.number(f"ZTILE{axis + 1}", defaults[axis]) for axis in reversed(range(n_axes)))


def _check_tiles(unit: FitsUnit) -> None:
    found = unit.cards.get("ZCMPTYPE", "").strip("' ")
    if found not in _COMPRESSIONS:
        raise UnreadableImage(f"FITS compression {found!a}: expected one of {', '.join(_COMPRESSIONS)}")
    tile = _tile_shape(unit)
    if min(tile) < 1 or prod(tile) > MAX_SAMPLES:
        raise UnreadableImage(f"tiles of {tile} samples in a FITS header")
    n_tiles = prod(-(-size // side) for size, side in zip(unit.shape, tile, strict=True))
    if n_tiles > _MOST_TILES or unit.number("NAXIS2") != n_tiles:
        raise UnreadableImage(
            f"{unit.number('NAXIS2')} tiles in a FITS file: expected {n_tiles}, at most {_MOST_TILES}"
        )


def _check_gzip(fits: Any, data: bytes, number: int, unit: FitsUnit) -> None:
    """Raises UnreadableImage where a tile would inflate to more than it holds."""
    most = 8 * prod(_tile_shape(unit))
    with fits.open(io.BytesIO(data), memmap=False, lazy_load_hdus=True, disable_image_compression=True) as units:
        table = units[number].data
        for name in table.names:
            for row in range(len(table)) if name.endswith("COMPRESSED_DATA") else ():
                cell = np.asarray(table[name][row]).tobytes()
                if cell.startswith(_GZIP) and len(zlib.decompressobj(31).decompress(cell, most + 1)) > most:
                    raise UnreadableImage(f"tile {row} of a FITS file inflates to more than {most} bytes")


def _check_blank(found: np.ndarray, header: Any) -> None:
    """Raises UnreadableImage where a moved integer is a blank: there is no NaN among integers that would tell of it."""
    blank = header.get("BLANK", header.get("ZBLANK"))
    if found.dtype.kind == "f" or not isinstance(blank, int):
        return
    is_blank = found == blank + int(header.get("BZERO", 0))
    if is_blank.any():
        where = is_blank if is_blank.ndim == 2 else is_blank.transpose(1, 2, 0)
        raise UnreadableImage(f"blank (BLANK is {blank}) at {name_place(where)}: expected finite samples")
