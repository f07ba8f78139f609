"""A folder of image files: class folders or flat files, with or without split folders above."""

import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from scatcache.errors import SourceError
from scatcache.images.class_names import check_splits, refuse_alike
from scatcache.images.contents import Contents, check_file_axes
from scatcache.images.decode import read_form
from scatcache.images.forms import Decoding, ImageForm
from scatcache.images.image_source import NO_LABEL, UNLABELED, WHOLE, ImageSource
from scatcache.images.keys import escape_name, has_image_name, has_sample_name, show_path, unescape_name
from scatcache.images.kinds.folder_layouts import check_class_folders, find_split_folders
from scatcache.images.kinds.walk import Counts, find_machine_folders, look_into, walk
from scatcache.images.limits import check_image_bytes
from scatcache.images.source import Listing

# What a manifest calls a folder that is no named dataset.
FOLDER_NAME = "folder"
# What may say beside a folder of images which is of which class.
_ANNOTATIONS = re.compile(r".*annotations?\.(txt|csv|json)", re.IGNORECASE)


@dataclass(frozen=True)
class FolderPart:
    """Image files of one folder; keys are their paths in it, labels index classes, the folders right in it.

    left_out: class folders that do not count; labelled: whether folders are classes, else all labels are -1; sorted_by:
    for flat files, the class of each; keys are CLASS/FILE then; counts: which names are images'.
    """

    folder: Path
    classes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    labelled: bool = True
    sorted_by: Mapping[str, str] | None = field(default=None, repr=False)
    counts: Counts = has_image_name
    image_form: None = None

    @cached_property
    def listing(self) -> Listing:
        """Every image file. Raises SourceError for a new class, OSError where a folder cannot be read."""
        labels = {name: label for label, name in enumerate(self.classes)}
        rows: list[tuple[str, int, int]] = []
        n_ignored, n_by_machines = 0, Counter[str]()
        for file in walk(self.folder, classes=labels if self.labelled else (), counts=self.counts):
            if file.key.partition("/")[0] in self.left_out:
                continue
            if file.is_image:
                key = file.key if self.sorted_by is None else f"{self.sorted_by[file.key]}/{file.key}"
                rows.append((key, self._label(key, labels), file.n_bytes))
            elif file.machine:
                n_by_machines[file.machine] += 1
            else:
                n_ignored += 1
        return Listing(sorted(rows), n_ignored, n_by_machines)

    def _label(self, key: str, labels: Mapping[str, int]) -> int:
        if not self.labelled or "/" not in key:
            return NO_LABEL
        name = key.partition("/")[0]
        if name not in labels:
            raise SourceError(f"{show_path(self.folder)}: folder {name} has appeared since it was opened: run again")
        return labels[name]

    def _find_file(self, i: int) -> Path:
        key = self.listing.rows[i].key
        return self.folder / unescape_name(key if self.sorted_by is None else key.partition("/")[2])

    def form(self, i: int, how: Decoding) -> ImageForm:
        """What one image is by its header."""
        with open(self._find_file(i), "rb") as file:
            return read_form(file, how)

    def read(self, i: int) -> bytes:
        """The bytes of one image file. Raises UnreadableImage for one too large, OSError as the disk does."""
        return read_image_file(self._find_file(i))

    def locate(self, i: int) -> None:
        """Files are read in any order."""


def read_image_file(path: Path) -> bytes:
    """The bytes of a file. Raises UnreadableImage for one too large to be an image, OSError as the disk does."""
    with open(path, "rb") as file:
        check_image_bytes(os.fstat(file.fileno()).st_size)
        return file.read()


def open_folder(folder: Path, contents: Contents | None = None) -> ImageSource:
    """Reads the layout of a folder of images, and that no class is empty.

    Raises SourceError where the folder is missing, no folder, without images, or contradicts itself: a class folder
    without images, or images beside class folders or split folders. OSError where a folder cannot be read.
    """
    root = folder.absolute()
    if not root.is_dir():
        found = "is not a folder" if root.exists() else "does not exist"
        raise SourceError(f"{show_path(root)} {found}: expected a folder of images")
    counts = choose_names(root)
    splits, warnings = find_split_folders(root, counts)
    folders = {split: root / split for split in splits} if splits else {WHOLE: root}
    by_split = {
        split: find_classes(folder, labelled=split != UNLABELED, counts=counts) for split, folder in folders.items()
    }
    warnings += check_class_folders(root, by_split, folders, counts)
    classes = {split: tuple(map(escape_name, names)) for split, names in by_split.items()}
    refuse_alike(show_path(root), classes)
    called = {split: show_path(folder) for split, folder in folders.items()}
    warnings += check_splits(called, classes, _find_annotations(folders))
    warnings += _count_beside(root) if splits else ()
    names = tuple(sorted({name for names in classes.values() for name in names}))
    parts = {
        split: FolderPart(folder, names, labelled=split != UNLABELED, counts=counts)
        for split, folder in folders.items()
    }
    axes = {} if contents is None or contents.axes is None else {"axes": check_file_axes(contents.axes)}
    return ImageSource(FOLDER_NAME, names, parts, root=root, warnings=warnings, options=axes)


def choose_names(root: Path) -> Counts:
    """Which names are images': pictures', but of a folder without any picture those of files of samples.

    Beside pictures a .npy file is rather their labels or features.
    """
    if not any(file.is_image for file in walk(root)) and any(
        file.is_image for file in walk(root, counts=has_sample_name)
    ):
        return has_sample_name
    return has_image_name


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


def find_classes(folder: Path, *, labelled: bool = True, counts: Counts = has_image_name) -> list[str]:
    """Names of the class folders, none for flat files, and none where the images are not labelled.

    Raises SourceError where there is no image, a class without images, or an image beside the classes.
    """
    images, folders = look_into(folder, of_classes=labelled, counts=counts)
    if not labelled and (images or any(file.is_image for file in walk(folder, counts=counts))):
        return []
    empty = [
        name
        for name in folders
        if not any(file.is_image for file in walk(folder, name, classes=folders, counts=counts))
    ]
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
