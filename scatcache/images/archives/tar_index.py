"""Where every image of a tar lies: found once, kept beside the store, read by position; nothing is unpacked."""

import errno
import functools
import logging
import os
import re
import stat
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scatcache.durable import NewFile
from scatcache.errors import SourceError
from scatcache.images.archives.staging import stage
from scatcache.images.archives.tar_members import TarMember
from scatcache.images.archives.unpack import READ_ONLY, OnArchive, tell_nobody
from scatcache.images.keys import show_path
from scatcache.images.limits import check_image_bytes

logger = logging.getLogger(__name__)

# Of an index file; a change of what members are taken, or of their keys, needs another.
INDEX_FORMAT = 2
MEMBERS_BETWEEN_TELLING = 1000
# Of a dataset in a thousand tars each has some; descriptors are fewer, 1024 where nobody asked for more.
_N_TABLES, _N_OPEN = 4096, 64
# What the readers of zip files and of NumPy's headers are known to raise.
_MALFORMED = (
    *(ValueError, TypeError, KeyError, EOFError, OverflowError, NotImplementedError, RuntimeError, SyntaxError),
    *(MemoryError, zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError),
)
_HEADER = re.compile(r"\{'descr': '([<|>][A-Za-z]\d{1,9})', 'fortran_order': \w+, 'shape': \((\d{1,18}),\), \}\s*")
_ARRAYS = {"keys": "S", "offsets": "i", "sizes": "i", "labels": "i", "targets": "f", "stamp": "i"}


@dataclass(frozen=True)
class TarTable:
    """keys: (n,) bytes, UTF-8, increasing; offsets, sizes: (n,) int64, where each file's bytes are in the tar; labels:
    (n,) int64, targets: (n, k) float32, see TarMember."""

    keys: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray
    labels: np.ndarray
    targets: np.ndarray

    def find(self, key: str) -> tuple[int, int]:
        """(offset, bytes) of one file. Raises FileNotFoundError where it is not there, as a folder does."""
        wanted = key.encode()
        position = int(np.searchsorted(self.keys, wanted))
        if position == len(self.keys) or self.keys[position] != wanted:
            raise FileNotFoundError(errno.ENOENT, "No such file in the archive", key)
        return int(self.offsets[position]), int(self.sizes[position])


@dataclass(frozen=True)
class TarIndex:
    """The files of one tar by key. stamp: what the tar was like when it was indexed, and what was asked of it; saved:
    the index's file.

    Pickles small where it was saved: each process loads the table from the file once.
    """

    tar: Path
    stamp: tuple[int, ...]
    saved: Path | None
    _table: TarTable | None = None

    @property
    def table(self) -> TarTable:
        if self._table is not None:
            return self._table
        assert self.saved is not None, "a table is saved or held"
        return _load(self.saved, self.tar, self.stamp)

    def read(self, key: str) -> bytes:
        """The bytes of one file.

        Raises UnreadableImage beyond MAX_IMAGE_BYTES; SourceError where the tar has changed; OSError as the disk does.
        """
        return self.read_at(*self.table.find(key), key)

    def read_at(self, offset: int, n_bytes: int, key: str) -> bytes:
        """The bytes of one file where it lies; see read. key: for messages."""
        check_image_bytes(n_bytes)
        descriptor = _open(self.tar, self.stamp).descriptor
        # One that is written to where it lies keeps its descriptor.
        _check_stamp(descriptor, self.tar, self.stamp)
        data = b""
        while len(data) < n_bytes and (piece := os.pread(descriptor, n_bytes - len(data), offset + len(data))):
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
    try:
        stamp = _stamp(descriptor, zlib.crc32(asked.encode()))
        if saved is not None and _is_sound(saved, tar, stamp):
            return TarIndex(tar, stamp, saved)
        logger.info("indexing %s", tar)
        table = _make_table(_tell(list_files(descriptor), tar.name, stamp[1], on_archive))
    finally:
        os.close(descriptor)
    if saved is None:
        return TarIndex(tar, stamp, None, table)
    try:
        _save(saved, table, stamp)
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise
        return TarIndex(tar, stamp, None, table)
    return TarIndex(tar, stamp, saved)


def _stamp(descriptor: int, asked: int) -> tuple[int, ...]:
    """What changes when the tar does, or what is asked; it decides whether to index again, never what is stored."""
    status = os.fstat(descriptor)
    return INDEX_FORMAT, status.st_size, status.st_mtime_ns, asked


