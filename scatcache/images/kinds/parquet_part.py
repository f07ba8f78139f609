"""The images of one split in parquet files, read row group by row group."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scatcache.errors import SourceError, UnreadableImage
from scatcache.images.archives.stamps import Stamp, check_stamp
from scatcache.images.decode import read_form
from scatcache.images.forms import Decoding, ImageForm
from scatcache.images.keys import show_path
from scatcache.images.limits import MAX_IMAGE_BYTES
from scatcache.images.source import MIN_DIGITS, ListedRows, Listing

if TYPE_CHECKING:
    import pyarrow

# Of a row group, so much is held decoded at a time, and so much of the file is read ahead.
BATCH_BYTES, BUFFER_BYTES = 2**26, 2**20


class TableFile(NamedTuple):
    """One parquet file. stem: its name in keys; group_rows: rows of each of its row groups; group_bytes: what the
    images of each take, as the file says."""

    stamp: Stamp
    stem: str
    group_rows: tuple[int, ...]
    group_bytes: tuple[int, ...]


@dataclass(frozen=True)
class ParquetPart:
    """Images of a column, in the order of the files and their rows; keys are STEM/ROW, sizes 0.

    path: the column's, down to the bytes; labels: int64 (n,), targets: float32 (n, k), None for none.
    """

    files: tuple[TableFile, ...]
    path: str
    labels: np.ndarray | None
    targets: np.ndarray | None
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
        return int(np.searchsorted(self._starts, range(int(self._starts[-1]))[i], side="right")) - 1

    def read(self, i: int) -> bytes:
        """The bytes of one image; see read_block. Raises UnreadableImage where there are none."""
        (found,) = self.read_block([i])
        if isinstance(found, UnreadableImage):
            raise found
        return found

    def read_block(self, indices: Sequence[int]) -> list[bytes | UnreadableImage]:
        """The bytes of images of one row group, which is read once, from its start.

        Raises SourceError where the file has changed or is damaged; OSError as the disk does.
        """
        group = self.block(indices[0])
        wanted = sorted({i - int(self._starts[group]) for i in indices})
        found: dict[int, bytes | UnreadableImage] = {}
        start = 0
        for batch in read_batches(*self._groups[group], self.path):
            while wanted and wanted[0] < start + len(batch):
                row = wanted.pop(0)
                found[row] = take_bytes(batch[row - start])
            start += len(batch)
            if not wanted:
                break
        if wanted:
            raise SourceError(f"{self._groups[group][0].stem}: a row group ends at row {start}: fetch the file again")
        return [found[i - int(self._starts[group])] for i in indices]

    def locate(self, i: int) -> None:
        """Compressed row groups have no place for one image."""


def read_batches(file: TableFile, group: int, path: str) -> "Iterator[pyarrow.Array]":
    """The bytes of the images of a row group, in its order, about BATCH_BYTES at a time.

    Raises SourceError where the file has changed or is damaged; OSError as the disk does.
    """
    check_stamp(file.stamp)
    n_rows = file.group_rows[group]
    batch_rows = max(1, min(n_rows, BATCH_BYTES * n_rows // max(1, file.group_bytes[group])))
    with refuse_damaged(Path(file.stamp.path)), open_table(Path(file.stamp.path)) as table:
        for batch in table.iter_batches(batch_rows, row_groups=[group], columns=[path], use_threads=False):
            column = batch.column(0)
            while hasattr(column, "flatten") and hasattr(column.type, "num_fields") and column.type.num_fields:
                (column,) = column.flatten()
            yield column.dictionary_decode() if hasattr(column, "dictionary_decode") else column


def take_bytes(cell: "pyarrow.Scalar") -> bytes | UnreadableImage:
    """The bytes of an image, from what one row holds."""
    data = cell.as_buffer() if cell.is_valid else None
    if not data:
        return UnreadableImage("the row holds no image")
    if data.size > MAX_IMAGE_BYTES:
        return UnreadableImage(f"an image of {data.size} bytes, more than the {MAX_IMAGE_BYTES} allowed")
    return data.to_pybytes()


def open_table(path: Path) -> Any:
    """A pyarrow.parquet.ParquetFile, to be used as a context; see refuse_damaged."""
    from pyarrow.parquet import ParquetFile

    return ParquetFile(path, buffer_size=BUFFER_BYTES, page_checksum_verification=True)


@contextlib.contextmanager
def refuse_damaged(path: Path) -> Iterator[None]:
    """Raises SourceError for what pyarrow raises of a file that is cut, damaged or no parquet, and where pyarrow is
    missing."""
    try:
        import pyarrow
    except ImportError as error:
        raise SourceError("reading parquet needs pyarrow: pip install 'scatcache[parquet]'") from error
    try:
        yield
    except pyarrow.ArrowMemoryError:
        raise
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = " ".join(str(error).split())[:200]
        raise SourceError(f"{show_path(path)} is cut, damaged or no parquet ({reason}): fetch it again") from error
