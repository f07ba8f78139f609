"""Arrays of HDF5 files: datasets that lie plainly are read as files are, others through h5py, chunk by chunk."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from scatcache.errors import SourceError, UnreadableImage
from scatcache.images.archives.stamps import Stamp, check_stamp
from scatcache.images.keys import escape_name, show_path
from scatcache.images.kinds.arrays.image_array import (
    ArrayHead,
    ImageArray,
    OpenedHere,
    PlainArray,
    check_inside,
    stamp_regular,
)

# What h5py is known to raise on a damaged file, besides an OSError without an errno.
_MALFORMED = (RuntimeError, LookupError, AttributeError, ValueError, TypeError)


@dataclass(frozen=True)
class Hdf5Array:
    """A dataset read through h5py, which lets one thread at a time do so; a chunk that is not there holds the fill
    value, by HDF5's rules."""

    stamp: Stamp
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    rows_per_block: int
    opened: OpenedHere[Any] = field(repr=False, compare=False)

    @property
    def n_bytes(self) -> int:
        return self.stamp.n_bytes

    def read_rows(self, start: int, stop: int) -> np.ndarray:
        check_stamp(self.stamp)
        with _explain(show_path(self.stamp.path)):
            dataset = self.opened.get()
        try:
            found: np.ndarray = dataset[start:stop]
        except (OSError, *_MALFORMED) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise UnreadableImage(
                f"its samples in {escape_name(self.name)} do not decode ({type(error).__name__})"
            ) from error
        return found

    def locate_row(self, row: int) -> None:
        """Chunks are read, and not bytes."""


def list_hdf5(path: Path, wanted: tuple[str, ...]) -> dict[str, ArrayHead]:
    """The datasets of an HDF5 file by their paths in it. wanted: those that may be behind a link, which is followed.

    Raises SourceError where it is none, is truncated or locked; OSError as the disk does.
    """
    where, stamp = show_path(path), stamp_regular(os.fspath(path))
    h5py = _import_h5py(where)
    nodes: dict[str, Any] = {}
    with _explain(where), h5py.File(path, "r") as file:
        file.visititems(nodes.__setitem__)
        nodes |= {name: file.get(name) for name in map(_strip, wanted) if name and name not in nodes}
        return {
            name: ArrayHead(
                node.shape, _find_dtype(node), partial(_place, f"{escape_name(name)} in {where}", stamp, name)
            )
            for name, node in nodes.items()
            if isinstance(node, h5py.Dataset) and node.shape is not None
        }


def _find_dtype(dataset: Any) -> np.dtype:
    """That of a dataset; raw bytes where NumPy has none, which is refused where it matters."""
    try:
        return np.dtype(dataset.dtype)
    except TypeError:
        return np.dtype(f"V{dataset.id.get_type().get_size()}")


def _strip(name: str) -> str:
    return name.strip("/")


def _import_h5py(where: str) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise SourceError(f"reading {where} needs h5py: pip install 'scatcache[hdf5]'") from error
    return h5py


def _open_dataset(stamp: Stamp, name: str) -> Any:
    """An open dataset, with which the file is closed."""
    h5py = _import_h5py(show_path(stamp.path))
    with suppress(ImportError):
        # Filters beyond HDF5's own.
        import hdf5plugin  # noqa: F401
    return h5py.File(stamp.path, "r")[name]


def _place(where: str, stamp: Stamp, name: str) -> ImageArray:
    """A dataset as it is best read. Raises SourceError where its samples lie in other files, or need a filter."""
    h5py = _import_h5py(where)
    check_stamp(stamp)
    with _explain(where):
        dataset = _open_dataset(stamp, name)
        if dataset.is_virtual or dataset.external or not os.path.samefile(dataset.file.filename, stamp.path):
            raise SourceError(f"{where} only refers to other files: give the file that holds the images, or a copy")
        plist = dataset.id.get_create_plist()
        filters = [plist.get_filter(i) for i in range(plist.get_nfilters())]
        for code, *_, called in filters:
            if not h5py.h5z.filter_avail(code):
                filter_name = called.decode(errors="replace") or code
                raise SourceError(f"{where} needs the HDF5 filter {filter_name!a}: pip install hdf5plugin")
        shape, dtype = dataset.shape, _find_dtype(dataset)
        # A dataset that was never written has no place, and types that NumPy lacks another size in the file.
        is_there = dataset.chunks is None and dataset.id.get_storage_size() == dataset.size * dtype.itemsize > 0
        offset = dataset.id.get_offset() if is_there else None
        if offset is not None and dataset.id.get_type().equal(h5py.h5t.py_create(dtype)):
            check_inside(where, stamp, offset, shape, dtype)
            return PlainArray(stamp, offset, shape, dtype, stamp.n_bytes)
        rows_per_block = min(dataset.chunks[0], shape[0]) if dataset.chunks else 1
        return Hdf5Array(
            stamp, name, shape, dtype, max(1, rows_per_block), OpenedHere(partial(_open_dataset, stamp, name))
        )


@contextmanager
def _explain(where: str) -> Iterator[None]:
    """Turns what h5py raises on a file that is none, or not all of one, into SourceError."""
    try:
        yield
    except SourceError:
        raise
    except BlockingIOError as error:
        raise SourceError(
            f"{where} is open for writing elsewhere: close it there, then give the same command again"
        ) from error
    except (OSError, *_MALFORMED) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = " ".join(str(error).split())
        raise SourceError(
            f"{where} is truncated, damaged or no HDF5 file ({reason}): fetch or write it again"
        ) from error
