"""Hugging Face's datasets, read from their Arrow tables by any number of threads, and not item by item."""

import os
import sys
import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np

from scatcache.errors import UnreadableImage, UsageError
from scatcache.images.contents import Contents
from scatcache.images.image_source import NO_LABEL
from scatcache.images.kinds.folder import read_image_file
from scatcache.images.kinds.items import IMAGE_COLUMNS, find_label_column, get_item, read_class_names
from scatcache.images.kinds.parquet_file import take_bytes
from scatcache.images.kinds.table_columns import read_label_column, read_target_column
from scatcache.images.source import ListedRows, Listing

_ARRAYS = ("Array2D", "Array3D")
# Images that are files elsewhere are opened by the dataset itself, one at a time.
_items_lock = threading.Lock()


@dataclass(frozen=True)
class TableItemsPart:
    """The rows of one datasets.Dataset; keys are their numbers, sizes 0.

    images: the column of images alone, undecoded, in Arrow's format; dataset: the whole; column: in it; names: of the
    classes; labels: int64 (n,); targets: float32 (n, k), None for none.
    """

    images: Any
    dataset: Any
    column: str
    names: tuple[str, ...]
    labels: np.ndarray
    targets: np.ndarray | None

    @cached_property
    def listing(self) -> Listing:
        return Listing(ListedRows.numbered(len(self.labels), labels=self.labels), targets=self.targets)

    def read(self, i: int) -> Any:
        """The bytes, or samples, of one image. Raises UnreadableImage for a row without."""
        i = range(len(self.labels))[i]
        found = self.images[i].column(0)
        if hasattr(found.type, "storage_type"):
            if found.null_count:
                raise UnreadableImage("the row holds no image")
            return np.ascontiguousarray(found.chunk(0).to_numpy(zero_copy_only=False)[0])
        cell = found[0]
        data = take_bytes(cell["bytes"] if cell.is_valid else cell)
        path = cell["path"].as_py() if cell.is_valid and isinstance(data, UnreadableImage) else None
        if path is not None and os.path.isfile(path):
            return read_image_file(Path(path))
        if path is not None:
            with _items_lock:
                return get_item(self.dataset, i)[self.column]
        if isinstance(data, UnreadableImage):
            raise data
        return data

    def locate(self, i: int) -> None:
        """Rows are read in any order from mapped memory."""


def is_streamed(dataset: Any) -> bool:
    """Whether a dataset of Hugging Face's is read over and over from its start, and has no rows to ask for."""
    library = sys.modules.get("datasets")
    kinds = tuple(getattr(library, kind, ()) for kind in ("IterableDataset", "IterableDatasetDict"))
    return library is not None and isinstance(dataset, kinds)


def find_table(dataset: Any, contents: Contents, name: str) -> TableItemsPart | None:
    """A dataset object as a table, None where it is none, or its items are made by a transform.

    Raises UsageError for a column asked for that it lacks, SourceError for labels or targets that are no numbers.
    """
    library: Any = sys.modules.get("datasets")
    if library is None or not isinstance(dataset, library.Dataset):
        return None
    if contents.axes is not None:
        raise UsageError(
            f"axes is {contents.axes!r}, and the images of {name} say themselves how they stand: leave it out"
        )
    for option in ("array", "labels", "targets"):
        column = getattr(contents, option)
        if isinstance(column, str) and column not in dataset.column_names:
            raise UsageError(f"{option} is {column!r}: {name} has the columns {', '.join(dataset.column_names)}")
    image = contents.array or _find_image_column(dataset, library)
    if image is None or dataset.format["type"] == "custom":
        return None
    feature = dataset.features[image]
    images = dataset.select_columns([image])
    if isinstance(feature, library.Image) and feature.mode is None:
        images = images.cast_column(image, library.Image(decode=False))
    elif type(feature).__name__ not in _ARRAYS:
        return None
    labels, names = np.full(len(dataset), NO_LABEL), cast(tuple[str, ...], ())
    column = find_label_column(dataset) if contents.labels is None else contents.labels
    if isinstance(column, str):
        labels, names = (
            read_label_column(_read_column(dataset, column), column, name),
            read_class_names(dataset, column),
        )
    targets = None
    if isinstance(contents.targets, str):
        targets = read_target_column(_read_column(dataset, contents.targets), contents.targets, name)
    return TableItemsPart(images.with_format("arrow"), dataset, image, names, labels, targets)


def _find_image_column(dataset: Any, library: Any) -> str | None:
    features = dataset.features
    named = [column for column in IMAGE_COLUMNS if column in features]
    said = [column for column, feature in features.items() if isinstance(feature, library.Image)]
    return (named or said)[0] if named or len(said) == 1 else None


def _read_column(dataset: Any, column: str) -> Any:
    """A column as Arrow has it, in the order of the rows."""
    return dataset.select_columns([column]).with_format("arrow")[:].column(0)
