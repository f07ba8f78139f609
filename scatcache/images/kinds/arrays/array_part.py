"""The images of one array as a split: numbered rows, each read for itself or a block at a time."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from scatcache.errors import UnreadableImage
from scatcache.images.forms import Decoding, ImageForm
from scatcache.images.kinds.arrays.array_axes import put_last
from scatcache.images.kinds.arrays.image_array import MAX_BLOCK_BYTES, ImageArray
from scatcache.images.source import ListedRows, Listing, Location


@dataclass(frozen=True)
class ArrayPart:
    """Images of one array; keys are their numbers, sizes the raw bytes of one.

    axes: one of ARRAY_AXES; labels: int64 (n,); targets: float32 (n, k); None where there are none.
    """

    array: ImageArray
    axes: str
    image_form: ImageForm
    labels: np.ndarray | None = field(default=None, repr=False)
    targets: np.ndarray | None = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        # A listing is soon made again, and long.
        return {name: value for name, value in self.__dict__.items() if name != "listing"}

    @property
    def image_bytes(self) -> int:
        """Of one image as the array holds it."""
        return prod(self.array.shape[1:]) * self.array.dtype.itemsize

    @cached_property
    def listing(self) -> Listing:
        """A row for each image; dtype, shape and bytes of the array enter the hash."""
        array = self.array
        rows = ListedRows.numbered(array.shape[0], labels=self.labels, size=self.image_bytes)
        facts = f"{array.dtype.name} {array.shape} {array.n_bytes} bytes"
        return Listing(rows, targets=self.targets, facts=facts)

    def form(self, i: int, how: Decoding) -> ImageForm:
        """That of all."""
        return self.image_form

    def read(self, i: int) -> np.ndarray:
        """One image, (height, width, bands) of the array's dtype in the machine's byte order."""
        row = range(self.array.shape[0])[i]
        return self.as_images(self.array.read_rows(row, row + 1))[0]

    def as_images(self, rows: np.ndarray) -> np.ndarray:
        """A copy of rows of the array as images (n, height, width, bands)."""
        return np.array(put_last(rows, self.axes), self.array.dtype.newbyteorder("="), order="C")

    def locate(self, i: int) -> Location | None:
        """Where the image's samples lie plainly in a file."""
        return self.array.locate_row(range(self.array.shape[0])[i])


@dataclass(frozen=True)
class BlockedPart:
    """Images of an array that is stored in blocks of several, such as chunks: see Part."""

    part: ArrayPart

    @property
    def image_form(self) -> ImageForm:
        return self.part.image_form

    @property
    def listing(self) -> Listing:
        return self.part.listing

    def form(self, i: int, how: Decoding) -> ImageForm:
        """That of all."""
        return self.image_form

    def read(self, i: int) -> np.ndarray:
        """One image; see ArrayPart."""
        return self.part.read(i)

    def locate(self, i: int) -> None:
        """Blocks are read, and not bytes."""

    def block(self, i: int) -> int:
        """Which block an image lies in."""
        return range(self.part.array.shape[0])[i] // self.part.array.rows_per_block

    def read_block(self, indices: Sequence[int]) -> list[np.ndarray | UnreadableImage]:
        """Images of one block, which is decoded once; an UnreadableImage for each where it does not decode."""
        first = min(indices)
        try:
            rows = self.part.array.read_rows(first, max(indices) + 1)
        except UnreadableImage as error:
            return [error for _ in indices]
        return [self.part.as_images(rows[i - first : i - first + 1])[0] for i in indices]


def make_part(where: str, part: ArrayPart) -> tuple[ArrayPart | BlockedPart, tuple[str, ...]]:
    """A part that is read as its array is stored, and what to warn of."""
    n_rows = part.array.rows_per_block
    if n_rows == 1:
        return part, ()
    block_bytes = n_rows * part.image_bytes
    if block_bytes > MAX_BLOCK_BYTES:
        return part, (
            f"{where} is stored in chunks of {n_rows} images, {block_bytes} bytes each, too many to hold: every image "
            f"is read by itself, which may take very long; store it with a chunk for each image",
        )
    return BlockedPart(part), ()
