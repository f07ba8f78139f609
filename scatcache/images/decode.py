"""Bytes -> uint8 RGB, cropped and resized in one step; what does not decode becomes UnreadableImage."""

import io
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, TypeVar

import numpy as np
import PIL.Image

from scatcache.errors import UnreadableImage
from scatcache.images.decoding.image_metadata import Separated, separate
from scatcache.images.decoding.notes import CONSTANT, FIRST
from scatcache.images.decoding.orientation import SIDEWAYS, UPRIGHT, find_orientation
from scatcache.images.decoding.own_pillow import NAME, Image, UnidentifiedImageError, check_size
from scatcache.images.decoding.samples import check_samples, cut_grey, is_cut, is_grey_16_bit, note_cut
from scatcache.images.decoding.strict_pillow import adopt_pillow, strict_pillow
from scatcache.images.forms import Decoding, ImageForm
from scatcache.images.keys import IMAGE_EXTENSIONS
from scatcache.spec import COLOURS, RGB

# TGA is tried last, for it has no signature.
_FORMATS = sorted(
    {Image.EXTENSION.get(f".{extension}", "") for extension in IMAGE_EXTENSIONS} & set(Image.OPEN),
    key=lambda name: (name == "TGA", name),
)
MAX_REASON_LENGTH = 200
# What readers raise on bytes that are no sound image. RuntimeError is not among them, nor MemoryError, nor ImportError:
# these tell of this process (a dictionary that another thread changed, no thread left), whatever the image.
DAMAGED = (
    *(SyntaxError, ValueError, TypeError, LookupError, EOFError, AttributeError, AssertionError, ArithmeticError),
    *(NotImplementedError, RecursionError, SystemError, OSError, struct.error, zlib.error),
    PIL.Image.DecompressionBombError,
)
# Codecs report their own want of memory so.
_NO_MEMORY = re.compile("out of memory|decoder error -9\\b")
# 64 MiB in Pillow's four bytes a pixel.
_MAX_SCALED_PIXELS = 2**24
_REFUSED = "_scatcache_refused"

Result = TypeVar("Result")


@dataclass(frozen=True)
class Decoded:
    """pixels: uint8 (height, width, 3); notes: codes of what is to be told of the image, see notes.py."""

    pixels: np.ndarray
    notes: tuple[str, ...]


def decode(
    data: bytes | np.ndarray | PIL.Image.Image, *, size: int | None = None, kind: str = RGB, axes: str | None = None
) -> np.ndarray:
    """One image as RGB, alpha dropped, the first frame of several; a file's is upright by its EXIF orientation.

    data: the bytes of an image file read in full, uint8 (height, width, 3), or a PIL image, which is taken as
    np.asarray shows it. size: None leaves the image as it is; N scales the short side to round(256 N / 224) pixels and
    takes the central N x N, bilinear with antialiasing, as torchvision's Resize and CenterCrop do on PIL images, within
    1 grey level. Unsigned 16-bit samples keep their high byte; signed, 32-bit and float ones are refused.

    Returns uint8 (height, width, 3), C-contiguous.

    Raises UnreadableImage, with a reason that is the same in every run; OSError where it carries an errno.
    """
    return decode_noted(data, Decoding(kind, size, axes)).pixels


def decode_noted(data: bytes | np.ndarray | PIL.Image.Image, how: Decoding) -> Decoded:
    """What decode() returns, with what is to be told of it."""
    size = how.size
    assert size is None or size > 0, f"size {size}: expected at least 1"
    if isinstance(data, np.ndarray):
        return _decode_array(data, size)
    if isinstance(data, PIL.Image.Image):
        return _decode_pil(data, size)
    return _try_twice(lambda: _decode_file(io.BytesIO(data), size))


def read_form(data: bytes | BinaryIO | np.ndarray | PIL.Image.Image, how: Decoding) -> ImageForm:
    """What decode() would make of an image but for its size, from the header alone.

    data: as decode() takes it, or an image file, open for binary reading.

    Raises UnreadableImage where the header does not parse; OSError where it carries an errno.
    """
    if isinstance(data, np.ndarray | PIL.Image.Image):
        height, width, bands = (found := decode_noted(data, Decoding(how.kind, axes=how.axes)).pixels).shape
        return ImageForm(height, width, bands, str(found.dtype))
    file = io.BytesIO(data) if isinstance(data, bytes) else data
    height, width = _try_twice(lambda: _read_shape(file))
    return ImageForm(height, width, COLOURS[how.kind], "uint8")


def _try_twice(call: Callable[[], Result]) -> Result:
    """What call() returns, at the second try if not at the first: a failure that is recorded stays for good."""
    adopt_pillow()
    try:
        with _turn_refusals():
            return call()
    except (UnreadableImage, RuntimeError):
        pass
    with _turn_refusals():
        return call()


@contextmanager
def _turn_refusals() -> Iterator[None]:
    """Turns what readers raise on damaged bytes into UnreadableImage, and lets this machine's failures pass."""
    try:
        yield
    except UnreadableImage:
        raise
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        if _NO_MEMORY.search(str(error)):
            raise MemoryError(str(error)) from error
        raise UnreadableImage(_describe(error)) from error


# Files


def _decode_file(file: BinaryIO, size: int | None) -> Decoded:
    parts = separate(file)
    with strict_pillow(), _open_image(parts.file) as image:
        check_samples(image)
        cut = is_cut(image, file)
        _load(image)
        orientation = _find_orientation(parts, image)
        rgb = _convert_to_rgb(image)
        if orientation in UPRIGHT:
            rgb = rgb.transpose(UPRIGHT[orientation])
        decoded = _finish(rgb, size, cut=cut)
        if parts.several or _is_animated(image):
            return Decoded(decoded.pixels, (*decoded.notes, FIRST))
        return decoded


