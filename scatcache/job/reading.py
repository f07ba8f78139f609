"""Reading the images of one shard: in any order where each is a file, in the storage's order where it is not."""

import contextlib
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np
import PIL.Image

from scatcache.errors import ScatcacheError, SourceError, UnreadableImage
from scatcache.images.limits import MAX_IMAGE_BYTES, TooLarge
from scatcache.images.source import Location, Part
from scatcache.resources import count_cores
from scatcache.retries import RETRY_PAUSES_S, TRANSIENT_ERRNOS, with_retries

# What a part hands over: an image file's bytes, samples, or a PIL image.
Image: TypeAlias = "bytes | np.ndarray | PIL.Image.Image"

# Encoded images held ahead of decoding, twice per worker. A shard of photographs is some 10 MB of them.
WINDOW_BYTES = 32 * 2**20
# Blocks are mostly decompressed, which releases the interpreter's lock. A part of which most is waiting says how many
# by its n_readers.
N_BLOCK_THREADS = 4


def read_with_retries(part: Part, i: int, split: str) -> Image:
    """What part.read returns; transient failures of the machine are retried.

    split: the part's name, for messages. Raises SourceError where a file has another size than it was listed with,
    ScatcacheError naming the key where the machine goes on failing.
    """
    key, _, n_bytes = part.listing.rows[i]
    with _explain(split, key, n_bytes):
        found = with_retries(lambda: part.read(i))
    return _check_size(found, split, key, n_bytes)


def read_block_with_retries(part: Any, images: list[int], split: str) -> "dict[int, Image | ScatcacheError]":
    """What part.read_block returns for images of one block, by their indices; a failure stands for what it concerns."""
    first, rows = images[0], part.listing.rows
    try:
        with _explain(split, rows[first].key, rows[first].size):
            found = with_retries(lambda: part.read_block(images))
    except ScatcacheError as error:
        return dict.fromkeys(images, error)
    outcomes: dict[int, Image | ScatcacheError] = {}
    for i, image in zip(images, found, strict=True):
        try:
            outcomes[i] = image if isinstance(image, ScatcacheError) else _check_size(image, split, *rows[i][::2])
        except SourceError as error:
            outcomes[i] = error
    return outcomes


@contextlib.contextmanager
def _explain(split: str, key: str, n_bytes: int) -> Iterator[None]:
    """Turns what reading an image raises into errors that say what to do."""
    try:
        yield
    except TooLarge as error:
        if n_bytes <= MAX_IMAGE_BYTES:
            raise _tell_change(split, key, n_bytes, str(error)) from error
        raise
    except OSError as error:
        if error.errno is None:
            raise UnreadableImage(str(error)) from error
        tries = f" ({len(RETRY_PAUSES_S) + 1} tries)" if error.errno in TRANSIENT_ERRNOS else ""
        raise ScatcacheError(
            f"{split}: {key}: {error.strerror}{tries}: mend what holds the files, then give the same command "
            f"again: it goes on from here"
        ) from error


def _check_size(found: Image, split: str, key: str, n_bytes: int) -> Image:
    # Where the size is not known, none is listed.
    if isinstance(found, bytes) and n_bytes and len(found) != n_bytes:
        raise _tell_change(split, key, n_bytes, f"{len(found)} bytes")
    return found


def _tell_change(split: str, key: str, n_bytes: int, found: str) -> SourceError:
    """A store made of it would hold what no listing says, and never be taken up again."""
    return SourceError(
        f"{split}: {key} changed while the job ran: {n_bytes} bytes when listed, {found} now: let what "
        f"writes it finish; then put it back and give the same command again, or add --overwrite to start anew"
    )


