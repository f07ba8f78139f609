"""Takes the metadata off a file before Pillow sees it: what EXIF, XMP, ICC or texts hold must never cost the picture.

Of the formats that carry any, the file that is decoded has only what bears on its pixels; the orientation is read from
what is left out. A file whose structure ends early or makes no sense is handed on unchanged from there.
"""

import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO

from scatcache.images.decoding.orientation import find_orientation
from scatcache.images.decoding.pieces import join_pieces
from scatcache.images.decoding.tiff_tags import Directory, following_directories, read_directory, write_directory

# As much of one piece of metadata is read, and inflated. EXIF says the orientation near its start.
MOST_BYTES = 2**20
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Separated:
    """file: to decode; orientation: 1 to 8, None where the format is not known here; several: it holds more pictures
    than the first."""

    file: BinaryIO
    orientation: int | None = None
    several: bool = False


def separate(file: BinaryIO) -> Separated:
    """The parts of an image file, open for binary reading."""
    file.seek(0)
    head = file.read(12)
    if head.startswith(PNG_SIGNATURE):
        return _separate_png(file)
    if head.startswith(b"\xff\xd8\xff"):
        return _separate_jpeg(file)
    if head.startswith(b"RIFF") and head.endswith(b"WEBP"):
        return _separate_webp(file)
    directory = read_directory(file)
    return Separated(file) if directory is None else _separate_tiff(file, directory)


def _size(file: BinaryIO) -> int:
    return file.seek(0, io.SEEK_END)


# PNG

_PNG_KIND = re.compile(rb"\w{4}")
_PNG_FRAMES = (b"acTL", b"fcTL", b"fdAT")
_PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_RAW_EXIF, _XMP = b"Raw profile type exif", b"XML:com.adobe.xmp"


def _separate_png(file: BinaryIO) -> Separated:
    size, position = _size(file), len(PNG_SIGNATURE)
    pieces: list[range | bytes] = [range(position)]
    texts: dict[bytes, bytes] = {}
    kind = b""
    while kind != b"IEND" and position < size:
        file.seek(position)
        head = file.read(8)
        kind, n_bytes = head[4:], int.from_bytes(head[:4], "big")
        if not _PNG_KIND.fullmatch(kind):
            pieces.append(range(position, size))
            break
        if kind[:1].isupper() or kind in _PNG_FRAMES:
            pieces.append(range(position, min(position + 12 + n_bytes, size)))
        elif kind in _PNG_TEXTS:
            texts |= _read_png_text(kind, file.read(min(n_bytes, MOST_BYTES)))
        elif kind == b"eXIf":
            texts[b"exif"] = file.read(min(n_bytes, MOST_BYTES))
        position += 12 + n_bytes
    exif = texts.get(b"exif") or _parse_raw_exif(texts.get(_RAW_EXIF, b""))
    return Separated(join_pieces(file, pieces), find_orientation(exif, texts.get(_XMP, b"")))


def _read_png_text(kind: bytes, data: bytes) -> dict[bytes, bytes]:
    """The text of a chunk by its keyword; nothing where it cannot hold an orientation."""
    keyword, _, text = data.partition(b"\0")
    if kind == b"tEXt":
        return {keyword: text} if keyword in (_RAW_EXIF, _XMP, b"exif") else {}
    if keyword not in (_RAW_EXIF, _XMP):
        return {}
    if kind == b"zTXt":
        return {keyword: _inflate(text[1:])}
    is_compressed = text[:1] != b"\0"
    text = text[2:].partition(b"\0")[2].partition(b"\0")[2]
    return {keyword: _inflate(text) if is_compressed else text}


def _inflate(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, MOST_BYTES)
    except zlib.error:
        return b""


