"""A folder of image files: class folders or flat files, with or without split folders above."""

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from scatcache.errors import SourceError
from scatcache.images.decode import read_shape
from scatcache.images.keys import escape_name, has_image_name, show_path, unescape_name
from scatcache.images.listing import Listing, Row, check_image_bytes
from scatcache.images.native_shape import find_native_shape

SPLIT_NAMES = ("train", "val", "valid", "test", "unlabeled")
WHOLE = "all"
NO_LABEL = -1
# What a manifest calls a folder that is no named dataset.
FOLDER_NAME = "folder"
# What a folder of images that are of no class is called, and what may say beside it which is of which.
_NO_CLASSES = ("images", "image", "imgs", "img", "jpegimages", "data")
_ANNOTATIONS = re.compile(r".*annotations?\.(txt|csv|json)", re.IGNORECASE)
_LEADS_NOWHERE = (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG)


@dataclass(frozen=True)
class FolderSource:
    """Image files under root; keys are their paths in the split's folder, labels index the sorted class folders.

    left_out: class folders that do not count.
    """

    base_name: str
    root: Path
    splits: tuple[str, ...]
    classes: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    name: str = FOLDER_NAME
    default_size: None = None
    official: None = None
    in_process: bool = False
    left_out: tuple[str, ...] = ()

    @property
    def options(self) -> dict[str, Any]:
        return {}

    @property
    def default_splits(self) -> tuple[str, ...]:
        return tuple(split for split in self.splits if split != "unlabeled") or self.splits

    def list_rows(self, split: str) -> Listing:
        """Every image file of one split.

        Raises SourceError for a split the folder does not have; OSError where a folder cannot be read.
        """
        labels = {name: label for label, name in enumerate(self.classes)}
        rows, n_ignored = [], 0
        for file in _walk(self._locate(split)):
            if file.key.partition("/")[0] in self.left_out:
                continue
            if file.is_image:
                rows.append(Row(file.key, self._label(file.key, labels), file.n_bytes))
            else:
                n_ignored += 1
        return Listing(tuple(sorted(rows)), n_ignored)

    def native_shape(self, split: str, rows: Sequence[Row]) -> tuple[int, int]:
        """(height, width) all images of the rows share. Raises SourceError where they share none."""
        folder = self._locate(split)

        def read_header(key: str) -> tuple[int, int]:
            with open(folder / unescape_name(key), "rb") as file:
                return read_shape(file)

        return find_native_shape(rows, read_header)

    def read(self, split: str, key: str) -> bytes:
        """The bytes of one image file. Raises UnreadableImage for one too large, OSError as the disk does."""
        return read_image_file(self._locate(split) / unescape_name(key))

    def locate(self, split: str, key: str) -> None:
        """Files are read in any order."""

    def _label(self, key: str, labels: dict[str, int]) -> int:
        if "/" not in key:
            return NO_LABEL
        name = key.partition("/")[0]
        if name not in labels:
            raise SourceError(f"{show_path(self.root)}: folder {name} has appeared since it was opened: run again")
        return labels[name]

    def _locate(self, split: str) -> Path:
        if split not in self.splits:
            raise SourceError(f"{show_path(self.root)} has no split {split}: expected {' or '.join(self.splits)}")
        return self.root if split == WHOLE else self.root / split


def read_image_file(path: Path) -> bytes:
    """The bytes of a file. Raises UnreadableImage for one too large to be an image, OSError as the disk does."""
    with open(path, "rb") as file:
        check_image_bytes(os.fstat(file.fileno()).st_size)
        return file.read()


def open_folder(folder: Path, *, base_name: str | None = None) -> FolderSource:
    """Reads the layout of a folder of images, and that no class is empty.

    base_name: the folder's own name where not given.

    Raises SourceError where the folder is missing, no folder, without images, or contradicts itself: a class folder
    without images, or images beside class folders or split folders. OSError where a folder cannot be read.
    """
    root = folder.absolute()
    if not root.is_dir():
        found = "is not a folder" if root.exists() else "does not exist"
        raise SourceError(f"{show_path(root)} {found}: expected a folder of images")
    splits, warnings = _find_splits(root)
    folders = {split: root / split for split in splits} if splits else {WHOLE: root}
    by_split = {split: find_classes(split_folder) for split, split_folder in folders.items()}
    warnings += _check_classes(root, by_split)
    classes = {name for names in by_split.values() for name in names}
    return FolderSource(
        base_name=base_name or os.path.basename(os.path.abspath(folder)) or "folder",
        root=root,
        splits=splits or (WHOLE,),
        classes=tuple(sorted(map(escape_name, classes))),
        warnings=warnings,
    )


