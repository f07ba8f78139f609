"""Where every image of a tar lies: found once, kept beside the store, read by position; nothing is unpacked."""

import functools
import logging
import os
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from scatcache.errors import SourceError
from scatcache.images.archives.tar_members import TarMember
from scatcache.images.archives.tar_table import INDEX_FORMAT, KeptTable, TarTable, keep_table, tell_members
from scatcache.images.archives.unpack import OnArchive, tell_nobody
from scatcache.images.keys import show_path
from scatcache.images.limits import check_image_bytes

logger = logging.getLogger(__name__)

# Descriptors are few, 1024 where nobody asked for more.
_N_OPEN = 64


@dataclass(frozen=True)
class TarIndex:
    """The files of one tar by key. kept: where they lie, and what the tar was like when it was indexed."""

    tar: Path
    kept: KeptTable

    @property
    def table(self) -> TarTable:
        return self.kept.get(show_path(self.tar))

    def read(self, key: str) -> bytes:
        """The bytes of one file.

        Raises UnreadableImage beyond MAX_IMAGE_BYTES; SourceError where the tar has changed; OSError as the disk does.
        """
        return self.read_at(*self.table.find(key), key)

    def read_at(self, offset: int, n_bytes: int, key: str) -> bytes:
        """The bytes of one file where it lies; see read. key: for messages."""
        check_image_bytes(n_bytes)
        # Held until the end: where threads open it at once, all but one of the descriptors are in no cache.
        opened = _open(self.tar, self.kept.stamp)
        # One that is written to where it lies keeps its descriptor.
        _check_stamp(opened.descriptor, self.tar, self.kept.stamp)
        data = b""
        while len(data) < n_bytes and (piece := os.pread(opened.descriptor, n_bytes - len(data), offset + len(data))):
            data += piece
        if len(data) != n_bytes:
            raise SourceError(f"{show_path(self.tar)} ends within {key}: it was truncated since it was indexed")
        return data

    def locate(self, key: str) -> tuple[int, int]:
        """(offset, bytes) of one file in the tar."""
        return self.table.find(key)


def index_tar(
    tar: Path,
    work_dir: Path | None,
    list_files: Callable[[int], Iterable[TarMember]],
    on_archive: OnArchive = tell_nobody,
    *,
    called: str | None = None,
    asked: str = "",
) -> TarIndex:
    """The index of a tar: the one that an earlier run left in work_dir, or a new one, kept there.

    list_files: descriptor -> TarMembers of the files to index; of two that share a key the later one counts, as when
    unpacking. called: the index, by default after the tar, where others are of its name; asked: what shapes its rows
    besides. Where work_dir is None, or cannot be written to, the index is held in memory.

    Raises what list_files raises, and OSError as the disk does.
    """
    saved = None if work_dir is None else work_dir / f"{called or tar.name}.index.npz"
    descriptor = os.open(tar, os.O_RDONLY | os.O_CLOEXEC)

    def list_told() -> Iterable[TarMember]:
        logger.info("indexing %s", tar)
        return tell_members(list_files(descriptor), tar.name, stamp[1], on_archive)

    try:
        stamp = _stamp(descriptor, zlib.crc32(asked.encode()))
        return TarIndex(tar, keep_table(saved, stamp, show_path(tar), list_told))
    finally:
        os.close(descriptor)


def _stamp(descriptor: int, asked: int) -> tuple[int, ...]:
    """What changes when the tar does, or what is asked; it decides whether to index again, never what is stored."""
    status = os.fstat(descriptor)
    return INDEX_FORMAT, status.st_size, status.st_mtime_ns, asked


class _OpenFile:
    """A descriptor that lives as long as it is referred to; read by position, so that threads and forks share it."""

    def __init__(self, path: Path):
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    # As a default: when the interpreter ends, modules may be gone before the last file is.
    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        if hasattr(self, "descriptor"):
            close(self.descriptor)


@functools.lru_cache(maxsize=_N_OPEN)
def _open(tar: Path, stamp: tuple[int, ...]) -> _OpenFile:
    """The opened tar. Raises SourceError where it is not as it was when it was indexed."""
    opened = _OpenFile(tar)
    _check_stamp(opened.descriptor, tar, stamp)
    return opened


def _check_stamp(descriptor: int, tar: Path, stamp: tuple[int, ...]) -> None:
    if _stamp(descriptor, stamp[-1]) != stamp:
        raise SourceError(f"{show_path(tar)} has changed since it was indexed: give the same command again")
