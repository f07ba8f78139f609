"""CIFAR-10 and CIFAR-100 from their binary or Python archives, unpacked or not; the same rows from either."""

from collections.abc import Callable, Mapping
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
from scatcache.images.roots import locate_root
from scatcache.images.source import Listing

SIDE = 32
FORM_OF_ALL = ImageForm(SIDE, SIDE, 3, "uint8")
PIXEL_BYTES = 3 * SIDE * SIDE
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
    """One of the two ways a CIFAR is published: names, how to read a batch and the class names, and the published
    checksums of the batches, in the order of their stems. load_batch can be pickled."""

    folder: str
    archive: str
    suffix: str
    meta: str
    load_batch: Callable[[Path], Batch]
    load_classes: Callable[[Path], list[Any]]
    digests: tuple[str, ...]


@dataclass(frozen=True)
class Cifar:
    """One of the two datasets. classes: where no file says them; stems: of the batches, by split; n_labels: bytes
    before the pixels of a binary record; forms: how it is published, the preferred one first."""

    name: str
    title: str
    classes: tuple[str, ...]
    stems: Mapping[str, tuple[str, ...]]
    n_labels: int
    forms: tuple[Release, ...]

    @property
    def record_bytes(self) -> int:
        return self.n_labels + PIXEL_BYTES

    @property
    def all_stems(self) -> tuple[str, ...]:
        return tuple(stem for stems in self.stems.values() for stem in stems)

    def batch_names(self, form: Release) -> tuple[str, ...]:
        return tuple(stem + form.suffix for stem in self.all_stems)


def map_binary_batch(path: Path, n_labels: int = 1) -> Batch:
    """Maps a batch of records: n_labels bytes, of which the last is the label, and 3072 pixels.

    Raises SourceError for a part of a record.
    """
    n_bytes, record_bytes = path.stat().st_size, n_labels + PIXEL_BYTES
    if n_bytes == 0 or n_bytes % record_bytes:
        raise SourceError(
            f"{show_path(path)} is truncated: {n_bytes} bytes are {n_bytes / record_bytes:.2f} records of "
            f"{record_bytes} bytes; fetch the archive again"
        )
    records = np.memmap(path, np.uint8, "r").view(np.ndarray).reshape(-1, record_bytes)
    return Batch(records[:, n_labels - 1], records[:, n_labels:].reshape(-1, 3, SIDE, SIDE))


def load_python_batch(path: Path, labels_field: str = "labels", n_classes: int = 10) -> Batch:
    """Loads a batch, a pickle of data (n, 3072) and labels. Raises SourceError for anything else."""
    fields = load_pickled_fields(path)
    data, labels = fields.get("data"), fields.get(labels_field)
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (PIXEL_BYTES,) or not len(data):
        found = f"{data.dtype} {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        raise SourceError(f"{show_path(path)} holds data of {found}: expected uint8 (n, {PIXEL_BYTES})")
    if not isinstance(labels, list) or len(labels) != len(data):
        raise SourceError(f"{show_path(path)} does not hold one label for each of its {len(data)} images")
    wrong = [label for label in labels if type(label) is not int or not 0 <= label < n_classes]
    if wrong:
        raise SourceError(f"{show_path(path)} holds the label {wrong[0]!r}: expected 0 to {n_classes - 1}")
    return Batch(np.array(labels, np.uint8), data.reshape(-1, 3, SIDE, SIDE))


def read_names(path: Path) -> list[Any]:
    """The class names in a text file of the binary archives, one a line."""
    return path.read_text("latin1").split()


@dataclass(frozen=True)
class Batches:
    """The batches of one form, each opened on first use. stamps: of their files, by stem, when they were checked."""

    load_batch: Callable[[Path], Batch]
    stamps: dict[str, Stamp]
    # Filled by each process for itself, and never pickled. Threads may load a batch twice, never wrongly.
    _opened: dict[str, Batch] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": {}}

    @property
    def folder(self) -> Path:
        """Where they lie."""
        return Path(next(iter(self.stamps.values())).path).parent

    def open(self, stem: str) -> Batch:
        """One batch. Raises SourceError where it is damaged, or has changed since."""
        check_stamp(self.stamps[stem])
        if stem not in self._opened:
            self._opened[stem] = self.load_batch(Path(self.stamps[stem].path))
        return self._opened[stem]


