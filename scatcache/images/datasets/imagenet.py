"""ImageNet (ILSVRC 2012) from class folders or straight from the official archives, nothing of them unpacked."""

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

from scatcache.errors import SourceError
from scatcache.images.archives.tar_index import index_tar
from scatcache.images.archives.tar_members import TarMember, list_members
from scatcache.images.archives.unpack import OnArchive, tell_nobody
from scatcache.images.class_names import check_splits, refuse_alike
from scatcache.images.datasets.devkit import ARCHIVE, find_devkit, read_devkit
from scatcache.images.datasets.kaggle import SOLUTION, find_image_folder, find_solution
from scatcache.images.image_source import ImageSource
from scatcache.images.keys import escape_name, show_path
from scatcache.images.kinds.folder import FolderPart, find_classes
from scatcache.images.kinds.folder_layouts import show_folder
from scatcache.images.kinds.tar import TarPart, find_tar_classes, is_image_path
from scatcache.images.kinds.walk import look_into
from scatcache.images.roots import NotFound, list_roots, locate_root

TRAIN_TAR = "ILSVRC2012_img_train.tar"
VAL_TAR = "ILSVRC2012_img_val.tar"
TARS = {"train": TRAIN_TAR, "val": VAL_TAR}
SPLITS = tuple(TARS)
WANTED = (
    f"{TRAIN_TAR}, {VAL_TAR} and {ARCHIVE} as image-net.org gives them after registration (they stay packed), "
    f"or the folders train and val of class folders, or Kaggle's ILSVRC/Data/CLS-LOC and {SOLUTION}"
)
# Headers are read from every class's tar at once: that mostly waits for the disk.
N_THREADS = 16
_WNID = re.compile(r"n\d{8}")
_CLASS_TAR = re.compile(r"n\d{8}\.tar")
_VAL_PREFIX = "ILSVRC2012_val_"


def open_imagenet(
    root: Path | None = None, work_dir: Path | None = None, *, on_archive: OnArchive = tell_nobody
) -> ImageSource:
    """Finds ImageNet's train and val under root (or where locate_root looks), each a folder or the official tar.

    work_dir: where the indices of the tars are kept from run to run. Folders are preferred to tars. Validation images
    that lie flat, in the tar or in a folder, get their classes from the devkit, or from what Kaggle gives instead.

    Raises SourceError where neither split is found, or what is found is truncated, malformed or contradictory; OSError
    as the disk does. The archives' md5s, minutes of reading, are not compared: `official` is None.
    """
    try:
        root = locate_root("imagenet", root, WANTED, holds=_holds_imagenet)
    except NotFound:
        for place in [root] if root is not None else list_roots("imagenet"):
            _refuse_bare(place, is_named=root is not None)
        raise
    found = {split: part for split in SPLITS if (part := _find_part(split, root, work_dir, on_archive)) is not None}
    classes = {split: _find_part_classes(part) for split, part in found.items()}
    folders = {split: _sort_flat(split, part, root) for split, part in found.items() if not classes[split]}
    classes |= {split: {*folders[split].values()} for split in folders}
    refuse_alike(show_path(root), classes)
    warnings = check_splits({split: f"split {split} of {show_path(root)}" for split in found}, classes)
    labels = tuple(sorted(set().union(*classes.values())))
    parts = {split: replace(part, classes=labels, sorted_by=folders.get(split)) for split, part in found.items()}
    absent = {split: f"put {TARS[split]} or the folder {split} there" for split in SPLITS if split not in parts}
    return ImageSource("imagenet", labels, parts, root=root, warnings=warnings, absent=absent)


def _holds_imagenet(root: Path) -> bool:
    images = find_image_folder(root)
    return any((root / TARS[split]).is_file() or _is_imagenet_folder(images / split) for split in SPLITS)


