"""Image files made by hand: TIFFs of any samples, PNG chunks, JPEG segments, EXIF blocks."""

import struct
import zlib
from collections.abc import Mapping

import numpy as np

# struct formats of the types of TIFF's values.
FORMATS = {1: "B", 2: "B", 3: "H", 4: "I", 5: "I", 7: "B", 11: "f", 12: "d"}


def write_directory(tags: Mapping[int, tuple[int, tuple | bytes]], *, at: int, order: str = "<") -> bytes:
    """A directory of tags (type, values), as it stands at this offset of a file, its longer values behind it."""
    head, tail = struct.pack(order + "H", len(tags)), b""
    after = at + 2 + 12 * len(tags) + 4
    for tag, (kind, values) in sorted(tags.items()):
        data = values if isinstance(values, bytes) else struct.pack(f"{order}{FORMATS[kind] * len(values)}", *values)
        count = len(values) // 2 if kind == 5 else len(values)  # a rational is two numbers
        if len(data) > 4:
            tail, data = tail + data, struct.pack(order + "I", after + len(tail))
        head += struct.pack(order + "HHI", tag, kind, count) + data.ljust(4, b"\0")
    return head + bytes(4) + tail


def write_tiff(pixels: np.ndarray, *, planar: bool = False, **tags: tuple[int, tuple | bytes]) -> bytes:
    """An uncompressed TIFF of (height, width) or (height, width, samples) in the order of its dtype.

    tags: others, or other values, as tag_262=(3, (0,)).
    """
    order = ">" if pixels.dtype.byteorder == ">" else "<"
    height, width, n_samples = (*pixels.shape, 1)[:3]
    strips = [pixels[..., band].tobytes() for band in range(n_samples)] if planar else [pixels.tobytes()]
    starts = tuple(8 + sum(map(len, strips[:number])) for number in range(len(strips)))
    known = {
        256: (3, (width,)),
        257: (3, (height,)),
        258: (3, (8 * pixels.dtype.itemsize,) * n_samples),
        259: (3, (1,)),
        262: (3, (1 if n_samples == 1 else 2,)),
        273: (4, starts),
        277: (3, (n_samples,)),
        278: (3, (height,)),
        279: (4, tuple(map(len, strips))),
        284: (3, (2 if planar else 1,)),
        339: (3, ({"u": 1, "i": 2, "f": 3}[pixels.dtype.kind],) * n_samples),
    }
    known |= {int(name.removeprefix("tag_")): value for name, value in tags.items()}
    data = b"".join(strips)
    data += bytes(len(data) % 2)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8 + len(data))
    return head + data + write_directory(known, at=8 + len(data), order=order)


def write_exif(tags: Mapping[int, tuple[int, tuple | bytes]], *, order: str = "<") -> bytes:
    """A block of EXIF."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return b"Exif\0\0" + head + write_directory(tags, at=8, order=order)


def png_chunk(kind: bytes, data: bytes, *, crc: int | None = None) -> bytes:
    found = zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", found)


def add_to_png(png: bytes, *chunks: bytes, behind: bool = False) -> bytes:
    """The PNG with chunks before its pixels, or behind them."""
    at = png.index(b"IEND" if behind else b"IDAT") - 4
    return png[:at] + b"".join(chunks) + png[at:]


def add_to_jpeg(jpeg: bytes, *segments: tuple[int, bytes]) -> bytes:
    """The JPEG with segments (marker, data) at its beginning."""
    added = b"".join(struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data for marker, data in segments)
    return jpeg[:2] + added + jpeg[2:]


def add_to_webp(webp: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """The WebP, extended, with chunks behind its pixels."""
    body = webp[12:] + b"".join(
        kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for kind, data in chunks
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body
