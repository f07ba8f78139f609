"""The one form that every source has inside: all that the protocol leaves open is settled."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from scatcache.errors import SourceError
from scatcache.images.class_names import find_alike
from scatcache.images.decode import read_form
from scatcache.images.forms import Decoding, ImageForm
from scatcache.images.keys import show_path
from scatcache.images.source import Listing, Location, Part, Source
from scatcache.spec import COLOURS, NATIVE, Pixels

if TYPE_CHECKING:
    from PIL.Image import Image

    from scatcache.errors import UnreadableImage

# The one split of what has no others, the split of images without labels, and what such an image has for one.
WHOLE, UNLABELED, NO_LABEL = "all", "unlabeled", -1
_SPLIT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
PARALLEL = ("none", "threads", "processes")


class WholePart(Part, Protocol):
    """A part with all that the protocol leaves open."""

    @property
    def image_form(self) -> ImageForm | None:
        """What all images are known to be, in native pixels."""
        ...

    def form(self, i: int, how: Decoding) -> ImageForm:
        """What decoding makes of one image but for its size; not asked for where image_form says it. Raises as read
        does."""
        ...


@dataclass(frozen=True)
class ImageSource:
    """A source with all that the protocol leaves open; see Source.

    absent: splits of the dataset that are not at hand, and how to get them; url: where it is, if not at root; memory:
    what a later run is to be told besides root, by the names of Contents: the paths of files of labels and targets;
    by_name: splits that are extracted where they are asked for alone.
    """

    name: str
    classes: tuple[str, ...]
    splits: Mapping[str, WholePart]
    official: bool | None = None
    root: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    default_size: int | None = None
    parallel: str = "processes"
    absent: Mapping[str, str] = field(default_factory=dict)
    pixels: Pixels = field(default_factory=Pixels)
    url: str | None = None
    memory: Mapping[str, str] = field(default_factory=dict)
    by_name: tuple[str, ...] = (UNLABELED,)

    @property
    def default_splits(self) -> tuple[str, ...]:
        """Every split but those that have to be asked for."""
        return tuple(split for split in self.splits if split not in self.by_name) or tuple(self.splits)

    def find(self, split: str) -> WholePart:
        """One split. Raises SourceError where there is none of the name."""
        where = show_path(self.root) if self.root is not None else self.name
        if split in self.absent:
            raise SourceError(f"{self.name}: split {split} is not in {where}: {self.absent[split]}")
        if split not in self.splits:
            name = where if self.name == "folder" else self.name
            raise SourceError(f"{name} has no split {split!r}: expected one of {', '.join(self.splits)}")
        return self.splits[split]


@dataclass(frozen=True)
class SettledPart:
    """Somebody's part: called one at a time where lock is one, and what it hands over looked at."""

    part: Part
    where: str
    n_classes: int
    lock: AbstractContextManager[Any]

    @cached_property
    def listing(self) -> Listing:
        with self.lock:
            listing = self.part.listing
        if not isinstance(listing, Listing):
            raise SourceError(f"{self.where}: its listing is a {type(listing).__name__}: expected a Listing")
        labels = listing.rows.labels
        if len(labels) and not -1 <= labels.min() <= labels.max() < self.n_classes:
            wrong = labels[(labels < -1) | (labels >= self.n_classes)][0]
            raise SourceError(f"{self.where}: a row has the label {wrong}: expected -1 to {self.n_classes - 1}")
        return listing

    image_form = None

    def form(self, i: int, how: Decoding) -> ImageForm:
        known, shape = getattr(self.part, "image_shape", None), getattr(self.part, "shape", None)
        if known is None and shape is not None:
            with self.lock:
                known = shape(i)
        if known is not None and how.kind != NATIVE:
            height, width = known
            return ImageForm(height, width, COLOURS[how.kind], "uint8")
        return read_form(self.read(i), how)

    def read(self, i: int) -> "bytes | np.ndarray | Image":
        with self.lock:
            return self.part.read(i)

    def locate(self, i: int) -> Location | None:
        with self.lock:
            found = self.part.locate(i)
        return None if found is None else Location(*found)

    def block(self, i: int) -> int | None:
        if getattr(self.part, "read_block", None) is None:
            return None
        with self.lock:
            found: int | None = self.part.block(i)  # type: ignore[attr-defined]
        return found

    def read_block(self, indices: Sequence[int]) -> "list[bytes | np.ndarray | Image | UnreadableImage]":
        with self.lock:
            return list(self.part.read_block(indices))  # type: ignore[attr-defined]


def is_source(value: Any) -> bool:
    """Whether an object implements Source: it has splits by name, each a way to read images."""
    splits = getattr(value, "splits", None)
    # Of a listing it is not asked here: to make one may take long.
    return isinstance(splits, Mapping) and all(
        hasattr(part, "read") and hasattr(part, "locate") for part in splits.values()
    )


def settle(source: Source) -> ImageSource:
    """Somebody's source in the form that ours have; what it does not say has its default here.

    Raises SourceError where what it says is not what the protocol promises.
    """
    if isinstance(source, ImageSource):
        return source
    parallel = getattr(source, "parallel", "none")
    if parallel not in PARALLEL:
        raise SourceError(f"{source.name}: parallel is {parallel!r}: expected one of {', '.join(PARALLEL)}")
    if not isinstance(source.pixels, Pixels):
        raise SourceError(f"{source.name}: pixels is {source.pixels!r}: expected a scatcache.Pixels")
    check_split_names(source.splits, source.name)
    options = dict(getattr(source, "options", {}))
    _check_kept(source, options)
    lock: AbstractContextManager[Any] = Lock() if parallel == "none" else nullcontext()
    root = getattr(source, "root", None)
    return ImageSource(
        name=source.name,
        classes=tuple(source.classes),
        splits={
            split: SettledPart(part, f"{source.name}: split {split}", len(source.classes), lock)
            for split, part in source.splits.items()
        },
        official=source.official,
        root=None if root is None else Path(root).absolute(),
        options=options,
        warnings=tuple(getattr(source, "warnings", ())),
        default_size=getattr(source, "default_size", None),
        parallel=parallel,
        pixels=source.pixels,
    )


def _check_kept(source: Source, options: dict[str, Any]) -> None:
    """Raises SourceError for what zarr.json would give back as something else, or would hide."""
    if not (source.official is None or isinstance(source.official, bool)):
        raise SourceError(f"{source.name}: official is {source.official!r}: expected True, False or None")
    if wrong := [entry for entry in source.classes if not isinstance(entry, str)]:
        raise SourceError(f"{source.name}: classes hold {wrong[0]!r}: expected texts")
    try:
        is_kept = json.loads(json.dumps(options, allow_nan=False)) == options
    except (TypeError, ValueError):
        is_kept = False
    if not is_kept or options.keys() & {"name", "official"}:
        raise SourceError(
            f"{source.name}: options are {options!r}: expected a dict of what JSON knows, without name and official"
        )


def check_split_names(splits: Iterable[Any], name: str) -> None:
    """Raises SourceError for what cannot be folders of a store, or would be one to some file systems."""
    splits = list(splits)
    for split in splits:
        if not isinstance(split, str) or not _SPLIT.fullmatch(split) or split == "zarr.json":
            raise SourceError(
                f"{name}: {split!r} cannot name a split: expected letters, digits, '_', '-' and '.', not zarr.json"
            )
    if alike := find_alike(splits):
        raise SourceError(
            f"{name}: {' and '.join(alike)} are one name to some file systems: call the splits differently"
        )
