"""What an array of images is, wherever it lies: rows of its first axis; and the simplest, samples plainly in a file."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import NamedTuple, Protocol

import numpy as np

from scatcache.errors import SourceError
from scatcache.images.archives.stamps import Stamp, check_stamp
from scatcache.images.keys import show_path
from scatcache.images.source import Location

# What a block may hold in memory; several threads hold one each.
MAX_BLOCK_BYTES = 2**29
# Of an array in Fortran's order, whose rows are scattered over the whole file: so much is gathered at once.
GATHERED_BYTES = 2**26


class ImageArray(Protocol):
    """An array whose first axis counts the images. Threads may read at once; one of a file pickles small, and opens it
    anew in each process. shape, dtype: as its header says; rows_per_block: images that are read as a whole, 1 where
    each lies by itself; n_bytes: of what holds it, which tells another array from this one.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype: ...
    @property
    def rows_per_block(self) -> int: ...
    @property
    def n_bytes(self) -> int: ...

    def read_rows(self, start: int, stop: int) -> np.ndarray:
        """Some rows, (stop - start, ...), perhaps as a view of what is held.

        Raises UnreadableImage where they do not decode, SourceError where the file has changed, OSError as the disk
        does.
        """
        ...

    def locate_row(self, row: int) -> Location | None:
        """Where the bytes of a row lie in a file, None where they do not lie so."""
        ...


class ArrayHead(NamedTuple):
    """What a file says of one of its arrays. open: to read it; raises SourceError where it cannot be read."""

    shape: tuple[int, ...]
    dtype: np.dtype
    open: Callable[[], ImageArray]

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape}"


@dataclass(frozen=True)
class PlainArray:
    """Samples that lie in a file one after the other, in C's order, from offset on. n_bytes: of the file, or of that
    which it was made of."""

    stamp: Stamp
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype
    n_bytes: int

    rows_per_block = 1

    @cached_property
    def row_bytes(self) -> int:
        return prod(self.shape[1:]) * self.dtype.itemsize

    def read_rows(self, start: int, stop: int) -> np.ndarray:
        """By position and not by mapping: a mapped file that shrinks would end the process."""
        check_stamp(self.stamp)
        data = np.empty(self.row_bytes * (stop - start), np.uint8)
        view, n_read = data.data, 0
        with open(self.stamp.path, "rb", buffering=0) as file:
            file.seek(self.offset + start * self.row_bytes)
            while n_read < len(data) and (n_new := file.readinto(view[n_read:])):
                n_read += n_new
        if n_read != len(data):
            raise SourceError(f"{show_path(self.stamp.path)} ends within image {start}: it was truncated just now")
        return data.view(self.dtype).reshape(stop - start, *self.shape[1:])

    def locate_row(self, row: int) -> Location:
        return Location(self.stamp.path, self.offset + row * self.row_bytes, self.row_bytes)


@dataclass(frozen=True)
class ScatteredArray:
    """Samples that lie in a file in Fortran's order, from offset on: the first axis runs fastest. See PlainArray."""

    stamp: Stamp
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype
    n_bytes: int

    @property
    def rows_per_block(self) -> int:
        return max(1, GATHERED_BYTES // (prod(self.shape[1:]) * self.dtype.itemsize))

    def read_rows(self, start: int, stop: int) -> np.ndarray:
        check_stamp(self.stamp)
        mapped = np.memmap(self.stamp.path, self.dtype, "r", self.offset, self.shape, "F")
        return np.array(mapped[start:stop], order="C")

    def locate_row(self, row: int) -> None:
        """It lies all over the file."""


def check_inside(where: str, stamp: Stamp, offset: int, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Raises SourceError where a header claims more than its file holds."""
    expected = offset + prod(shape) * dtype.itemsize
    if expected > stamp.n_bytes:
        raise SourceError(
            f"{where} is truncated: {dtype} {shape} needs {expected} bytes, the file has {stamp.n_bytes}: fetch or "
            f"write it again"
        )


def stamp_regular(path: str) -> Stamp:
    """The stamp of a file under its absolute path. Raises OSError as the disk does."""
    status = os.stat(path)
    return Stamp(os.path.abspath(path), status.st_size, status.st_mtime_ns)