def _read_shape(file: BinaryIO) -> tuple[int, int]:
    parts = separate(file)
    with strict_pillow(), _open_image(parts.file) as image:
        check_samples(image)
        width, height = image.size
        return (width, height) if _find_orientation(parts, image) in SIDEWAYS else (height, width)


def _open_image(file: BinaryIO) -> Image.Image:
    file.seek(0)
    if not file.read(1):
        raise ValueError("the file is empty")
    try:
        image: Image.Image = Image.open(file, formats=_FORMATS)
    except UnidentifiedImageError:
        image = _open_by_plugin(file)
    width, height = image.size
    if width < 1 or height < 1:
        raise ValueError(f"an image of {height}x{width} pixels")
    check_size(image.size)
    return image


def _open_by_plugin(file: BinaryIO) -> Image.Image:
    """A format that Pillow does not read itself, such as HEIF, by what the user's program registered for it."""
    extensions = {f".{extension}" for extension in IMAGE_EXTENSIONS}
    formats = {name for extension in extensions if (name := PIL.Image.EXTENSION.get(extension))}
    others = sorted(name for name in formats - set(_FORMATS) if name in PIL.Image.OPEN)
    if not others:
        raise ValueError("cannot identify image file")
    try:
        return PIL.Image.open(file, formats=others)
    except RuntimeError as error:
        raise ValueError(str(error)) from error


def _load(image: Image.Image) -> None:
    try:
        image.load()
    except RuntimeError as error:
        if type(image).__module__.startswith(NAME):
            raise
        # Plugins report damaged pixels so.
        raise ValueError(str(error)) from error


def _find_orientation(parts: Separated, image: Image.Image) -> int:
    if parts.orientation is not None:
        return parts.orientation
    exif, xmp = image.info.get("exif"), image.info.get("xmp")
    return find_orientation(exif if isinstance(exif, bytes) else None, xmp if isinstance(xmp, bytes) else b"")


def _is_animated(image: Image.Image) -> bool:
    """Of an image that is not needed any more: where a GIF has a second frame, it is on that now."""
    try:
        return image.format in ("GIF", "PNG", "WEBP", "AVIF") and bool(getattr(image, "is_animated", False))
    except DAMAGED:
        return False


# Arrays and PIL images


def _decode_array(pixels: np.ndarray, size: int | None) -> Decoded:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise UnreadableImage(f"an array of {pixels.dtype} {pixels.shape}: expected uint8 (height, width, 3)")
    pixels = np.ascontiguousarray(pixels)
    # Almost every image is told from a constant one by two of its pixels.
    is_constant = pixels.item(0) == pixels.item(pixels.size - 3) and bool((pixels == pixels[0, 0]).all())
    notes = (CONSTANT,) if is_constant else ()
    return Decoded(pixels if size is None else np.array(_resize_and_crop(Image.fromarray(pixels), size)), notes)


def _decode_pil(image: PIL.Image.Image, size: int | None) -> Decoded:
    adopt_pillow()
    # An image that failed to load looks loaded afterwards: what is asked for it twice must be refused twice.
    if _REFUSED in image.__dict__:
        raise UnreadableImage(image.__dict__[_REFUSED])
    try:
        with _turn_refusals(), strict_pillow():
            check_size(image.size)
            check_samples(image)
            cut = is_cut(image, None)
            _load(image)
            return _finish(_convert_to_rgb(image), size, cut=cut)
    except UnreadableImage as error:
        image.__dict__[_REFUSED] = str(error)
        raise


# Both


def _convert_to_rgb(image: Image.Image) -> Image.Image:
    if is_grey_16_bit(image):
        return Image.fromarray(cut_grey(image)).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _finish(image: Image.Image, size: int | None, *, cut: bool) -> Decoded:
    notes = note_cut(image) if cut else ()
    # Counting ends at the second colour, which almost every image shows in its first row.
    if image.getcolors(1) is not None:
        notes = (*notes, CONSTANT)
    return Decoded(np.array(image if size is None else _resize_and_crop(image, size)), notes)


def _resize_and_crop(image: Image.Image, size: int) -> Image.Image:
    """The central crop of the scaled image, as torchvision's Resize and CenterCrop make it.

    The whole image is scaled and cropped, pixel for pixel as they do: a resize of the crop's region alone rounds its
    box to float32, which turned up to a quarter of a photograph's pixels by one grey level. Only where the scaled image
    would be huge (1 x 65000 pixels would become 256 x 16,640,000) is the region resized alone.
    """
    width, height = image.size
    short = round(256 * size / 224)
    scaled_width = short if width <= height else int(short * width / height)
    scaled_height = short if height <= width else int(short * height / width)
    left = round((scaled_width - size) / 2)
    top = round((scaled_height - size) / 2)
    # The horizontal pass comes first, over all rows.
    if scaled_width * max(height, scaled_height) <= _MAX_SCALED_PIXELS:
        scaled = image.resize((scaled_width, scaled_height), Image.Resampling.BILINEAR)
        return scaled.crop((left, top, left + size, top + size))
    x_scale, y_scale = width / scaled_width, height / scaled_height
    right, bottom = min(width, (left + size) * x_scale), min(height, (top + size) * y_scale)
    return image.resize((size, size), Image.Resampling.BILINEAR, box=(left * x_scale, top * y_scale, right, bottom))


def _describe(error: BaseException) -> str:
    """One printable line without object addresses, which change from run to run."""
    text = re.sub(r"\s*<[^<>]* object at 0x[0-9a-fA-F]+>", "", str(error))
    text = " ".join("".join(c if " " <= c <= "~" else " " for c in text).split())
    return text[:MAX_REASON_LENGTH] or type(error).__name__
