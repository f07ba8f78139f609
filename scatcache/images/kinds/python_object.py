"""Any Python object with images in it as a source: torchvision's and Hugging Face's datasets, or one's own."""

import operator
import re
import struct
import threading
import uuid
import weakref
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from scatcache.errors import SourceError, UnreadableImage
from scatcache.images.class_names import check_splits, find_alike, tell_unknown_labels
from scatcache.images.decode import decode
from scatcache.images.keys import escape_name
from scatcache.images.kinds.folder import NO_LABEL, WHOLE
from scatcache.images.listing import Listing, Row

# Keys hold the index in as many digits as the largest needs, but not fewer than this.
MIN_DIGITS = 5
# Names under which torchvision's and others' datasets keep the labels of all items.
LABEL_ATTRIBUTES = ("targets", "labels")
# Names of Hugging Face's columns.
IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "labels", "fine_label")
DAMAGED = (SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
_SPLIT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")

# A dataset is never copied to where a task runs: whoever unpickles its source finds it here, in the same process.
_open_sources: "weakref.WeakValueDictionary[str, DatasetSource]" = weakref.WeakValueDictionary()


def _find_open(token: str) -> "DatasetSource":
    try:
        return _open_sources[token]
    except KeyError:
        raise SourceError(
            "a dataset object can be read in its own process alone: leave processes and scheduler out, or write the "
            "images to a folder and extract that"
        ) from None


@dataclass(frozen=True, eq=False)
class DatasetSource:
    """Items of Python datasets by split; keys are the indices.

    version: what the caller declares of the pixels, which the listing does not cover; labels: int64 by split.
    """

    name: str
    datasets: Mapping[str, Any]
    labels: Mapping[str, Sequence[int]]
    classes: tuple[str, ...]
    version: str | None
    root: None = None
    default_size: None = None
    official: None = None
    warnings: tuple[str, ...] = ()
    in_process: bool = True
    # Datasets share file handles and caches between calls; hardly any is made to be called from threads.
    _lock: Any = field(default_factory=threading.Lock, repr=False)
    _token: str = field(default_factory=lambda: uuid.uuid4().hex, repr=False)

    def __post_init__(self) -> None:
        _open_sources[self._token] = self

    def __reduce__(self) -> tuple[Any, ...]:
        return _find_open, (self._token,)

    @property
    def base_name(self) -> str:
        return self.name

    @property
    def options(self) -> dict[str, Any]:
        return {"version": self.version}

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.datasets)

    @property
    def default_splits(self) -> tuple[str, ...]:
        return tuple(split for split in self.splits if split != "unlabeled") or self.splits

    def list_rows(self, split: str) -> Listing:
        """Every item, its size 0. Raises SourceError for an unknown split."""
        self._find(split)
        labels = self.labels[split]
        n_digits = max(MIN_DIGITS, len(str(len(labels) - 1)))
        return Listing(tuple(Row(f"{index:0{n_digits}d}", label, 0) for index, label in enumerate(labels)))

    def native_shape(self, split: str, rows: Sequence[Row]) -> tuple[int, int]:
        """(height, width) of all images, read one by one up to the first of another size.

        Raises SourceError where they differ or none is readable.
        """
        shapes: dict[tuple[int, int], str] = {}
        why = ""
        for row in rows:
            try:
                height, width, _ = decode(self.read(split, row.key), size=None).shape
            except UnreadableImage as error:
                why = why or f"{row.key}: {error}"
                continue
            shapes.setdefault((height, width), row.key)
            if len(shapes) > 1:
                found = " and ".join(f"{key} is {shape[0]}x{shape[1]}" for shape, key in shapes.items())
                raise SourceError(f"{self.name}: the images differ in size ({found}): give size=N")
        if not shapes:
            raise SourceError(f"{self.name}: none of the {len(rows)} images of split {split} is readable ({why})")
        return next(iter(shapes))

    def read(self, split: str, key: str) -> np.ndarray | Image.Image:
        """One item's image. Raises UnreadableImage for anything else, and whatever the dataset raises."""
        image = _split_item(self._get(split, int(key)))[0]
        if not isinstance(image, np.ndarray | Image.Image):
            raise UnreadableImage(f"item {int(key)} is {_describe(image)}: expected a PIL image or uint8 (H, W, 3)")
        return image

    def locate(self, split: str, key: str) -> None:
        """Items are read in any order."""

    def _get(self, split: str, index: int) -> Any:
        dataset = self._find(split)
        with self._lock:
            return _get_item(dataset, index)

    def _find(self, split: str) -> Any:
        if split not in self.datasets:
            raise SourceError(f"{self.name} has no split {split!r}: expected {' or '.join(self.splits)}")
        return self.datasets[split]


