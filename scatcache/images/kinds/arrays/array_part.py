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

    def block(self, i: int) -> int | None:
        """Which block an image lies in, None where each lies by itself."""
        row = range(self.array.shape[0])[i]
        return row // self.array.rows_per_block if self.has_blocks else None

    def read_block(self, indices: Sequence[int]) -> list[np.ndarray | UnreadableImage]:
        """Images of one block, which is decoded once; an UnreadableImage for each where it does not decode."""
        first = min(indices)
        try:
            rows = self.array.read_rows(first, max(indices) + 1)
        except UnreadableImage as error:
            return [error for _ in indices]
        return [self.as_images(rows[i - first : i - first + 1])[0] for i in indices]

    @property
    def block_bytes(self) -> int:
        """What a block takes as the array holds it."""
        return self.array.rows_per_block * self.image_bytes

    @property
    def has_blocks(self) -> bool:
        """Whether images are read a block at a time: several lie in one, and it is not too large to hold."""
        return self.array.rows_per_block > 1 and self.block_bytes <= MAX_BLOCK_BYTES


def warn_of_blocks(where: str, part: ArrayPart) -> tuple[str, ...]:
    """A warning where images lie in blocks that are too large to hold."""
    n_rows = part.array.rows_per_block
    if n_rows == 1 or part.has_blocks:
        return ()
    return (
        f"{where} is stored in chunks of {n_rows} images, {part.block_bytes} bytes each, too many to hold: every image "
        f"is read by itself, which may take very long; store it with a chunk for each image",
    )
