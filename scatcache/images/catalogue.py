"""The tables of sources: datasets by name, and what may lie at a path; from what the user typed to an opened source."""

import contextlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scatcache.errors import SourceError, UsageError
from scatcache.images.archives.download import Archive, check_archive, download
from scatcache.images.archives.staging import sweep
from scatcache.images.archives.unpack import OnArchive, tell_nobody
from scatcache.images.contents import Contents
from scatcache.images.datasets import caltech101
from scatcache.images.datasets.caltech101 import open_caltech101
from scatcache.images.datasets.cifar10 import open_cifar10
from scatcache.images.datasets.imagenet import open_imagenet
from scatcache.images.datasets.photos import open_photos
from scatcache.images.datasets.stl10 import open_stl10
from scatcache.images.image_source import ImageSource, is_source, settle
from scatcache.images.keys import show_path
from scatcache.images.kinds.folder import FOLDER_NAME, open_folder
from scatcache.images.kinds.parquet import PARQUET_NAME, is_parquet, open_parquet
from scatcache.images.kinds.python_object import open_dataset
from scatcache.images.kinds.webdataset import WEBDATASET_NAME, is_webdataset, open_webdataset
from scatcache.images.roots import NotFound, list_roots

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Whereabouts:
    """Where a named dataset's files are, and where it may write; see open_source."""

    root: Path | None
    work_dir: Path | None
    beside: bool = True
    on_archive: OnArchive = tell_nobody


@dataclass(frozen=True)
class NamedDataset:
    """One dataset known by name. splits: what may be asked for before the files are looked at; description: one line
    for `scatcache sources`; open: finds and opens it; archive: the official one, where scatcache may fetch it;
    default_size: as ImageSource has it; has_files: False for what comes with a package, and reads nothing else; folder:
    what it is looked for in, by default its name."""

    name: str
    splits: tuple[str, ...]
    description: str
    open: Callable[[Whereabouts], ImageSource]
    archive: Archive | None = None
    default_size: int | None = None
    has_files: bool = True
    folder: str | None = None


_CALTECH101 = Archive(
    caltech101.ZIP,
    "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",
    caltech101.MD5S[caltech101.ZIP],
)
DATASETS = {
    row.name: row
    for row in (
        NamedDataset(
            "cifar10",
            ("train", "test"),
            "train, test: cifar-10-batches-bin, cifar-10-batches-py, or their .tar.gz, under --root; or --download",
            lambda at: open_cifar10(at.root, at.work_dir, beside=at.beside),
            archive=Archive(
                "cifar-10-binary.tar.gz",
                "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
                "c32a1d4ab5d03f1284b67883e8d87530",
            ),
        ),
        NamedDataset(
            "stl10",
            ("train", "test", "unlabeled"),
            "train, test, unlabeled (by name only): stl10_binary or its .tar.gz, under --root; or --download",
            lambda at: open_stl10(at.root, at.work_dir, beside=at.beside),
            archive=Archive(
                "stl10_binary.tar.gz",
                "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
                "91f7769df0f17e558f3565bffb0c7dfb",
            ),
        ),
        NamedDataset(
            "imagenet",
            ("train", "val"),
            "train, val: ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz, or "
            "class folders, under --root",
            lambda at: open_imagenet(at.root, at.work_dir, on_archive=at.on_archive),
            default_size=224,
        ),
        NamedDataset(
            "caltech101",
            ("all",),
            "all: 101_ObjectCategories, its .tar.gz, or caltech-101.zip, under --root; or --download",
            lambda at: open_caltech101(at.root, at.work_dir),
            archive=_CALTECH101,
            default_size=224,
        ),
        NamedDataset(
            "caltech101-background",
            ("all",),
            "all: caltech101 with BACKGROUND_Google, its pictures of no class, for a class",
            lambda at: open_caltech101(at.root, at.work_dir, with_background=True),
            archive=_CALTECH101,
            default_size=224,
            folder="caltech101",
        ),
        NamedDataset(
            "photos",
            ("all",),
            "all: the photographs in scikit-image's wheel, in 128 px crops; no files, no network",
            lambda at: open_photos(),
            has_files=False,
        ),
    )
}


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
        PARQUET_NAME,
        "a .parquet file or a folder of them",
        is_parquet,
        lambda at, contents, _: open_parquet(Path(at), contents),
        takes=("array", "labels", "targets"),
    ),
    Kind(
        WEBDATASET_NAME,
        "a .tar or several",
        is_webdataset,
        lambda at, contents, w: open_webdataset(at, contents, w.work_dir, on_archive=w.on_archive),
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


def is_known_source(source: str | os.PathLike[str]) -> bool:
    """Whether this names a dataset; a path object, or text with a slash, names a folder."""
    return isinstance(source, str) and source in DATASETS


def source_exists(source: str | os.PathLike[str]) -> bool:
    """Whether this names a dataset or anything on this disk; where not, the command line alone is wrong."""
    return is_known_source(source) or (
        os.fspath(source) != "" and (os.path.exists(source) or _find_kind(source) is not None)
    )


def takes(source: str | os.PathLike[str]) -> tuple[str, ...]:
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
    on_archive: OnArchive = tell_nobody,
) -> ImageSource:
    """Opens a dataset by name, or what lies at a path or URL.

    root: where a named dataset lies; for a path, where its files lie now, if not there. contents: of a
    path: see Contents. work_dir: where to keep what
    is made of archives: indices, what is inflated, and what is unpacked where their folder is read-only;
    beside=False: whatever is unpacked, so that nothing is written but there. fetch: download the official archive where
    the dataset is not found, and take no other. on_archive: called as an archive is downloaded or indexed.

    Raises SourceError where source is unknown, or the dataset missing, malformed or contradictory.
    """
    at = Whereabouts(
        None if root is None else Path(root), None if work_dir is None else Path(work_dir), beside, on_archive
    )
    if is_known_source(source):
        dataset = DATASETS[os.fspath(source)]
        return _open_official(dataset, at) if fetch else _open_named(dataset, at)
    if fetch:
        find_archive(show_path(source))
    if root is None and not source_exists(source):
        kinds = " or ".join(kind.what for kind in KINDS)
        raise SourceError(f"unknown source {show_path(source)!r}: expected {', '.join(DATASETS)}, or {kinds}")
    place = os.fspath(at.root or source)
    return (_find_kind(place) or KINDS[-1]).open(place, contents or Contents(), at)


