"""STL-10 from its binary archive, unpacked or not."""

from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from scatcache.errors import SourceError
from scatcache.images.archives.checksums import find_unofficial
from scatcache.images.archives.stamps import Stamp, check_stamp, stamp_file
from scatcache.images.archives.unpack import unpack_folder
from scatcache.images.class_names import fold_name
from scatcache.images.forms import Decoding, ImageForm
from scatcache.images.image_source import NO_LABEL, ImageSource
from scatcache.images.keys import escape_name, show_path
from scatcache.images.roots import has_any, locate_root
from scatcache.images.source import Listing

FOLDER = "stl10_binary"
ARCHIVE = "stl10_binary.tar.gz"
CLASS_NAMES, FOLDS = "class_names.txt", "fold_indices.txt"
CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
SPLITS = ("train", "test", "unlabeled")
LABELLED = ("train", "test")
SIDE = 96
FORM_OF_ALL = ImageForm(SIDE, SIDE, 3, "uint8")
RECORD_BYTES = 3 * SIDE * SIDE
# Keys hold the record in five digits.
MAX_RECORDS = 100_000
# The official archive holds 3.1 GB.
MAX_BYTES = 2**33
# Of unlabeled_X.bin, 2.8 GB, the size is compared and not the md5, which would take seconds at every start.
MD5S = {
    "train_X.bin": "918c2871b30a85fa023e0c44e0bee87f",
    "train_y.bin": "5a34089d4802c674881badbb80307741",
    "test_X.bin": "7f263ba9f9e0b06b93213547f721ac82",
    "test_y.bin": "36f9794fa4beb8a2c72628de14fa638e",
}
UNLABELED_BYTES = 100_000 * RECORD_BYTES