def _find_splits(root: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The split folders at the top, none unless every folder there bears a split's name; and what to warn of."""
    images, folders = look_into(root)
    known = tuple(name for name in SPLIT_NAMES if name in folders)
    others = [name for name in folders if name not in SPLIT_NAMES]
    if known and images:
        raise SourceError(
            f"{show_path(root)} holds {'split' if not others else 'class'} folders ({', '.join(known)}) and beside "
            f"them the image {escape_name(images[0])}: move it into one of them, or away"
        )
    if known and others:
        warning = (
            f"{show_path(root)}: folder {known[0]} is read as a class, not as a split, because folder "
            f"{escape_name(others[0])} lies beside it; a folder of splits holds {', '.join(SPLIT_NAMES)} alone"
        )
        return (), (warning,)
    return known, ()


def _check_classes(root: Path, by_split: dict[str, list[str]]) -> tuple[str, ...]:
    """What to warn of: a split that lies flat beside a train of class folders, or has no class in common with it.

    Raises SourceError for a split of one folder that is no class, as Tiny-ImageNet's val/images: its labels would be
    wrong without a word.
    """
    train = by_split.get("train", [])
    warnings = []
    for split in [split for split in by_split if split not in ("train", "unlabeled")] if train else []:
        folder, names = root / split, by_split[split]
        if not names:
            warnings.append(f"{show_path(folder)} holds no class folders: its rows have the label -1")
        elif not {*names} & {*train}:
            annotations = next((name for name in sorted(os.listdir(folder)) if _ANNOTATIONS.fullmatch(name)), None)
            hint = f" as {escape_name(annotations)} says" if annotations else ""
            found = (
                f"{show_path(folder)} holds the folder {escape_name(names[0])}, and no class folder of train "
                f"({escape_name(train[0])}, ...)"
            )
            if annotations is None and names[0].lower() not in _NO_CLASSES:
                warnings.append(found)
                continue
            raise SourceError(
                f"{found}: sort its images into those{hint}, or move it away; a split without labels is called "
                f"unlabeled"
            )
    return tuple(warnings)


def find_classes(folder: Path) -> list[str]:
    """Names of the class folders, none for flat files.

    Raises SourceError where there is no image, a class without images, or an image beside the classes.
    """
    images, folders = look_into(folder)
    empty = [name for name in folders if not any(file.is_image for file in _walk(folder, name))]
    classes = [name for name in folders if name not in empty]
    if not images and not classes:
        raise SourceError(f"{show_path(folder)} holds no image: expected class folders of images, or image files")
    if images and classes:
        raise SourceError(
            f"{show_path(folder)} holds class folders ({escape_name(classes[0])}, ...) and beside them the image "
            f"{escape_name(images[0])}, which has no class: move it into a class folder, or away"
        )
    if classes and empty:
        more = f" and {len(empty) - 1} more" if len(empty) > 1 else ""
        raise SourceError(
            f"{show_path(folder)}: no image in class folder {escape_name(empty[0])}{more}: fill or remove it"
        )
    return classes


def look_into(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the images and of the folders directly in a folder, sorted, without dot files."""
    with os.scandir(folder) as entries:
        visible = [entry for entry in entries if not entry.name.startswith(".")]
    folders = sorted(entry.name for entry in visible if _has_type(entry, stat.S_ISDIR))
    images = sorted(entry.name for entry in visible if has_image_name(entry.name) and _has_type(entry, stat.S_ISREG))
    return images, folders


class _File(NamedTuple):
    """A file met by _walk: its key, bytes (0 where it is ignored), and whether it counts as an image."""

    key: str
    n_bytes: int
    is_image: bool


class _Place(NamedTuple):
    """A folder still to visit: where it is, the key of its files up to the name, and the folders above it."""

    path: str
    prefix: str
    hidden: bool
    above: frozenset[tuple[int, int]]


def _walk(folder: Path, name: str = "") -> Iterator[_File]:
    """Every file below a folder, or below its subfolder of that name.

    Links to folders are followed, but none back to a folder it lies in.
    """
    top = _Place(os.fspath(folder), "", False, frozenset())
    stack = [_enter(top, name) if name else top]
    while stack:
        place = stack.pop()
        if _identify(place.path) in place.above:
            continue
        with os.scandir(place.path) as entries:
            for entry in entries:
                if _has_type(entry, stat.S_ISDIR):
                    stack.append(_enter(place, entry.name))
                    continue
                key = place.prefix + escape_name(entry.name)
                if place.hidden or not has_image_name(entry.name) or not _has_type(entry, stat.S_ISREG):
                    yield _File(key, 0, False)
                else:
                    yield _File(key, entry.stat().st_size, True)


def _enter(place: _Place, name: str) -> _Place:
    return _Place(
        path=os.path.join(place.path, name),
        prefix=f"{place.prefix}{escape_name(name)}/",
        hidden=place.hidden or name.startswith("."),
        above=place.above | {_identify(place.path)},
    )


def _identify(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _has_type(entry: os.DirEntry[str], is_type: Callable[[int], bool]) -> bool:
    """Whether an entry, or what it links to, is of a type of file; a link that leads nowhere is of none."""
    # Of entries that are no links the type is known without asking the disk.
    if not entry.is_symlink() and entry.is_dir(follow_symlinks=False) != (is_type is stat.S_ISDIR):
        return False
    try:
        return is_type(entry.stat().st_mode)
    except OSError as error:
        if entry.is_symlink() and error.errno in _LEADS_NOWHERE:
            return False
        raise