def open_object(
    found: Any, *, name: str | None = None, version: str | None = None, contents: Contents | None = None
) -> ImageSource:
    """An object in Python as a source: an implementation of Source, a dataset object, or a mapping of those by split.

    name: of the source, by default that of an implementation of Source; version: of a dataset object; see open_dataset;
    contents: of an array.

    Raises SourceError for a name that another source bears, or that is unfit for a file, and where the object is none.
    """
    name = name_object(found, name)
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in (*DATASETS, *(kind.name for kind in KINDS)):
        reserved = ", ".join((*DATASETS, *(kind.name for kind in KINDS)))
        raise SourceError(f"name is {name!r}: expected letters, digits, '_', '-' and '.', and none of {reserved}")
    if not is_source(found):
        return open_dataset(found, name=name, version=version)
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


def find_archive(name: str) -> Archive:
    """The archive to download for a source. Raises SourceError where there is none."""
    archive = DATASETS[name].archive if name in DATASETS else None
    if archive is None:
        can = ", ".join(row.name for row in DATASETS.values() if row.archive is not None)
        raise SourceError(f"{name} cannot be downloaded by scatcache, only {can} can: leave --download out")
    return archive


def _open(dataset: NamedDataset, at: Whereabouts) -> ImageSource:
    return replace(dataset.open(at), default_size=dataset.default_size)


def _open_named(dataset: NamedDataset, at: Whereabouts) -> ImageSource:
    try:
        source = _open(dataset, at)
        # What killed runs left; by now this one's own are gone.
        sweep(at.work_dir, source.root)
        return source
    except NotFound as error:
        raise NotFound(str(error) if dataset.archive is None else f"{error}; or give --download") from None


def _open_official(dataset: NamedDataset, at: Whereabouts) -> ImageSource:
    """The source from its official archive, which is fetched where there is nothing yet."""
    archive = find_archive(dataset.name)
    places = [at.root] if at.root is not None else list_roots(dataset.folder or dataset.name)
    for known in places:
        if (known / archive.name).exists():
            check_archive(known / archive.name, archive)
    source = None
    with contextlib.suppress(NotFound):
        source = _open(dataset, at)
    if source is None:
        download(archive, places[0], at.on_archive, work_dir=at.work_dir)
        source = _open(dataset, replace(at, root=places[0]))
    if source.official is not True:
        reason = source.warnings[0] if source.warnings else f"{source.root} holds unpacked files that have no md5"
        raise SourceError(
            f"{dataset.name}: {reason}: with --download only the official archive is taken: leave it out, or give "
            f"another --root"
        )
    return source