@dataclass(frozen=True)
class Stl10Part:
    """96 x 96 images of one split, keys file stem / record. folder: where the files lie, under root or unpacked
    elsewhere; n_classes: that labels may name; stamp: of the images' file, when it was checked."""

    folder: Path
    split: str
    n_classes: int
    stamp: Stamp
    image_form: ImageForm = FORM_OF_ALL
    # Mapped by each process for itself, and never pickled.
    _mapped: list[np.ndarray] = field(default_factory=list, init=False, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_mapped": []}

    @cached_property
    def listing(self) -> Listing:
        """Every record; of train with the official folds, where their file is there.

        Raises SourceError for a damaged file, or labels and folds that do not fit the images.
        """
        n_records = len(self._map_planes())
        rows = [
            (f"{self.split}_X/{i:05d}", label, RECORD_BYTES) for i, label in enumerate(self._read_labels(n_records))
        ]
        return Listing(rows, folds=_read_folds(self.folder / FOLDS, n_records) if self.split == "train" else None)

    def form(self, i: int, how: Decoding) -> ImageForm:
        """That of all."""
        return self.image_form

    def read(self, i: int) -> np.ndarray:
        """One image, uint8 (96, 96, 3)."""
        # Planes are column-major: their first axis is x.
        return np.ascontiguousarray(self._map_planes()[i].transpose(2, 1, 0))

    def locate(self, i: int) -> None:
        """Files are mapped."""

    def _map_planes(self) -> np.ndarray:
        """uint8 (n, 3, x, y), mapped."""
        check_stamp(self.stamp)
        if not self._mapped:
            self._mapped.append(_map_file(self.folder / f"{self.split}_X.bin"))
        return self._mapped[0]

    def _read_labels(self, n_records: int) -> list[int]:
        if self.split not in LABELLED:
            return [NO_LABEL] * n_records
        path = self.folder / f"{self.split}_y.bin"
        labels = np.frombuffer(path.read_bytes(), np.uint8)
        if len(labels) != n_records:
            raise SourceError(f"{show_path(path)} holds {len(labels)} labels of {n_records} images: fetch it again")
        wrong = labels[(labels < 1) | (labels > self.n_classes)]
        if len(wrong):
            raise SourceError(f"{show_path(path)} holds the label {wrong[0]}: expected 1 to {self.n_classes}")
        return (labels.astype(int) - 1).tolist()


def open_stl10(root: Path | None = None, work_dir: Path | None = None, *, beside: bool = True) -> ImageSource:
    """Finds STL-10 under root (or where locate_root looks) and unpacks its archive once if need be.

    work_dir: where to unpack if root is read-only, or is not to be written to (beside=False).

    Raises SourceError where it is not found, incomplete or truncated; OSError as the disk does. Files whose md5 is not
    the published one are taken, with a warning.
    """
    wanted = (FOLDER, ARCHIVE, "train_X.bin")
    root = locate_root("stl10", root, f"one of {', '.join(wanted)}", holds=has_any(*wanted))
    folder = next((place for place in (root / FOLDER, root) if (place / "train_X.bin").is_file()), None)
    if folder is None and (root / ARCHIVE).is_file():
        optional = ("unlabeled_X.bin", CLASS_NAMES, FOLDS)
        unpack = partial(unpack_folder, required=tuple(MD5S), optional=optional, max_bytes=MAX_BYTES)
        folder = unpack(root / ARCHIVE, FOLDER, work_dir=work_dir, beside=beside)
    folder = folder or root / FOLDER
    missing = [name for name in MD5S if not (folder / name).is_file()]
    if missing:
        raise SourceError(f"{show_path(folder)} is incomplete: it lacks {', '.join(missing)}; fetch {ARCHIVE} again")
    splits = tuple(split for split in SPLITS if (folder / f"{split}_X.bin").is_file())
    # Before anything is read of them.
    stamps = {split: stamp_file(folder / f"{split}_X.bin") for split in splits}
    warnings = find_unofficial(folder, MD5S, "STL-10") or _check_unlabeled(folder / "unlabeled_X.bin")
    classes = _read_classes(folder / CLASS_NAMES)
    parts = {split: Stl10Part(folder, split, len(classes), stamps[split]) for split in splits}
    absent = {split: f"put {split}_X.bin there" for split in SPLITS if split not in splits}
    return ImageSource("stl10", classes, parts, official=not warnings, root=root, warnings=warnings, absent=absent)


def _check_unlabeled(path: Path) -> tuple[str, ...]:
    if not path.is_file() or path.stat().st_size == UNLABELED_BYTES:
        return ()
    return (f"{show_path(path)} is not the official one: it has {path.stat().st_size} bytes, not {UNLABELED_BYTES}",)


def _map_file(path: Path) -> np.ndarray:
    n_bytes = path.stat().st_size
    n_records, rest = divmod(n_bytes, RECORD_BYTES)
    if rest or not 1 <= n_records <= MAX_RECORDS:
        raise SourceError(
            f"{show_path(path)} holds {n_bytes} bytes, {n_bytes / RECORD_BYTES:.2f} records of {RECORD_BYTES}: "
            f"expected 1 to {MAX_RECORDS} whole ones; fetch the archive again"
        )
    return np.memmap(path, np.uint8, "r").view(np.ndarray).reshape(-1, 3, SIDE, SIDE)


def _read_classes(path: Path) -> tuple[str, ...]:
    """The names in class_names.txt, the published ones where there is no such file."""
    if not path.is_file():
        return CLASSES
    names = tuple(escape_name(name) for name in path.read_text("utf-8", "surrogateescape").split())
    if len(names) != len(CLASSES) or len({*map(fold_name, names)}) != len(names):
        raise SourceError(f"{show_path(path)} does not hold the names of {len(CLASSES)} classes: fetch it again")
    return names


def _read_folds(path: Path, n_records: int) -> tuple[tuple[int, ...], ...] | None:
    """The folds in fold_indices.txt, one line each, None where there is no such file."""
    if not path.is_file():
        return None
    try:
        folds = tuple(tuple(map(int, line.split())) for line in path.read_text("ascii").splitlines() if line.strip())
    except ValueError as error:
        raise SourceError(f"{show_path(path)} holds something else than indices ({error}): fetch it again") from error
    wrong = [index for fold in folds for index in fold if not 0 <= index < n_records]
    if wrong:
        raise SourceError(
            f"{show_path(path)} holds the index {wrong[0]}: expected 0 to {n_records - 1}, the images of train"
        )
    return folds