def _tell(members: Iterable[TarMember], name: str, n_bytes: int, on_archive: OnArchive) -> Iterator[TarMember]:
    """The members, telling now and then how far in the tar they are."""
    for count, member in enumerate(members):
        if count % MEMBERS_BETWEEN_TELLING == 0:
            on_archive("indexing", name, member.offset, n_bytes)
        yield member
    on_archive("indexing", name, n_bytes, n_bytes)


def _make_table(members: Iterable[TarMember]) -> TarTable:
    latest = {member.key.encode(): member for member in members}
    keys = sorted(latest)
    return TarTable(
        keys=np.array(keys, "S") if keys else np.empty(0, "S1"),
        offsets=np.array([latest[key].offset for key in keys], np.int64),
        sizes=np.array([latest[key].n_bytes for key in keys], np.int64),
        labels=np.array([latest[key].label for key in keys], np.int64),
        targets=np.array([latest[key].targets for key in keys], np.float32).reshape(len(keys), -1 if keys else 0),
    )


def _save(path: Path, table: TarTable, stamp: tuple[int, ...]) -> None:
    # In a stage, which a later run removes after a kill, and not while its maker lives.
    with stage(path.parent, path.name) as folder, NewFile(path, temporary=folder / path.name) as new:
        found = {name: getattr(table, name).reshape(-1) for name in _ARRAYS if name != "stamp"}
        np.savez(new.file, **found, stamp=np.array(stamp))
        new.commit()


def _is_sound(saved: Path, tar: Path, stamp: tuple[int, ...]) -> bool:
    try:
        _load(saved, tar, stamp)
    except (SourceError, FileNotFoundError):
        return False
    return True


@functools.lru_cache(maxsize=_N_TABLES)
def _load(saved: Path, tar: Path, stamp: tuple[int, ...]) -> TarTable:
    """The table in an index file. Raises SourceError where it is damaged or of another tar."""
    try:
        if not stat.S_ISREG(os.stat(saved).st_mode):
            raise ValueError("it is no file")
        with zipfile.ZipFile(saved) as arrays:
            keys, offsets, sizes, labels, targets, found = (_read_array(arrays, name) for name in _ARRAYS)
    except (OSError, *_MALFORMED) as error:
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, FileNotFoundError):
            raise
        raise SourceError(f"the index {show_path(saved)} is damaged or gone: give the same command again") from error
    kinds = [array.dtype.kind for array in (keys, offsets, sizes, labels, targets, found)]
    shapes = {array.shape for array in (keys, offsets, sizes, labels)}
    if kinds != list(_ARRAYS.values()) or len(shapes) > 1 or len(targets) % max(1, len(keys)):
        raise SourceError(f"the index {show_path(saved)} is malformed: delete it")
    if tuple(found.tolist()) != stamp:
        raise SourceError(f"{show_path(tar)} has changed since it was indexed: give the same command again")
    inside = (offsets >= 0) & (sizes >= 0) & (offsets <= stamp[1] - sizes)
    if not inside.all() or not (keys[1:] > keys[:-1]).all() or not _is_utf8(keys):
        raise SourceError(f"the index {show_path(saved)} is malformed: delete it")
    return TarTable(keys, offsets, sizes, labels, targets.reshape(len(keys), -1 if len(keys) else 0))


def _read_array(arrays: zipfile.ZipFile, name: str) -> np.ndarray:
    """(n,) values of one array that np.savez wrote; whatever it claims, no more memory than the file has bytes."""
    member = arrays.getinfo(f"{name}.npy")
    if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
        raise ValueError(f"{name} is compressed")
    with arrays.open(member) as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError(f"{name} is of another version")
        head = file.read(int.from_bytes(file.read(2), "little")).decode("latin1")
        data = file.read()
    # NumPy parses it as Python's own code, which fails now and then where several threads do (CPython 3.11).
    if not (found := _HEADER.fullmatch(head)):
        raise ValueError(f"{name} has no header of one axis")
    dtype, n_values = np.dtype(found[1]), int(found[2])
    if n_values * dtype.itemsize != len(data):
        raise ValueError(f"{name} has another shape")
    return np.frombuffer(data, dtype)


def _is_utf8(keys: np.ndarray) -> bool:
    try:
        b"".join(keys.tolist()).decode()
    except UnicodeDecodeError:
        return False
    return True


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
