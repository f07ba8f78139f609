"""One image file, array or PIL image -> pixels, scaled and cropped; what does not decode becomes UnreadableImage."""

import io
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import PIL.Image

from scatcache.errors import UnreadableImage
from scatcache.images.decoding.image_metadata import Separated, separate
from scatcache.images.decoding.notes import CONSTANT, FIRST
from scatcache.images.decoding.orientation import SIDEWAYS, UPRIGHT, find_orientation
from scatcache.images.decoding.own_pillow import Image, check_size
from scatcache.images.decoding.pillow_files import is_animated, load_picture, open_picture
from scatcache.images.decoding.pillow_samples import take_samples
from scatcache.images.decoding.refusals import try_twice, turn_refusals
from scatcache.images.decoding.resizing import resize_and_crop, resize_samples
from scatcache.images.decoding.sample_files import find_format, open_samples
from scatcache.images.decoding.sample_types import (
    check_shape_of_samples,
    find_sample_type,
    is_constant,
    refuse_mask,
    settle_samples,
)
from scatcache.images.decoding.samples import check_samples, cut_grey, is_cut, is_grey_16_bit, note_cut
from scatcache.images.decoding.strict_pillow import adopt_pillow, strict_pillow
from scatcache.images.forms import Decoding, ImageForm
from scatcache.spec import COLOURS, NATIVE, RGB

_REFUSED, _CUT = "_scatcache_refused", "_scatcache_cut"


@dataclass(frozen=True)
class Decoded:
    """pixels: uint8, uint16 or float32 (height, width, bands); notes: codes of what is to be told, see notes.py."""

    pixels: np.ndarray
    notes: tuple[str, ...]


def decode(
    data: bytes | np.ndarray | PIL.Image.Image, *, size: int | None = None, kind: str = RGB, axes: str | None = None
) -> np.ndarray:
    """One image in RGB, in grey, or as the samples that it holds; the first frame or page of several.

    data: the bytes of an image file read in full, an array (height, width) or (height, width, bands), or a PIL image,
    which is taken as np.asarray shows it. kind: "rgb" and "grey" are pictures in 8 bits, alpha dropped and upright by
    EXIF, grey being Pillow's L of the RGB; unsigned 16-bit samples keep their high byte, signed, 32-bit and float ones
    are refused. "native" changes no sample, and turns nothing. size: None leaves the image as it is; N scales the short
    side to round(256 N / 224) pixels and takes the central N x N, bilinear with antialiasing, as torchvision's Resize
    and CenterCrop do: on PIL images for pictures, on float tensors for native samples. axes: of a .npy file, "HW",
    "HWC" or "CHW".

    Returns (height, width, bands), C-contiguous: uint8 of 3 bands or 1, or, native, uint8, uint16 or float32.

    Raises UnreadableImage, with a reason that is the same in every run; SourceError where a library that the format
    takes is not installed; OSError where it carries an errno.
    """
    return decode_noted(data, Decoding(kind, size, axes)).pixels


def decode_noted(data: bytes | np.ndarray | PIL.Image.Image, how: Decoding) -> Decoded:
    """What decode() returns, with what is to be told of it."""
    assert how.size is None or how.size > 0, f"size {how.size}: expected at least 1"
    if isinstance(data, np.ndarray):
        refuse_mask(data)
        return _decode_array(data, how)
    if isinstance(data, PIL.Image.Image):
        return _decode_pil(data, how)
    return try_twice(lambda: _decode_file(io.BytesIO(data), how))


def read_form(data: bytes | BinaryIO | np.ndarray | PIL.Image.Image, how: Decoding) -> ImageForm:
    """What decode() would make of an image but for its size, from the header alone.

    data: as decode() takes it, or an image file, open for binary reading.

    Raises UnreadableImage where the header does not parse; OSError where it carries an errno.
    """
    if isinstance(data, np.ndarray):
        refuse_mask(data)
        return _form_array(data.shape, data.dtype, how)
    if isinstance(data, PIL.Image.Image):
        height, width, bands = (found := _decode_pil(data, Decoding(how.kind)).pixels).shape
        return ImageForm(height, width, bands, str(found.dtype))
    file = io.BytesIO(data) if isinstance(data, bytes) else data
    return try_twice(lambda: _read_file_form(file, how))


# Files


def _decode_file(file: BinaryIO, how: Decoding) -> Decoded:
    with strict_pillow():
        if not _is_array(file, how):
            return _decode_picture(file, how)
        found = open_samples(file, how.axes)
        decoded = _decode_array(found.read(), how)
        return Decoded(decoded.pixels, (*decoded.notes, FIRST)) if found.has_more() else decoded


def _is_array(file: BinaryIO, how: Decoding) -> bool:
    """Whether a file is taken as the array that it holds. Raises UnreadableImage for one that can be no picture."""
    if how.kind == NATIVE:
        return True
    found = find_format(file)
    if found == "FITS":
        raise UnreadableImage("FITS holds samples and no picture: give --pixels native")
    return found == "npy"


