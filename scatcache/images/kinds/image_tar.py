"""A tar of image files as a folder of them would be: class folders or flat files, with or without split folders."""

import contextlib
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from scatcache.errors import SourceError
from scatcache.images.archives.tar_index import TarIndex, index_tar
from scatcache.images.archives.tar_members import TarMember, list_members
from scatcache.images.archives.unpack import OnArchive, tell_nobody
from scatcache.images.class_names import check_splits, refuse_alike
from scatcache.images.image_source import UNLABELED, WHOLE, ImageSource
from scatcache.images.keys import show_path
from scatcache.images.kinds.local_tar import LocalTar
from scatcache.images.kinds.split_names import SPLIT_NAMES
from scatcache.images.kinds.tar import TarPart, is_image_path
from scatcache.images.kinds.webdataset_samples import ADVICE

TAR_NAME, SUFFIX = "tar", ".tar"


def is_image_tar(place: str) -> bool:
    """Whether a tar lies there, by its name, that starts with anything but webdataset's samples."""
    if not place.lower().endswith(SUFFIX) or not os.path.isfile(place):
        return False
    with contextlib.suppress(SourceError, OSError):
        return not LocalTar(Path(place)).look().are_samples
    return False


def open_image_tar(tar: Path, work_dir: Path | None, *, on_archive: OnArchive = tell_nobody) -> ImageSource:
    """Indexes a tar of class folders, or of images alone; a folder that all lies in is looked through.

    work_dir: where the index is kept. Raises SourceError where the tar is cut or holds no image, images lie beside
    class folders, or a split shares no class with train; OSError as the disk does.
    """
    root = tar.absolute()
    classes, parts, warnings = _sort_images(index_tar(root, work_dir, partial(_list_files, root), on_archive))
    return ImageSource(TAR_NAME, classes, parts, root=root, warnings=warnings)


def _list_files(tar: Path, descriptor: int) -> Iterator[TarMember]:
    n_bytes = os.fstat(descriptor).st_size
    yield from list_members(descriptor, 0, n_bytes, name=show_path(tar), advice=ADVICE)


def _sort_images(index: TarIndex) -> tuple[tuple[str, ...], dict[str, TarPart], tuple[str, ...]]:
    """(classes, part by split, warnings)."""
    where = show_path(index.tar)
    keys = [key for key in (encoded.decode() for encoded in index.table.keys.tolist()) if is_image_path(key)]
    if not keys:
        raise SourceError(
            f"{where} holds no image: expected samples as webdataset has them, or class folders of images"
        )
    prefix = _find_prefix(keys, index.tar)
    tops = {key.removeprefix(prefix).partition("/")[0] for key in keys}
    splits = {split: f"{prefix}{split}/" for split in SPLIT_NAMES if split in tops} if tops <= {*SPLIT_NAMES} else {}
    prefixes = splits or {WHOLE: prefix}
    by_split = {
        split: set() if split == UNLABELED else _find_folders(keys, above, where) for split, above in prefixes.items()
    }
    refuse_alike(where, by_split)
    warnings = check_splits({split: f"split {split} of {where}" for split in by_split}, by_split)
    classes = tuple(sorted(set().union(*by_split.values())))
    parts = {
        split: TarPart(index, classes, prefix=above, labelled=split != UNLABELED) for split, above in prefixes.items()
    }
    return classes, parts, warnings


def _find_prefix(keys: list[str], tar: Path) -> str:
    """The folders that all images lie in, but for one that is their class."""
    prefix = ""
    while True:
        rests = [key.removeprefix(prefix) for key in keys]
        folder, slash, _ = rests[0].partition("/")
        shared = f"{folder}/"
        if not slash or folder in SPLIT_NAMES or not all(rest.startswith(shared) for rest in rests):
            return prefix
        if folder != tar.stem and not all("/" in rest.removeprefix(shared) for rest in rests):
            return prefix
        prefix += shared


def _find_folders(keys: list[str], prefix: str, where: str) -> set[str]:
    rests = [key.removeprefix(prefix) for key in keys if key.startswith(prefix)]
    classes = {rest.partition("/")[0] for rest in rests if "/" in rest}
    flat = [rest for rest in rests if "/" not in rest]
    if classes and flat:
        raise SourceError(f"{where} holds class folders ({min(classes)}, ...) and beside them the image {flat[0]}")
    return classes
