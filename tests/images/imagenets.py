"""ImageNet in small, in each of the forms in which people have it."""

import gzip
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.io import savemat

from scatcache.images.datasets.devkit import ARCHIVE, FOLDER, GROUND_TRUTH, META
from tests.images.tars import make_tar, system_tar

TRAIN_TAR, VAL_TAR = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"


def make_meta(wnids: Sequence[str]) -> bytes:
    """meta.mat as the official one is: a structure array, the classes numbered from 1, inner synsets after them."""
    fields = (
        "ILSVRC2012_ID",
        "WNID",
        "words",
        "gloss",
        "num_children",
        "children",
        "wordnet_height",
        "num_train_images",
    )
    synsets = np.zeros((len(wnids), 1), [(field, object) for field in fields])
    for index, wnid in enumerate(wnids):
        synsets[index, 0] = (float(index + 1), wnid, f"word {index}", "gloss", 0.0, np.zeros(0), 0.0, 1300.0)
    file = io.BytesIO()
    savemat(file, {"synsets": synsets}, do_compression=True)
    return file.getvalue()


def write_devkit(root: Path, wnids: Sequence[str], truth: Sequence[object], *, unpacked: bool = False) -> Path:
    """The devkit under root; returns its archive or folder."""
    files = {META: make_meta(wnids), GROUND_TRUTH: "".join(f"{line}\n" for line in truth).encode()}
    if not unpacked:
        path = root / ARCHIVE
        path.write_bytes(gzip.compress(make_tar((f"{FOLDER}/{name}", data) for name, data in files.items())))
        return path
    for name, data in files.items():
        (root / FOLDER / name).parent.mkdir(parents=True, exist_ok=True)
        (root / FOLDER / name).write_bytes(data)
    return root / FOLDER


def write_folders(folder: Path, images: Mapping[str, bytes]) -> Path:
    """Class folders, from contents by key CLASS/FILE."""
    for key, content in images.items():
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(content)
    return folder


def write_train_tar(root: Path, folders: Path, scratch: Path) -> Path:
    """The training tar of class folders, made by the system's tar as the official one is: a tar of class tars."""
    classes = scratch / "classes"
    classes.mkdir(parents=True)
    for folder in sorted(folders.iterdir()):
        system_tar(classes / f"{folder.name}.tar", folder)
    return system_tar(root / TRAIN_TAR, classes)


def write_val_tar(root: Path, images: Mapping[str, bytes], scratch: Path) -> Path:
    """The validation tar, flat, from contents by file name, made by the system's tar."""
    flat = scratch / "flat"
    flat.mkdir(parents=True)
    for name, content in images.items():
        (flat / name).write_bytes(content)
    return system_tar(root / VAL_TAR, flat)
