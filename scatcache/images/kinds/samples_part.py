"""The samples of one split, in tars on this disk or at URLs."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from scatcache.errors import UnreadableImage
from scatcache.images.archives.tar_index import TarIndex
from scatcache.images.archives.tar_table import TarTable
from scatcache.images.decode import read_form
from scatcache.images.forms import Decoding, ImageForm
from scatcache.images.kinds.remote_tar import BLOCK_BYTES, RemoteTarIndex
from scatcache.images.source import Listing, Location

# No tar is larger.
_TAR_BYTES = 2**50


class _Tabled(Protocol):
    @property
    def table(self) -> TarTable: ...


Index = TypeVar("Index", bound=_Tabled)


@dataclass(frozen=True)
class SampleRows(Generic[Index]):
    """Keys are TAR/SAMPLE, or SAMPLE of a single tar. stems: of the keys, "" for none."""

    indices: tuple[Index, ...]
    stems: tuple[str, ...]

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

    def find(self, i: int) -> tuple[int, int, int]:
        """The number of a row's tar, and offset and bytes there. Raises IndexError."""
        i = range(int(self._starts[-1]))[i]
        number = int(np.searchsorted(self._starts, i, side="right")) - 1
        table, at = self.indices[number].table, i - int(self._starts[number])
        return number, int(table.offsets[at]), int(table.sizes[at])


@dataclass(frozen=True)
class LocalSamplesPart:
    """Samples in tars on this disk."""

    samples: SampleRows[TarIndex]
    image_form: None = None

    @property
    def listing(self) -> Listing:
        return self.samples.listing

    def form(self, i: int, how: Decoding) -> ImageForm:
        """What one image is by its header."""
        return read_form(self.read(i), how)

    def read(self, i: int) -> bytes:
        """The bytes of one image file; see TarIndex.read."""
        number, offset, n_bytes = self.samples.find(i)
        return self.samples.indices[number].read_at(offset, n_bytes, f"row {i}")

    def locate(self, i: int) -> Location:
        """Where the image lies in its tar."""
        number, offset, n_bytes = self.samples.find(i)
        return Location(os.fspath(self.samples.indices[number].tar), offset, n_bytes)


@dataclass(frozen=True)
class RemoteSamplesPart:
    """Samples in tars at URLs; those of a block are read by few requests. n_readers: blocks read at once, by threads
    that wait for a server, and not for a core."""

    samples: SampleRows[RemoteTarIndex]
    image_form: None = None
    n_readers = 16

    @property
    def listing(self) -> Listing:
        return self.samples.listing

    def form(self, i: int, how: Decoding) -> ImageForm:
        """What one image is by its header. All of it is read: a header cut short may say something else."""
        return read_form(self.read(i), how)

    def read(self, i: int) -> bytes:
        """The bytes of one image file; see RemoteTarIndex.read_at."""
        number, offset, n_bytes = self.samples.find(i)
        return self.samples.indices[number].read_at(offset, n_bytes)

    def locate(self, i: int) -> None:
        """In no file."""

    def block(self, i: int) -> int:
        """Which BLOCK_BYTES of which tar the image starts in."""
        number, offset, _ = self.samples.find(i)
        return (number * _TAR_BYTES + offset) // BLOCK_BYTES

    def read_block(self, indices: Sequence[int]) -> list[bytes | UnreadableImage]:
        """The bytes of images of one block; see RemoteTarIndex.read_together."""
        found = [self.samples.find(i) for i in indices]
        (number,) = {number for number, _, _ in found}
        return self.samples.indices[number].read_together([(offset, n_bytes) for _, offset, n_bytes in found])
