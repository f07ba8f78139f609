"""Files of samples of every format, by writers that share nothing with the readers, and what they hold."""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

RNG = np.random.default_rng(7)
U8 = RNG.integers(0, 256, (30, 41), dtype=np.uint8)
RGB8 = RNG.integers(0, 256, (30, 41, 3), dtype=np.uint8)
U16 = RNG.integers(0, 65536, (30, 41), dtype=np.uint16)
RGB16 = RNG.integers(0, 65536, (30, 41, 3), dtype=np.uint16)
# Temperatures, and intensities over twelve decades.
F32 = RNG.uniform(-20, 40, (30, 41)).astype(np.float32)
WIDE = (10.0 ** RNG.uniform(-6, 6, (30, 41))).astype(np.float32)


def into_bytes(write: Callable[[io.BytesIO], object]) -> bytes:
    """What write puts into a file."""
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def write_npy(array: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    return into_bytes(lambda file: np.lib.format.write_array(file, array, version, allow_pickle=True))


def save_picture(pixels: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    return into_bytes(lambda file: Image.fromarray(pixels).save(file, kind, **options))


def write_tiff_by_tifffile(pixels: np.ndarray, **options: object) -> bytes:
    import tifffile

    return into_bytes(lambda file: tifffile.imwrite(file, pixels, metadata=None, **options))


def write_png_by_imagecodecs(pixels: np.ndarray) -> bytes:
    import imagecodecs

    return imagecodecs.png_encode(pixels)


def write_fits(*images: np.ndarray | None, compression: str | None = None, **cards: object) -> bytes:
    """A FITS file of one unit each, the first of which is the primary one; None is one without data.

    compression: of all but the first; cards: of the last header.
    """
    from astropy.io import fits

    first, *others = images
    units = [fits.PrimaryHDU(first)]
    for image in others:
        unit = fits.ImageHDU if compression is None else fits.CompImageHDU
        units.append(unit(image, **({} if compression is None else {"compression_type": compression})))
    units[-1].header.update(cards)
    return into_bytes(lambda file: fits.HDUList(units).writeto(file))
