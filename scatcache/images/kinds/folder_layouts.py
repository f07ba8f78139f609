"""Layouts of folders that would be read without an error, and whose labels would say nothing."""

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from scatcache.errors import SourceError
from scatcache.images.class_names import show_names
from scatcache.images.keys import escape_name, has_image_name, show_path
from scatcache.images.kinds.split_names import SPLIT_NAMES, find_split_names, suggest_renames
from scatcache.images.kinds.walk import Counts, find_folders_alone, look_into, may_be_class

# Of a folder that is numbered as img2dataset and the like number their shards.
_NUMBERED = re.compile(r"(?:shard|part|chunk|batch|bucket|tar)?[ _.-]*\d+", re.IGNORECASE)
_PADDED = re.compile(r"0\d{3,}")
# Class folders, as of written digits or of faces, may hold a .txt beside each image. A shard has five digits or more,
# or a word; one of fewer is known by what lies in it.
_FEW_DIGITS = re.compile(r"\d{1,4}")
SIDECARS = (".json", ".txt")
# Of many folders as many are looked into.
N_LOOKED_INTO = 3


def find_split_folders(root: Path, counts: Counts = has_image_name) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The split folders at the top, none unless every folder there bears a known split's name; and what to warn of.

    Raises SourceError where every folder there looks like a split's and one is spelt in another way, and for images
    beside split folders. counts: which names are images'.
    """
    images, folders = look_into(root, counts=counts)
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
    if _share_folders(root, list(found), counts):
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


def _share_folders(root: Path, names: Sequence[str], counts: Counts) -> bool:
    """Whether two or more of these folders hold no image themselves and a folder of the same name."""
    seen: set[str] = set()
    for name in names:
        images, folders = look_into(root / name, counts=counts)
        if images or not folders:
            continue
        if seen & {*folders}:
            return True
        seen |= {*folders}
    return False


def check_class_folders(
    root: Path, by_split: dict[str, list[str]], folders: dict[str, Path], counts: Counts = has_image_name
) -> tuple[str, ...]:
    """What to warn of in the class folders of each split.

    by_split: names of the class folders; folders: where each split lies. Raises SourceError where the one class is a
    folder around the classes, where all classes hold splits, and where they are shards.
    """
    _refuse_wrapped(root, by_split, folders, counts)
    warnings: list[str] = []
    for split, classes in by_split.items():
        if classes:
            folder = folders[split]
            warnings += [
                *_check_numbers(folder, classes),
                *_look_below(folder, classes, counts),
                *_tell_kept(folder, classes),
            ]
    return tuple(warnings)


def _tell_kept(folder: Path, classes: list[str]) -> tuple[str, ...]:
    """A warning of classes that may be folders of thumbnails."""
    return tuple(
        f"{show_path(folder)}: folder {escape_name(name)} is read as a class, though machines call folders of "
        f"thumbnails so: if it is one, move it away"
        for name in filter(may_be_class, classes)
    )


def _refuse_wrapped(root: Path, by_split: dict[str, list[str]], folders: dict[str, Path], counts: Counts) -> None:
    """Raises SourceError for a split's single class that holds folders alone, where those may be the classes: where no
    other split has classes of its own, or has some of them, or is to have the classes of this one."""
    labelled = [split for split, classes in by_split.items() if classes]
    inside = {
        split: find_folders_alone(folders[split] / by_split[split][0], counts)
        for split in labelled
        if len(by_split[split]) == 1
    }
    wrapped = {split: inner for split, inner in inside.items() if inner}
    plain = {name for split in labelled if split not in wrapped for name in by_split[split]}
    for split in wrapped:
        name = by_split[split][0]
        inner, below = _descend(folders[split] / name, counts)
        if not plain or (name not in plain and (split == labelled[0] or plain & {*below})):
            _refuse_wrapper(root, folders[split], name, inner, below)


def _descend(inner: Path, counts: Counts) -> tuple[Path, list[str]]:
    """Of a folder of folders alone, the one in it where there is something to choose from; and the folders there."""
    below = find_folders_alone(inner, counts)
    while len(below) == 1 and below[0] not in SPLIT_NAMES and find_folders_alone(inner / below[0], counts):
        inner = inner / below[0]
        below = find_folders_alone(inner, counts)
    return inner, below


def _refuse_wrapper(root: Path, above: Path, name: str, inner: Path, below: list[str]) -> None:
    found = (
        f"{show_path(above)} holds the folder {escape_name(name)} alone, and that holds no image but folders "
        f"({show_names([escape_name(folder) for folder in below])}): every image would have the label "
        f"{escape_name(name)}"
    )
    if above == root:
        raise SourceError(f"{found}: give {show_folder(inner)} instead")
    held = "it" if inner == above / name else show_folder(inner)
    raise SourceError(f"{found}: move the folders in {held} up into {show_path(above)}")


def show_folder(folder: Path) -> str:
    """A folder as one types it: with a slash at its end, quoted where a shell needs it."""
    return shlex.quote(show_path(os.path.join(folder, "")))


def _look_below(folder: Path, classes: list[str], counts: Counts) -> tuple[str, ...]:
    """What to warn of where classes hold no image of their own, but splits, or all of them the same folders.

    Raises SourceError where what all of several classes hold looks like splits, and where the splits that one holds
    hold the same folders: the classes.
    """
    held = {name: below for name in classes if (below := find_folders_alone(folder / name, counts))}
    of_splits = [name for name, below in held.items() if len(find_split_names(below)) == len(below)]
    all_hold = len(held) == len(classes) > 1
    shown, inner = show_names([escape_name(name) for name in classes]), ""
    if all_hold:
        inner = show_names([escape_name(name) for name in held[classes[-1]]])
    if all_hold and len(of_splits) == len(classes):
        first, split = escape_name(classes[0]), escape_name(held[classes[-1]][0])
        raise SourceError(
            f"{show_path(folder)}: each of its folders ({shown}) holds folders that look like splits ({inner}), which "
            f"would be mixed: give one of them, as {show_folder(folder / classes[0])}, or, where they are the classes, "
            f"put them into split folders ({split}/{first}/...)"
        )
    if all_hold and all(len(below) > 1 and below == held[classes[0]] for below in held.values()):
        return (
            f"{show_path(folder)}: its folders ({shown}) are read as the classes, though each holds the same folders "
            f"({inner}): if those are the classes, give one of the former, as {show_folder(folder / classes[0])}",
        )
    return tuple(_tell_splits_below(folder, name, held[name], counts) for name in of_splits if len(held[name]) > 1)


def _tell_splits_below(folder: Path, name: str, splits: list[str], counts: Counts) -> str:
    """A warning of a class that holds what looks like splits. Raises SourceError where these hold the same folders."""
    found = (
        f"{show_path(folder)}: folder {escape_name(name)} holds no image but folders that look like splits "
        f"({show_names([escape_name(split) for split in splits])})"
    )
    give = f"give {show_folder(folder / name)}"
    if _share_folders(folder / name, splits, counts):
        raise SourceError(
            f"{found}, and they hold the same folders: it would be read as one class, its splits mixed: {give} "
            f"instead, or move it away"
        )
    return f"{found}: it is read as one class, its splits mixed: if they are splits, {give} instead"


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
    surely = not all(map(_FEW_DIGITS.fullmatch, classes)) or _are_shards(folder, classes)
    if have_sidecars and surely:
        first = escape_name(classes[0])
        raise SourceError(
            f"{show_path(folder)} holds {found}, as img2dataset writes its shards: their numbers are no labels: sort "
            f"the images into class folders by what those files say, or put the folders into one called unlabeled; if "
            f"the numbers are the classes, rename the folders, as {first} to id_{first}"
        )
    return (f"{show_path(folder)} holds {found}, which are read as classes: if they are shards, as img2dataset writes "
            f"them, their labels say nothing",)  # fmt: skip


def _has_sidecars(folder: Path) -> bool:
    """Whether at least half of the images right in a folder have one."""
    names = {name for name in os.listdir(folder) if not name.startswith(".")}
    images, _ = look_into(folder)
    n_told = sum(any(os.path.splitext(image)[0] + ending in names for ending in SIDECARS) for image in images)
    return bool(images) and 2 * n_told >= len(images)


def _are_shards(folder: Path, classes: list[str]) -> bool:
    """Whether folders of three or four digits hold what img2dataset writes: images whose numbers begin with that of
    their folder, or images with both sidecars."""
    names = [name for name in classes if len(name) > 2]
    for name in names[:N_LOOKED_INTO]:
        inside = {*os.listdir(folder / name)}
        stems = [os.path.splitext(image)[0] for image in look_into(folder / name)[0]]
        numbered = all(stem.isdecimal() and stem != name and stem.startswith(name) for stem in stems)
        if stems and (numbered or all(stem + ending in inside for stem in stems for ending in SIDECARS)):
            return True
    return False


def _are_numbered_through(folder: Path, classes: list[str]) -> bool:
    """Whether folders and images alike are numbers, the folders with leading zeros up to one width."""
    if not any(map(_PADDED.fullmatch, classes)) or {len(name) for name in classes} != {len(classes[0])}:
        return False
    stems = [os.path.splitext(image)[0] for name in classes[:N_LOOKED_INTO] for image in look_into(folder / name)[0]]
    return bool(stems) and all(map(str.isdecimal, stems))
