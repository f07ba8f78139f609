"""The files of a store in a local (or locally mounted) folder."""

import contextlib
import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from scatcache.durable import NewFile, is_own_temporary, is_temporary, make_folder, write_file
from scatcache.errors import StoreDamaged
from scatcache.retries import TRANSIENT_ERRNOS, retried, with_retries
from scatcache.store.places.files import exists, is_folder, open_regular, read_regular, remove, remove_temporaries
from scatcache.store.places.place import read_with_zarr


class LocalFile:
    """A descriptor, closed with the object."""

    @retried
    def __init__(self, path: Path):
        self._path = path
        self._descriptor = open_regular(path)
        self.file_bytes = os.fstat(self._descriptor).st_size

    def read_range(self, start: int, n_bytes: int) -> bytes:
        try:
            return _read_all(self._descriptor, start, n_bytes)
        except OSError as error:
            if error.errno not in TRANSIENT_ERRNOS:
                raise
        return with_retries(lambda: self._read_anew(start, n_bytes))

    def _read_anew(self, start: int, n_bytes: int) -> bytes:
        """By another descriptor: one that is stale stays so."""
        descriptor = open_regular(self._path)
        try:
            return _read_all(descriptor, start, n_bytes)
        finally:
            os.close(descriptor)

    # As a default: when the interpreter ends, modules may be gone before the last file is.
    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        if hasattr(self, "_descriptor"):
            close(self._descriptor)


def _read_all(descriptor: int, start: int, n_bytes: int) -> bytes:
    """What pread returns, and again until the file ends where it returns less."""
    data = os.pread(descriptor, n_bytes, start)
    while len(data) < n_bytes and (more := os.pread(descriptor, n_bytes - len(data), start + len(data))):
        data += more
    return data


class LocalPlace:
    """A folder on a local (or locally mounted) file system. path: absolute and without links."""

    def __init__(self, path: Path):
        self.path = path
        self.name = str(path)
        self.finish = f"finish it with `scatcache resume {path}`"

    def read(self, name: str) -> bytes:
        try:
            return read_regular(self.path / name)
        except StoreDamaged as error:
            if is_folder(self.path):
                raise
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.name) from error

    def open(self, name: str, *, tail_bytes: int) -> LocalFile:
        return LocalFile(self.path / name)

    def has(self, name: str) -> bool:
        return exists(self.path / name)

    @retried
    def list_names(self, folder: str) -> list[str]:
        with (
            contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError),
            os.scandir(self.path / folder) as entries,
        ):
            return sorted(entry.name + "/" * entry.is_dir(follow_symlinks=False) for entry in entries)
        return []

    @retried
    def list_sizes(self, folder: str) -> dict[str, int]:
        top, sizes = self.path / folder, {}
        for parent, _, files in os.walk(top, onerror=_raise_unless_missing):
            for file in files:
                path = os.path.join(parent, file)
                with contextlib.suppress(FileNotFoundError):
                    sizes[os.path.relpath(path, top)] = _find_size(path)
        return sizes

    def look(self) -> str:
        if is_folder(self.path):
            return "a folder without our manifest"
        return "a file" if exists(self.path) else "nothing"

    def read_with_zarr(self, array: str, rows: Sequence[int]) -> list[np.ndarray] | None:
        return read_with_zarr(self.name, array, rows)

    def put(self, name: str, data: bytes) -> None:
        path = self.path / name
        if not exists(path.parent):
            make_folder(path.parent)
        write_file(path, data)

    def put_stream(self, name: str) -> NewFile:
        return NewFile(self.path / name)

    def delete(self, name: str) -> None:
        remove(self.path / name)

    def sweep(self, folder: str) -> None:
        # Beside the splits users may keep files of their own.
        remove_temporaries(self.path / folder, is_left=is_temporary if folder else is_own_temporary)


def _find_size(path: str) -> int:
    """Of a link, the size of what it leads to; of one that leads nowhere, its own."""
    try:
        return os.stat(path).st_size
    except OSError as error:
        if error.errno in TRANSIENT_ERRNOS:
            raise
        return os.lstat(path).st_size


def _raise_unless_missing(error: OSError) -> None:
    """For os.walk: a folder that is gone is empty, one that may not be read is named elsewhere."""
    if error.errno in TRANSIENT_ERRNOS:
        raise error
