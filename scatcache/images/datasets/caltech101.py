"""Caltech-101 from its class folders or straight from the official archives, nothing of them unpacked."""

import gzip
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

from scatcache.errors import SourceError
from scatcache.images.archives.checksums import find_unofficial
from scatcache.images.archives.tar_index import index_tar
from scatcache.images.archives.tar_members import TarMember, list_members
from scatcache.images.archives.unpack import inflate, unpack_once
from scatcache.images.class_names import refuse_alike
from scatcache.images.image_source import WHOLE, ImageSource
from scatcache.images.keys import escape_name, show_path
from scatcache.images.kinds.folder import FolderPart, find_classes
from scatcache.images.kinds.tar import TarPart, find_tar_classes
from scatcache.images.roots import locate_root

FOLDER = "101_ObjectCategories"
TAR = f"{FOLDER}.tar.gz"
ZIP = "caltech-101.zip"
MD5S = {ZIP: "3138e1922a9193bfa496528edbbc45d0", TAR: "b224c7392d521a49829488ab0f1120d9"}
# Pictures of no class, which the dataset's authors added to tell the classes from.
BACKGROUND = "BACKGROUND_Google"
# Where the folder of class folders may lie under --root: torchvision's place, the official zip's, and the root itself.
FOLDERS = (FOLDER, f"caltech101/{FOLDER}", f"caltech-101/{FOLDER}", ".")
# Two of the classes tell a folder of class folders.
KNOWN_CLASSES = ("accordion", "yin_yang")
# The official tar holds 0.15 GB.
MAX_BYTES = 2**30


def open_caltech101(
    root: Path | None = None, work_dir: Path | None = None, *, with_background: bool = False
) -> ImageSource:
    """Finds Caltech-101 under root (or where locate_root looks): its class folders, or one of the official archives.

    work_dir: where an archive's tar is kept, inflated, from run to run, with its index; by default beside the archive.
    with_background: counts BACKGROUND_Google as a class, which it is not; a source of its own, caltech101-background.

    Raises SourceError where it is not found, truncated, malformed or contradictory; OSError as the disk does. An
    archive whose md5 is not the published one is taken, with a warning.
    """
    wanted = f"{ZIP}, {TAR}, or the folder {FOLDER} of class folders"
    root = locate_root("caltech101", root, wanted, holds=_holds_caltech101)
    left_out = () if with_background else (BACKGROUND,)
    part: FolderPart | TarPart
    warnings: tuple[str, ...] = ()
    official = None
    folder = _find_folder(root)
    if folder is not None:
        classes = set(map(escape_name, find_classes(folder))) - {*left_out}
        part = FolderPart(folder, tuple(sorted(classes)), left_out)
    else:
        archive = _find_archive(root)
        assert archive is not None, "locate_root promised one of them"
        warnings = find_unofficial(root, {archive.name: MD5S[archive.name]}, "Caltech-101")
        official = not warnings
        tar = unpack_once(archive, work_dir or archive.parent, f"{FOLDER}.tar", partial(_inflate, archive))
        index = index_tar(tar, tar.parent, partial(_list_categories, archive))
        classes = find_tar_classes(index, left_out=left_out)
        part = TarPart(index, tuple(sorted(classes)), left_out)
    refuse_alike(show_path(root), {WHOLE: part.classes})
    name = "caltech101-background" if with_background else "caltech101"
    return ImageSource(name, part.classes, {WHOLE: part}, official=official, root=root, warnings=warnings)


def _holds_caltech101(root: Path) -> bool:
    return _find_folder(root) is not None or _find_archive(root) is not None


def _find_folder(root: Path) -> Path | None:
    return next(
        (root / inner for inner in FOLDERS if all((root / inner / name).is_dir() for name in KNOWN_CLASSES)), None
    )


def _find_archive(root: Path) -> Path | None:
    return next((root / name for name in MD5S if (root / name).is_file()), None)


def _inflate(archive: Path, path: Path) -> None:
    open_stream = partial(_open_zip if archive.name == ZIP else gzip.open, archive)
    inflate(archive, cast(Any, open_stream), path, max_bytes=MAX_BYTES)


@contextmanager
def _open_zip(path: Path) -> Iterator[IO[bytes]]:
    """The tar inside the tar.gz inside the official zip; of the zip's other members none is looked at."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.rpartition("/")[2] == TAR]
        if len(names) != 1:
            raise SourceError(f"{show_path(path)} holds {len(names)} files {TAR}: expected one; fetch it again")
        with archive.open(names[0]) as packed, gzip.open(packed) as stream:
            yield cast(IO[bytes], stream)


def _list_categories(archive: Path, descriptor: int) -> Iterator[TarMember]:
    """The files below 101_ObjectCategories, keys CLASS/FILE."""
    for member in list_members(descriptor, 0, os.fstat(descriptor).st_size, name=show_path(archive)):
        folder, _, key = member.key.partition("/")
        if folder == FOLDER and "/" in key:
            yield member._replace(key=key)
