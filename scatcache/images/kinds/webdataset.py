"""webdataset's samples, in one tar or many, read where they lie."""

import os
import re
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from scatcache.errors import SourceError
from scatcache.images.archives.tar_index import TarIndex, index_tar
from scatcache.images.archives.unpack import OnArchive, tell_nobody
from scatcache.images.contents import Contents
from scatcache.images.decode import read_form
from scatcache.images.forms import Decoding, ImageForm
from scatcache.images.image_source import ImageSource
from scatcache.images.keys import escape_name, show_path
from scatcache.images.kinds.items import warn_of_labels
from scatcache.images.kinds.split_files import is_folder_of, list_files_of, sort_into_splits
from scatcache.images.kinds.webdataset_samples import SampleParts, choose_parts, list_samples, look_into_tar
from scatcache.images.source import Listing, Location

WEBDATASET_NAME, SUFFIX = "webdataset", ".tar"
_COMPRESSED = (".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".tar.zst")
# Headers mostly wait for the disk.
N_THREADS = 16
# Names that one pattern may stand for.
_MAX_NAMES = 100_000
# Of ImageNet-21k there are 21,841.
_MAX_CLASSES = 1_000_000


@dataclass(frozen=True)
class SamplesPart:
    """The samples of one split; keys are TAR/SAMPLE, or SAMPLE of a single tar. stems: of the keys, "" for none."""

    indices: tuple[TarIndex, ...]
    stems: tuple[str, ...]
    image_form: None = None

    @cached_property
    def listing(self) -> Listing:
        rows: list[tuple[str, int, int]] = []
        for index, stem in zip(self.indices, self.stems, strict=True):
            above, table = f"{stem}/" if stem else "", index.table
            columns = table.keys.tolist(), table.labels.tolist(), table.sizes.tolist()
            rows += [(above + key.decode(), label, size) for key, label, size in zip(*columns, strict=True)]
        targets = np.concatenate([index.table.targets for index in self.indices])
        return Listing(rows, targets=targets if targets.shape[1] else None)

    def __getstate__(self) -> dict[str, Any]:
        """Small: each process loads the indices, which were saved."""
        return {name: value for name, value in self.__dict__.items() if name in self.__dataclass_fields__}

    @cached_property
    def _starts(self) -> np.ndarray:
        """int64 (n_tars + 1,), the row at which the samples of each tar start."""
        return np.cumsum([0, *(len(index.table.keys) for index in self.indices)])

    def _find(self, i: int) -> tuple[TarIndex, int, int]:
        """The tar of a row, and offset and bytes there."""
        i = range(int(self._starts[-1]))[i]
        number = int(np.searchsorted(self._starts, i, side="right")) - 1
        index, at = self.indices[number], i - int(self._starts[number])
        return index, int(index.table.offsets[at]), int(index.table.sizes[at])

    def form(self, i: int, how: Decoding) -> ImageForm:
        """What one image is by its header."""
        return read_form(self.read(i), how)

    def read(self, i: int) -> bytes:
        """The bytes of one image file; see TarIndex.read."""
        index, offset, n_bytes = self._find(i)
        return index.read_at(offset, n_bytes, f"row {i}")

    def locate(self, i: int) -> Location:
        """Where the image lies in its tar."""
        index, offset, n_bytes = self._find(i)
        return Location(os.fspath(index.tar), offset, n_bytes)


def is_webdataset(place: str) -> bool:
    """Whether a tar lies there by its name, a folder of tars, or one of a brace pattern of tars."""
    if os.path.isdir(place):
        return is_folder_of(place, SUFFIX)
    name = place.lower()
    return name.endswith((SUFFIX, *_COMPRESSED)) and any(map(os.path.exists, expand_braces(place)))


def open_webdataset(
    place: str, contents: Contents, work_dir: Path | None, *, on_archive: OnArchive = tell_nobody
) -> ImageSource:
    """Finds the splits and indexes the tars; of the images nothing is read. work_dir: where the indices are kept.

    Raises SourceError where a tar is cut, damaged or compressed, or its samples contradict each other; OSError as the
    disk does.
    """
    root = Path(place).absolute()
    tars = _find_tars(root)
    splits = sort_into_splits(root, tars)
    parts = choose_parts(look_into_tar(tars[0]), contents, show_path(tars[0]))
    indexed = dict(zip(tars, _index_all(tars, work_dir, parts, on_archive), strict=True))
    samples = {
        split: SamplesPart(
            tuple(indexed[tar] for tar in members),
            ("",) if len(tars) == 1 else tuple(escape_name(tar.stem) for tar in members),
        )
        for split, members in splits.items()
    }
    where = show_path(root)
    for split, part in samples.items():
        if len({index.table.targets.shape[1] for index in part.indices}) > 1:
            raise SourceError(f"{where}: the tars of split {split} have different numbers of targets a sample")
    labels = {split: part.listing.rows.labels for split, part in samples.items()}
    classes, warnings = _number_classes([*labels.values()], where)
    warnings += warn_of_labels(labels, classes, where)
    return ImageSource(WEBDATASET_NAME, classes, samples, root=root, options=parts.options, warnings=warnings)


def _number_classes(labels: Sequence[np.ndarray], where: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """ "0", "1", ... up to the largest label, and a warning where numbers are left out: some tars of many may be given.

    Raises SourceError for a label that is no class's number."""
    found = np.unique(np.concatenate([np.unique(part) for part in labels]))
    found = found[found >= 0]
    n_classes = int(found[-1]) + 1 if len(found) else 0
    if n_classes > _MAX_CLASSES:
        raise SourceError(f"{where}: a sample has the label {found[-1]}: expected the numbers of classes, 0 and up")
    warnings: tuple[str, ...] = ()
    if n_classes > len(found):
        absent = int(np.argmax(found != np.arange(len(found))))
        warnings = (
            f"{where}: of the labels 0 to {n_classes - 1}, {n_classes - len(found)} have no image (first {absent})",
        )
    return tuple(map(str, range(n_classes))), warnings


def _index_all(
    tars: Sequence[Path], work_dir: Path | None, parts: SampleParts, on_archive: OnArchive
) -> list[TarIndex]:
    def index(tar: Path) -> TarIndex:
        # Tars of two folders may share a name.
        called = f"{tar.name}-{zlib.crc32(os.fsencode(tar)):08x}"
        return index_tar(
            tar, work_dir, lambda file: list_samples(file, tar, parts), on_archive, called=called, asked=repr(parts)
        )

    with ThreadPoolExecutor(N_THREADS) as pool:
        return list(pool.map(index, tars))


def _find_tars(root: Path) -> list[Path]:
    if root.is_dir():
        return list_files_of(root, SUFFIX)
    found = [Path(name) for name in expand_braces(os.fspath(root))]
    for tar in found:
        if tar.name.lower().endswith(_COMPRESSED):
            raise SourceError(
                f"{show_path(tar)} is compressed, and images are read from tars by position: unpack it to a "
                f"plain .tar first, as `gzip -dk` does"
            )
        if not tar.exists():
            raise SourceError(f"{show_path(tar)} does not exist, one of the {len(found)} of {show_path(root)}")
    return found


def expand_braces(pattern: str) -> Iterator[str]:
    """The names that a pattern stands for, as a shell expands "train-{000..012}.tar" and "{a,b}.tar"; itself without
    braces. Raises SourceError where they are too many."""
    pieces = re.split(r"\{([^{}]*)\}", pattern)
    choices = [[piece] if number % 2 == 0 else _expand(piece) for number, piece in enumerate(pieces)]
    n_names = 1
    for choice in choices:
        n_names *= len(choice)
    if n_names > _MAX_NAMES:
        raise SourceError(f"{show_path(pattern)} stands for more than {_MAX_NAMES:,} files")
    return map("".join, product(*choices))


def _expand(piece: str) -> list[str]:
    if found := re.fullmatch(r"(\d{1,9})\.\.(\d{1,9})", piece):
        first, last = int(found[1]), int(found[2])
        if abs(last - first) > _MAX_NAMES:
            raise SourceError(f"{{{piece}}} stands for more than {_MAX_NAMES:,} files")
        step = 1 if first <= last else -1
        return [f"{number:0{len(found[1])}d}" for number in range(first, last + step, step)]
    return piece.split(",") if "," in piece else [f"{{{piece}}}"]