@dataclass(frozen=True)
class BatchesPart:
    """32 x 32 images of some batches, keys file stem / record; record_bytes: of one in the binary archive."""

    batches: Batches
    stems: tuple[str, ...]
    record_bytes: int
    image_form: ImageForm = FORM_OF_ALL

    @cached_property
    def listing(self) -> Listing:
        """Every record. Raises SourceError for a damaged batch."""
        return Listing(
            (f"{stem}/{record:05d}", label, self.record_bytes)
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


def open_cifar(dataset: Cifar, root: Path | None, work_dir: Path | None, *, beside: bool) -> ImageSource:
    """Finds a CIFAR under root (or where locate_root looks), unpacks it once if need be, and checks it whole.

    work_dir: where to unpack if root is read-only, or is not to be written to (beside=False).

    Raises SourceError where it is not found, incomplete, truncated, malformed or labelled with no class; OSError as
    the disk does. Files whose checksum is not the published one are taken, with a warning.
    """
    wanted = [form.folder for form in dataset.forms] + [form.archive for form in dataset.forms]
    wanted += [dataset.batch_names(form)[0] for form in dataset.forms]
    root = locate_root(dataset.name, root, f"one of {', '.join(wanted)}", holds=lambda place: _is_there(place, dataset))
    form, folder = _find_folder(root, dataset, work_dir, beside)
    names = dataset.batch_names(form)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise SourceError(
            f"{show_path(folder)} is incomplete: it lacks {', '.join(missing)}; fetch {form.archive} again"
        )
    # Before anything is read of them.
    stamps = {stem: stamp_file(folder / name) for stem, name in zip(dataset.all_stems, names, strict=True)}
    warnings = find_unofficial(folder, dict(zip(names, form.digests, strict=True)), dataset.title)
    classes, batches = _read_classes(folder, form, dataset), Batches(form.load_batch, stamps)
    if warnings:
        _check_batches(batches, len(classes))
    parts = {split: BatchesPart(batches, stems, dataset.record_bytes) for split, stems in dataset.stems.items()}
    return ImageSource(dataset.name, classes, parts, official=not warnings, root=root, warnings=warnings)


def _is_there(place: Path, dataset: Cifar) -> bool:
    """Whether a place holds a dataset: unpacked in its folder, packed, or a first batch."""
    return any(
        (place / form.folder).is_dir()
        or (place / form.archive).exists()
        # A file: a folder of images may be called train.
        or (place / dataset.batch_names(form)[0]).is_file()
        for form in dataset.forms
    )


def _find_folder(root: Path, dataset: Cifar, work_dir: Path | None, beside: bool) -> tuple[Release, Path]:
    """Which form lies under root, and the folder of its batches: unpacked before packed, binary before Python."""
    for form in dataset.forms:
        for folder in (root / form.folder, root):
            if folder.is_dir() and (folder != root or any((root / n).is_file() for n in dataset.batch_names(form))):
                return form, folder
    for form in dataset.forms:
        archive = root / form.archive
        if archive.exists():
            folder = unpack_folder(
                archive,
                form.folder,
                required=dataset.batch_names(form),
                optional=[form.meta],
                max_bytes=MAX_BYTES,
                work_dir=work_dir,
                beside=beside,
            )
            return form, folder
    raise AssertionError("locate_root promised one of them")


def _read_classes(folder: Path, form: Release, dataset: Cifar) -> tuple[str, ...]:
    path, n_classes = folder / form.meta, len(dataset.classes)
    if not path.is_file():
        return dataset.classes
    names = form.load_classes(path)
    if not isinstance(names, list) or len(names) != n_classes or not all(isinstance(name, str) for name in names):
        raise SourceError(f"{show_path(path)} does not hold the names of {n_classes} classes: fetch it again")
    if len({*map(fold_name, names)}) != len(names):
        raise SourceError(f"{show_path(path)} gives two classes one name: fetch it again")
    return tuple(map(escape_name, names))


def _check_batches(batches: Batches, n_classes: int) -> None:
    """Raises SourceError where a batch of an unofficial archive is damaged, too long or labelled with no class."""
    for stem, stamp in batches.stamps.items():
        labels = batches.open(stem).labels
        if len(labels) > MAX_RECORDS:
            raise SourceError(f"{show_path(stamp.path)} holds {len(labels)} records: expected at most {MAX_RECORDS}")
        wrong = np.flatnonzero(labels >= n_classes)
        if len(wrong):
            raise SourceError(
                f"{show_path(stamp.path)} holds the label {labels[wrong[0]]} at record {wrong[0]}: expected 0 to "
                f"{n_classes - 1}"
            )
