"""Some rows and channels of a split, out of which loaders are made: those in memory, or those that would be."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from scatcache.load.stored_rows import StoredRows

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Selection:
    """A Fetcher of some rows, from the store.

    rows: int64 source rows, readable, in the order asked for; channels: int64, in the order asked for, None for all.
    Its loaders deliver these where they are told of none, and refuse others.
    """

    stored: StoredRows
    rows: npt.NDArray[np.int64]
    channels: npt.NDArray[np.int64] | None
    in_memory = False

    def choose(
        self, rows: npt.NDArray[np.int64] | None, channels: npt.NDArray[np.int64] | None
    ) -> npt.NDArray[np.int64]:
        self.index_channels(channels)
        if rows is None:
            return self.rows
        chosen = self.stored.choose(rows, channels)
        absent = chosen[~np.isin(chosen, self.rows)]
        if len(absent):
            raise IndexError(
                f"row {absent[0]} was not preloaded: preload it too, or make the loader from the cache that "
                f"open_cache() gave"
            )
        return chosen

    def steps_of(self, channels: npt.NDArray[np.int64] | None) -> npt.NDArray[np.float32] | None:
        """What fetched integers are multiplied by; see Rows."""
        return self.stored.steps_of(self.channels if channels is None else channels)

    def index_channels(self, channels: npt.NDArray[np.int64] | None) -> npt.NDArray[np.int64] | None:
        """Where these channels are among self.channels; None where all are wanted. Raises IndexError for others."""
        if channels is None or self.channels is None:
            return channels
        # For each batch again, so by sorting and not one by one.
        absent = channels[~np.isin(channels, self.channels)]
        if len(absent):
            raise IndexError(f"channel {absent[0]} was not preloaded: expected some of {self.channels.tolist()}")
        order = np.argsort(self.channels)
        return order[np.searchsorted(self.channels, channels, sorter=order)]

    def fetch(self, rows: npt.NDArray[np.int64], channels: npt.NDArray[np.int64] | None) -> "torch.Tensor":
        return self.stored.fetch(rows, self.channels if channels is None else channels)
