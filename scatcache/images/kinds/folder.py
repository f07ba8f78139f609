"""A folder of image files: class folders or flat files, with or without split folders above."""

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scatcache.errors import SourceError
from scatcache.images.class_names import check_splits, refuse_alike
from scatcache.images.decode import read_shape
from scatcache.images.keys import escape_name, show_path, unescape_name
from scatcache.images.kinds.layouts import check_class_folders, find_split_folders
from scatcache.images.kinds.walk import find_machine_folders, look_into, walk
from scatcache.images.listing import Listing, Row, check_image_bytes
from scatcache.images.native_shape import find_native_shape

WHOLE = "all"
NO_LABEL = -1
# What a manifest calls a folder that is no named dataset.
FOLDER_NAME = "folder"
UNLABELED = "unlabeled"
# What may say beside a folder of images which is of which class.
_ANNOTATIONS = re.compile(r".*annotations?\.(txt|csv|json)", re.IGNORECASE)


@dataclass(frozen=True)
class FolderSource:
    """Image files under root; keys are their paths in the split's folder, labels index the sorted class folders.

    In a split "unlabeled" folders are no classes, and all labels -1.

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
        return tuple(split for split in self.splits if split != UNLABELED) or self.splits

    def list_rows(self, split: str) -> Listing:
        """Every image file of one split.

        Raises SourceError for a split the folder does not have; OSError where a folder cannot be read.
        """
        labels = {name: label for label, name in enumerate(self.classes)}
        rows: list[Row] = []
        n_ignored, n_by_machines = 0, Counter[str]()
        for file in walk(self._locate(split), classes=() if split == UNLABELED else labels):
            if file.key.partition("/")[0] in self.left_out:
                continue
            if file.is_image:
                label = NO_LABEL if split == UNLABELED else self._label(file.key, labels)
                rows.append(Row(file.key, label, file.n_bytes))
            elif file.machine:
                n_by_machines[file.machine] += 1
            else:
                n_ignored += 1
        return Listing(tuple(sorted(rows)), n_ignored, n_by_machines)

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
    splits, warnings = find_split_folders(root)
    folders = {split: root / split for split in splits} if splits else {WHOLE: root}
    by_split = {split: find_classes(folder, labelled=split != UNLABELED) for split, folder in folders.items()}
    warnings += check_class_folders(root, by_split, folders)
    classes = {split: tuple(map(escape_name, names)) for split, names in by_split.items()}
    refuse_alike(show_path(root), classes)
    places = {split: show_path(folder) for split, folder in folders.items()}
    warnings += check_splits(places, classes, _find_annotations(folders))
    warnings += _count_beside(root) if splits else ()
    return FolderSource(
        base_name=base_name or os.path.basename(os.path.abspath(folder)) or "folder",
        root=root,
        splits=splits or (WHOLE,),
        classes=tuple(sorted({name for names in classes.values() for name in names})),
        warnings=warnings,
    )


def _find_annotations(folders: Mapping[str, Path]) -> dict[str, str]:
    """By split, the name of a file right in its folder that may say the classes of its images."""
    found: dict[str, str] = {}
    for split, folder in folders.items():
        names = [name for name in sorted(os.listdir(folder)) if _ANNOTATIONS.fullmatch(name)]
        found |= {split: escape_name(names[0])} if names else {}
    return found


def _count_beside(root: Path) -> tuple[str, ...]:
    """A warning of files in machines' folders beside split folders, which no split lists."""
    found = {name: sum(1 for _ in walk(root, name)) for name in find_machine_folders(root)}
    return tuple(
        f"{show_path(root)}: files left out because they lie in folders that machines make: {n} in {escape_name(name)}"
        for name, n in found.items()
        if n
    )


def find_classes(folder: Path, *, labelled: bool = True) -> list[str]:
    """Names of the class folders, none for flat files, and none where the images are not labelled.

    Raises SourceError where there is no image, a class without images, or an image beside the classes.
    """
    images, folders = look_into(folder, of_classes=labelled)
    if not labelled and (images or any(file.is_image for file in walk(folder))):
        return []
    empty = [name for name in folders if not any(file.is_image for file in walk(folder, name, classes=folders))]
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