def _refuse_bare(place: Path, *, is_named: bool) -> None:
    """Raises SourceError for a folder that holds what should be in train or val, and so does not say which it is.

    is_named: whether the user named it; class folders of other names than ImageNet's then count too.
    """
    if not place.is_dir():
        return
    images, folders = look_into(place)
    is_flat = any(name.startswith(_VAL_PREFIX) for name in images)
    has_classes = is_named and any(look_into(place / name)[0] for name in folders if name not in SPLITS)
    if not has_classes and not _is_imagenet_folder(place):
        return
    if (name := place.absolute().name) in SPLITS:
        command = f"scatcache extract imagenet --root {show_folder(place.absolute().parent)} --J 2"
        raise SourceError(
            f"{show_path(place)} is the folder {name} itself, not the one that holds it: give `{command}`"
        )
    found = "validation images" if is_flat else f"class folders ({escape_name(folders[0])}, ...)"
    raise SourceError(
        f"{show_path(place)} holds {found} and no folder train or val: give `scatcache extract {show_folder(place)} "
        f"--J 2 --size 224` for the images as they lie, or move them into a folder train or val there"
    )


def _is_imagenet_folder(folder: Path) -> bool:
    """Whether a folder called train or val is ImageNet's, and not another dataset's of the same name."""
    if not folder.is_dir():
        return False
    images, folders = look_into(folder)
    return any(_WNID.fullmatch(name) for name in folders) or any(name.startswith(_VAL_PREFIX) for name in images)


def _find_part(split: str, root: Path, work_dir: Path | None, on_archive: OnArchive) -> FolderPart | TarPart | None:
    """A split's folder or tar, with no classes yet; None where there is neither."""
    for folder in (root / split, find_image_folder(root) / split):
        if _is_imagenet_folder(folder):
            return FolderPart(folder)
    tar = root / TARS[split]
    if not tar.is_file():
        return None
    list_files = _list_class_tars if split == "train" else _list_tar
    return TarPart(index_tar(tar, work_dir, partial(list_files, tar), on_archive))


def _find_part_classes(part: FolderPart | TarPart) -> set[str]:
    if isinstance(part, FolderPart):
        return set(map(escape_name, find_classes(part.folder)))
    return find_tar_classes(part.index)


def _sort_flat(split: str, part: FolderPart | TarPart, root: Path) -> dict[str, str]:
    """wnid by file of a split that has no class folders."""
    where = part.folder if isinstance(part, FolderPart) else part.index.tar
    if split != "val":
        raise SourceError(f"{show_path(where)} holds images beside no class folder: expected n01440764 and so on")
    kit = find_devkit(root)
    solution = find_solution(root) if kit is None else None
    if kit is None and solution is None:
        raise SourceError(
            f"{show_path(where)} does not say the classes of its images: put {ARCHIVE}, or Kaggle's {SOLUTION}, into "
            f"{show_path(root)} too"
        )
    names = part.listing.rows.keys
    if kit is not None:
        return read_devkit(kit).sort(names)
    assert solution is not None, "one of them is there"
    return solution.sort(names)


def _list_tar(tar: Path, descriptor: int) -> Iterator[TarMember]:
    yield from list_members(descriptor, 0, os.fstat(descriptor).st_size, name=show_path(tar))


def _list_class_tars(tar: Path, descriptor: int) -> Iterator[TarMember]:
    """The files of every class's tar in the training tar, keys CLASS/FILE."""
    name = show_path(tar)

    def list_class(outer: TarMember) -> list[TarMember]:
        wnid = outer.key.removesuffix(".tar")
        where = f"{outer.key} in {name}"
        members = list(list_members(descriptor, outer.offset, outer.n_bytes, name=where))
        if not any(is_image_path(member.key) for member in members):
            raise SourceError(f"{where} holds no image: it is not the official archive")
        return [member._replace(key=f"{wnid}/{member.key.removeprefix(f'{wnid}/')}") for member in members]

    outers = list(_list_tar(tar, descriptor))
    other = [outer.key for outer in outers if not _CLASS_TAR.fullmatch(outer.key)]
    if other or not outers:
        found = f"holds {other[0]}" if other else "holds nothing"
        raise SourceError(f"{name} {found}: expected a tar of each class, n01440764.tar and so on, and nothing else")
    with ThreadPoolExecutor(N_THREADS) as pool:
        for members in pool.map(list_class, outers):
            yield from members
