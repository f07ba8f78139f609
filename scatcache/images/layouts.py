"""Layouts of folders that would be read without an error, and whose labels would say nothing."""

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from scatcache.errors import SourceError
from scatcache.images.class_names import show_names
from scatcache.images.keys import escape_name, show_path
from scatcache.images.split_names import SPLIT_NAMES, find_split_names, suggest_renames
from scatcache.images.walk import look_into

# Of a folder that is numbered as img2dataset and the like number their shards.
_NUMBERED = re.compile(r"(?:shard|part|chunk|batch|bucket|tar)?[ _.-]*\d+", re.IGNORECASE)
_PADDED = re.compile(r"0\d{3,}")
# Class folders, as of written digits, may hold a .txt beside each image; a shard has more digits, or a word.
_FEW_DIGITS = re.compile(r"\d{1,2}")
SIDECARS = (".json", ".txt")
# Of many folders as many are looked into.
N_LOOKED_INTO = 3


def find_split_folders(root: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The split folders at the top, none unless every folder there bears a known split's name; and what to warn of.

    Raises SourceError where every folder there looks like a split's and one is spelt in another way, and for images
    beside split folders.
    """
    images, folders = look_into(root)
    found = find_split_names(folders)
    known = tuple(name for name in SPLIT_NAMES if name in folders)
    others = [name for name in folders if name not in found]
    if known and images:
        raise SourceError(
            f"{show_path(root)} holds {'split' if not others else 'class'} folders ({', '.join(known)}) and beside "
            f"them the image {escape_name(images[0])}: move it into one of them, or away"
        )
    if not found or (len(known) == len(folders)):
        return known, ()
    if not others:
        raise SourceError(f"{_tell_splits(root, found)}: {_advise_renames(found)}")
    if _share_folders(root, list(found)):
        raise SourceError(
            f"{_tell_splits(root, found)}, and they hold the same folders; but folder {escape_name(others[0])} lies "
            f"beside them: move it away, or give it a split's name ({', '.join(SPLIT_NAMES)})"
        )
    first = escape_name(next(iter(found)))
    read = f"folder {first} is read as a class, not as a split"
    if len(found) > 1:
        read = f"folders {show_names([escape_name(name) for name in found])} are read as classes, not as splits"
    return (), (
        f"{show_path(root)}: {read}, because folder {escape_name(others[0])} lies beside; a folder of splits holds "
        f"{', '.join(SPLIT_NAMES)} alone",
    )


def _tell_splits(root: Path, found: dict[str, str]) -> str:
    shown = show_names([escape_name(name) for name in found])
    return f"{show_path(root)} holds {shown}: by their names splits, which would be read as classes"


def _advise_renames(found: dict[str, str]) -> str:
    renames = suggest_renames({escape_name(name): split for name, split in found.items()})
    expected = f"splits are called {', '.join(SPLIT_NAMES)}"
    return (
        f"{expected}: rename {renames}"
        if renames
        else f"{expected}: give each folder one of these names, or merge them"
    )


def _share_folders(root: Path, names: Sequence[str]) -> bool:
    """Whether two or more of these folders hold no image themselves and a folder of the same name."""
    seen: set[str] = set()
    for name in names:
        images, folders = look_into(root / name)
        if images or not folders:
            continue
        if seen & {*folders}:
            return True
        seen |= {*folders}
    return False


def check_class_folders(root: Path, by_split: dict[str, list[str]], folders: dict[str, Path]) -> tuple[str, ...]:
    """What to warn of in the class folders of each split.

    by_split: names of the class folders; folders: where each split lies. Raises SourceError where the one class is a
    folder around the classes, where all classes hold splits, and where they are shards.
    """
    lone = [(folders[split], classes[0]) for split, classes in by_split.items() if classes]
    if all(len(classes) < 2 for classes in by_split.values()) and lone:
        _refuse_wrapped(root, lone[0])
    warnings: list[str] = []
    for split, classes in by_split.items():
        if classes:
            warnings += [*_check_numbers(folders[split], classes), *_look_below(folders[split], classes)]
    return tuple(warnings)


def _refuse_wrapped(root: Path, wrapper: tuple[Path, str]) -> None:
    """Raises SourceError for a single class that holds folders alone."""
    above, name = wrapper
    inner = above / name
    images, folders = look_into(inner)
    if images or not folders:
        return
    found = f"{show_path(above)} holds the folder {escape_name(name)} alone, and that holds no image but folders"
    if above != root:
        raise SourceError(
            f"{found}: every image would have the label {escape_name(name)}: move the folders in it up into "
            f"{show_path(above)}"
        )
    # Down to where there is something to choose from, or images.
    while not images and len(folders) == 1 and folders[0] not in SPLIT_NAMES and look_into(inner / folders[0])[1]:
        inner = inner / folders[0]
        images, folders = look_into(inner)
    raise SourceError(
        f"{found} ({show_names([escape_name(folder) for folder in folders])}): every image would have the label "
        f"{escape_name(name)}: give {show_folder(inner)} instead"
    )


def show_folder(folder: Path) -> str:
    """A folder as one types it: with a slash at its end, quoted where a shell needs it."""
    return shlex.quote(show_path(os.path.join(folder, "")))


def _look_below(folder: Path, classes: list[str]) -> tuple[str, ...]:
    """What to warn of where all of several classes hold the same folders and no image of their own.

    Raises SourceError where what all of them hold looks like splits.
    """
    same: set[str] | None = None
    all_splits, all_same = len(classes) > 1, len(classes) > 1
    for name in classes:
        if not (all_splits or all_same):
            break
        images, below = look_into(folder / name)
        if images or not below:
            return ()
        all_splits &= len(find_split_names(below)) == len(below)
        all_same &= len(below) > 1 and same in (None, {*below})
        same = {*below}
    shown, inner = show_names([escape_name(name) for name in classes]), show_names(sorted(map(escape_name, same or ())))
    if all_splits:
        raise SourceError(
            f"{show_path(folder)}: each of its folders ({shown}) holds folders that look like splits ({inner}), which "
            f"would be mixed: give one of them, as {show_folder(folder / classes[0])}, or, where they are the classes, "
            f"put them into split folders ({escape_name(sorted(same or ())[0])}/{escape_name(classes[0])}/...)"
        )
    if all_same:
        return (
            f"{show_path(folder)}: its folders ({shown}) are read as the classes, though each holds the same folders "
            f"({inner}): if those are the classes, give one of the former, as {show_folder(folder / classes[0])}",
        )
    return ()


def _check_numbers(folder: Path, classes: list[str]) -> tuple[str, ...]:
    """What to warn of where the class folders are numbered, and may be shards.

    Raises SourceError where they are: a .json or .txt lies beside each image.
    """
    if not all(map(_NUMBERED.fullmatch, classes)):
        return ()
    have_sidecars = any(_has_sidecars(folder / name) for name in classes[:N_LOOKED_INTO])
    if not have_sidecars and not _are_numbered_through(folder, classes):
        return ()
    found = f"numbered folders ({show_names([escape_name(name) for name in classes])})"
    found += f" with a {' or '.join(SIDECARS)} beside each image" if have_sidecars else " of numbered images"
    if have_sidecars and not all(map(_FEW_DIGITS.fullmatch, classes)):
        raise SourceError(
            f"{show_path(folder)} holds {found}, as img2dataset writes its shards: their numbers are no labels: sort "
            f"the images into class folders by what those files say, or put the folders into one called unlabeled"
        )
    return (f"{show_path(folder)} holds {found}, which are read as classes: if they are shards, as img2dataset writes "
            f"them, their labels say nothing",)  # fmt: skip


def _has_sidecars(folder: Path) -> bool:
    """Whether at least half of the images right in a folder have one."""
    names = {name for name in os.listdir(folder) if not name.startswith(".")}
    images, _ = look_into(folder)
    n_told = sum(any(os.path.splitext(image)[0] + ending in names for ending in SIDECARS) for image in images)
    return bool(images) and 2 * n_told >= len(images)


def _are_numbered_through(folder: Path, classes: list[str]) -> bool:
    """Whether folders and images alike are numbers, the folders with leading zeros up to one width."""
    if not any(map(_PADDED.fullmatch, classes)) or {len(name) for name in classes} != {len(classes[0])}:
        return False
    stems = [os.path.splitext(image)[0] for name in classes[:N_LOOKED_INTO] for image in look_into(folder / name)[0]]
    return bool(stems) and all(map(str.isdecimal, stems))
