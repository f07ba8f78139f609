"""How the axes of an array of images stand, and what its images are in native pixels."""

from math import prod

import numpy as np

from scatcache.errors import SourceError, UnreadableImage, UsageError
from scatcache.images.contents import ARRAY_AXES
from scatcache.images.decoding.sample_types import find_sample_type
from scatcache.images.forms import ImageForm
from scatcache.images.limits import MAX_IMAGE_BYTES
from scatcache.spec import MAX_COLOURS

# A listing is held in memory, at some 40 bytes an image.
MAX_IMAGES = 10**8


def find_axes(where: str, shape: tuple[int, ...], axes: str | None) -> str:
    """One of ARRAY_AXES: the one given, else what the shape says. where: the array, for messages.

    Raises UsageError for axes that no array of images has, SourceError where they do not fit, or nothing says them.
    """
    if axes is not None:
        if axes not in ARRAY_AXES:
            raise UsageError(f"axes is {axes!r}: of an array of images expected one of {', '.join(ARRAY_AXES)}")
        if len(axes) != len(shape):
            raise SourceError(f"{where} has {len(shape)} axes {shape}, --axes {axes} names {len(axes)}: leave it out")
        return axes
    if len(shape) == 3:
        return "NHW"
    if len(shape) != 4:
        raise SourceError(f"{where} is of shape {shape}: expected (images, height, width), or 4 axes with bands")
    _, second, third, last = shape
    if second < last and second <= third:
        return "NCHW"
    if last < second and last <= third:
        return "NHWC"
    raise SourceError(
        f"{where} is of shape {shape}, which does not say where the bands are: give --axes NHWC (bands last) or "
        f"--axes NCHW (bands behind the images)"
    )


def check_images(where: str, shape: tuple[int, ...], dtype: np.dtype, axes: str) -> ImageForm:
    """What each image is. Raises SourceError for samples that are none, and for no image, empty or enormous ones."""
    try:
        samples = find_sample_type(dtype)
    except UnreadableImage as error:
        raise SourceError(
            f"{where} holds {describe_dtype(dtype)}: expected integers or floats of at most 64 bits; convert it and "
            f"save it again"
        ) from error
    if shape[0] == 0:
        raise SourceError(f"{where} is of shape {shape}: it holds no image")
    if shape[0] > MAX_IMAGES:
        raise SourceError(f"{where} claims {shape[0]} images: expected at most {MAX_IMAGES}; cut it into several files")
    sizes = dict(zip(axes, shape, strict=True))
    form = ImageForm(sizes["H"], sizes["W"], sizes.get("C", 1), samples)
    image_bytes = prod(form[:3]) * dtype.itemsize
    if not 0 < image_bytes <= MAX_IMAGE_BYTES:
        raise SourceError(
            f"{where} is {dtype} {shape}: an image of {image_bytes} bytes, expected 1 to {MAX_IMAGE_BYTES}; is --axes "
            f"{axes} right?"
        )
    if form.bands > MAX_COLOURS:
        raise SourceError(f"{where} has {form.bands} bands: expected at most {MAX_COLOURS}; is --axes {axes} right?")
    return form


def put_last(rows: np.ndarray, axes: str) -> np.ndarray:
    """A view of rows (n, ...) of an array as images (n, height, width, bands)."""
    if axes == "NHW":
        return rows[..., None]
    return rows if axes == "NHWC" else np.moveaxis(rows, 1, -1)


def describe_dtype(dtype: np.dtype) -> str:
    """In words where NumPy's own may be long, or say little."""
    if dtype.names is not None:
        return f"records of {len(dtype.names)} fields"
    kinds = {
        "O": "Python objects, which are never unpickled",
        "U": "text",
        "S": "text",
        "T": "text",
        "V": "raw bytes",
        "M": "dates",
        "m": "durations",
    }
    return kinds.get(dtype.kind, dtype.name)