def open_dataset(dataset: Any, *, name: str, version: str | None = None) -> DatasetSource:
    """A dataset object as a source: its length, labels and class names are read, its images are not.

    dataset: anything with `__len__` and `__getitem__(int) -> (image, label)`, image a PIL image or uint8 (H, W, 3), or
    `-> {"image": ..., "label": ...}`; or a mapping of such objects by split. Labels come from `targets`, `labels` or a
    label column where there is one, else from every item; class names from `classes` or the label column's names.

    Raises SourceError where the object is none of these, is empty, or its labels are no integers; where two splits call
    a label differently, or one has no class of train.
    """
    datasets = dataset if isinstance(dataset, Mapping) else {WHOLE: dataset}
    if not datasets:
        raise SourceError(f"{name}: the mapping holds no dataset: expected one for each split")
    for split, entry in datasets.items():
        if not isinstance(split, str) or not _SPLIT.fullmatch(split):
            raise SourceError(f"{name}: {split!r} cannot name a split: expected letters, digits, '_', '-' and '.'")
        _check_dataset(entry, name)
    if alike := find_alike(datasets):
        raise SourceError(
            f"{name}: {' and '.join(alike)} are one name to some file systems: call the splits differently"
        )
    read = {split: _find_labels(entry, name) for split, entry in datasets.items()}
    labels = {split: found for split, (found, _) in read.items()}
    classes = _find_classes(datasets, name, max(map(max, labels.values())))
    warnings = _check_labels(labels, classes, name)
    for split, (found, undecoded) in read.items():
        warnings += tell_unknown_labels(f"{name}: split {split}", found, undecoded)
    return DatasetSource(name, dict(datasets), labels, classes, version, warnings=warnings)


def _check_labels(labels: Mapping[str, Sequence[int]], classes: tuple[str, ...], name: str) -> tuple[str, ...]:
    """What to warn of: labels that train lacks, and classes of one name to the eye, as letters in both cases may be."""
    by_split = {split: {classes[label] for label in set(values) if label >= 0} for split, values in labels.items()}
    labelled = {split: names for split, names in by_split.items() if names}
    warnings = check_splits({split: f"{name}: split {split}" for split in labelled}, labelled)
    if alike := find_alike(classes):
        warnings += (f"{name}: the classes {' and '.join(map(ascii, alike))} are one name to the eye and two labels",)
    return warnings


def _check_dataset(dataset: Any, name: str) -> None:
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise SourceError(
            f"{name} is a {type(dataset).__name__}: expected an object with __len__ and __getitem__(index) -> "
            f"(PIL image or uint8 (H, W, 3), label)"
        )
    if len(dataset) == 0:
        raise SourceError(f"{name} is empty: expected at least one item")
    try:
        image, _ = _split_item(_get_item(dataset, 0))
    except UnreadableImage:
        return
    if isinstance(image, Image.Image):
        return
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        hint = "as datasets give without a transform to tensors"
    elif image.ndim == 2:
        hint = "for grey images np.repeat(x[..., None], 3, axis=-1)"
    elif image.ndim != 3 or image.shape[2] != 3:
        hint = "colours last, one image an item"
    else:
        return
    raise SourceError(
        f"{name}: the image of item 0 is {_describe(image)}: expected a PIL image or uint8 (H, W, 3), {hint}"
    )


