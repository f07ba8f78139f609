"""Any Python object with images in it as a source: torchvision's and Hugging Face's datasets, or one's own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

from scatcache.errors import SourceError, UnreadableImage, UsageError
from scatcache.images.class_names import tell_unknown_labels
from scatcache.images.contents import Contents
from scatcache.images.decode import read_form
from scatcache.images.forms import Decoding
from scatcache.images.image_source import WHOLE, ImageSource, check_split_names, settle
from scatcache.images.kinds.arrays.array_numbers import LABELS, TARGETS, read_numbers
from scatcache.images.kinds.arrays.python_arrays import pick_of_split
from scatcache.images.kinds.hugging_face import TableItemsPart, find_table, is_streamed
from scatcache.images.kinds.items import (
    describe_item,
    get_item,
    merge_class_names,
    read_class_names,
    read_labels,
    split_item,
    warn_of_labels,
)
from scatcache.images.source import ListedRows, Listing
from scatcache.spec import NATIVE, SCALES, Pixels

_EXPECTED = "a PIL image, or samples (H, W) or (H, W, bands)"


@dataclass(frozen=True)
class ItemsPart:
    """The items of one dataset object; keys are the indices, sizes 0. names: of the classes; undecoded: items whose
    label went with their image; targets: float32 (n, k), None for none."""

    dataset: Any
    names: tuple[str, ...]
    labels: Sequence[int]
    targets: np.ndarray | None = None
    undecoded: tuple[int, ...] = ()

    @cached_property
    def listing(self) -> Listing:
        rows = ListedRows.numbered(len(self.labels), labels=np.array(self.labels, np.int64))
        return Listing(rows, targets=self.targets)

    def read(self, i: int) -> np.ndarray | Image.Image:
        """One item's image. Raises UnreadableImage for anything else, and whatever the dataset raises."""
        image, _ = split_item(get_item(self.dataset, range(len(self.labels))[i]))
        if not isinstance(image, np.ndarray | Image.Image):
            raise UnreadableImage(f"item {i} is {describe_item(image)}: expected {_EXPECTED}")
        return image

    def locate(self, i: int) -> None:
        """Items are read in any order."""


@dataclass(frozen=True)
class Items:
    """Dataset objects by split. parallel: but for tables, hardly any is made to be called from threads, nor can be
    copied to other processes."""

    name: str
    classes: tuple[str, ...]
    splits: Mapping[str, ItemsPart | TableItemsPart]
    options: Mapping[str, Any]
    warnings: tuple[str, ...]
    parallel: str
    pixels: Pixels
    official: None = None


def open_dataset(
    dataset: Any, *, name: str, version: str | None = None, contents: Contents | None = None
) -> ImageSource:
    """A dataset object as a source: its length, labels and class names are read, its images are not.

    dataset: anything with `__len__` and `__getitem__(int) -> (image, label)`, image a PIL image or samples (H, W) or
    (H, W, bands), or `-> {"image": ..., "label": ...}`; or a mapping of such objects by split. Labels come from
    `targets`, `labels` or a label column where there is one, else from every item; class names from `classes` or the
    label column's names. contents: labels and targets, numbers or mappings of them by split; of Hugging Face's also
    names of columns, and that of the images. version: what the caller declares of the pixels, which the listing does
    not cover. The first item decides on the pixels: rgb for pictures and uint8 (H, W, 3), else native.

    Raises SourceError where the object is none of these, is empty, or its labels are no integers; where two splits call
    a label differently, or one has no class of train; UsageError for contents that it has not.
    """
    contents = contents or Contents()
    datasets = dataset if isinstance(dataset, Mapping) else {WHOLE: dataset}
    if not datasets:
        raise SourceError(f"{name}: the mapping holds no dataset: expected one for each split")
    check_split_names(datasets, name)
    parts: dict[str, ItemsPart | TableItemsPart] = {}
    for split, entry in datasets.items():
        _check_dataset(entry, name)
        own = {what: pick_of_split(getattr(contents, what), split, datasets, what)
               for what in (LABELS, TARGETS) if not isinstance(getattr(contents, what), str)}  # fmt: skip
        parts[split] = _open_part(entry, replace(contents, **own), name)
    pixels = [_describe_pixels(part, name) for part in parts.values()]
    known = merge_class_names({split: part.names for split, part in parts.items()}, name)
    labels = {split: part.labels for split, part in parts.items()}
    highest = max(int(max(found)) for found in labels.values())
    classes = (*known, *(str(label) for label in range(len(known), highest + 1)))
    warnings = warn_of_labels(labels, classes, name)
    for split, part in parts.items():
        if isinstance(part, ItemsPart):
            warnings += tell_unknown_labels(f"{name}: split {split}", part.labels, part.undecoded)
    given = {what: value for what in contents.given if isinstance(value := getattr(contents, what), str)}
    return settle(
        Items(name, classes, parts, {"version": version, **given}, warnings, _find_parallel(parts), pixels[0])
    )


