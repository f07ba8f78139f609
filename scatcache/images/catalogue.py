"""The tables of sources: datasets by name, and what may lie at a path; from what the user typed to an opened source."""

import os
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scatcache.errors import SourceError, UsageError
from scatcache.images.archives.staging import sweep
from scatcache.images.archives.unpack import OnArchive, tell_nobody
from scatcache.images.contents import Contents
from scatcache.images.image_source import ImageSource, is_source, settle
from scatcache.images.keys import show_path
from scatcache.images.kinds.arrays.array_files import ARRAY_NAME, is_array_place, open_array_place
from scatcache.images.kinds.arrays.python_arrays import is_array, open_python_arrays
from scatcache.images.kinds.folder import FOLDER_NAME, open_folder
from scatcache.images.kinds.image_tar import TAR_NAME, is_image_tar, open_image_tar
from scatcache.images.kinds.parquet import PARQUET_NAME, is_parquet, open_parquet
from scatcache.images.kinds.python_object import open_dataset
from scatcache.images.kinds.webdataset import WEBDATASET_NAME, is_webdataset, open_webdataset
from scatcache.images.named_datasets import DATASETS, Whereabouts, find_archives, open_named, open_official

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Kind:
    """What may lie at a path or URL. name: what a manifest calls it; what: the same in words; lies_at: whether it does;
    open: raises SourceError, UsageError for contents that it has not; takes: the names of Contents that it has."""

    name: str
    what: str
    lies_at: Callable[[str], bool]
    open: Callable[[str, Contents, Whereabouts], ImageSource]
    takes: tuple[str, ...] = ()


# What lies at a path decides how it is opened: the first kind that lies there, else the last, which says what is wrong.
KINDS = (
    Kind(
        ARRAY_NAME,
        "an array (.npy, .npz, .h5, .fits, Zarr)",
        is_array_place,
        lambda at, contents, where: open_array_place(at, contents, where.work_dir),
        takes=("array", "axes", "labels", "targets"),
    ),
    Kind(
        PARQUET_NAME,
        "parquet files",
        is_parquet,
        lambda at, contents, where: open_parquet(Path(at), contents, where.work_dir if where.beside else None),
        takes=("array", "labels", "targets"),
    ),
    Kind(
        TAR_NAME,
        "a .tar of images",
        is_image_tar,
        lambda at, _, where: open_image_tar(Path(at), where.work_dir, on_archive=where.on_archive),
    ),
    Kind(
        WEBDATASET_NAME,
        "webdataset tars",
        is_webdataset,
        lambda at, contents, where: open_webdataset(at, contents, where.work_dir, on_archive=where.on_archive),
        takes=("array", "labels", "targets"),
    ),
    Kind(
        FOLDER_NAME,
        "a folder",
        os.path.isdir,
        lambda at, contents, _: open_folder(Path(at), contents),
        takes=("axes",),
    ),
)


def name_kinds() -> str:
    """What may lie at a path, in words."""
    *others, last = (kind.what for kind in KINDS)
    return f"{', '.join(others)} or {last}"


def is_known_source(source: str | os.PathLike[str]) -> bool:
    """Whether this names a dataset; a path object, or text with a slash, names a folder."""
    return isinstance(source, str) and source in DATASETS


def source_exists(source: str | os.PathLike[str]) -> bool:
    """Whether this names a dataset or anything on this disk; where not, the command line alone is wrong."""
    return is_known_source(source) or (
        os.fspath(source) != "" and (os.path.exists(source) or _find_kind(source) is not None)
    )


def list_contents(source: str | os.PathLike[str]) -> tuple[str, ...]:
    """The names of Contents that go with a source that exists."""
    kind = None if is_known_source(source) else _find_kind(source)
    return () if kind is None else kind.takes


def _find_kind(source: str | os.PathLike[str]) -> Kind | None:
    return next((kind for kind in KINDS if kind.lies_at(os.fspath(source))), None)