def _decode_picture(file: BinaryIO, how: Decoding) -> Decoded:
    parts = separate(file)
    with open_picture(parts.file) as image:
        check_samples(image)
        cut = is_cut(image, file)
        load_picture(image)
        orientation = _find_orientation(parts, image)
        picture = _convert(image, how.kind)
        if orientation in UPRIGHT:
            picture = picture.transpose(UPRIGHT[orientation])
        decoded = _finish(picture, how.size, cut=cut)
        if parts.several or is_animated(image):
            return Decoded(decoded.pixels, (*decoded.notes, FIRST))
        return decoded


def _read_file_form(file: BinaryIO, how: Decoding) -> ImageForm:
    with strict_pillow():
        if not _is_array(file, how):
            return ImageForm(*_read_picture_shape(file), COLOURS[how.kind], "uint8")
        found = open_samples(file, how.axes)
        return _form_array(found.shape, found.dtype, how)


def _read_picture_shape(file: BinaryIO) -> tuple[int, int]:
    parts = separate(file)
    with open_picture(parts.file) as image:
        check_samples(image)
        width, height = image.size
        return (width, height) if _find_orientation(parts, image) in SIDEWAYS else (height, width)


def _find_orientation(parts: Separated, image: Image.Image) -> int:
    if parts.orientation is not None:
        return parts.orientation
    exif, xmp = image.info.get("exif"), image.info.get("xmp")
    return find_orientation(exif if isinstance(exif, bytes) else None, xmp if isinstance(xmp, bytes) else b"")


# Arrays and PIL images


def _form_array(shape: tuple[int, ...], dtype: np.dtype, how: Decoding) -> ImageForm:
    """The form of an array, channels last, under how.kind. Raises UnreadableImage where it cannot be had so."""
    if how.kind == NATIVE:
        return ImageForm(*check_shape_of_samples(shape), find_sample_type(dtype))
    if dtype != np.uint8 or len(shape) not in (2, 3) or (*shape, 1)[2] not in (1, 3) or 0 in shape:
        raise UnreadableImage(
            f"an array of {dtype} {shape}: expected uint8 (height, width) or (height, width, 3); for others give "
            f"--pixels native"
        )
    return ImageForm(shape[0], shape[1], COLOURS[how.kind], "uint8")


def _decode_array(pixels: np.ndarray, how: Decoding) -> Decoded:
    form = _form_array(pixels.shape, pixels.dtype, how)
    if how.kind == NATIVE:
        samples, notes = settle_samples(pixels)
        return Decoded(samples if how.size is None else resize_samples(samples, how.size), notes)
    if pixels.shape[2:] == (form.bands,) and how.size is None:
        pixels = np.ascontiguousarray(pixels)
        return Decoded(pixels, (CONSTANT,) if is_constant(pixels) else ())
    image = Image.fromarray(pixels if pixels.shape[2:] == (3,) else pixels.reshape(form.shape))
    return _finish(_convert(image, how.kind), how.size, cut=False)


def _decode_pil(image: PIL.Image.Image, how: Decoding) -> Decoded:
    adopt_pillow()
    with turn_refusals(), strict_pillow():
        check_size(image.size)
        # Pillow forgets it when it loads the pixels.
        cut = image.__dict__.setdefault(_CUT, is_cut(image, None))
        if how.kind == NATIVE:
            found = take_samples(image, cut=cut)
            _load_given(image)
            return _decode_array(found.load(), how)
        check_samples(image)
        _load_given(image)
        return _finish(_convert(image, how.kind), how.size, cut=cut)


def _load_given(image: PIL.Image.Image) -> None:
    # An image that failed to load looks loaded afterwards: what is asked for it twice must be refused twice.
    if _REFUSED in image.__dict__:
        raise UnreadableImage(image.__dict__[_REFUSED])
    try:
        with turn_refusals():
            load_picture(image)
    except UnreadableImage as error:
        image.__dict__[_REFUSED] = str(error)
        raise


# Both


def _convert(image: Image.Image, kind: str) -> Image.Image:
    """The picture in grey or colours; a grey one's own samples are its grey."""
    if kind == RGB:
        return _convert_to_rgb(image)
    return image if image.mode == "L" else _convert_to_rgb(image).convert("L")


def _convert_to_rgb(image: Image.Image) -> Image.Image:
    if is_grey_16_bit(image):
        return Image.fromarray(cut_grey(image)).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _finish(image: Image.Image, size: int | None, *, cut: bool) -> Decoded:
    notes = note_cut(image) if cut else ()
    # Counting ends at the second colour, which almost every image shows in its first row.
    if image.getcolors(1) is not None:
        notes = (*notes, CONSTANT)
    pixels = np.array(image if size is None else resize_and_crop(image, size))
    return Decoded(pixels.reshape(*pixels.shape[:2], -1), notes)
