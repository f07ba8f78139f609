"""The rows of one split by their numbers in source order, read from its store."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from scatcache.errors import UnreadableImage
from scatcache.store.reader import SplitReader

if TYPE_CHECKING:
    import torch


class StoredRows:
    """A Fetcher of all rows of a split, each byte checked as it is read.

    reader: of the split; stored_row: int64 (n,), where each source row is in storage order; readable: int64 (n_ok,),
    increasing: rows whose image could be read and whose shard is finished.
    """

    in_memory = False

    def __init__(self, reader: SplitReader):
        self.reader = reader
        # First: of a partial store this checks the rows of the shards that are there.
        self._unreadable = reader.unreadable()
        self.stored_row = np.empty(len(reader.rows), np.int64)
        self.stored_row[reader.rows.source_index] = np.arange(len(reader.rows))

    @property
    def readable(self) -> npt.NDArray[np.int64]:
        stored = np.zeros(len(self.stored_row), bool)
        for shard in self.reader.finished_shards():
            span = self.reader.layout.rows_of(shard)
            stored[span.start : span.stop] = True
        stored[list(self._unreadable)] = False
        return np.flatnonzero(stored[self.stored_row])

    def read(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """(n, n_channels, h, w) in the stored dtype. Raises UnreadableImage, StoreIncomplete, StoreDamaged."""
        stored = self.stored_row[rows]
        if self._unreadable:
            self._refuse_unreadable(stored)
        return self.reader.read(stored)

    def _refuse_unreadable(self, stored: npt.NDArray[np.int64]) -> None:
        for row in stored.tolist():
            if row in self._unreadable:
                entry = self._unreadable[row]
                index = int(self.reader.rows.source_index[row])
                raise UnreadableImage(
                    f"split {self.reader.split}, row {index} ({entry.key}) has no coefficients: its image was "
                    f"unreadable: {entry.reason}"
                )

    def choose(
        self, rows: npt.NDArray[np.int64] | None, channels: npt.NDArray[np.int64] | None
    ) -> npt.NDArray[np.int64]:
        readable = self.readable
        return readable if rows is None else rows[np.isin(rows, readable)]

    def fetch(self, rows: npt.NDArray[np.int64], channels: npt.NDArray[np.int64] | None) -> "torch.Tensor":
        import torch

        coefficients = self.read(rows)
        return torch.from_numpy(coefficients if channels is None else np.ascontiguousarray(coefficients[:, channels]))
