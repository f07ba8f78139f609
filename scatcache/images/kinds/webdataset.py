"""webdataset's samples, in one tar or many, read where they lie."""

import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from scatcache.errors import SourceError
from scatcache.images.archives.unpack import OnArchive, tell_nobody
from scatcache.images.contents import Contents
from scatcache.images.image_source import ImageSource
from scatcache.images.keys import escape_name, show_path
from scatcache.images.kinds.items import warn_of_labels
from scatcache.images.kinds.local_tar import LocalTar
from scatcache.images.kinds.remote_tar import RemoteTar, list_remote_tars
from scatcache.images.kinds.samples_part import LocalSamplesPart, RemoteSamplesPart, SampleRows
from scatcache.images.kinds.split_files import is_folder_of, list_files_of, sort_into_splits
from scatcache.images.kinds.webdataset_samples import FirstLook, SampleParts, choose_parts
from scatcache.remote.urls import check_url, is_url

WEBDATASET_NAME, SUFFIX = "webdataset", ".tar"
_COMPRESSED = (".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".tar.zst")
# Headers mostly wait for the disk, or for a server.
N_THREADS = 32
# Names that one pattern may stand for.
_MAX_NAMES = 100_000
# Of ImageNet-21k there are 21,841.
_MAX_CLASSES = 1_000_000


def is_webdataset(place: str) -> bool:
    """Whether a tar lies there by its name, a folder of tars, or one of a brace pattern of tars; of a URL the name
    alone says it."""
    if is_url(place):
        return urlsplit(place).path.lower().endswith((SUFFIX, *_COMPRESSED))
    if os.path.isdir(place):
        return is_folder_of(place, SUFFIX)
    name = place.lower()
    return name.endswith((SUFFIX, *_COMPRESSED)) and any(map(os.path.exists, expand_braces(place)))


def open_webdataset(
    place: str, contents: Contents, work_dir: Path | None, *, on_archive: OnArchive = tell_nobody
) -> ImageSource:
    """Finds the splits and indexes the tars; of the images nothing is read. work_dir: where the indices are kept.

    Raises SourceError where a tar is cut, damaged or compressed, or its samples contradict each other; ScatcacheError
    where a server does not answer; OSError as the disk does.
    """
    place = check_url(place) if is_url(place) else os.path.abspath(place)
    where, tars = show_path(place), _find_tars(place)
    splits = sort_into_splits(tars[0].path.parent if is_url(place) else Path(place), [tar.path for tar in tars], where)
    look = tars[0].look()
    parts = choose_parts(look, contents, tars[0].where)
    _refuse_class_folders(tars[0], look, parts)
    with ThreadPoolExecutor(N_THREADS) as pool:
        indices = pool.map(lambda tar: tar.index_samples(parts, work_dir, on_archive), tars)
        indexed = dict(zip((tar.path for tar in tars), indices, strict=True))
    samples = {
        split: SampleRows(
            tuple(indexed[path] for path in members),
            ("",) if len(tars) == 1 else tuple(escape_name(path.stem) for path in members),
        )
        for split, members in splits.items()
    }
    for split, rows in samples.items():
        if len({index.table.targets.shape[1] for index in rows.indices}) > 1:
            raise SourceError(f"{where}: the tars of split {split} have different numbers of targets a sample")
    labels = {split: rows.listing.rows.labels for split, rows in samples.items()}
    classes, warnings = _number_classes([*labels.values()], where)
    warnings += warn_of_labels(labels, classes, where)
    part = RemoteSamplesPart if is_url(place) else LocalSamplesPart
    return ImageSource(
        WEBDATASET_NAME,
        classes,
        {split: part(rows) for split, rows in samples.items()},
        root=None if is_url(place) else Path(place),
        url=place if is_url(place) else None,
        options=parts.options,
        warnings=warnings,
    )


def _refuse_class_folders(tar: LocalTar | RemoteTar, look: FirstLook, parts: SampleParts) -> None:
    """Raises SourceError for a tar at a URL that may hold class folders, which would lose their labels; on this disk
    it is opened as what it is."""
    if isinstance(tar, RemoteTar) and not look.is_flat and parts.labels is None and parts.targets is None:
        raise SourceError(
            f"{tar.where} holds images in folders, and no labels beside them: a tar of class folders is read from a "
            f"local disk alone: fetch it, then give the file; for samples as webdataset has them give --labels or "
            f"--targets"
        )


def _number_classes(labels: Sequence[np.ndarray], where: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """ "0", "1", ... up to the largest label, and a warning where numbers are left out: some tars of many may be given.

    Raises SourceError for a label that is no class's number."""
    found = np.unique(np.concatenate([np.unique(part) for part in labels]))
    found = found[found >= 0]
    n_classes = int(found[-1]) + 1 if len(found) else 0
    if n_classes > _MAX_CLASSES:
        raise SourceError(f"{where}: a sample has the label {found[-1]}: expected the numbers of classes, 0 and up")
    warnings: tuple[str, ...] = ()
    if n_classes > len(found):
        absent = int(np.argmax(found != np.arange(len(found))))
        warnings = (
            f"{where}: of the labels 0 to {n_classes - 1}, {n_classes - len(found)} have no image (first {absent})",
        )
    return tuple(map(str, range(n_classes))), warnings


def _find_tars(place: str) -> list[LocalTar] | list[RemoteTar]:
    if os.path.isdir(place):
        return [LocalTar(path) for path in list_files_of(Path(place), SUFFIX)]
    found = [*expand_braces(place)]
    for name in found:
        if name.lower().endswith(_COMPRESSED):
            raise SourceError(
                f"{show_path(name)} is compressed, and images are read from tars by position: unpack it to a "
                f"plain .tar first, as `gzip -dk` does"
            )
        if not is_url(place) and not os.path.exists(name):
            raise SourceError(f"{show_path(name)} does not exist, one of the {len(found)} of {show_path(place)}")
    return list_remote_tars(found, place) if is_url(place) else [LocalTar(Path(name)) for name in found]


def expand_braces(pattern: str) -> Iterator[str]:
    """The names that a pattern stands for, as a shell expands "train-{000..012}.tar" and "{a,b}.tar"; itself without
    braces. Raises SourceError where they are too many."""
    pieces = re.split(r"\{([^{}]*)\}", pattern)
    choices = [[piece] if number % 2 == 0 else _expand(piece) for number, piece in enumerate(pieces)]
    n_names = 1
    for choice in choices:
        n_names *= len(choice)
    if n_names > _MAX_NAMES:
        raise SourceError(f"{show_path(pattern)} stands for more than {_MAX_NAMES:,} files")
    return map("".join, product(*choices))


def _expand(piece: str) -> list[str]:
    if found := re.fullmatch(r"(\d{1,9})\.\.(\d{1,9})", piece):
        first, last = int(found[1]), int(found[2])
        if abs(last - first) > _MAX_NAMES:
            raise SourceError(f"{{{piece}}} stands for more than {_MAX_NAMES:,} files")
        step = 1 if first <= last else -1
        return [f"{number:0{len(found[1])}d}" for number in range(first, last + step, step)]
    return piece.split(",") if "," in piece else [f"{{{piece}}}"]
