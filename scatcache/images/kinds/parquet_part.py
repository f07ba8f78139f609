"""The images of one split in parquet files, read row group by row group."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from scatcache.errors import UnreadableImage
from scatcache.images.archives.stamps import check_stamp
from scatcache.images.decode import read_form
from scatcache.images.forms import Decoding, ImageForm
from scatcache.images.kinds.group_copies import GroupCopies, ImageBytes
from scatcache.images.kinds.parquet_file import TableFile, read_batches, read_images_of, read_in_order, take_bytes
from scatcache.images.source import MIN_DIGITS, ListedRows, Listing


@dataclass(frozen=True)
class ParquetPart:
    """Images of a column, in the order of the files and their rows; keys are STEM/ROW, sizes 0.

    path: the column's, down to the bytes; labels: int64 (n,), targets: float32 (n, k), None for none; copies: where
    row groups are copied to as they are read, None for nowhere.
    """

    files: tuple[TableFile, ...]
    path: str
    labels: np.ndarray | None
    targets: np.ndarray | None
    copies: GroupCopies | None = None
    image_form: None = None

    @cached_property
    def listing(self) -> Listing:
        labels = np.full(self._starts[-1], -1) if self.labels is None else self.labels
        rows: list[tuple[str, int, int]] = []
        for file in self.files:
            n_rows = sum(file.group_rows)
            n_digits = max(MIN_DIGITS, len(str(n_rows - 1)))
            part = labels[len(rows) : len(rows) + n_rows].tolist()
            rows += [(f"{file.stem}/{row:0{n_digits}d}", label, 0) for row, label in enumerate(part)]
        facts = "; ".join(f"{file.stem} {file.stamp.n_bytes} bytes {sum(file.group_rows)} rows" for file in self.files)
        return Listing(ListedRows(rows), targets=self.targets, facts=f"{self.path} of {facts}")

    def __getstate__(self) -> dict[str, Any]:
        """Small: what is made of the files is made again in each process."""
        return {name: value for name, value in self.__dict__.items() if name in self.__dataclass_fields__}

    @cached_property
    def _starts(self) -> np.ndarray:
        """int64 (n_groups + 1,), the row at which each row group of all files starts, and the number of rows."""
        return np.cumsum([0, *(n_rows for file in self.files for n_rows in file.group_rows)])

    @cached_property
    def _groups(self) -> list[tuple[TableFile, int]]:
        """The file of each row group, and its number in it."""
        return [(file, number) for file in self.files for number in range(len(file.group_rows))]

    def form(self, i: int, how: Decoding) -> ImageForm:
        """What one image is by its header."""
        return read_form(self.read(i), how)

    def block(self, i: int) -> int:
        """The number of an image's row group."""
        return self._find(i)[0]

    def _find(self, i: int) -> tuple[int, int]:
        """The number of an image's row group, and its row there. Raises IndexError."""
        i = range(int(self._starts[-1]))[i]
        group = int(np.searchsorted(self._starts, i, side="right")) - 1
        return group, i - int(self._starts[group])

    def read(self, i: int) -> bytes:
        """The bytes of one image. Raises UnreadableImage where there are none, else as read_block does."""
        group, row = self._find(i)
        file, number = self._groups[group]
        copied = None
        if self.copies is not None:
            check_stamp(file.stamp)
            copied = self.copies.read(file.stamp, number, [row])
        found = copied[0] if copied is not None else read_in_order(file, number, self.path, row)
        if isinstance(found, UnreadableImage):
            raise found
        return found

    def read_block(self, indices: Sequence[int]) -> list[ImageBytes]:
        """The bytes of images of one row group, which is read once and copied, or to the last of them.

        Raises SourceError where the file has changed or is damaged; OSError as the disk does.
        """
        group, _ = self._find(indices[0])
        file, number = self._groups[group]
        rows = [self._find(i)[1] for i in indices]
        if self.copies is not None:
            check_stamp(file.stamp)
            images = read_images_of(file, number, self.path)
            found = self.copies.make(file.stamp, number, rows, file.group_rows[number], images)
            if found is not None:
                return found
        return _pick_rows(file, number, self.path, rows)

    def locate(self, i: int) -> None:
        """Compressed row groups have no place for one image."""


def _pick_rows(file: TableFile, group: int, path: str, rows: Sequence[int]) -> list[ImageBytes]:
    """Images of a row group, which is read from its start to the last of them."""
    picked: dict[int, ImageBytes] = {}
    wanted, start = sorted({*rows}), 0
    for batch in read_batches(file, group, path):
        while len(picked) < len(wanted) and (row := wanted[len(picked)]) < start + len(batch):
            picked[row] = take_bytes(batch[row - start])
        start += len(batch)
        if len(picked) == len(wanted):
            break
    return [picked[row] for row in rows]
