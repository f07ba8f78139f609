"""What the items of a dataset object say: the image, the label, and what the labels are called."""

import operator
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from scatcache.errors import SourceError, UnreadableImage
from scatcache.images.class_names import check_splits, find_alike
from scatcache.images.image_source import NO_LABEL
from scatcache.images.keys import escape_name

# Names under which torchvision's and others' datasets keep the labels of all items.
LABEL_ATTRIBUTES = ("targets", "labels")
# Names of Hugging Face's columns.
IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "labels", "fine_label")
DAMAGED = (SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)


def get_item(dataset: Any, index: int) -> Any:
    """dataset[index]. Raises UnreadableImage for what Pillow is known to raise on damaged bytes."""
    try:
        return dataset[index]
    except OSError as error:
        if error.errno is not None:
            raise
        raise UnreadableImage(str(error)) from error
    except DAMAGED as error:
        raise UnreadableImage(f"{type(error).__name__}: {error}") from error


def split_item(item: Any) -> tuple[Any, Any]:
    """(image, label) of an item, label None where it has none."""
    if isinstance(item, Mapping):
        image = next((item[column] for column in IMAGE_COLUMNS if column in item), None)
        return image, next((item[column] for column in LABEL_COLUMNS if column in item), None)
    if isinstance(item, tuple | list) and len(item) >= 2:
        return item[0], item[1]
    return item, None


def read_labels(dataset: Any, name: str) -> tuple[list[int], list[int]]:
    """The label of every item; and the items that do not decode, and whose label is not given elsewhere."""
    labels = next((getattr(dataset, entry) for entry in LABEL_ATTRIBUTES if hasattr(dataset, entry)), None)
    if getattr(dataset, "target_transform", None) is not None or not hasattr(labels, "__len__"):
        labels = None
    if labels is None and (column := find_label_column(dataset)) is not None:
        labels = dataset[column]
    undecoded: list[int] = []
    if labels is None or len(labels) != len(dataset):
        labels = []
        for index in range(len(dataset)):
            try:
                labels.append(split_item(get_item(dataset, index))[1])
            except UnreadableImage:
                labels.append(None)
                undecoded.append(index)
    return [_check_label(label, index, name) for index, label in enumerate(labels)], undecoded


def find_label_column(dataset: Any) -> str | None:
    """The column of labels of a dataset that has columns."""
    columns = getattr(dataset, "column_names", None)
    return next((column for column in LABEL_COLUMNS if column in columns), None) if isinstance(columns, list) else None


def _check_label(label: Any, index: int, name: str) -> int:
    if label is None:
        return NO_LABEL
    try:
        value = operator.index(label.item() if hasattr(label, "item") else label)
    except (TypeError, ValueError) as error:
        raise SourceError(
            f"{name}: the label of item {index} is {describe_item(label)}: expected an integer"
        ) from error
    if value < NO_LABEL:
        raise SourceError(f"{name}: the label of item {index} is {value}: expected 0 or more, or -1 for none")
    return value


def merge_class_names(by_split: Mapping[str, Sequence[str]], name: str) -> tuple[str, ...]:
    """The longest of the splits' lists of class names. Raises SourceError where two give a label different names."""
    known: Sequence[str] = ()
    for split, names in by_split.items():
        for label, (one, other) in enumerate(zip(known, names, strict=False)):
            if one != other:
                raise SourceError(
                    f"{name}: split {split} calls label {label} {other!a}, an earlier split {one!a}: give all "
                    f"splits the same list of classes"
                )
        known = max(known, names, key=len)
    return tuple(known)


def warn_of_labels(
    labels: Mapping[str, Sequence[int] | np.ndarray], classes: tuple[str, ...], name: str
) -> tuple[str, ...]:
    """What to warn of: labels that train lacks, and classes of one name to the eye, as letters in both cases may be.

    labels: of each split, below len(classes). Raises SourceError as check_splits does.
    """
    by_split = {
        split: {classes[label] for label in np.unique(values).tolist() if label >= 0}
        for split, values in labels.items()
    }
    labelled = {split: names for split, names in by_split.items() if names}
    warnings = check_splits({split: f"{name}: split {split}" for split in labelled}, labelled)
    if alike := find_alike(classes):
        warnings += (f"{name}: the classes {' and '.join(map(ascii, alike))} are one name to the eye and two labels",)
    return warnings


def read_class_names(dataset: Any, column: str | None = None) -> tuple[str, ...]:
    """The class names that a dataset gives, escaped, in the order of their labels. column: of the labels."""
    features = getattr(dataset, "features", None)
    names = getattr(dataset, "classes", None)
    column = column or find_label_column(dataset)
    if column is not None and isinstance(features, Mapping):
        names = getattr(features.get(column), "names", names)
    return tuple(escape_name(str(name)) for name in names) if isinstance(names, list | tuple) else ()


def describe_item(value: Any) -> str:
    dtype = getattr(value, "dtype", None)
    shape = tuple(getattr(value, "shape", ()))
    return f"a {type(value).__name__}" + (f" of {dtype} {shape}" if dtype is not None else "")
