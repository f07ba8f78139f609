"""What a place is: where a store's files are, read and written by a few calls; and how places are named."""

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np

from scatcache.errors import ScatcacheError, UsageError
from scatcache.remote.urls import show_place


class OpenFile(Protocol):
    """One file open for positional reads; safe for threads."""

    @property
    def file_bytes(self) -> int | None:
        """Its size when it was opened, None where telling takes a request and no end was asked for."""

    def read_range(self, start: int, n_bytes: int) -> bytes:
        """n_bytes bytes from start, fewer at the end of the file. Raises FileNotFoundError where it went meanwhile."""


class NewObject(Protocol):
    """One file in the making: nobody sees it before commit(), and what is left without commit() is gone."""

    def write(self, data: bytes) -> Any:
        """Adds bytes."""

    def commit(self, check: Callable[[], None] = ...) -> None:
        """Makes it durable and gives it its name. check: called just before that; what it raises leaves no file."""


class Place(Protocol):
    """The files of one store, by names relative to the store with "/" between folders; "" is the store's own folder.

    name: of the store, for messages; finish: what to do about an unfinished split, to come after "it is incomplete:".
    Picklable, and usable in a forked process, or refused there. A place that only reads raises ScatcacheError from put,
    put_stream, delete and sweep.
    """

    name: str
    finish: str

    def read(self, name: str) -> bytes:
        """A whole file. Raises FileNotFoundError where there is none, StoreDamaged where it is no file to read."""

    def open(self, name: str, *, tail_bytes: int) -> OpenFile:
        """tail_bytes: how much of the end will be read first, which a remote place fetches in the request that opens;
        where it is 0 there is none, and a missing file shows when it is read.

        Raises FileNotFoundError where there is no such file, StoreDamaged where it is no file to read.
        """

    def has(self, name: str) -> bool | None:
        """Whether a file is there; None where only a request could tell."""

    def list_names(self, folder: str) -> list[str] | None:
        """What lies in a folder, a folder with "/" at its end and a link without; None where requests would tell."""

    def list_sizes(self, folder: str) -> dict[str, int] | None:
        """Sizes of all files below a folder by their names relative to it; None where the place cannot list."""

    def look(self) -> str:
        """What is found in place of a store, for the message that there is none."""

    def read_with_zarr(self, array: str, rows: Sequence[int]) -> list[np.ndarray] | None:
        """Rows of an array as zarr-python reads them from the same files; None where it has no way to."""

    def put(self, name: str, data: bytes) -> None:
        """Makes or replaces a small file, whole or not at all, and durable when this returns; makes its folders."""

    def put_stream(self, name: str) -> AbstractContextManager[NewObject]:
        """Makes or replaces a large file, in a folder that holds one already."""

    def delete(self, name: str) -> None:
        """Removes a file, or a folder with all below it, durably; what is missing is gone already."""

    def sweep(self, folder: str) -> None:
        """Removes what killed writers left in a folder."""


def read_with_zarr(store: Any, array: str, rows: Sequence[int]) -> list[np.ndarray]:
    """Rows of an array of a store, which is whatever zarr.open_group takes."""
    import zarr

    opened = zarr.open_group(store, mode="r")[array]
    assert isinstance(opened, zarr.Array)
    return [np.asarray(opened[row]) for row in rows]


def refuse_writing(path: str | os.PathLike[str]) -> ScatcacheError:
    """What to raise where somebody wants to write to a URL."""
    return UsageError(f"{show_place(path)} is no local path: extract to a local folder, then copy it with any tool")
