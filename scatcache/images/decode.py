"""Bytes -> uint8 RGB, cropped and resized in one step; what does not decode becomes UnreadableImage."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from scatcache.errors import UnreadableImage
from scatcache.images.strict_pillow import check_size, strict_pillow

_EXTENSIONS = (
    "jpg jpeg jpe jfif png apng gif bmp dib webp tif tiff ppm pgm pbm pnm jp2 j2k avif heic heif mpo tga ico icns pcx "
    "psd dds qoi"
)
IMAGE_EXTENSIONS = frozenset(_EXTENSIONS.split())
MAX_REASON_LENGTH = 200
_EXIF_ORIENTATION = 0x0112
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_BITS_PER_SAMPLE = 256, 257, 258
# Orientations 5 to 8 lie on their side.
_SIDEWAYS = (5, 6, 7, 8)
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_TEXT_CHUNKS = (b"iTXt", b"zTXt", b"tEXt")
# 64 MiB in Pillow's four bytes a pixel.
_MAX_SCALED_PIXELS = 2**24
# Keywords under which Pillow looks for EXIF and XMP in the text of a PNG.
_PNG_ORIENTATION_TEXTS = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0", b"exif\0", b"xmp\0")


def decode(data: bytes | np.ndarray | Image.Image, *, size: int | None = None) -> np.ndarray:
    """One image as RGB, upright by its EXIF orientation, alpha dropped, the first frame of several.

    data: the bytes of an image file read in full, a PIL image, or uint8 (height, width, 3). size: None leaves the image
    as it is; N scales the short side to round(256 N / 224) pixels and takes the central N x N, bilinear with
    antialiasing, as torchvision's Resize and CenterCrop do on PIL images, within 1 grey level. 16-bit grey keeps its
    high byte.

    Returns uint8 (height, width, 3), C-contiguous.

    Raises UnreadableImage, with a reason that is the same in every run; OSError where it carries an errno.
    """
    assert size is None or size > 0, f"size {size}: expected at least 1"
    if isinstance(data, np.ndarray):
        return _decode_array(data, size)
    with _turn_refusals():
        if isinstance(data, Image.Image):
            check_size(data.size)
            # A copy, for it is turned upright in place, and is its owner's.
            return _decode_image(data.copy(), size)
        with _open_image(io.BytesIO(data)) as image:
            return _decode_image(image, size)


def _decode_image(image: Image.Image, size: int | None) -> np.ndarray:
    rgb = _convert_to_rgb(image)
    return np.array(rgb if size is None else _resize_and_crop(rgb, size))


def read_shape(data: bytes | BinaryIO) -> tuple[int, int]:
    """(height, width) of an image, turned upright, from the header alone.

    data: the bytes of an image file, or the file, open for binary reading.

    Raises UnreadableImage where the header does not parse; OSError where it carries an errno.
    """
    file = io.BytesIO(data) if isinstance(data, bytes) else data
    with _turn_refusals(), _open_image(file) as image:
        # Pillow may have turned the size of a TIFF already; its tags are as the file has them.
        tags = getattr(image, "tag_v2", {})
        width, height = tags.get(_TIFF_WIDTH, image.width), tags.get(_TIFF_HEIGHT, image.height)
        return (width, height) if _is_sideways(image, file) else (height, width)


@contextmanager
def _turn_refusals() -> Iterator[None]:
    """Under Pillow's strict rules, turns what it raises into UnreadableImage, and lets the machine's failures pass."""
    try:
        with strict_pillow():
            yield
    except MemoryError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UnreadableImage(_describe(error)) from error


def _decode_array(pixels: np.ndarray, size: int | None) -> np.ndarray:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise UnreadableImage(f"an array of {pixels.dtype} {pixels.shape}: expected uint8 (height, width, 3)")
    pixels = np.ascontiguousarray(pixels)
    return pixels if size is None else np.array(_resize_and_crop(Image.fromarray(pixels), size))


def _open_image(file: BinaryIO) -> Image.Image:
    # Pillow must try TGA last, for it has no signature; the rest in one order, whatever was imported before.
    extensions = Image.registered_extensions()
    formats = {extensions.get(f".{extension}", "") for extension in IMAGE_EXTENSIONS} & set(Image.OPEN)
    if not file.read(1):
        raise ValueError("the file is empty")
    image = Image.open(file, formats=sorted(formats, key=lambda name: (name == "TGA", name)))
    width, height = image.size
    if width < 1 or height < 1:
        raise ValueError(f"an image of {height}x{width} pixels")
    check_size(image.size)
    return image


def _convert_to_rgb(image: Image.Image) -> Image.Image:
    # In place spares a copy of every image; the pixels are those of exif_transpose(image).
    ImageOps.exif_transpose(image, in_place=True)
    if not _is_grey_16_bit(image):
        return image if image.mode == "RGB" else image.convert("RGB")
    # Pillow would clip at 255 here, leaving white; its 16-bit colour decoders keep the high byte, as this does.
    high_byte = np.asarray(image) >> 8
    return Image.fromarray(high_byte.clip(0, 255).astype(np.uint8)).convert("RGB")


def _is_grey_16_bit(image: Image.Image) -> bool:
    """Whether the pixels are 16-bit grey: modes I;16*, or "I" where the format can mean nothing else by it.

    PPM, PGM and (before Pillow 11) PNG open as "I" only at 16 bits; TIFF also at 32, which is clipped as Pillow does.
    """
    if image.mode.startswith("I;16"):
        return True
    if image.mode != "I":
        return False
    tags = getattr(image, "tag_v2", {})
    return image.format in ("PPM", "PNG") or tags.get(_TIFF_BITS_PER_SAMPLE) == (16,)


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


def _is_sideways(image: Image.Image, file: BinaryIO) -> bool:
    # Pillow decodes a whole PNG to look for EXIF behind the pixels: only where there is a chunk that could hold it.
    if image.format == "PNG" and not _has_orientation_chunk(file):
        return False
    return image.getexif().get(_EXIF_ORIENTATION) in _SIDEWAYS


def _has_orientation_chunk(file: BinaryIO) -> bool:
    position = file.tell()
    file.seek(len(_PNG_SIGNATURE))
    found = False
    while not found and len(header := file.read(8)) == 8:
        n_bytes, kind = int.from_bytes(header[:4], "big"), header[4:]
        start = file.tell()
        is_text = kind in _PNG_TEXT_CHUNKS
        found = kind == b"eXIf" or (is_text and file.read(24).startswith(_PNG_ORIENTATION_TEXTS))
        file.seek(start + n_bytes + 4)
    file.seek(position)
    return found


def _describe(error: Exception) -> str:
    """One printable line without object addresses, which change from run to run."""
    text = re.sub(r"\s*<[^<>]* object at 0x[0-9a-fA-F]+>", "", str(error))
    text = " ".join("".join(c if " " <= c <= "~" else " " for c in text).split())
    return text[:MAX_REASON_LENGTH] or type(error).__name__
