"""The rows of one split by their numbers in source order, read from its store."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from scatcache.errors import UnreadableImage
from scatcache.scattering.quantisation import restore
from scatcache.store.format.row_arrays import OK, UNREADABLE
from scatcache.store.reader import SplitReader

if TYPE_CHECKING:
    import torch


class StoredRows:
    """A Fetcher of all rows of a split, each byte checked as it is read.

    reader: of the split; stored_row: int64 (n,), where each source row is in storage order; readable: int64 (n_ok,),
    increasing: rows whose image could be read, is still in the source, and whose shard is finished.
    """

    in_memory = False

    def __init__(self, reader: SplitReader):
        self.reader = reader
        # First: of a partial store this checks the rows of the shards that are there.
        status, rows = reader.records.status, reader.records.rows
        stored = np.flatnonzero(reader.layout.is_row())
        self.stored_row = np.empty(len(stored), np.int64)
        self.stored_row[rows.source_index[stored]] = stored
        self._status: npt.NDArray[np.uint8] = status[self.stored_row]

    @property
    def readable(self) -> npt.NDArray[np.int64]:
        return np.flatnonzero(self._status == OK)

    def read(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """(n, n_channels, h, w) coefficients, C-contiguous. Raises UnreadableImage, StoreIncomplete, StoreDamaged."""
        return self.restore(self.read_stored(rows))

    def read_stored(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """(n, n_channels, h, w) as they are stored, integers where they are quantised. Raises as read does."""
        self.refuse_unreadable(rows)
        return self.reader.read(self.stored_row[rows])

    def restore(self, stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Coefficients of stored ones: float32 step * stored of quantised ones, others as they are."""
        steps = self.reader.encoding.steps
        return stored if steps is None else restore(stored, steps)

    def steps_of(self, channels: npt.NDArray[np.int64] | None) -> npt.NDArray[np.float32] | None:
        """What fetched integers are multiplied by; see Rows."""
        steps = self.reader.encoding.steps
        return steps if steps is None or channels is None else steps[channels]

    def refuse_unreadable(self, rows: npt.NDArray[np.int64]) -> None:
        """Raises UnreadableImage for rows that will never have coefficients."""
        # Those that are absent the reader refuses.
        refused = rows[self._status[rows] > OK]
        if not len(refused):
            return
        row, records = int(refused[0]), self.reader.records
        stored = int(self.stored_row[row])
        reason = "is no longer in the source, and no row of the split any more"
        if self._status[row] == UNREADABLE:
            reason = f"has no coefficients: its image was unreadable: {records.unreadable[stored].reason}"
        raise UnreadableImage(f"split {records.split}, row {row} ({records.rows.key[stored]}) {reason}")

    def choose(
        self, rows: npt.NDArray[np.int64] | None, channels: npt.NDArray[np.int64] | None
    ) -> npt.NDArray[np.int64]:
        readable = self.readable
        return readable if rows is None else rows[np.isin(rows, readable)]

    def fetch(self, rows: npt.NDArray[np.int64], channels: npt.NDArray[np.int64] | None) -> "torch.Tensor":
        import torch

        stored = self.read_stored(rows)
        return torch.from_numpy(stored if channels is None else self.reader.encoding.pick(stored, channels))