def _get_item(dataset: Any, index: int) -> Any:
    """dataset[index]. Raises UnreadableImage for what Pillow is known to raise on damaged bytes."""
    try:
        return dataset[index]
    except OSError as error:
        if error.errno is not None:
            raise
        raise UnreadableImage(str(error)) from error
    except DAMAGED as error:
        raise UnreadableImage(f"{type(error).__name__}: {error}") from error


def _split_item(item: Any) -> tuple[Any, Any]:
    """(image, label) of an item, label None where it has none."""
    if isinstance(item, Mapping):
        image = next((item[column] for column in IMAGE_COLUMNS if column in item), None)
        return image, next((item[column] for column in LABEL_COLUMNS if column in item), None)
    if isinstance(item, tuple | list) and len(item) >= 2:
        return item[0], item[1]
    return item, None


def _find_labels(dataset: Any, name: str) -> tuple[list[int], list[int]]:
    """The label of every item; and the items that do not decode, and whose label is not given elsewhere."""
    labels = next((getattr(dataset, entry) for entry in LABEL_ATTRIBUTES if hasattr(dataset, entry)), None)
    if getattr(dataset, "target_transform", None) is not None or not hasattr(labels, "__len__"):
        labels = None
    if labels is None and (column := _find_label_column(dataset)) is not None:
        labels = dataset[column]
    undecoded: list[int] = []
    if labels is None or len(labels) != len(dataset):
        labels = []
        for index in range(len(dataset)):
            try:
                labels.append(_split_item(_get_item(dataset, index))[1])
            except UnreadableImage:
                labels.append(None)
                undecoded.append(index)
    return [_check_label(label, index, name) for index, label in enumerate(labels)], undecoded


def _find_label_column(dataset: Any) -> str | None:
    columns = getattr(dataset, "column_names", None)
    return next((column for column in LABEL_COLUMNS if column in columns), None) if isinstance(columns, list) else None


def _check_label(label: Any, index: int, name: str) -> int:
    if label is None:
        return NO_LABEL
    try:
        value = operator.index(label.item() if hasattr(label, "item") else label)
    except (TypeError, ValueError) as error:
        raise SourceError(f"{name}: the label of item {index} is {_describe(label)}: expected an integer") from error
    if value < NO_LABEL:
        raise SourceError(f"{name}: the label of item {index} is {value}: expected 0 or more, or -1 for none")
    return value


def _find_classes(datasets: Mapping[str, Any], name: str, max_label: int) -> tuple[str, ...]:
    """The class names that the datasets give, "0", "1", ... for labels beyond them.

    Raises SourceError where two of them give a label different names.
    """
    known: list[str] = []
    for split, dataset in datasets.items():
        names = _find_names(dataset)
        for label, (one, other) in enumerate(zip(known, names, strict=False)):
            if one != other:
                raise SourceError(
                    f"{name}: split {split} calls label {label} {other!a}, an earlier split {one!a}: give all "
                    f"splits the same list of classes"
                )
        known = max(known, names, key=len)
    return tuple(known + [str(label) for label in range(len(known), max_label + 1)])


def _find_names(dataset: Any) -> list[str]:
    """The class names that a dataset gives, escaped, in the order of their labels."""
    features = getattr(dataset, "features", None)
    column = _find_label_column(dataset)
    names = getattr(dataset, "classes", None)
    if column is not None and isinstance(features, Mapping):
        names = getattr(features.get(column), "names", names)
    return [escape_name(str(name)) for name in names] if isinstance(names, list | tuple) else []


def _describe(value: Any) -> str:
    dtype = getattr(value, "dtype", None)
    shape = tuple(getattr(value, "shape", ()))
    return f"a {type(value).__name__}" + (f" of {dtype} {shape}" if dtype is not None else "")
