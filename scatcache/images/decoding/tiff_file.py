"""TIFF files as the samples they hold, through tifffile: of the first page, whatever its samples, planes and tiles."""

from math import prod
from typing import Any, BinaryIO

import numpy as np

from scatcache.errors import UnreadableImage
from scatcache.images.decoding.codestreams import find_jpeg_size
from scatcache.images.decoding.extra_libraries import import_extra
from scatcache.images.decoding.image_metadata import separate
from scatcache.images.decoding.sample_types import MAX_SAMPLES, SampleFile, check_shape_of_samples
from scatcache.images.decoding.tiff_tags import read_directory

EXTRA = "tiff"
# By their number in TIFF. None of these can be made to write more than it is asked for, but JPEG, whose own sizes are
# looked at first. Of damaged WebP and JPEG 2000, pixels would stay as they were in memory.
_COMPRESSIONS = {
    1: "none",
    5: "LZW",
    7: "JPEG",
    8: "deflate",
    32946: "deflate",
    32773: "PackBits",
    34925: "LZMA",
    50000: "Zstandard",
}
_JPEG = 7
_PREDICTORS = {1: "none", 2: "horizontal", 3: "floating point"}
_FORMAT, _PALETTE = 339, 3
# Tags of one integer each: of several, or of a text, tifffile makes tuples and texts that a product repeats.
_SINGLE = {
    256: "width", 257: "height", 259: "compression", 262: "photometric", 277: "samples of a pixel",
    278: "rows of a strip", 284: "planes", 317: "predictor", 322: "width of a tile",
    323: "height of a tile", 32997: "depth", 32998: "depth of a tile",
}  # fmt: skip
_WHOLE_BITS = (8, 16, 32, 64)
# Tiles and strips of one page, and values of one tag.
MOST_SEGMENTS = 2**20


def open_tiff(file: BinaryIO, axes: str | None) -> SampleFile:
    """The first page of a TIFF file; its own tags say where the bands are.

    Samples of 9 to 15 and of 24 bits are unpacked. White stays what the file has for it.

    Raises UnreadableImage for palettes, samples of fewer than 8 bits, several formats or depths, compressions other
    than those known here, and pages that do not lie wholly in the file; SourceError without tifffile.
    """
    tifffile = import_extra("tifffile", "TIFF samples", EXTRA)
    import_extra("imagecodecs", "TIFF samples", EXTRA)
    parts = separate(file)
    _check_tags(parts.file)
    parts.file.seek(0)
    # What tifffile knows of makers' dialects it finds in tags that are left out here, and in names.
    page = tifffile.TiffFile(parts.file, name="page.tif", is_ndpi=False, _multifile=False).pages[0]
    _check_kind(page)
    is_planar = page.axes == "SYX"
    bands, _, height, width, contiguous = page.shaped
    shape = check_shape_of_samples((height, width, bands if is_planar else contiguous))
    _check_segments(page)

    def load() -> np.ndarray:
        if page.compression == _JPEG:
            _check_jpeg_sizes(page)
        found = _read_page(page)
        return found[..., 0].transpose(1, 2, 0) if is_planar else found[0]

    return SampleFile(shape, page.dtype, load, lambda: parts.several)


def _read_page(page: Any) -> np.ndarray:
    """(planes, height, width, samples of a plane)."""
    planes, _, height, width, n_samples = page.shaped
    out = np.empty((planes, height, width, n_samples), page.dtype)
    for found, (plane, _, top, left, _), _ in page.segments(maxworkers=1):
        if found is None or found.dtype != out.dtype:
            raise ValueError(f"a strip or tile of {None if found is None else found.dtype} samples, not of {out.dtype}")
        piece = found[0, : height - top, : width - left]
        out[plane, top : top + piece.shape[0], left : left + piece.shape[1]] = piece
    return out


