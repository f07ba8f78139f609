"""Parquet files as they are read: row group by row group, in batches, so that memory stays bounded."""

import atexit
import contextlib
import threading
from collections import OrderedDict, deque
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from scatcache.errors import SourceError
from scatcache.images.archives.stamps import Stamp, check_stamp
from scatcache.images.keys import show_path
from scatcache.images.kinds.group_copies import ImageBytes, refuse_bytes

if TYPE_CHECKING:
    import pyarrow

# Of a row group, so much is held decoded at a time, and so much of the file is read ahead.
BATCH_BYTES, BUFFER_BYTES = 2**26, 2**20
# Row groups, and batches of each, that are held for rows asked for about in their order.
N_HELD = 2


class TableFile(NamedTuple):
    """One parquet file. stem: its name in keys; group_rows: rows of each of its row groups; group_bytes: what
    each takes uncompressed, as the file says."""

    stamp: Stamp
    stem: str
    group_rows: tuple[int, ...]
    group_bytes: tuple[int, ...]


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
            n_rows -= len(column)
    if n_rows:
        raise SourceError(f"{show_path(file.stamp.path)} lacks {n_rows} rows of row group {group}: fetch it again")


def read_images_of(file: TableFile, group: int, path: str) -> Iterator[ImageBytes]:
    """Every image of a row group in its order; see read_batches."""
    for batch in read_batches(file, group, path):
        yield from map(take_bytes, batch)


def take_bytes(cell: "pyarrow.Scalar") -> ImageBytes:
    """The bytes of an image, from what one row holds."""
    data = cell.as_buffer() if cell.is_valid else None
    reason = refuse_bytes(0 if data is None else data.size)
    if reason is not None:
        return reason
    assert data is not None, "without bytes there is a reason"
    return data.to_pybytes()


class RowWindow:
    """A row group as it is read on and on: the batches last read are held, so that rows may be asked for in about their
    order. It starts again where one is asked for that it has let go."""

    def __init__(self, file: TableFile, group: int, path: str):
        self._read = partial(read_batches, file, group, path)
        self._start_again()

    def _start_again(self) -> None:
        self._batches, self._end = self._read(), 0
        self._held: deque[tuple[int, pyarrow.Array]] = deque(maxlen=N_HELD)

    def find(self, row: int) -> ImageBytes:
        """One image of the row group. Raises as read_batches does."""
        if self._held and row < self._held[0][0]:
            self._start_again()
        while row >= self._end:
            batch = next(self._batches)
            self._held.append((self._end, batch))
            self._end += len(batch)
        start, batch = next((start, batch) for start, batch in reversed(self._held) if start <= row)
        return take_bytes(batch[row - start])


_windows: OrderedDict[tuple[TableFile, int, str], RowWindow] = OrderedDict()
_windows_lock = threading.Lock()
# They read on from open files, which are closed while the modules that close them are there.
atexit.register(_windows.clear)


def read_in_order(file: TableFile, group: int, path: str, row: int) -> ImageBytes:
    """One image of a row group, for those who ask for one after the other, from several threads. Raises as read_batches
    does."""
    key = file, group, path
    with _windows_lock:
        try:
            window = _windows.pop(key, None) or RowWindow(*key)
            image = window.find(row)
        except BaseException:
            _windows.clear()
            raise
        _windows[key] = window
        if len(_windows) > N_HELD:
            _windows.popitem(last=False)
    return image


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
