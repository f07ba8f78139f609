"""Zarr arrays and groups, versions 2 and 3, in folders, in buckets and on web servers, read through zarr-python."""

import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from scatcache.errors import ScatcacheError, SourceError, UnreadableImage
from scatcache.images.archives.stamps import Stamp, check_stamp
from scatcache.images.keys import show_path
from scatcache.images.kinds.arrays.image_array import ArrayHead, ImageArray, OpenedHere, stamp_regular
from scatcache.remote.objects import ObjectFiles, Span
from scatcache.remote.urls import is_url

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
    were lost reads so, and nobody can tell. stamp: of its metadata, None at a URL; n_bytes: of the files in its folder,
    at a URL of its samples."""

    place: str
    name: str
    stamp: Stamp | None
    shape: tuple[int, ...]
    dtype: np.dtype
    rows_per_block: int
    n_bytes: int
    opened: OpenedHere[Any] = field(repr=False, compare=False)

    def read_rows(self, start: int, stop: int) -> np.ndarray:
        self._check()
        try:
            found = np.asarray(self.opened.get()[start:stop])
        except ScatcacheError:
            raise
        except (OSError, EOFError, *_MALFORMED) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise UnreadableImage(f"its chunk does not decode ({type(error).__name__})") from error
        # A store that is being deleted reads as if chunks had never been there.
        self._check()
        return found

    def _check(self) -> None:
        if self.stamp is not None:
            check_stamp(self.stamp)

    def locate_row(self, row: int) -> None:
        """Chunks are read, and not bytes."""


def is_zarr_folder(place: str) -> bool:
    """Whether a folder is a Zarr array or group, or is called one."""
    if not os.path.isdir(place):
        return False
    return place.rstrip("/").lower().endswith(".zarr") or any(
        os.path.isfile(os.path.join(place, name)) for name in DOCUMENTS
    )


def list_zarr(place: str, wanted: tuple[str, ...]) -> dict[str, ArrayHead]:
    """The arrays of a Zarr group at a path or URL by their paths in it; an array by itself, under no name.

    wanted: the names asked for, first that of the images, "" where nobody named them: at a URL whatever else there is
    is not looked for then.

    Raises SourceError where it is neither, or is a store of ours; OSError as the disk does.
    """
    where = show_path(place)
    if not is_url(place):
        refuse_own_store(Path(place))
    with _explain(where):
        import zarr

        node = _open_node(place, "")
        if _OURS in node.attrs:
            raise _refuse_ours(where)
        nodes = {"": node} if isinstance(node, zarr.Array) else _list_nodes(node, place, wanted)
        return {
            name: ArrayHead(tuple(found.shape), np.dtype(found.dtype), partial(_place, where, place, name))
            for name, found in nodes.items()
            if isinstance(found, zarr.Array)
        }


def _list_nodes(group: Any, place: str, wanted: tuple[str, ...]) -> dict[str, Any]:
    """What is in a group: what its metadata or the folder lists, or at a URL what is wanted, or the bucket lists."""
    if not is_url(place) or group.metadata.consolidated_metadata is not None:
        return dict(group.members(max_depth=None))
    names = {name.strip("/") for name in wanted} - {""}
    if not wanted[0]:
        sizes = ObjectFiles(place).list_sizes("")
        if sizes is None:
            raise SourceError(f"{show_path(place)} is a Zarr group that cannot be listed: give --array NAME")
        names |= {name.rpartition("/")[0] for name in sizes if name.rpartition("/")[2] in DOCUMENTS} - {""}
    found: dict[str, Any] = {}
    for name in sorted(names):
        with suppress(FileNotFoundError):
            found[name] = _open_node(place, name)
    return found


def refuse_own_store(path: Path) -> None:
    """Raises SourceError for a store of ours, and what is in one."""
    for folder in (path, *path.parents[:_DEPTH]):
        is_ours = False
        with suppress(OSError, ValueError, AttributeError, TypeError, RecursionError):
            is_ours = _OURS in json.loads((folder / DOCUMENTS[0]).read_bytes()).get("attributes", {})
        if is_ours:
            raise _refuse_ours(show_path(path))


def _refuse_ours(where: str) -> SourceError:
    return SourceError(f"{where} is a scatcache store, which holds coefficients: give the images that it was made from")


def _open_node(place: str, name: str) -> Any:
    """An array or group. Raises FileNotFoundError where there is none."""
    import zarr
    from zarr.storage import LocalStore

    if not is_url(place):
        return zarr.open(LocalStore(place, read_only=True), path=name, mode="r")
    from scatcache.remote.zarr_files import ZarrFiles

    return zarr.open(ZarrFiles(partial(_fetch, ObjectFiles(place))), path=name, mode="r")


def _fetch(files: ObjectFiles, name: str, span: Span | None) -> tuple[bytes, int]:
    """Some bytes of a file; cut from the whole where a server knows no ranges."""
    found = files.fetch(name, span)
    if found is not None:
        return found
    whole = files.fetch(name, None)
    assert whole is not None and span is not None, "only parts may be refused"
    return whole[0][-span:] if isinstance(span, int) else whole[0][slice(*span)], whole[1]


def _place(where: str, place: str, name: str) -> ImageArray:
    with _explain(where):
        array = _open_node(place, name)
        opened = OpenedHere(partial(_open_node, place, name))
        shape, dtype = tuple(array.shape), np.dtype(array.dtype)
        rows_per_block = max(1, min(array.chunks[0], shape[0]))
        if is_url(place):
            return ZarrArray(place, name, None, shape, dtype, rows_per_block, int(array.nbytes), opened)
        folder = Path(place) / name
        document = next(folder / known for known in DOCUMENTS if (folder / known).is_file())
        stamp = stamp_regular(os.fspath(document))
        return ZarrArray(place, name, stamp, shape, dtype, rows_per_block, _sum_files(folder), opened)


def _sum_files(folder: Path) -> int:
    return sum(os.path.getsize(os.path.join(parent, name)) for parent, _, names in os.walk(folder) for name in names)


@contextmanager
def _explain(where: str) -> Iterator[None]:
    """Turns what zarr-python raises on metadata that is none into SourceError, and silences what it warns of."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ScatcacheError:
        raise
    except (OSError, *_MALFORMED) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise SourceError(
            f"{where} holds no Zarr array or group that can be read ({reason}): write it again"
        ) from error
