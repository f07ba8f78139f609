"""A named dataset put together of splits, each read as the folder or the archive that it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL.Image import Image

from scatcache.errors import SourceError
from scatcache.images.keys import show_path
from scatcache.images.listing import Listing, Row


class Part(Protocol):
    """What of a Source one split needs; splits: its own name for that split, alone."""

    @property
    def splits(self) -> tuple[str, ...]: ...

    def list_rows(self, split: str) -> Listing: ...

    def native_shape(self, split: str, rows: Sequence[Row]) -> tuple[int, int]: ...

    def read(self, split: str, key: str) -> bytes | np.ndarray | Image: ...

    def locate(self, split: str, key: str) -> tuple[int, int] | None: ...


@dataclass(frozen=True)
class PartedSource:
    """parts: by split, a source of that split alone; absent: splits of the dataset that are not at hand, and what
    they are read from."""

    name: str
    root: Path
    parts: dict[str, Part]
    classes: tuple[str, ...]
    absent: dict[str, str] = field(default_factory=dict)
    official: bool | None = None
    options: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    default_size: int = 224
    in_process: bool = False

    @property
    def base_name(self) -> str:
        return self.name

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.parts)

    @property
    def default_splits(self) -> tuple[str, ...]:
        return self.splits

    def list_rows(self, split: str) -> Listing:
        """Every image of a split. Raises SourceError for one that is not at hand."""
        part, inner = self._find(split)
        return part.list_rows(inner)

    def native_shape(self, split: str, rows: Sequence[Row]) -> tuple[int, int]:
        """(height, width) all images of the rows share. Raises SourceError where they share none."""
        part, inner = self._find(split)
        return part.native_shape(inner, rows)

    def read(self, split: str, key: str) -> bytes | np.ndarray | Image:
        """One image, as the split's own source reads it."""
        part, inner = self._find(split)
        return part.read(inner, key)

    def locate(self, split: str, key: str) -> tuple[int, int] | None:
        """(offset, bytes) where the split is an archive."""
        part, inner = self._find(split)
        return part.locate(inner, key)

    def _find(self, split: str) -> tuple[Part, str]:
        if split in self.absent:
            raise SourceError(f"{self.name}: split {split} is not in {show_path(self.root)}: {self.absent[split]}")
        if split not in self.parts:
            raise SourceError(f"{self.name} has no split {split}: expected {' or '.join(self.splits)}")
        return self.parts[split], self.parts[split].splits[0]


@dataclass(frozen=True)
class SortedPart:
    """A split of flat files brought into class folders: FILE becomes CLASS/FILE.

    folders: class by file. It stays where the listing is made, for reading needs the file's name alone.
    """

    flat: Part
    classes: tuple[str, ...]
    folders: Mapping[str, str] = field(repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "folders": {}}

    @property
    def splits(self) -> tuple[str, ...]:
        return self.flat.splits

    def list_rows(self, split: str) -> Listing:
        """Every image under the class that folders gives it."""
        labels = {name: label for label, name in enumerate(self.classes)}
        listing = self.flat.list_rows(split)
        rows = [
            Row(f"{self.folders[row.key]}/{row.key}", labels[self.folders[row.key]], row.size) for row in listing.rows
        ]
        return replace(listing, rows=tuple(sorted(rows)))

    def native_shape(self, split: str, rows: Sequence[Row]) -> tuple[int, int]:
        """(height, width) all images of the rows share. Raises SourceError where they share none."""
        return self.flat.native_shape(split, [Row(_drop_class(row.key), row.label, row.size) for row in rows])

    def read(self, split: str, key: str) -> bytes | np.ndarray | Image:
        """One image, as the flat source reads it."""
        return self.flat.read(split, _drop_class(key))

    def locate(self, split: str, key: str) -> tuple[int, int] | None:
        """(offset, bytes), as the flat source has it."""
        return self.flat.locate(split, _drop_class(key))


def _drop_class(key: str) -> str:
    return key.partition("/")[2]
