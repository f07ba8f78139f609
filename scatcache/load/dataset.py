"""A map-style torch Dataset over a cache, for code that brings its own DataLoader."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from scatcache.load.stored_rows import StoredRows


class CacheDataset(Dataset[tuple[torch.Tensor, int]]):
    """The readable rows of a cache in source order: item i is (float32 (n_channels, h, w), int).

    rows: int64 (n_ok,), the source row of each item. `__getitems__` reads a whole batch at once, which DataLoader
    calls by itself. Picklable and safe to fork: shard files are opened by whoever reads first.
    """

    def __init__(self, stored: StoredRows, labels: npt.NDArray[np.int64]):
        self._stored, self._labels = stored, labels
        self.rows = stored.readable

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: int) -> tuple[torch.Tensor, int]:
        return self.__getitems__([item])[0]

    def __getitems__(self, items: Sequence[int]) -> list[tuple[torch.Tensor, int]]:
        rows = self.rows[list(items)]
        coefficients = torch.from_numpy(self._stored.read(rows)).float()
        return list(zip(coefficients, self._labels[rows].tolist(), strict=True))
