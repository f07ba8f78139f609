"""A map-style torch Dataset over a cache, for code that brings its own DataLoader."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch.utils.data import Dataset

if TYPE_CHECKING:
    from scatcache.load.cache import Cache


class CacheDataset(Dataset[tuple[torch.Tensor, int]]):
    """The readable rows of a cache in source order: item i is (float32 (n_channels, h, w), int).

    rows: int64 (n_ok,), the source row of each item. `__getitems__` reads a whole batch at once, which DataLoader
    calls by itself. Picklable and safe to fork: shard files are opened by whoever reads first.
    """

    def __init__(self, cache: "Cache"):
        self.cache = cache
        self.rows = cache.readable

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: int) -> tuple[torch.Tensor, int]:
        return self.cache[int(self.rows[item])]

    def __getitems__(self, items: Sequence[int]) -> list[tuple[torch.Tensor, int]]:
        rows = self.rows[list(items)]
        coefficients = torch.from_numpy(self.cache.coefficients(rows)).float()
        return list(zip(coefficients, self.cache.labels[rows].tolist(), strict=True))
