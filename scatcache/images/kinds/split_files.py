"""Files that hold many images each, sorted into splits by their names or by those of their folders."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from scatcache.errors import SourceError
from scatcache.images.image_source import WHOLE, check_split_names
from scatcache.images.keys import escape_name, has_image_name, show_path
from scatcache.images.kinds.split_names import SPLIT_NAMES

# As Hugging Face and WebDataset write them, beside those of folders.
_NAMED = (*SPLIT_NAMES, "validation")
# Folders below the one named: data/train-00000-of-00002.parquet, default/train/0000.parquet.
_DEPTH = 2
# Of a folder of class folders no more are looked into.
_N_LOOKED_INTO = 3


def list_files_of(folder: Path, suffix: str) -> list[Path]:
    """The files of a suffix in a folder and up to _DEPTH levels below, none hidden. Raises OSError as the disk does."""
    found: list[Path] = []
    level = [folder]
    for depth in range(_DEPTH + 1):
        below: list[Path] = []
        for place in level:
            with os.scandir(place) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir() and depth < _DEPTH:
                        below.append(place / entry.name)
                    elif entry.name.lower().endswith(suffix) and entry.is_file():
                        found.append(place / entry.name)
        level = below
    return sorted(found)


def is_folder_of(place: str | os.PathLike[str], suffix: str) -> bool:
    """Whether files of a suffix lie in a folder, or below, and no image file; see list_files_of."""
    return _look_for(os.fspath(place), suffix, _DEPTH) is True


def _look_for(place: str, suffix: str, depth: int) -> bool | None:
    """True for files of a suffix, False for images, which count more, None where neither is found."""
    try:
        with os.scandir(place) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
        if any(has_image_name(entry.name) for entry in visible):
            return False
        folders = sorted(entry.path for entry in visible if entry.is_dir())
        has_files = any(entry.name.lower().endswith(suffix) and entry.is_file() for entry in visible)
    except OSError:
        return None
    below = {_look_for(folder, suffix, depth - 1) for folder in folders[:_N_LOOKED_INTO]} if depth else set()
    return False if False in below else has_files or True in below or None


def sort_into_splits(root: Path, files: Sequence[Path], where: str) -> dict[str, list[Path]]:
    """The files of each split, in the order of the keys that their stems make; {"all": files} where no name says one.

    root: the folder given, or the one file; where: the same for messages. Raises SourceError where some names say a
    split and others none, or a split's files lie in several folders.
    """
    said = {file: _find_split(file, root) for file in files}
    silent = [file for file, split in said.items() if split is None]
    if silent and len(silent) < len(said):
        named, split = next((file, split) for file, split in said.items() if split is not None)
        raise SourceError(
            f"{where}: {show_path(named.name)} is of split {split} by its name, {show_path(silent[0].name)} "
            f"of none: name them {silent[0].stem}-{split}... or the like, or move them apart"
        )
    splits: dict[str, list[Path]] = {}
    for file, found in said.items():
        splits.setdefault(found or WHOLE, []).append(file)
    check_split_names(splits, where)
    for split, members in splits.items():
        folders = sorted({file.parent for file in members})
        if len(folders) > 1:
            shown = " and ".join(show_path(os.path.relpath(folder, root)) for folder in folders[:2])
            raise SourceError(
                f"{where}: the files of split {split} lie in the folders {shown}: give one of the folders"
            )
        if alike := [stem for stem, n in Counter(file.stem for file in members).items() if n > 1]:
            raise SourceError(
                f"{where}: several files of split {split} are called {escape_name(alike[0])}: rename them"
            )
        members.sort(key=lambda file: f"{escape_name(file.stem)}/")
    order = [name for name in _NAMED if name in splits]
    return {split: splits[split] for split in (*order, *sorted(splits.keys() - set(order)))}


def _find_split(file: Path, root: Path) -> str | None:
    """The first word of a file's name that is a split's, else the nearest folder below root that bears one."""
    words = re.split(r"[^A-Za-z]+", file.stem)
    folders = [folder.name for folder in file.parents if folder != root and root in folder.parents]
    return next((word for word in (*words, *folders) if word in _NAMED), None)
