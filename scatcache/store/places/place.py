"""Where a store's files are read from: a local folder, an S3 bucket or a web server, all by the same few calls."""

import contextlib
import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np

from scatcache.errors import ScatcacheError, StoreDamaged
from scatcache.retries import TRANSIENT_ERRNOS, retried, with_retries
from scatcache.store.places.files import exists, is_folder, open_regular, read_regular

SCHEMES = ("s3", "https", "http")


class OpenFile(Protocol):
    """One file open for positional reads; safe for threads. file_bytes: its size when it was opened."""

    file_bytes: int

    def read_range(self, start: int, n_bytes: int) -> bytes:
        """n_bytes bytes from start, fewer at the end of the file. Raises FileNotFoundError where it went meanwhile."""


class Place(Protocol):
    """The files of one store, read only, by names relative to the store with "/" between folders.

    name: of the store, for messages; finish: what to do about an unfinished split, to come after "it is incomplete:".
    Picklable, and usable in a forked process.
    """

    name: str
    finish: str

    def read(self, name: str) -> bytes:
        """A whole file. Raises FileNotFoundError where there is none, StoreDamaged where it is no file to read."""

    def open(self, name: str, *, tail_bytes: int) -> OpenFile:
        """tail_bytes: how much of the end will be read first, which a remote place fetches in the request that opens.

        Raises FileNotFoundError where there is no such file, StoreDamaged where it is no file to read.
        """

    def has(self, name: str) -> bool | None:
        """Whether a file is there; None where only a request could tell."""

    def list_sizes(self, folder: str) -> dict[str, int] | None:
        """Sizes of all files below a folder by their names relative to it; None where the place cannot list."""

    def look(self) -> str:
        """What is found in place of a store, for the message that there is none."""

    def read_with_zarr(self, array: str, rows: Sequence[int]) -> list[np.ndarray] | None:
        """Rows of an array as zarr-python reads them from the same files; None where it has no way to."""


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


def read_with_zarr(store: Any, array: str, rows: Sequence[int]) -> list[np.ndarray]:
    """Rows of an array of a store, which is whatever zarr.open_group takes."""
    import zarr

    opened = zarr.open_group(store, mode="r")[array]
    assert isinstance(opened, zarr.Array)
    return [np.asarray(opened[row]) for row in rows]


def is_url(path: str | os.PathLike[str]) -> bool:
    return "://" in os.fspath(path)


def show_place(path: str | os.PathLike[str]) -> str:
    """A path or URL as messages may show it: of a URL, scheme, host and path, never a user, password or query."""
    text = os.fspath(path)
    if not is_url(text):
        return text
    scheme, _, rest = text.partition("://")
    rest = rest.partition("?")[0].partition("#")[0]
    host, slash, inner = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{inner}"


def check_url(url: str) -> str:
    """The URL of a store without a slash at its end.

    Raises ScatcacheError for another scheme, a URL without host or bucket, and for one that carries a user, password,
    query or fragment: these would end up in logs and histories, and credentials come from the environment alone.
    """
    shown = show_place(url)
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in SCHEMES:
        raise ScatcacheError(
            f"{shown} is no place that scatcache reads: expected a local path, s3://, https:// or http://"
        )
    if not parts.netloc.rpartition("@")[2] or not parts.path.strip("/"):
        raise ScatcacheError(f"{shown} names no store: expected {parts.scheme}://HOST-OR-BUCKET/PATH/NAME.zarr")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ScatcacheError(
            f"the URL {shown} carries a user, password or query, not shown here: give it without, and S3 credentials "
            f"by the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN)"
        )
    return shown.rstrip("/")


def open_place(path: str | os.PathLike[str]) -> Place:
    """The place of a store: of a URL remote, else local. Raises ScatcacheError for a URL that is none of a store."""
    if not is_url(path):
        # Shards are opened when they are read, by then perhaps from another working folder.
        return LocalPlace(Path(os.path.realpath(path)))
    from scatcache.store.places.remote import RemotePlace

    return RemotePlace(check_url(os.fspath(path)))
