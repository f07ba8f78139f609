"""The one shape of a part's images, found from their headers."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from scatcache.errors import SourceError, UnreadableImage
from scatcache.images.image_source import WholePart

# Enough headers to say which size is commonest; mixed sizes are refused without reading the rest.
HEADERS_TO_NAME_A_SIZE = 2000
ROWS_PER_BLOCK = 500
# Reading headers mostly waits for the disk, so more threads than cores help.
N_THREADS = 16


def find_native_shape(part: WholePart) -> tuple[int, int]:
    """(height, width) shared by every image of a part; headers that do not parse are passed over.

    Raises SourceError where sizes are mixed or no header parses; OSError as the disk does.
    """
    if part.image_shape is not None:
        return part.image_shape
    counts: Counter[tuple[int, int]] = Counter()
    reason, n_rows = "", len(part.listing.rows)
    with ThreadPoolExecutor(N_THREADS) as pool:
        for start in range(0, n_rows, ROWS_PER_BLOCK):
            block = range(start, min(start + ROWS_PER_BLOCK, n_rows))
            for shape, why in pool.map(partial(_try_header, part), block):
                if shape:
                    counts[shape] += 1
                else:
                    reason = reason or why
            if len(counts) > 1 and counts.total() >= HEADERS_TO_NAME_A_SIZE:
                break
    return _agree_on_shape(counts, n_rows, reason)


def _try_header(part: WholePart, i: int) -> tuple[tuple[int, int] | None, str]:
    try:
        return part.shape(i), ""
    except UnreadableImage as error:
        return None, f"{part.listing.rows[i].key}: {error}"


def _agree_on_shape(counts: Counter[tuple[int, int]], n_rows: int, reason: str) -> tuple[int, int]:
    if not counts:
        raise SourceError(
            f"none of the {n_rows} images has a readable header ({reason}): check the files, or give --size"
        )
    # Equal counts: the larger shape, so that the message never depends on the order of reading.
    shape, n_images = max(counts.items(), key=lambda item: (item[1], item[0]))
    if len(counts) > 1:
        raise SourceError(
            f"the images have {len(counts)} different sizes; the commonest, {shape[0]}x{shape[1]} (height x width), "
            f"is that of {n_images} of the {counts.total()} read: give --size N to bring all to N x N pixels"
        )
    return shape
