"""Zarr arrays and groups, versions 2 and 3, in local folders: read chunk by chunk through zarr-python."""

import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from scatcache.errors import SourceError, UnreadableImage
from scatcache.images.archives.stamps import Stamp, check_stamp
from scatcache.images.keys import show_path
from scatcache.images.kinds.arrays.image_array import ArrayHead, ImageArray, stamp_regular

# What says that a folder is a Zarr array or group.
DOCUMENTS = ("zarr.json", ".zarray", ".zgroup")
# What zarr-python is known to raise on metadata that is none, besides an OSError without an errno.
_MALFORMED = (ValueError, TypeError, LookupError, AttributeError, NotImplementedError, RuntimeError, ArithmeticError)
# How deep in a store of ours an array lies.
_DEPTH = 3
_OURS = "scatcache"


@dataclass(frozen=True)
class ZarrArray:
    """An array of a Zarr store. A chunk that is not there holds the fill value, by Zarr's rules: an array whose chunks
    were lost reads so, and nobody can tell. stamp: of its metadata; n_bytes: of the files in its folder."""

    place: str
    name: str
    stamp: Stamp
    shape: tuple[int, ...]
    dtype: np.dtype
    rows_per_block: int
    n_bytes: int

    def read_rows(self, start: int, stop: int) -> np.ndarray:
        check_stamp(self.stamp)
        try:
            found = np.asarray(_open_node(os.getpid(), self.place, self.name)[start:stop])
        except (OSError, EOFError, *_MALFORMED) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise UnreadableImage(f"its chunk does not decode ({type(error).__name__})") from error
        # A store that is being deleted reads as if chunks had never been there.
        check_stamp(self.stamp)
        return found

    def locate_row(self, row: int) -> None:
        """Chunks are read, and not bytes."""


def is_zarr_folder(place: str) -> bool:
    """Whether a folder is a Zarr array or group, or is called one."""
    if not os.path.isdir(place):
        return False
    return place.rstrip("/").lower().endswith(".zarr") or any(
        os.path.isfile(os.path.join(place, name)) for name in DOCUMENTS
    )


def list_zarr(path: Path, wanted: tuple[str, ...]) -> dict[str, ArrayHead]:
    """The arrays of a Zarr group by their paths in it; an array by itself, under no name.

    Raises SourceError where it is neither, or is a store of ours; OSError as the disk does.
    """
    where = show_path(path)
    refuse_own_store(path)
    with explain_zarr(where):
        import zarr

        node = _open_node(os.getpid(), os.fspath(path), "")
        nodes = {"": node} if isinstance(node, zarr.Array) else dict(node.members(max_depth=None))
        return {
            name: ArrayHead(
                tuple(found.shape),
                np.dtype(found.dtype),
                partial(_place, f"{name} in {where}" if name else where, path, name),
            )
            for name, found in nodes.items()
            if isinstance(found, zarr.Array)
        }


def refuse_own_store(path: Path) -> None:
    """Raises SourceError for a store of ours, and what is in one."""
    for folder in (path, *path.parents[:_DEPTH]):
        with suppress(OSError, ValueError, AttributeError):
            document = json.loads((folder / DOCUMENTS[0]).read_bytes())
            if _OURS in document.get("attributes", {}):
                raise _refuse_ours(show_path(path))


def _refuse_ours(where: str) -> SourceError:
    return SourceError(f"{where} is a scatcache store, which holds coefficients: give the images that it was made from")


@lru_cache(maxsize=8)
def _open_node(process: int, place: str, name: str) -> Any:
    """An array or group of this process, after a fork another."""
    import zarr
    from zarr.storage import LocalStore

    return zarr.open(LocalStore(place, read_only=True), path=name, mode="r")


def _place(where: str, path: Path, name: str) -> ImageArray:
    folder = path / name
    document = next(folder / known for known in DOCUMENTS if (folder / known).is_file())
    stamp = stamp_regular(os.fspath(document))
    with explain_zarr(where):
        array = _open_node(os.getpid(), os.fspath(path), name)
        shape = tuple(array.shape)
        rows_per_block = max(1, min(array.chunks[0], shape[0]))
        return ZarrArray(os.fspath(path), name, stamp, shape, np.dtype(array.dtype), rows_per_block, _sum_files(folder))


def _sum_files(folder: Path) -> int:
    return sum(os.path.getsize(os.path.join(parent, name)) for parent, _, names in os.walk(folder) for name in names)


@contextmanager
def explain_zarr(where: str) -> Iterator[None]:
    """Turns what zarr-python raises on metadata that is none into SourceError, and silences what it warns of."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except SourceError:
        raise
    except (OSError, *_MALFORMED) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise SourceError(
            f"{where} holds no Zarr array or group that can be read ({reason}): write it again"
        ) from error
