"""Any Python object with images in it as a source: torchvision's and Hugging Face's datasets, or one's own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

from scatcache.errors import SourceError, UnreadableImage
from scatcache.images.class_names import tell_unknown_labels
from scatcache.images.image_source import WHOLE, ImageSource, check_split_names, settle
from scatcache.images.kinds.items import (
    describe_item,
    find_class_names,
    get_item,
    read_labels,
    split_item,
    warn_of_labels,
)
from scatcache.images.source import ListedRows, Listing
from scatcache.spec import Pixels


@dataclass(frozen=True)
class ItemsPart:
    """The items of one dataset object; keys are the indices, sizes 0."""

    dataset: Any
    labels: Sequence[int]

    @cached_property
    def listing(self) -> Listing:
        return Listing(ListedRows.numbered(len(self.labels), labels=np.array(self.labels, np.int64)))

    def read(self, i: int) -> np.ndarray | Image.Image:
        """One item's image. Raises UnreadableImage for anything else, and whatever the dataset raises."""
        image, _ = split_item(get_item(self.dataset, range(len(self.labels))[i]))
        if not isinstance(image, np.ndarray | Image.Image):
            raise UnreadableImage(f"item {i} is {describe_item(image)}: expected a PIL image or uint8 (H, W, 3)")
        return image

    def locate(self, i: int) -> None:
        """Items are read in any order."""


@dataclass(frozen=True)
class Items:
    """Dataset objects by split. Hardly any is made to be called from threads, nor can be copied to other processes."""

    name: str
    classes: tuple[str, ...]
    splits: Mapping[str, ItemsPart]
    options: Mapping[str, Any]
    warnings: tuple[str, ...]
    official: None = None
    parallel: str = "none"
    pixels: Pixels = field(default_factory=Pixels)


def open_dataset(dataset: Any, *, name: str, version: str | None = None) -> ImageSource:
    """A dataset object as a source: its length, labels and class names are read, its images are not.

    dataset: anything with `__len__` and `__getitem__(int) -> (image, label)`, image a PIL image or uint8 (H, W, 3), or
    `-> {"image": ..., "label": ...}`; or a mapping of such objects by split. Labels come from `targets`, `labels` or a
    label column where there is one, else from every item; class names from `classes` or the label column's names.
    version: what the caller declares of the pixels, which the listing does not cover.

    Raises SourceError where the object is none of these, is empty, or its labels are no integers; where two splits call
    a label differently, or one has no class of train.
    """
    datasets = dataset if isinstance(dataset, Mapping) else {WHOLE: dataset}
    if not datasets:
        raise SourceError(f"{name}: the mapping holds no dataset: expected one for each split")
    check_split_names(datasets, name)
    for entry in datasets.values():
        _check_dataset(entry, name)
    read = {split: read_labels(entry, name) for split, entry in datasets.items()}
    labels = {split: found for split, (found, _) in read.items()}
    classes = find_class_names(datasets, name, max(map(max, labels.values())))
    warnings = warn_of_labels(labels, classes, name)
    for split, (found, undecoded) in read.items():
        warnings += tell_unknown_labels(f"{name}: split {split}", found, undecoded)
    parts = {split: ItemsPart(entry, labels[split]) for split, entry in datasets.items()}
    return settle(Items(name, classes, parts, {"version": version}, warnings))


def _check_dataset(dataset: Any, name: str) -> None:
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise SourceError(
            f"{name} is a {type(dataset).__name__}: expected an object with __len__ and __getitem__(index) -> "
            f"(PIL image or uint8 (H, W, 3), label)"
        )
    if len(dataset) == 0:
        raise SourceError(f"{name} is empty: expected at least one item")
    try:
        image, _ = split_item(get_item(dataset, 0))
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
        f"{name}: the image of item 0 is {describe_item(image)}: expected a PIL image or uint8 (H, W, 3), {hint}"
    )
