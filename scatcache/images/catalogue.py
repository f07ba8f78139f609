"""The table of sources: from what the user typed to something that lists and reads images."""

import contextlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scatcache.errors import SourceError
from scatcache.images.archives.download import ARCHIVES, check_archive, choose_folder, download, find_archive
from scatcache.images.archives.staging import sweep
from scatcache.images.archives.unpack import OnArchive, tell_nobody
from scatcache.images.datasets.caltech101 import open_caltech101
from scatcache.images.datasets.cifar10 import open_cifar10
from scatcache.images.datasets.imagenet import open_imagenet
from scatcache.images.datasets.photos import open_photos
from scatcache.images.datasets.stl10 import open_stl10
from scatcache.images.keys import show_path
from scatcache.images.kinds.folder import FOLDER_NAME, open_folder
from scatcache.images.kinds.python_object import open_dataset
from scatcache.images.listing import Listing, Row, Source
from scatcache.images.roots import NotFound, list_places, locate_root

__all__ = [
    "DESCRIPTIONS",
    "DOWNLOADS",
    "FOLDER_NAME",
    "SOURCES",
    "SPLITS",
    "WITH_BACKGROUND",
    "Listing",
    "OnArchive",
    "Row",
    "Source",
    "explain_clash",
    "is_known_source",
    "locate_root",
    "open_object",
    "open_source",
    "source_exists",
    "tell_nobody",
]


@dataclass(frozen=True)
class Place:
    """Where a named source's files are, and where it may write; see open_source."""

    root: Path | None
    work_dir: Path | None
    beside: bool = True
    keep_background: bool = False
    on_archive: OnArchive = tell_nobody


SOURCES: dict[str, Callable[[Place], Source]] = {
    "cifar10": lambda place: open_cifar10(place.root, place.work_dir, beside=place.beside),
    "stl10": lambda place: open_stl10(place.root, place.work_dir, beside=place.beside),
    "imagenet": lambda place: open_imagenet(place.root, place.work_dir, on_archive=place.on_archive),
    "caltech101": lambda place: open_caltech101(place.root, place.work_dir, keep_background=place.keep_background),
    "photos": lambda place: open_photos(),
}
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
# Those whose official archive can be fetched.
DOWNLOADS = tuple(ARCHIVES)
# Those that come with a package, and read nothing else.
WITHOUT_FILES = ("photos",)
# Those that have pictures of no class to keep or to drop.
WITH_BACKGROUND = ("caltech101",)

# What may be named on a command line before the files are looked at; "unlabeled" and its like included.
SPLITS = {
    "cifar10": ("train", "test"),
    "stl10": ("train", "test", "unlabeled"),
    "imagenet": ("train", "val"),
    "caltech101": ("all",),
    "photos": ("all",),
}
DESCRIPTIONS = {
    "cifar10": "train, test: cifar-10-batches-bin, cifar-10-batches-py, or their .tar.gz, under --root; or --download",
    "stl10": "train, test, unlabeled (by name only): stl10_binary or its .tar.gz, under --root; or --download",
    "imagenet": "train, val: ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz, or "
    "class folders, under --root",
    "caltech101": "all: 101_ObjectCategories, its .tar.gz, or caltech-101.zip, under --root; or --download",
    "photos": "all: the photographs in scikit-image's wheel, in 128 px crops; no files, no network",
}


def is_known_source(source: str | os.PathLike[str]) -> bool:
    """Whether this names a dataset; a path object, or text with a slash, names a folder."""
    return isinstance(source, str) and source in SOURCES


def source_exists(source: str | os.PathLike[str]) -> bool:
    """Whether this names a dataset or anything on this disk; where not, the command line alone is wrong."""
    return is_known_source(source) or (os.fspath(source) != "" and os.path.exists(source))


def explain_clash(source: object, root: str | os.PathLike[str] | None) -> str:
    """What to type where a dataset's name could as well mean a folder here; "" where it means one thing alone.

    With a root the name is meant; for a dataset without files, only a root that is no folder of that name says so.
    """
    if not isinstance(source, str) or source not in SOURCES:
        return ""
    has_files = source not in WITHOUT_FILES
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
    work_dir: Path | None = None,
    beside: bool = True,
    keep_background: bool = False,
    fetch: bool = False,
    on_archive: OnArchive = tell_nobody,
) -> Source:
    """Opens a dataset by name, or a folder of images.

    root: where a named dataset lies; for a folder, where it lies now, if not at `source`. work_dir: where to keep what
    is made of archives: indices, what is inflated, and what is unpacked where their folder is read-only;
    beside=False: whatever is unpacked, so that nothing is written but there. keep_background: of caltech101, its
    pictures of no class too. fetch: download the official archive where the dataset is not found, and take no other.
    on_archive: called as an archive is downloaded or indexed.

    Raises SourceError where source is unknown, or the dataset missing, malformed or contradictory.
    """
    root = None if root is None else Path(root)
    work_dir = None if work_dir is None else Path(work_dir)
    if keep_background and source not in WITH_BACKGROUND:
        raise SourceError(f"{show_path(source)} has no background class: leave --keep-background out")
    if is_known_source(source):
        name = os.fspath(source)
        place = Place(root, work_dir, beside, keep_background, on_archive)
        return _open_official(name, place) if fetch else _open_named(name, place)
    if fetch:
        find_archive(os.fspath(source))
    if root is None and not source_exists(source):
        raise SourceError(f"unknown source {show_path(source)!r}: expected {', '.join(SOURCES)}, or a folder")
    base_name = os.path.basename(os.path.abspath(source))
    return open_folder(Path(source) if root is None else root, base_name=base_name)


def open_object(dataset: Any, *, name: str, version: str | None = None) -> Source:
    """A dataset object, or a mapping of them by split, as a source; see open_dataset.

    Raises SourceError for a name that another source bears, or that is unfit for a file, and where the object is none.
    """
    if not _NAME.fullmatch(name) or name in (*SOURCES, FOLDER_NAME):
        reserved = ", ".join((*SOURCES, FOLDER_NAME))
        raise SourceError(f"name is {name!r}: expected letters, digits, '_', '-' and '.', and none of {reserved}")
    return open_dataset(dataset, name=name, version=version)


def _open_named(name: str, place: Place) -> Source:
    try:
        source = SOURCES[name](place)
        # What killed runs left; by now this one's own are gone.
        sweep(place.work_dir, source.root)
        return source
    except NotFound as error:
        raise NotFound(f"{error}; or give --download" if name in DOWNLOADS else str(error)) from None


def _open_official(name: str, place: Place) -> Source:
    """The source from its official archive, which is fetched where there is nothing yet."""
    archive = find_archive(name)
    folder = choose_folder(name, place.root)
    for known in [folder] if place.root is not None else list_places(name):
        if (known / archive.name).exists():
            check_archive(known / archive.name, archive)
    source = None
    with contextlib.suppress(NotFound):
        source = SOURCES[name](place)
    if source is None:
        download(name, folder, place.on_archive, work_dir=place.work_dir)
        source = SOURCES[name](replace(place, root=folder))
    if source.official is not True:
        reason = source.warnings[0] if source.warnings else f"{source.root} holds unpacked files that have no md5"
        raise SourceError(
            f"{name}: {reason}: with --download only the official archive is taken: leave it out, or give "
            f"another --root"
        )
    return source
