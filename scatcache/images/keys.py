"""File names as keys: any name, on any file system, as printable UTF-8 and back."""

import os
import re

_EXTENSIONS = (
    "jpg jpeg jpe jfif png apng gif bmp dib webp tif tiff ppm pgm pbm pnm jp2 j2k avif heic heif mpo tga ico icns pcx "
    "psd dds qoi"
)
# Of pictures, and of files that hold samples and no picture.
PICTURE_EXTENSIONS = frozenset(_EXTENSIONS.split())
SAMPLE_EXTENSIONS = frozenset({"npy", "fits", "fit", "fts"})
IMAGE_EXTENSIONS = PICTURE_EXTENSIONS | SAMPLE_EXTENSIONS
# A fixed list, not str.isprintable(), which changes with Python's Unicode tables: control characters, line and
# paragraph separators, marks that reorder what a terminal shows, lone surrogates (bytes that are no UTF-8), backslash.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\\\\]")
_ESCAPE = re.compile(r"\\(\\|x[0-9a-f]{2}|u[0-9a-f]{4})")


def escape_name(name: str) -> str:
    """A file name as os.scandir gives it, as printable UTF-8.

    A backslash is doubled, a byte that is no UTF-8 is written `\\xNN`, another unsafe character `\\uNNNN`.
    """
    return _UNSAFE.sub(_escape_character, name)


def unescape_name(text: str) -> str:
    """The file name that escape_name wrote."""
    return _ESCAPE.sub(_unescape_character, text)


def is_safe(text: str) -> bool:
    """Whether a text may stand in keys and messages as it is: escape_name would leave it so, backslashes aside."""
    return text.isprintable() or _UNSAFE.search(text.replace("\\", "")) is None


def has_image_name(name: str) -> bool:
    """Whether a file of this name is a picture: by its extension, and not hidden."""
    stem, _, extension = name.rpartition(".")
    return bool(stem) and not stem.startswith(".") and extension.lower() in PICTURE_EXTENSIONS


def has_sample_name(name: str) -> bool:
    """Whether a file of this name holds samples and no picture: by its extension, and not hidden."""
    return not name.startswith(".") and holds_samples(name)


def holds_samples(key: str) -> bool:
    """Whether the file of a key holds samples and no picture, by its extension."""
    stem, _, extension = key.rpartition(".")
    return bool(stem) and extension.lower() in SAMPLE_EXTENSIONS


def show_path(path: str | os.PathLike[str]) -> str:
    """A path fit for a message on any terminal."""
    return escape_name(os.fspath(path))


def _escape_character(match: re.Match[str]) -> str:
    character = match[0]
    if character == "\\":
        return "\\\\"
    code = ord(character)
    # Python's surrogateescape keeps an undecodable byte b as the lone surrogate U+DC00 + b.
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def _unescape_character(match: re.Match[str]) -> str:
    escape = match[1]
    if escape == "\\":
        return "\\"
    code = int(escape[1:], 16)
    return chr(code + 0xDC00 if escape[0] == "x" else code)