def _parse_raw_exif(text: bytes) -> bytes:
    """ImageMagick's: a line break, a name, a number of bytes, then these in hexadecimal."""
    digits = b"".join(text.split(b"\n")[3:])
    try:
        return bytes.fromhex(digits[: len(digits) // 2 * 2].decode("ascii"))
    except ValueError:
        return b""


# JPEG

_SOS, _EOI, _COM = 0xDA, 0xD9, 0xFE
_STANDALONE = (0x01, *range(0xD0, 0xD9))
_APPLICATIONS = range(0xE0, 0xF0)
_MARKER = re.compile(rb"\xff[^\0\xff]")


def _separate_jpeg(file: BinaryIO) -> Separated:
    size, position = _size(file), 2
    pieces: list[range | bytes] = [range(position)]
    exif, xmp, several = b"", b"", False
    for start, end, marker in _jpeg_segments(file, position, size):
        position = end
        file.seek(start + 4)
        data = file.read(end - start - 4) if marker in _APPLICATIONS else b""
        if marker == 0xE1 and data.startswith(b"Exif\0\0"):
            exif += data[6 * bool(exif) :]
        elif marker == 0xE1 and data.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
            xmp = data.partition(b"\0")[2]
        elif marker == 0xE2 and data.startswith(b"MPF\0"):
            several = _lists_pictures(data[4:])
        if _jpeg_needs(marker, data):
            pieces.append(range(start, end))
    # A gain map is no second picture.
    several = several and b' hdrgm:Version="' not in xmp
    pieces.append(range(position, size))
    return Separated(join_pieces(file, pieces), find_orientation(exif, xmp), several)


def _jpeg_segments(file: BinaryIO, position: int, size: int) -> Iterator[tuple[int, int, int]]:
    """(start, end, marker) of each segment, the last one holding the pixels and all that follows. Bytes between two are
    passed over, as libjpeg does."""
    while (start := _find_marker(file, position, size)) is not None:
        file.seek(start)
        head = file.read(4)
        # Pillow and libjpeg take a length that does not even count itself for 2.
        end = start + max(4, 2 + int.from_bytes(head[2:], "big"))
        if head[1] in (_SOS, _EOI):
            yield start, size, head[1]
            return
        if head[1] in _STANDALONE:
            end = start + 2
        elif end > size:
            return
        yield start, end, head[1]
        position = end


def _find_marker(file: BinaryIO, position: int, size: int) -> int | None:
    while position < size - 1:
        file.seek(position)
        block = file.read(256)
        if found := _MARKER.search(block):
            return position + found.start()
        position += len(block) - 1
    return None


def _jpeg_needs(marker: int, data: bytes) -> bool:
    """Whether a segment bears on the pixels: of those for applications, only what says how colours are coded, and that
    only whole, as libjpeg takes it."""
    if marker == 0xE0:
        return data.startswith(b"JFIF\0") and len(data) >= 14
    if marker == 0xEE:
        return data.startswith(b"Adobe") and len(data) >= 12
    return marker not in _APPLICATIONS and marker != _COM


def _lists_pictures(index: bytes) -> bool:
    """Whether an MPO's index names more pictures than the first and its previews."""
    directory = read_directory(io.BytesIO(index))
    if directory is None:
        return False
    entries = directory.text(0xB002, most=16 * 64)
    kinds = [directory.form.number(entries[at : at + 4]) & 0xFFFFFF for at in range(16, len(entries), 16)]
    return any(kind >> 16 != 1 for kind in kinds)


# WebP

_WEBP_PIXELS = (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF")
# Bits of VP8X that announce ICC, EXIF and XMP.
_WEBP_METADATA_BITS = 0x20 | 0x08 | 0x04


def _separate_webp(file: BinaryIO) -> Separated:
    file.seek(4)
    size = _size_of_riff(file)
    if size > _size(file):
        # Cut: that libwebp must see.
        return Separated(file)
    pieces: list[range | bytes] = []
    position, found = 12, {b"EXIF": b"", b"XMP ": b""}
    while position < size:
        file.seek(position)
        head = file.read(8)
        kind, n_bytes = head[:4], int.from_bytes(head[4:], "little")
        end = position + 8 + n_bytes + n_bytes % 2
        if len(head) < 8 or (end > size and kind in _WEBP_PIXELS):
            pieces.append(range(position, size))
            break
        if kind == b"VP8X":
            flags = file.read(1)[0] & ~_WEBP_METADATA_BITS if n_bytes else 0
            pieces += [head, bytes([flags]), range(position + 9, end)]
        elif kind in _WEBP_PIXELS:
            pieces.append(range(position, end))
        elif kind in found:
            found[kind] = found[kind] or file.read(min(n_bytes, MOST_BYTES))
        position = end
    riff_bytes = 4 + sum(map(len, pieces))
    pieces = [b"RIFF" + riff_bytes.to_bytes(4, "little") + b"WEBP", *pieces]
    return Separated(join_pieces(file, pieces), find_orientation(found[b"EXIF"], found[b"XMP "]))


def _size_of_riff(file: BinaryIO) -> int:
    return 8 + int.from_bytes(file.read(4), "little")


# TIFF

# Size, layout, compression and meaning of the samples, with what libtiff's codecs ask for.
_TIFF_PIXELS = frozenset({
    *(254, 255, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325, 332),
    *(338, 339, 347, *range(512, 522), 529, 530, 531, 532, 32995, 32996, 32997, 32998, 50674, 0xBC01),
})  # fmt: skip
_TIFF_SUBFILE, _TIFF_TEXT, _TIFF_XMP = 254, 270, 700
# Pyramids have a dozen levels.
MOST_DIRECTORIES = 64
# Bits of _TIFF_SUBFILE: the same picture smaller, a mask of it.
_NO_PAGE = 0b101
_IMAGEJ_STACK = re.compile(rb"ImageJ=.*^images=(?!1\s)[0-9]+", re.DOTALL | re.MULTILINE)


def _separate_tiff(file: BinaryIO, directory: Directory) -> Separated:
    orientation = find_orientation(directory, directory.text(_TIFF_XMP, most=MOST_BYTES))
    several = bool(_IMAGEJ_STACK.match(directory.text(_TIFF_TEXT, most=4096)))
    several = several or any(map(_is_page, islice(following_directories(directory), MOST_DIRECTORIES)))
    size, shorter = _size(file), write_directory(directory, _TIFF_PIXELS)
    end = directory.start + len(shorter)
    if end > size:
        return Separated(file, orientation, several)
    # Over the old directory, which is longer: all other bytes stay where they are, and the file ends where it ended.
    pieces: list[range | bytes] = [range(directory.start), shorter, range(end, size)]
    return Separated(join_pieces(file, pieces), orientation, several)


def _is_page(directory: Directory) -> bool:
    return directory.has(256) and not int(directory.number(_TIFF_SUBFILE)) & _NO_PAGE
