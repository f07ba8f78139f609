"""ImageNet as Kaggle packs it: where its folders are, and which class each validation image is of."""

import csv
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scatcache.errors import SourceError
from scatcache.images.keys import show_path

SOLUTION = "LOC_val_solution.csv"
ANNOTATIONS = "ILSVRC/Annotations/CLS-LOC/val"
# The folders of images below the folder that the archive unpacks to; one of these may be given as the root itself.
_STEPS = ("ILSVRC", "Data", "CLS-LOC")
# An official annotation has a kilobyte, and mostly waits for the disk.
_MAX_XML_BYTES, _N_THREADS = 2**20, 16
_NAME = re.compile(rb"<name>\s*([^<>]{1,99}?)\s*</name>")
_WNID = re.compile(r"n\d{8}")


def find_image_folder(root: Path) -> Path:
    """The folder that may hold train and val: ILSVRC/Data/CLS-LOC below root, where there is one, or root itself."""
    for start in range(len(_STEPS)):
        folder = root.joinpath(*_STEPS[start:])
        if folder.is_dir():
            return folder
    return root


@dataclass(frozen=True)
class Solution:
    """path: Kaggle's table of the validation images' classes, or the folder of their annotations."""

    path: Path

    def sort(self, names: Sequence[str]) -> dict[str, str]:
        """wnid by file name of validation images. Raises SourceError where it is malformed, or lacks one of them."""
        if not self.path.is_dir():
            known = _read_solution(self.path)
            lacking = next((name for name in names if _stem(name) not in known), None)
            if lacking is not None:
                raise SourceError(f"{show_path(self.path)} does not give the class of {lacking}: fetch it again")
            return {name: known[_stem(name)] for name in names}
        with ThreadPoolExecutor(_N_THREADS) as pool:
            return dict(zip(names, pool.map(partial(_read_annotation, self.path), names), strict=True))


def find_solution(root: Path) -> Solution | None:
    """The table, else the annotations, of the archive that root, ILSVRC or CLS-LOC in it, is of; None for neither."""
    above = [root.absolute()]
    while above[-1].name in _STEPS:
        above.append(above[-1].parent)
    for wanted in (SOLUTION, ANNOTATIONS):
        for place in above:
            if os.path.exists(place / wanted):
                return Solution(place / wanted)
    return None


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _read_solution(path: Path) -> dict[str, str]:
    """wnid by image of lines such as "ILSVRC2012_val_00000001,n01751748 111 108 230 221"."""
    known: dict[str, str] = {}
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
        try:
            for number, line in enumerate(csv.reader(file), 1):
                if (number == 1 and line[:1] == ["ImageId"]) or not line:
                    continue
                # Boxes of one image, all of one class: five words each.
                wnids = {*line[1].split()[::5]} if len(line) == 2 else set()
                wnid = wnids.pop() if len(wnids) == 1 else ""
                if not _WNID.fullmatch(wnid):
                    raise SourceError(
                        f"{show_path(path)}: line {number} gives no class: expected IMAGE,n01440764 111 108 230 221"
                    )
                known[line[0]] = wnid
        except csv.Error as error:
            raise SourceError(f"{show_path(path)} is no table ({error}): fetch it again") from error
    return known


def _read_annotation(folder: Path, name: str) -> str:
    """The wnid that the annotation of one image names."""
    path = folder / f"{_stem(name)}.xml"
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_XML_BYTES)
    except FileNotFoundError as error:
        raise SourceError(f"{show_path(path)}, which says the class of {name}, is missing: fetch it again") from error
    found = {wnid.decode(errors="replace") for wnid in _NAME.findall(data)}
    wnid = found.pop() if len(found) == 1 else ""
    if not _WNID.fullmatch(wnid):
        raise SourceError(f"{show_path(path)} names no class, or several: expected <name>n01440764</name>")
    return wnid
