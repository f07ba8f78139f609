"""The table of sources: from what the user typed to something that lists and reads images."""

import os
from collections.abc import Callable
from pathlib import Path

from scatcache.errors import SourceError
from scatcache.images.cifar10 import open_cifar10
from scatcache.images.folder import open_folder
from scatcache.images.keys import show_path
from scatcache.images.listing import Listing, Row, Source
from scatcache.images.photos import open_photos
from scatcache.images.roots import locate_root

__all__ = [
    "DESCRIPTIONS",
    "SOURCES",
    "SPLITS",
    "Listing",
    "Row",
    "Source",
    "is_known_source",
    "locate_root",
    "open_source",
    "source_exists",
]

# name -> opener(root, work_dir, beside)
SOURCES: dict[str, Callable[[Path | None, Path | None, bool], Source]] = {
    "cifar10": lambda root, work_dir, beside: open_cifar10(root, work_dir, beside=beside),
    "photos": lambda root, work_dir, beside: open_photos(),
}

# What may be named on a command line before the files are looked at; "unlabeled" and its like included.
SPLITS = {"cifar10": ("train", "test"), "photos": ("all",)}
DESCRIPTIONS = {
    "cifar10": "train, test: cifar-10-batches-bin, cifar-10-batches-py, or their .tar.gz, under --root",
    "photos": "all: the photographs in scikit-image's wheel, in 128 px crops; no files, no network",
}


def is_known_source(source: str | os.PathLike[str]) -> bool:
    """Whether this names a dataset; a path object, or text with a slash, names a folder."""
    return isinstance(source, str) and source in SOURCES


def source_exists(source: str | os.PathLike[str]) -> bool:
    """Whether this names a dataset or anything on this disk; where not, the command line alone is wrong."""
    return is_known_source(source) or (os.fspath(source) != "" and os.path.exists(source))


def open_source(
    source: str | os.PathLike[str], *, root: Path | None = None, work_dir: Path | None = None, beside: bool = True
) -> Source:
    """Opens a dataset by name, or a folder of images.

    root: where a named dataset lies; for a folder, where it lies now, if not at `source`. work_dir: where to unpack
    an archive that lies in a read-only folder; beside=False: any archive, so that nothing is written but there.

    Raises SourceError where source is unknown, or the dataset missing, malformed or contradictory.
    """
    root = None if root is None else Path(root)
    work_dir = None if work_dir is None else Path(work_dir)
    if is_known_source(source):
        return SOURCES[os.fspath(source)](root, work_dir, beside)
    if root is None and not source_exists(source):
        raise SourceError(f"unknown source {show_path(source)!r}: expected {', '.join(SOURCES)}, or a folder")
    base_name = os.path.basename(os.path.abspath(source))
    return open_folder(Path(source) if root is None else root, base_name=base_name)