def _open_part(dataset: Any, contents: Contents, name: str) -> ItemsPart | TableItemsPart:
    part: ItemsPart | TableItemsPart | None = find_table(dataset, contents, name)
    if part is None:
        _refuse_names(contents, name)
        labels, undecoded = read_labels(dataset, name) if contents.labels is None else ([], [])
        part = ItemsPart(dataset, read_class_names(dataset), labels, None, tuple(undecoded))
    given: dict[str, Any] = {}
    for what in (LABELS, TARGETS):
        numbers = getattr(contents, what)
        if numbers is not None and not isinstance(numbers, str):
            given[what] = read_numbers(what, numbers, len(dataset), found={}, where=name)
    return replace(part, **given)


def _refuse_names(contents: Contents, name: str) -> None:
    """Raises UsageError for what only tables and arrays have."""
    for what in contents.given:
        if what not in (LABELS, TARGETS) or isinstance(getattr(contents, what), str):
            raise UsageError(
                f"{what} is {getattr(contents, what)!r}, and {name} has no columns or arrays by name: leave {what} out"
            )


def _find_parallel(parts: Mapping[str, ItemsPart | TableItemsPart]) -> str:
    tables = [part.images for part in parts.values() if isinstance(part, TableItemsPart)]
    if len(tables) < len(parts):
        return "none"
    # Mapped files are opened again by other processes, memory would be copied to them.
    return "processes" if all(table.cache_files for table in tables) else "threads"


def _check_dataset(dataset: Any, name: str) -> None:
    if is_streamed(dataset):
        raise SourceError(f"{name} is streamed, and has no rows to ask for: load it with streaming=False")
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise SourceError(
            f"{name} is a {type(dataset).__name__}: expected an object with __len__ and __getitem__(index) -> "
            f"(image, label), image {_EXPECTED}"
        )
    if len(dataset) == 0:
        raise SourceError(f"{name} is empty: expected at least one item")


def _describe_pixels(part: ItemsPart | TableItemsPart, name: str) -> Pixels:
    """The pixels of a part by its first image. Raises SourceError where that is no image."""
    try:
        image = part.read(0) if isinstance(part, TableItemsPart) else split_item(get_item(part.dataset, 0))[0]
    except UnreadableImage:
        return Pixels()
    if isinstance(image, bytes | Image.Image):
        return Pixels()
    hint = ""
    if type(image).__module__.partition(".")[0] == "torch":
        hint = ": leave ToTensor out of its transforms, or give x.permute(1, 2, 0).numpy() of it"
    elif isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[0] in (1, 3, 4) and image.shape[2] > 4:
        hint = ", bands last: give x.transpose(1, 2, 0) of it"
    elif isinstance(image, np.ndarray):
        if image.dtype == np.uint8 and image.shape[2:] == (3,):
            return Pixels()
        try:
            form = read_form(image, Decoding(NATIVE))
        except UnreadableImage as error:
            hint = f", one image an item: {error}"
        else:
            return Pixels(NATIVE, form.bands, form.dtype, SCALES[form.dtype])
    raise SourceError(f"{name}: the image of item 0 is {describe_item(image)}: expected {_EXPECTED}{hint}")
