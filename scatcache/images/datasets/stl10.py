"""STL-10 from its binary archive, unpacked or not."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from scatcache.errors import SourceError
from scatcache.images.archives.checksums import find_unofficial
from scatcache.images.archives.stamps import Stamp, check_stamp, stamp_file
from scatcache.images.archives.unpack import unpack_folder
from scatcache.images.class_names import fold_name
from scatcache.images.keys import escape_name, show_path
from scatcache.images.kinds.folder import NO_LABEL
from scatcache.images.listing import Listing, Row
from scatcache.images.roots import has_any, locate_root

FOLDER = "stl10_binary"
ARCHIVE = "stl10_binary.tar.gz"
CLASS_NAMES, FOLDS = "class_names.txt", "fold_indices.txt"
CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
SPLITS = ("train", "test", "unlabeled")
LABELLED = ("train", "test")
SIDE = 96
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
class Stl10Source:
    """STL-10: 96 x 96 images, keys file stem / record; splits train and test, and unlabeled where it is at hand.

    folder: where the files lie, under root or unpacked elsewhere; stamps: of the images' files, by split, when
    they were checked.
    """

    root: Path
    folder: Path
    splits: tuple[str, ...]
    classes: tuple[str, ...]
    official: bool
    stamps: dict[str, Stamp]
    warnings: tuple[str, ...] = ()
    name: str = "stl10"
    base_name: str = "stl10"
    default_size: None = None
    default_splits: tuple[str, ...] = LABELLED
    in_process: bool = False
    # Mapped by each process for itself, and never pickled.
    _planes: dict[str, np.ndarray] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_planes": {}}

    @property
    def options(self) -> dict[str, Any]:
        return {}

    def list_rows(self, split: str) -> Listing:
        """Every record of a split; of train with the official folds, where their file is there.

        Raises SourceError for an unknown split, a damaged file, or labels and folds that do not fit the images.
        """
        n_records = len(self._map_planes(split))
        labels = self._read_labels(split, n_records)
        rows = tuple(Row(f"{split}_X/{record:05d}", label, RECORD_BYTES) for record, label in enumerate(labels))
        return Listing(rows, folds=_read_folds(self.folder / FOLDS, n_records) if split == "train" else None)

    def native_shape(self, split: str, rows: Sequence[Row]) -> tuple[int, int]:
        """(96, 96)."""
        return SIDE, SIDE

    def read(self, split: str, key: str) -> np.ndarray:
        """One image, uint8 (96, 96, 3)."""
        planes = self._map_planes(split)[int(key.partition("/")[2])]
        # Planes are column-major: their first axis is x.
        return np.ascontiguousarray(planes.transpose(2, 1, 0))

    def locate(self, split: str, key: str) -> None:
        """Files are mapped."""

    def _map_planes(self, split: str) -> np.ndarray:
        """uint8 (n, 3, x, y) of a split, mapped."""
        if split not in self.splits:
            expected = " or ".join(self.splits)
            raise SourceError(f"{show_path(self.folder)} has no split {split}: expected {expected} ({split}_X.bin)")
        check_stamp(self.stamps[split])
        if split not in self._planes:
            self._planes[split] = _map_file(self.folder / f"{split}_X.bin")
        return self._planes[split]

    def _read_labels(self, split: str, n_records: int) -> list[int]:
        if split not in LABELLED:
            return [NO_LABEL] * n_records
        path = self.folder / f"{split}_y.bin"
        labels = np.frombuffer(path.read_bytes(), np.uint8)
        if len(labels) != n_records:
            raise SourceError(f"{show_path(path)} holds {len(labels)} labels of {n_records} images: fetch it again")
        wrong = labels[(labels < 1) | (labels > len(self.classes))]
        if len(wrong):
            raise SourceError(f"{show_path(path)} holds the label {wrong[0]}: expected 1 to {len(self.classes)}")
        return (labels.astype(int) - 1).tolist()


def open_stl10(root: Path | None = None, work_dir: Path | None = None, *, beside: bool = True) -> Stl10Source:
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
    return Stl10Source(root, folder, splits, _read_classes(folder / CLASS_NAMES), not warnings, stamps, warnings)


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