class ShardReads:
    """Images of one part, asked for by index, each once, about in the order of `images`, from several threads.

    Those that lie in an archive are read ahead by one thread: windows of WINDOW_BYTES of them, within each in the order
    of the archive, so that a disk is passed over in one direction. Those that lie in blocks are read ahead block by
    block, in the order of the storage, by several threads, each block once. Others are read by whoever asks. Use as a
    context.

    split: the part's name, for messages.
    """

    def __init__(self, part: Part, split: str, images: Iterable[int]):
        self._part, self._split = part, split
        self._units = cut_units(part, images)
        self._unit_of = {i: number for number, unit in enumerate(self._units) for i in unit.images}
        self._waves = cut_waves([unit.n_bytes for unit in self._units])
        self._wave_of = {number: wave for wave, numbers in enumerate(self._waves) for number in numbers}
        self._ahead: dict[int, Future[dict[int, Image | ScatcacheError]]] = {}
        self._lock = threading.Lock()
        n_readers = getattr(part, "n_readers", None) or min(N_BLOCK_THREADS, count_cores())
        n_threads = n_readers if any(unit.is_block for unit in self._units) else 1
        self._pool = ThreadPoolExecutor(n_threads, thread_name_prefix="scatcache-read") if self._units else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def read(self, i: int) -> Image:
        """One image. Raises what read_with_retries raises."""
        number = self._unit_of.get(i)
        if number is None:
            return read_with_retries(self._part, i, self._split)
        found = self._start(number).result().pop(i)
        if isinstance(found, ScatcacheError):
            raise found
        return found

    def _start(self, number: int) -> "Future[dict[int, Image | ScatcacheError]]":
        """The unit of this number, its wave started together with the next where they have not been yet."""
        assert self._pool is not None
        wave = self._wave_of[number]
        with self._lock:
            for upcoming in (upcoming for numbers in self._waves[wave : wave + 2] for upcoming in numbers):
                if upcoming not in self._ahead:
                    self._ahead[upcoming] = self._pool.submit(self._read_unit, self._units[upcoming])
            return self._ahead[number]

    def _read_unit(self, unit: "Unit") -> "dict[int, Image | ScatcacheError]":
        if unit.is_block:
            return read_block_with_retries(self._part, unit.images, self._split)
        found: dict[int, Image | ScatcacheError] = {}
        for i in unit.images:
            try:
                found[i] = read_with_retries(self._part, i, self._split)
            except ScatcacheError as error:
                found[i] = error
        return found


class Unit(NamedTuple):
    """Images that one thread reads one after the other, or, of a block, at once. n_bytes: of them as listed."""

    images: list[int]
    n_bytes: int
    is_block: bool


def cut_units(part: Any, images: Iterable[int]) -> list[Unit]:
    """What is read ahead of these images, in the order of the storage; images of free order are in none."""
    has_blocks = getattr(part, "read_block", None) is not None
    located: dict[int, Location | None] = {}
    blocks: dict[int, list[int]] = {}
    for i in images:
        block = part.block(i) if has_blocks else None
        if block is None:
            located[i] = part.locate(i)
        else:
            blocks.setdefault(block, []).append(i)
    sizes = part.listing.rows.sizes
    windows = [Unit(window, WINDOW_BYTES, False) for window in cut_windows(located)]
    return windows + [Unit(sorted(found), int(sizes[found].sum()), True) for _, found in sorted(blocks.items())]


def cut_waves(sizes: Sequence[int]) -> list[list[int]]:
    """Numbers of units in runs of WINDOW_BYTES at most, or of one."""
    waves: list[list[int]] = []
    held = 0
    for number, n_bytes in enumerate(sizes):
        if not waves or held + n_bytes > WINDOW_BYTES:
            waves.append([])
            held = 0
        waves[-1].append(number)
        held += n_bytes
    return waves


def cut_windows(located: Mapping[int, Location | None]) -> list[list[int]]:
    """Images that have a location, in runs of WINDOW_BYTES at most, or of one, each sorted by file and offset."""
    windows: list[list[tuple[str, int, int]]] = []
    held = 0
    for i, location in located.items():
        if location is None:
            continue
        if not windows or held + location.bytes > WINDOW_BYTES:
            windows.append([])
            held = 0
        windows[-1].append((location.file, location.offset, i))
        held += location.bytes
    return [[i for _, _, i in sorted(window)] for window in windows]
