"""Image files that Pillow opens, and the formats that a plugin of the user's program adds to it."""

from typing import BinaryIO

import PIL.Image

from scatcache.images.decoding.own_pillow import NAME, Image, UnidentifiedImageError, check_size
from scatcache.images.decoding.refusals import DAMAGED
from scatcache.images.keys import PICTURE_EXTENSIONS

# TGA is tried last, for it has no signature.
_PICTURES = sorted(
    {Image.EXTENSION.get(f".{extension}", "") for extension in PICTURE_EXTENSIONS} & set(Image.OPEN),
    key=lambda name: (name == "TGA", name),
)


def open_picture(file: BinaryIO) -> Image.Image:
    file.seek(0)
    if not file.read(1):
        raise ValueError("the file is empty")
    try:
        image: Image.Image = Image.open(file, formats=_PICTURES)
    except UnidentifiedImageError:
        image = _open_by_plugin(file)
    width, height = image.size
    if width < 1 or height < 1:
        raise ValueError(f"an image of {height}x{width} pixels")
    check_size(image.size)
    return image


def _open_by_plugin(file: BinaryIO) -> Image.Image:
    """A format that Pillow does not read itself, such as HEIF, by what the user's program registered for it."""
    extensions = {f".{extension}" for extension in PICTURE_EXTENSIONS}
    formats = {name for extension in extensions if (name := PIL.Image.EXTENSION.get(extension))}
    others = sorted(name for name in formats - set(_PICTURES) if name in PIL.Image.OPEN)
    if not others:
        raise ValueError("cannot identify image file")
    try:
        return PIL.Image.open(file, formats=others)
    except RuntimeError as error:
        raise ValueError(str(error)) from error


def load_picture(image: Image.Image) -> None:
    try:
        image.load()
    except RuntimeError as error:
        if type(image).__module__.startswith(NAME):
            raise
        # Plugins report damaged pixels so.
        raise ValueError(str(error)) from error


def is_animated(image: Image.Image) -> bool:
    """Of an image that is not needed any more: where a GIF has a second frame, it is on that now."""
    try:
        return image.format in ("GIF", "PNG", "WEBP", "AVIF") and bool(getattr(image, "is_animated", False))
    except DAMAGED:
        return False
