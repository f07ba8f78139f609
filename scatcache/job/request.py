"""What was asked for, checked before anything is listed: the source, the store's folder, and what lies there."""

import difflib
import os
import re
from functools import partial
from pathlib import Path
from typing import Any

from scatcache.durable import is_own_temporary
from scatcache.errors import ScatcacheError, StoreDamaged, UsageError
from scatcache.images.archives.unpack import OnArchive
from scatcache.images.catalogue import (
    KINDS,
    explain_clash,
    is_known_source,
    list_contents,
    name_kinds,
    name_object,
    open_object,
    open_source,
    source_exists,
)
from scatcache.images.image_source import ImageSource
from scatcache.images.keys import show_path
from scatcache.images.named_datasets import DATASETS
from scatcache.job.settings import ExtractOptions
from scatcache.job.store_folder import StoreFolder
from scatcache.job.stored import find_stored, refuse_newer
from scatcache.job.stored_source import recall
from scatcache.retries import with_retries
from scatcache.store.format.manifest import Manifest
from scatcache.store.format.store_settings import require_J
from scatcache.store.places.files import exists, is_folder

# What a store's name leaves out of a file's: the extension of one that holds many images, and the numbers of a pattern.
_STEM = re.compile(r"\.(npy|npz|h5|hdf5|fits?|fts|zarr|parquet|tar)$", re.IGNORECASE)
_BRACES = re.compile(r"\{[^{}]*\}")


def check_request(source: Any, options: ExtractOptions) -> None:
    """Raises UsageError for a source that cannot be, and for options that do not go with it."""
    if not isinstance(source, str | os.PathLike):
        _check_object(source, options)
        return
    root = None if options.root is None else Path(options.root)
    if clash := explain_clash(source, root):
        raise UsageError(clash)
    shown = show_path(source)
    if not source_exists(source):
        near = difflib.get_close_matches(str(source).lower(), DATASETS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ", which must exist" if {*str(source)} & {os.sep, "."} else ""
        raise UsageError(f"unknown source {shown!r}: expected one of {', '.join(DATASETS)}, {name_kinds()}{hint}")
    takes = list_contents(source)
    for option in options.contents.given:
        if option not in takes:
            words = ", ".join(f"--{name}" for name in takes) or "no such option"
            raise UsageError(f"--{option} does not go with {shown}, which takes {words}: leave it out")
    if options.name is not None or options.version is not None:
        raise UsageError(f"name and version go with dataset objects, {shown} is none: leave them out")
    can = [row.name for row in DATASETS.values() if row.archives]
    if options.download and source not in can:
        raise UsageError(f"{shown} cannot be downloaded by --download, only {', '.join(can)}")
    if not is_known_source(source):
        if root is not None:
            raise UsageError(f"{shown} is a path, and its own root: leave --root out")
        return
    known = DATASETS[os.fspath(source)].splits
    for split in options.splits or ():
        if split not in known:
            raise UsageError(f"{shown} has no split {split!r}: expected one of {', '.join(known)}")


def _check_object(source: Any, options: ExtractOptions) -> None:
    """Raises UsageError for options that do not go with a dataset object."""
    name_object(source, options.name)
    if options.root is not None:
        raise UsageError("a dataset object has no files of its own: leave root out")
    if options.download:
        raise UsageError("a dataset object is taken as it is: leave download out")


def open_asked(
    source: Any,
    options: ExtractOptions,
    folder: StoreFolder,
    *,
    stored: Manifest | None,
    work_dir: Path,
    beside: bool,
    fetch: bool,
    on_archive: OnArchive,
) -> ImageSource:
    """The source, which check_request() has let pass; see open_source and open_object, and what they raise.

    folder, stored: the store, which knows what of the contents is not given.
    """
    if not isinstance(source, str | os.PathLike):
        return open_object(source, name=options.name, version=options.version, contents=options.contents)
    contents = options.contents
    if stored is not None and list_contents(source):
        contents = contents.or_else(recall(folder), stored.source_options)
    return open_source(
        source,
        root=None if options.root is None else Path(options.root),
        contents=contents,
        work_dir=work_dir,
        beside=beside,
        fetch=fetch,
        splits=options.splits,
        on_archive=on_archive,
    )


def open_target(source: Any, options: ExtractOptions) -> StoreFolder:
    """The store's folder, which must be absent, empty or a store of ours.

    Empty is also one with nothing but what a killed run left of its first file, or of the splits that it was deleting.
    Raises UsageError for a URL and for no out without J, ScatcacheError, NotAStore, StoreDamaged.
    """
    called = source if isinstance(source, str | os.PathLike) else name_object(source, options.name)
    folder = StoreFolder(options.out if options.out is not None else name_store(called, options.J))
    if not exists(folder.path) or folder.records.own_splits() or folder.records.read_root() is not None:
        return folder
    out = show_path(folder.path if options.out is None else options.out)
    if not is_folder(folder.path):
        raise ScatcacheError(f"{out} is a file, not a scatcache store: choose another --out")
    if not all(is_own_temporary(name) for name in with_retries(partial(os.listdir, folder.path))):
        raise ScatcacheError(f"{out} is a folder that is not empty and no scatcache store: choose another --out")
    return folder


def name_store(source: Any, J: int | None) -> Path:
    """The default store of a source, called after its name, or the folder's or file's own. Raises UsageError without
    J."""
    name = os.path.basename(os.path.abspath(source))
    if not os.path.isdir(source) or name.endswith(".zarr"):
        name = _STEM.sub("", _BRACES.sub("", name)).rstrip("-_.") or name
    return Path(f"{name}-J{require_J(J)}.zarr")


def read_stored(folder: StoreFolder, J: int | None, *, overwrite: bool = False) -> Manifest | None:
    """The manifest to go on with, None for a new store, or one to be overwritten or mended, which needs J.

    Raises UsageError without it, and as find_stored does.
    """
    stored = None if overwrite else find_stored(folder)
    if stored is None and J is None and not overwrite and folder.writer.is_started():
        refuse_newer(folder)
        raise StoreDamaged(
            f"{folder.path}: its zarr.json is lost or damaged: give every setting of the first run again, --J too"
        )
    if stored is None:
        require_J(J)
    return stored


def check_place(source: ImageSource, folder: StoreFolder) -> None:
    """Raises ScatcacheError for a store among the images, which the next listing would take for a class."""
    if source.name in {kind.name for kind in KINDS} and source.root is not None:
        root = Path(os.path.realpath(source.root))
        if folder.path == root or root in folder.path.parents:
            raise ScatcacheError(f"{folder.path} would lie among the images of {root}: choose an --out outside")