def explain_clash(source: object, root: str | os.PathLike[str] | None) -> str:
    """What to type where a dataset's name could as well mean a folder here; "" where it means one thing alone.

    With a root the name is meant; for a dataset without files, only a root that is no folder of that name says so.
    """
    if not isinstance(source, str) or source not in DATASETS:
        return ""
    has_files = DATASETS[source].has_files
    if root is not None and (has_files or os.path.basename(os.path.normpath(root)) != source):
        return ""
    folder = source if root is None else os.fspath(root)
    if not os.path.isdir(folder):
        return ""
    dataset = "--root . for the dataset, which reads no files"
    if has_files:
        dataset = f"--root DIR for the dataset with its files in DIR (perhaps {source})"
    return (
        f"{source!r} is a dataset's name, and {show_path(folder)} a folder here: write "
        f"{show_path(os.path.join(folder, ''))} for the images in the folder, or give {dataset}"
    )


def open_source(
    source: str | os.PathLike[str],
    *,
    root: Path | None = None,
    contents: Contents | None = None,
    work_dir: Path | None = None,
    beside: bool = True,
    fetch: bool = False,
    splits: Collection[str] | None = None,
    on_archive: OnArchive = tell_nobody,
) -> ImageSource:
    """Opens a dataset by name, or what lies at a path or URL.

    root: where a named dataset lies; for a path, where its files lie now, if not there. contents: of a
    path: see Contents. work_dir: where to keep what
    is made of archives: indices, what is inflated, and what is unpacked where their folder is read-only;
    beside=False: whatever is unpacked, so that nothing is written but there. fetch: download the official archives
    where the dataset is not found, and take no others; splits: whose archives, by default those of default_splits.
    on_archive: called as an archive is downloaded or indexed.

    Raises SourceError where source is unknown, or the dataset missing, malformed or contradictory.
    """
    at = Whereabouts(
        None if root is None else Path(root), None if work_dir is None else Path(work_dir), beside, on_archive
    )
    if is_known_source(source):
        dataset = DATASETS[os.fspath(source)]
        return open_official(dataset, at, splits) if fetch else open_named(dataset, at)
    if fetch:
        find_archives(show_path(source))
    if root is None and not source_exists(source):
        raise SourceError(f"unknown source {show_path(source)!r}: expected {', '.join(DATASETS)}, {name_kinds()}")
    place = os.fspath(at.root or source)
    opened = (_find_kind(place) or KINDS[-1]).open(place, contents or Contents(), at)
    # What killed runs left; by now this one's own are gone.
    sweep(at.work_dir)
    return opened


def open_object(
    found: Any, *, name: str | None = None, version: str | None = None, contents: Contents | None = None
) -> ImageSource:
    """An object in Python as a source: an implementation of Source, a dataset object, or a mapping of those by split.

    name: of the source, by default that of an implementation of Source; version: of a dataset object; see open_dataset;
    contents: of an array, a table or a dataset object.

    Raises SourceError for a name that another source bears, or that is unfit for a file, and where the object is none.
    """
    name = name_object(found, name)
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in (*DATASETS, *(kind.name for kind in KINDS)):
        reserved = ", ".join((*DATASETS, *(kind.name for kind in KINDS)))
        raise SourceError(f"name is {name!r}: expected letters, digits, '_', '-' and '.', and none of {reserved}")
    if is_array(found):
        return open_python_arrays(found, name=name, version=version, contents=contents or Contents())
    if not is_source(found):
        return open_dataset(found, name=name, version=version, contents=contents)
    if contents is not None and contents.given:
        raise UsageError(f"{contents.given[0]} goes with arrays and tables, {name} says it itself: leave it out")
    if version is not None:
        raise UsageError(f"version goes with dataset objects, {name} says it in its options: leave version out")
    return replace(settle(found), name=name)


def name_object(found: Any, name: str | None) -> Any:
    """What the source of an object in Python is called. Raises UsageError where nobody says."""
    if name is None and is_source(found):
        name = getattr(found, "name", None)
    if name is None:
        raise UsageError(f"a {type(found).__name__} needs a name to call its store by: give name='...'")
    return name
