"""The one shape of a folder's images, found from their headers."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from scatcache.errors import SourceError, UnreadableImage
from scatcache.images.listing import Row

# Enough headers to say which size is commonest; mixed sizes are refused without reading the rest.
HEADERS_TO_NAME_A_SIZE = 2000
ROWS_PER_BLOCK = 500
# Reading headers mostly waits for the disk, so more threads than cores help.
N_THREADS = 16


def find_native_shape(rows: Sequence[Row], read_header: Callable[[str], tuple[int, int]]) -> tuple[int, int]:
    """(height, width) shared by every image of the rows; headers that do not parse are passed over.

    read_header: key -> (height, width), raising UnreadableImage where the header does not parse.

    Raises SourceError where sizes are mixed or no header parses; OSError as read_header does.
    """
    counts: Counter[tuple[int, int]] = Counter()
    reason = ""
    with ThreadPoolExecutor(N_THREADS) as pool:
        for start in range(0, len(rows), ROWS_PER_BLOCK):
            block = rows[start : start + ROWS_PER_BLOCK]
            for shape, why in pool.map(lambda row: _try_header(row.key, read_header), block):
                if shape:
                    counts[shape] += 1
                else:
                    reason = reason or why
            if len(counts) > 1 and counts.total() >= HEADERS_TO_NAME_A_SIZE:
                break
    return _agree_on_shape(counts, len(rows), reason)


def _try_header(key: str, read_header: Callable[[str], tuple[int, int]]) -> tuple[tuple[int, int] | None, str]:
    try:
        return read_header(key), ""
    except UnreadableImage as error:
        return None, f"{key}: {error}"


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