def _check_tags(file: BinaryIO) -> None:
    """Raises UnreadableImage where reading the tags alone would take much memory, or says nothing clear."""
    directory = read_directory(file)
    if directory is None or not directory.entries:
        raise UnreadableImage("a TIFF file without a directory of tags")
    for tag, count in directory.counts():
        if count > MOST_SEGMENTS:
            raise UnreadableImage(f"{count} values of the TIFF tag {tag}: expected at most {MOST_SEGMENTS}")
    if wrong := next((what for tag, what in _SINGLE.items() if not directory.is_one_integer(tag)), None):
        raise UnreadableImage(f"a TIFF file whose {wrong} is not one integer")
    if len(formats := set(directory.numbers(_FORMAT, most=MOST_SEGMENTS))) > 1:
        raise UnreadableImage(
            f"samples of several formats, {', '.join(f'{n:g}' for n in sorted(formats))}: expected one"
        )


def _check_kind(page: Any) -> None:
    bits, n_bands = page.bitspersample, page.samplesperpixel
    if page.photometric == _PALETTE:
        raise UnreadableImage("palette colours: expected samples; give --pixels rgb")
    if not isinstance(bits, int) or not isinstance(n_bands, int):
        raise UnreadableImage(f"samples of several depths, {bits} bits: expected one")
    if bits < 8:
        raise UnreadableImage(f"{bits}-bit samples: expected 8 bits or more; give --pixels grey or rgb")
    if page.dtype is None or page.dtype.kind not in "uif":
        raise UnreadableImage(f"{bits}-bit samples of TIFF's sample format {int(page.sampleformat)}: expected numbers")
    if page.axes not in ("YX", "YXS", "SYX"):
        raise UnreadableImage(f"a volume, {page.axes} {page.shape}: expected one plane a band")
    if page.compression not in _COMPRESSIONS:
        known = ", ".join(dict.fromkeys(_COMPRESSIONS.values()))
        raise UnreadableImage(f"TIFF compression {int(page.compression)}: expected {known}; write it again so")
    if page.predictor not in (_PREDICTORS if bits in _WHOLE_BITS else {1: "none"}):
        raise UnreadableImage(f"TIFF predictor {int(page.predictor)} of {bits}-bit samples: it is not known here")


def _check_segments(page: Any) -> None:
    """Raises UnreadableImage where strips or tiles are missing, end behind the file, or would be huge."""
    n_segments, segment_shape = prod(page.chunked), page.chunks
    offsets, sizes = page.dataoffsets, page.databytecounts
    if len(offsets) != n_segments or len(sizes) != n_segments or 0 in sizes or 0 in offsets:
        n_found = sum(1 for offset, size in zip(offsets, sizes, strict=False) if offset and size)
        raise UnreadableImage(f"{n_found} strips or tiles: expected {n_segments}")
    n_bytes = page.parent.filehandle.size
    ends = max(offset + size for offset, size in zip(offsets, sizes, strict=True))
    if ends > n_bytes or sum(sizes) > n_bytes:
        raise UnreadableImage(f"its strips or tiles end at byte {max(ends, sum(sizes))}, the file at {n_bytes}")
    if n_segments * prod(segment_shape) > 2 * MAX_SAMPLES:
        raise UnreadableImage(f"{n_segments} tiles of {segment_shape} samples, more than an image may have")
    if page.compression == 1 and sum(sizes) < prod(page.shape) * page.bitspersample // 8:
        raise UnreadableImage(f"its strips or tiles hold {sum(sizes)} bytes, too few for {page.shape} samples")


def _check_jpeg_sizes(page: Any) -> None:
    """Raises UnreadableImage where a JPEG in a strip or tile is cut, or is larger than that."""
    height, width = page.chunks[:2]
    for data, _ in page.parent.filehandle.read_segments(page.dataoffsets, page.databytecounts):
        found = find_jpeg_size(data)
        if found is None or found[0] > height or found[1] > width:
            what = "no whole JPEG" if found is None else f"a JPEG of {found[0]}x{found[1]} pixels"
            raise UnreadableImage(f"{what} in a strip or tile of {height}x{width}")
