"""CIFAR-10 from its binary or Python archive, unpacked or not; the same keys and pixels from either."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scatcache.errors import SourceError
from scatcache.images.archives.checksums import find_unofficial
from scatcache.images.archives.pickles import load_pickled_fields
from scatcache.images.archives.stamps import Stamp, check_stamp, stamp_file
from scatcache.images.archives.unpack import unpack_folder
from scatcache.images.class_names import fold_name
from scatcache.images.forms import Decoding, ImageForm
from scatcache.images.image_source import ImageSource
from scatcache.images.keys import escape_name, show_path
from scatcache.images.roots import has_any, locate_root
from scatcache.images.source import Listing

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
STEMS = {
    "train": ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"),
    "test": ("test_batch",),
}
ALL_STEMS = (*STEMS["train"], *STEMS["test"])
SIDE = 32
FORM_OF_ALL = ImageForm(SIDE, SIDE, 3, "uint8")
PIXEL_BYTES = 3 * SIDE * SIDE
RECORD_BYTES = 1 + PIXEL_BYTES
# Keys hold the record in five digits.
MAX_RECORDS = 100_000
# The official archives hold 0.2 GB.
MAX_BYTES = 2**32


class Batch(NamedTuple):
    """Labels uint8 (n,), and pixels uint8 (n, 3, 32, 32): planes by colour, row by row."""

    labels: np.ndarray
    planes: np.ndarray


@dataclass(frozen=True)
class Release:
    """One of the two ways CIFAR-10 is published: names, how to read a batch and the class names, published md5s."""

    folder: str
    archive: str
    suffix: str
    meta: str
    load_batch: Callable[[Path], Batch]
    load_classes: Callable[[Path], list[Any]]
    md5s: tuple[str, ...]

    @property
    def batch_names(self) -> tuple[str, ...]:
        return tuple(stem + self.suffix for stem in ALL_STEMS)


def map_binary_batch(path: Path) -> Batch:
    """Maps data_batch_N.bin: records of a label and 3072 pixels. Raises SourceError for a part of a record."""
    n_bytes = path.stat().st_size
    if n_bytes == 0 or n_bytes % RECORD_BYTES:
        raise SourceError(
            f"{show_path(path)} is truncated: {n_bytes} bytes are {n_bytes / RECORD_BYTES:.2f} records of "
            f"{RECORD_BYTES} bytes; fetch the archive again"
        )
    records = np.memmap(path, np.uint8, "r").view(np.ndarray).reshape(-1, RECORD_BYTES)
    return Batch(records[:, 0], records[:, 1:].reshape(-1, 3, SIDE, SIDE))


def load_python_batch(path: Path) -> Batch:
    """Loads data_batch_N, a pickle of data (n, 3072) and labels. Raises SourceError for anything else."""
    fields = load_pickled_fields(path)
    data, labels = fields.get("data"), fields.get("labels")
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (PIXEL_BYTES,) or not len(data):
        found = f"{data.dtype} {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        raise SourceError(f"{show_path(path)} holds data of {found}: expected uint8 (n, {PIXEL_BYTES})")
    if not isinstance(labels, list) or len(labels) != len(data):
        raise SourceError(f"{show_path(path)} does not hold one label for each of its {len(data)} images")
    wrong = [label for label in labels if type(label) is not int or not 0 <= label < len(CLASSES)]
    if wrong:
        raise SourceError(f"{show_path(path)} holds the label {wrong[0]!r}: expected 0 to {len(CLASSES) - 1}")
    return Batch(np.array(labels, np.uint8), data.reshape(-1, 3, SIDE, SIDE))


FORMS = (
    Release(
        folder="cifar-10-batches-bin",
        archive="cifar-10-binary.tar.gz",
        suffix=".bin",
        meta="batches.meta.txt",
        load_batch=map_binary_batch,
        load_classes=lambda path: path.read_text("latin1").split(),
        md5s=(
            "5dd7e06a14cb22eb9f671a540d1b7c25",
            "5ea93a67294ea407fff1d09f752e9692",
            "942cd6a4bcdd0dd3c604fbe906cb4421",
            "ae636b3ba5c66a11e91e8cb52e771fcb",
            "53f37980c15c3d472c316c40844f3f0d",
            "803d5f7f4d78ea53de84dbe85f74fb6d",
        ),
    ),
    Release(
        folder="cifar-10-batches-py",
        archive="cifar-10-python.tar.gz",
        suffix="",
        meta="batches.meta",
        load_batch=load_python_batch,
        load_classes=lambda path: load_pickled_fields(path).get("label_names", []),
        md5s=(
            "c99cafc152244af753f735de768cd75f",
            "d4bba439e000b95fd0a9bffe97cbabec",
            "54ebc095f3ab1f0389bbae665268c751",
            "634d18415352ddfa80567beed471001a",
            "482c414d41f54cd18b22e5b47cb7c3cb",
            "40351d587109b95175f43aff81a1287e",
        ),
    ),
)


@dataclass(frozen=True)
class Batches:
    """The batches of one form, each opened on first use. folder: where they lie; form: index into FORMS; stamps: of
    the batches, by stem, when they were checked."""

    folder: Path
    form: int
    stamps: dict[str, Stamp]
    # Filled by each process for itself, and never pickled. Threads may load a batch twice, never wrongly.
    _opened: dict[str, Batch] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": {}}

    def open(self, stem: str) -> Batch:
        """One batch. Raises SourceError where it is damaged, or has changed since."""
        check_stamp(self.stamps[stem])
        if stem not in self._opened:
            form = FORMS[self.form]
            self._opened[stem] = form.load_batch(self.folder / (stem + form.suffix))
        return self._opened[stem]


@dataclass(frozen=True)
class BatchesPart:
    """32 x 32 images of some batches, keys file stem / record."""

    batches: Batches
    stems: tuple[str, ...]
    image_form: ImageForm = FORM_OF_ALL

    @cached_property
    def listing(self) -> Listing:
        """Every record. Raises SourceError for a damaged batch."""
        return Listing(
            (f"{stem}/{record:05d}", label, RECORD_BYTES)
            for stem in self.stems
            for record, label in enumerate(self.batches.open(stem).labels.tolist())
        )

    def form(self, i: int, how: Decoding) -> ImageForm:
        """That of all."""
        return self.image_form

    def read(self, i: int) -> np.ndarray:
        """One image, uint8 (32, 32, 3)."""
        stem, _, record = self.listing.rows[i].key.partition("/")
        return np.ascontiguousarray(self.batches.open(stem).planes[int(record)].transpose(1, 2, 0))

    def locate(self, i: int) -> None:
        """Batches are in memory, or mapped."""


def open_cifar10(root: Path | None = None, work_dir: Path | None = None, *, beside: bool = True) -> ImageSource:
    """Finds CIFAR-10 under root (or where locate_root looks), unpacks it once if need be, and checks it whole.

    work_dir: where to unpack if root is read-only, or is not to be written to (beside=False).

    Raises SourceError where it is not found, incomplete, truncated, malformed or labelled outside 0 to 9; OSError as
    the disk does. Files whose md5 is not the published one are taken, with a warning.
    """
    wanted = _list_wanted()
    root = locate_root("cifar10", root, f"one of {', '.join(wanted)}", holds=has_any(*wanted))
    index, folder = _find_folder(root, work_dir, beside)
    form = FORMS[index]
    missing = [name for name in form.batch_names if not (folder / name).is_file()]
    if missing:
        raise SourceError(
            f"{show_path(folder)} is incomplete: it lacks {', '.join(missing)}; fetch {form.archive} again"
        )
    # Before anything is read of them.
    stamps = {stem: stamp_file(folder / (stem + form.suffix)) for stem in ALL_STEMS}
    warnings = _check_md5s(folder, form)
    classes, batches = _read_classes(folder, form), Batches(folder, index, stamps)
    if warnings:
        _check_batches(batches)
    parts = {split: BatchesPart(batches, stems) for split, stems in STEMS.items()}
    return ImageSource("cifar10", classes, parts, official=not warnings, root=root, warnings=warnings)


def _list_wanted() -> list[str]:
    """What any place that holds CIFAR-10 has at least one of."""
    unpacked = [form.folder for form in FORMS]
    return unpacked + [form.archive for form in FORMS] + [form.batch_names[0] for form in FORMS]


def _find_folder(root: Path, work_dir: Path | None, beside: bool) -> tuple[int, Path]:
    """Which form lies under root, and the folder of its batches: unpacked before packed, binary before Python."""
    for index, form in enumerate(FORMS):
        for folder in (root / form.folder, root):
            if folder.is_dir() and (folder != root or any((root / name).exists() for name in form.batch_names)):
                return index, folder
    for index, form in enumerate(FORMS):
        archive = root / form.archive
        if archive.exists():
            folder = unpack_folder(
                archive,
                form.folder,
                required=form.batch_names,
                optional=[form.meta],
                max_bytes=MAX_BYTES,
                work_dir=work_dir,
                beside=beside,
            )
            return index, folder
    raise AssertionError("locate_root promised one of them")


def _check_md5s(folder: Path, form: Release) -> tuple[str, ...]:
    """One warning naming the first batch whose md5 is not the published one, or nothing."""
    return find_unofficial(folder, dict(zip(form.batch_names, form.md5s, strict=True)), "CIFAR-10")


def _read_classes(folder: Path, form: Release) -> tuple[str, ...]:
    path = folder / form.meta
    if not path.is_file():
        return CLASSES
    names = form.load_classes(path)
    if not isinstance(names, list) or len(names) != len(CLASSES) or not all(isinstance(name, str) for name in names):
        raise SourceError(f"{show_path(path)} does not hold the names of {len(CLASSES)} classes: fetch it again")
    if len({*map(fold_name, names)}) != len(names):
        raise SourceError(f"{show_path(path)} gives two classes one name: fetch it again")
    return tuple(map(escape_name, names))


def _check_batches(batches: Batches) -> None:
    """Raises SourceError where a batch of an unofficial archive is damaged, too long or labelled outside 0 to 9."""
    for stem in ALL_STEMS:
        labels = batches.open(stem).labels
        path = batches.folder / (stem + FORMS[batches.form].suffix)
        if len(labels) > MAX_RECORDS:
            raise SourceError(f"{show_path(path)} holds {len(labels)} records: expected at most {MAX_RECORDS}")
        wrong = np.flatnonzero(labels >= len(CLASSES))
        if len(wrong):
            raise SourceError(
                f"{show_path(path)} holds the label {labels[wrong[0]]} at record {wrong[0]}: expected 0 to "
                f"{len(CLASSES) - 1}"
            )
