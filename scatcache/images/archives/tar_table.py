"""The table of where every file of a tar lies: made once, kept beside the store, loaded by each process that reads."""

import errno
import functools
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
from scatcache.images.archives.unpack import READ_ONLY, OnArchive
from scatcache.images.keys import show_path

# Of an index file; a change of what members are taken, or of their keys, needs another.
INDEX_FORMAT = 2
MEMBERS_BETWEEN_TELLING = 1000
# Of a dataset in a thousand tars each has some.
_N_TABLES = 4096
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
class KeptTable:
    """The table of one tar. stamp: (INDEX_FORMAT, bytes of the tar, what else changes when it does, what was asked of
    it); saved: the index's file, None where the table is held.

    Pickles small where it was saved: each process loads it from the file once.
    """

    stamp: tuple[int, ...]
    saved: Path | None
    held: TarTable | None = None

    def get(self, where: str) -> TarTable:
        """The table. where: the tar, for messages. Raises SourceError where its file is damaged, gone or another's."""
        if self.held is not None:
            return self.held
        assert self.saved is not None, "a table is saved or held"
        return _load(self.saved, where, self.stamp)


def keep_table(
    saved: Path | None, stamp: tuple[int, ...], where: str, list_files: Callable[[], Iterable[TarMember]]
) -> KeptTable:
    """The table that an earlier run saved, or a new one of these files, saved there.

    saved: None where it is to be held in memory, as it is where it cannot be written. Raises what list_files raises,
    and OSError as the disk does.
    """
    if saved is not None and _is_sound(saved, where, stamp):
        return KeptTable(stamp, saved)
    table = _make_table(list_files())
    if saved is None:
        return KeptTable(stamp, None, table)
    try:
        _save(saved, table, stamp)
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise
        return KeptTable(stamp, None, table)
    return KeptTable(stamp, saved)


def tell_members(members: Iterable[TarMember], name: str, n_bytes: int, on_archive: OnArchive) -> Iterator[TarMember]:
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


def _is_sound(saved: Path, where: str, stamp: tuple[int, ...]) -> bool:
    try:
        _load(saved, where, stamp)
    except (SourceError, FileNotFoundError):
        return False
    return True


@functools.lru_cache(maxsize=_N_TABLES)
def _load(saved: Path, where: str, stamp: tuple[int, ...]) -> TarTable:
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
        raise SourceError(f"{where} has changed since it was indexed: give the same command again")
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
