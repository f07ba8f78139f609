"""What lies in a folder: images, folders, and what machines put among them."""

import errno
import os
import re
import stat
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

from scatcache.images.keys import escape_name, has_image_name

# Whether a file of this name is an image.
Counts: TypeAlias = Callable[[str], bool]
_LEADS_NOWHERE = (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG)
# Thumbnails, what was deleted, what was salvaged: of NAS systems, macOS, Windows and Linux. Some file systems keep the
# case of a name, others do not.
_MACHINES = re.compile(
    r"@eadir|@recycle|@recently-snapshot|#recycle|[#~]snapshot|__macosx|lost\+found|found\.\d{3}|\$recycle\.bin|recycler"
    r"|system volume information|\.trash|\.trash-.*|\.trashes|thumbs",
    re.IGNORECASE,
)
# Spelt as Windows spells it, a folder of thumbnails; spelt otherwise, maybe a class, such as of a hand's gestures.
_THUMBNAILS = "Thumbs"


class File(NamedTuple):
    """A file met by walk: its key, bytes (0 where it is ignored), whether it counts as an image, and the folder that a
    machine made and that it lies in, "" for none."""

    key: str
    n_bytes: int
    is_image: bool
    machine: str


class _Visit(NamedTuple):
    """A folder still to visit: where it is, the key of its files up to the name, what it lies in, and the folders above
    it."""

    path: str
    prefix: str
    hidden: bool
    machine: str
    above: frozenset[tuple[int, int]]


def is_made_by_machine(folder: str) -> bool:
    """Whether a folder of this name is what a machine puts among one's files, such as a NAS's @eaDir."""
    return _MACHINES.fullmatch(folder) is not None


def may_be_class(folder: str) -> bool:
    """Whether a folder that is called as machines call theirs is a class where it lies among classes."""
    return folder != _THUMBNAILS and folder.casefold() == _THUMBNAILS.casefold()


def find_machine_folder(key: str) -> str:
    """The first folder of a path in an archive that a machine made, "" for none."""
    return next(filter(is_made_by_machine, key.split("/")[:-1]), "")


def look_into(
    folder: Path, *, of_classes: bool = False, counts: Counts = has_image_name
) -> tuple[list[str], list[str]]:
    """Names of the images and of the folders directly in a folder, sorted, without dot files and machines' folders.

    of_classes: the folders are classes where no image lies beside them, those that may_be_class too; counts: which
    names are images'.
    """
    with os.scandir(folder) as entries:
        visible = [entry for entry in entries if not entry.name.startswith(".")]
    images = sorted(entry.name for entry in visible if counts(entry.name) and _has_type(entry, stat.S_ISREG))
    keeps = of_classes and not images
    folders = sorted(
        entry.name
        for entry in visible
        if _is_folder(entry) and (not is_made_by_machine(entry.name) or (keeps and may_be_class(entry.name)))
    )
    return images, folders


def find_folders_alone(folder: Path, counts: Counts = has_image_name) -> list[str]:
    """Names of the folders directly in a folder that holds no image beside them, sorted; as look_into, and of a folder
    of many images only the first is looked at."""
    folders: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if counts(entry.name) and _has_type(entry, stat.S_ISREG):
                return []
            if _is_folder(entry) and not is_made_by_machine(entry.name):
                folders.append(entry.name)
    return sorted(folders)


def find_machine_folders(folder: Path) -> list[str]:
    """Names of the folders directly in a folder that machines made, sorted."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if is_made_by_machine(entry.name) and _is_folder(entry))


def walk(
    folder: Path, name: str = "", *, classes: Collection[str] = (), counts: Counts = has_image_name
) -> Iterator[File]:
    """Every file below a folder, or below its subfolder of that name.

    classes: keys of the folders right in it that are classes, and no machine's; counts: which names are images'.

    Links to folders are followed, but none back to a folder it lies in. Machines' folders that this user may not look
    into are passed over.
    """
    top = _Visit(os.fspath(folder), "", False, "", frozenset())
    stack = [_enter(top, name, classes) if name else top]
    while stack:
        visit = stack.pop()
        try:
            if _identify(visit.path) in visit.above:
                continue
            entries = os.scandir(visit.path)
        except PermissionError:
            if not visit.machine:
                raise
            continue
        with entries:
            for entry in entries:
                if _is_folder(entry):
                    stack.append(_enter(visit, entry.name, () if visit.prefix else classes))
                else:
                    yield _meet(visit, entry, counts)


def _meet(visit: _Visit, entry: os.DirEntry[str], counts: Counts) -> File:
    key = visit.prefix + escape_name(entry.name)
    left_out = visit.hidden or visit.machine or not counts(entry.name)
    if left_out or not _has_type(entry, stat.S_ISREG):
        return File(key, 0, False, visit.machine)
    return File(key, entry.stat().st_size, True, "")


def _enter(visit: _Visit, name: str, classes: Collection[str]) -> _Visit:
    machine = escape_name(name) if is_made_by_machine(name) and escape_name(name) not in classes else ""
    return _Visit(
        path=os.path.join(visit.path, name),
        prefix=f"{visit.prefix}{escape_name(name)}/",
        hidden=visit.hidden or name.startswith("."),
        machine=visit.machine or machine,
        above=visit.above | {_identify(visit.path)},
    )


def _identify(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return _has_type(entry, stat.S_ISDIR)


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
