"""Reading the images of one shard: in any order where each is a file, in the archive's order where it is not."""

import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from scatcache.errors import ScatcacheError, SourceError, UnreadableImage
from scatcache.images.limits import MAX_IMAGE_BYTES, TooLarge
from scatcache.images.source import Location, Part
from scatcache.retries import RETRY_PAUSES_S, TRANSIENT_ERRNOS, with_retries

if TYPE_CHECKING:
    from PIL.Image import Image

# Encoded images held ahead of decoding, twice per worker. A shard of photographs is some 10 MB of them.
WINDOW_BYTES = 32 * 2**20


def read_with_retries(part: Part, i: int, split: str) -> "bytes | np.ndarray | Image":
    """What part.read returns; transient failures of the machine are retried.

    split: the part's name, for messages. Raises SourceError where a file has another size than it was listed with,
    ScatcacheError naming the key where the machine goes on failing.
    """
    key, _, n_bytes = part.listing.rows[i]
    try:
        found = with_retries(lambda: part.read(i))
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
    of the archive, so that a disk is passed over in one direction. Others are read by whoever asks. Use as a context.

    split: the part's name, for messages.
    """

    def __init__(self, part: Part, split: str, images: Iterable[int]):
        self._part, self._split = part, split
        self._windows = cut_windows({i: part.locate(i) for i in images})
        self._window_of = {i: number for number, window in enumerate(self._windows) for i in window}
        self._ahead: dict[int, Future[dict[int, bytes | np.ndarray | Image | ScatcacheError]]] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="scatcache-read") if self._windows else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def read(self, i: int) -> "bytes | np.ndarray | Image":
        """One image. Raises what read_with_retries raises."""
        number = self._window_of.get(i)
        if number is None:
            return read_with_retries(self._part, i, self._split)
        found = self._start(number).result().pop(i)
        if isinstance(found, ScatcacheError):
            raise found
        return found

    def _start(self, number: int) -> "Future[dict[int, bytes | np.ndarray | Image | ScatcacheError]]":
        """The window of this number, started together with the next where it has not been yet."""
        assert self._pool is not None
        with self._lock:
            for upcoming in range(number, min(number + 2, len(self._windows))):
                if upcoming not in self._ahead:
                    self._ahead[upcoming] = self._pool.submit(self._read_window, self._windows[upcoming])
            return self._ahead[number]

    def _read_window(self, images: list[int]) -> "dict[int, bytes | np.ndarray | Image | ScatcacheError]":
        found: dict[int, bytes | np.ndarray | Image | ScatcacheError] = {}
        for i in images:
            try:
                found[i] = read_with_retries(self._part, i, self._split)
            except ScatcacheError as error:
                found[i] = error
        return found


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
