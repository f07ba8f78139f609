"""Images of parquet's row groups, copied once to plain files, and read from those by position.

A row group is read as a whole, and an extraction asks for its rows in an order that is none of the file's: without
copies it would be read as often as shards have a row of it.
"""

import contextlib
import errno
import os
import shutil
import threading
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from scatcache.durable import NewFile
from scatcache.errors import UnreadableImage
from scatcache.images.archives.staging import stage
from scatcache.images.archives.stamps import Stamp
from scatcache.images.archives.unpack import READ_ONLY
from scatcache.images.limits import MAX_IMAGE_BYTES

COPY_FORMAT, COPY_SUFFIX = 1, ".images"
# Of a disk's free space copies may take so much.
_SHARE = 0.5
_NO_PLACE = (*READ_ONLY, errno.ENOSPC, errno.EDQUOT)
# In place of the bytes of an image that is none.
_REASONS = {-1: "the row holds no image", -2: f"an image of more than {MAX_IMAGE_BYTES} bytes, which are allowed"}
_HEAD = 4
# One thread makes a copy, others wait for it; as many as may be at work at once.
_locks = tuple(threading.Lock() for _ in range(64))

ImageBytes = bytes | UnreadableImage


def refuse_bytes(n_bytes: int) -> UnreadableImage | None:
    """Why there is no image in so many bytes, None where there may be one."""
    if not n_bytes:
        return UnreadableImage(_REASONS[-1])
    return UnreadableImage(_REASONS[-2]) if n_bytes > MAX_IMAGE_BYTES else None


@dataclass(frozen=True)
class GroupCopies:
    """Where the copies of tables' row groups are: FOLDER/TABLE-GROUP.images. column: the images', down to their bytes.

    A copy is int64 (4,): format, the table's bytes and time, rows; int64 (rows,): bytes of each image, or why there are
    none; then those bytes.
    """

    folder: Path
    column: str

    def make(
        self, stamp: Stamp, group: int, rows: Sequence[int], n_rows: int, images: Iterable[ImageBytes]
    ) -> list[ImageBytes] | None:
        """The images of these rows of a row group, from its copy, which is made where there is none.

        images: all n_rows of the row group, asked for only then. None where there is no place for a copy. Raises what
        images raise, and OSError as the disk does.
        """
        path = self._find(stamp, group)
        with _locks[zlib.crc32(os.fsencode(path)) % len(_locks)]:
            if _load_ends(path, stamp) is None:
                try:
                    _write(path, stamp, n_rows, images)
                except OSError as error:
                    if error.errno not in _NO_PLACE:
                        raise
                    return None
        return self.read(stamp, group, rows)

    def read(self, stamp: Stamp, group: int, rows: Sequence[int]) -> list[ImageBytes] | None:
        """The same where there is a copy, None where there is none."""
        path = self._find(stamp, group)
        ends = _load_ends(path, stamp)
        return None if ends is None else _read_rows(path, ends, rows)

    def _find(self, stamp: Stamp, group: int) -> Path:
        # Tables of two folders may share a name.
        called = f"{Path(stamp.path).stem}-{zlib.crc32(os.fsencode(f'{stamp.path} {self.column}')):08x}"
        return self.folder / f"{called}-{group:05d}{COPY_SUFFIX}"


def has_place(folder: Path, n_bytes: int) -> bool:
    """Whether copies of so many bytes leave enough of the disk that a folder is on, or will be."""
    while not folder.exists():
        folder = folder.parent
    with contextlib.suppress(OSError):
        return n_bytes <= _SHARE * shutil.disk_usage(folder).free
    return False


def _write(path: Path, stamp: Stamp, n_rows: int, images: Iterable[ImageBytes]) -> None:
    sizes = np.zeros(n_rows, np.int64)
    with stage(path.parent, path.name) as folder, NewFile(path, temporary=folder / path.name) as new:
        new.write(_make_head(stamp, sizes))
        for row, image in enumerate(images):
            if isinstance(image, bytes):
                new.write(image)
                sizes[row] = len(image)
            else:
                sizes[row] = next(code for code, reason in _REASONS.items() if reason == str(image))
        new.file.seek(0)
        new.write(_make_head(stamp, sizes))
        new.commit()


def _make_head(stamp: Stamp, sizes: np.ndarray) -> bytes:
    return np.array([COPY_FORMAT, *stamp[1:], len(sizes), *sizes], "<i8").tobytes()


@lru_cache(maxsize=16)
def _load_sound(path: Path, stamp: Stamp, n_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    """(sizes, ends): int64 (rows,) of the images in a copy that has so many bytes.

    Raises ValueError, which is not remembered, where it is cut or of another table.
    """
    with open(path, "rb") as file:
        format, *found, n_rows = np.frombuffer(file.read(8 * _HEAD).ljust(8 * _HEAD), "<i8").tolist()
        if (format, *found) != (COPY_FORMAT, *stamp[1:]) or not 0 <= n_rows <= n_bytes // 8 - _HEAD:
            raise ValueError("the copy is of another table")
        sizes = np.frombuffer(file.read(8 * n_rows), "<i8")
    ends = np.cumsum(np.maximum(sizes, 0)) + 8 * (_HEAD + n_rows)
    if n_bytes != (ends[-1] if n_rows else 8 * _HEAD) or sizes.min(initial=0) < min(_REASONS):
        raise ValueError("the copy is not whole")
    return sizes, ends


def _load_ends(path: Path, stamp: Stamp) -> tuple[np.ndarray, np.ndarray] | None:
    """What _load_sound returns, None where it raises ValueError, and where there is no copy yet."""
    try:
        return _load_sound(path, stamp, os.stat(path).st_size)
    except (FileNotFoundError, ValueError):
        return None


def _read_rows(path: Path, found: tuple[np.ndarray, np.ndarray], rows: Sequence[int]) -> list[ImageBytes] | None:
    sizes, ends = found
    images: list[ImageBytes] = []
    with open(path, "rb", buffering=0) as file:
        for row in rows:
            n_bytes = int(sizes[row])
            if n_bytes < 0:
                images.append(UnreadableImage(_REASONS[n_bytes]))
                continue
            file.seek(int(ends[row]) - n_bytes)
            images.append(data := file.read(n_bytes))
            if len(data) != n_bytes:
                return None
    return images
