"""A map-style torch Dataset over a cache, for code that brings its own DataLoader."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from scatcache.load.stored_rows import StoredRows


class CacheDataset(Dataset[tuple[Any, ...]]):
    """The readable rows of a cache in source order: item i is (float32 (n_channels, h, w), int), and where it is made
    with targets, float32 (k,) too.

    rows: int64 (n_ok,), the source row of each item. `__getitems__` reads a whole batch at once, which DataLoader
    calls by itself. Picklable and safe to fork: shard files are opened by whoever reads first.
    """

    def __init__(
        self, stored: StoredRows, labels: npt.NDArray[np.int64], targets: npt.NDArray[np.float32] | None = None
    ):
        self._stored, self._labels, self._targets = stored, labels, targets
        self.rows = stored.readable

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: int) -> tuple[Any, ...]:
        return self.__getitems__([item])[0]

    def __getitems__(self, items: Sequence[int]) -> list[tuple[Any, ...]]:
        rows = self.rows[list(items)]
        coefficients = torch.from_numpy(self._stored.read(rows)).float()
        targets = [] if self._targets is None else [torch.from_numpy(self._targets[rows])]
        return list(zip(coefficients, self._labels[rows].tolist(), *targets, strict=True))
