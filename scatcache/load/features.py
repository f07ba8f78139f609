"""Rows as one matrix, and the statistics of some of them: read piece by piece, in the order of the store."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from scatcache.errors import ScatcacheError
from scatcache.load.read_ahead import read_ahead
from scatcache.load.stored_rows import StoredRows
from scatcache.resources import free_memory_bytes

# Of coefficients in float64, read at once.
PIECE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Statistics:
    """mean, std: float64 (n_channels,), over all positions of n_rows rows; std divides by n."""

    mean: npt.NDArray[np.float64]
    std: npt.NDArray[np.float64]
    n_rows: int

    @classmethod
    def of_sums(
        cls, sums: npt.NDArray[np.float64], square_sums: npt.NDArray[np.float64], *, n_rows: int, n_cells: int
    ) -> "Statistics":
        """Of sums over n_rows rows of n_cells positions; of no rows they are 0."""
        mean, square_mean = (values / max(1, n_rows * n_cells) for values in (sums, square_sums))
        return cls(mean, np.sqrt(np.maximum(square_mean - mean**2, 0)), n_rows)

    def of_channels(self, channels: npt.NDArray[np.int64] | None) -> "Statistics":
        """Those of some channels, in their order."""
        return self if channels is None else Statistics(self.mean[channels], self.std[channels], self.n_rows)


def read_features(
    stored: StoredRows, rows: npt.NDArray[np.int64], channels: npt.NDArray[np.int64] | None
) -> npt.NDArray[np.float32]:
    """(n, d) float32 of rows, in their order. Raises as StoredRows.read, ScatcacheError where they do not fit."""
    stored.refuse_unreadable(rows)
    n_channels, height, width = stored.reader.row_shape
    kept = (n_channels if channels is None else len(channels), height, width)
    n_bytes, free = 4 * len(rows) * int(np.prod(kept)), free_memory_bytes()
    if n_bytes > free:
        raise ScatcacheError(
            f"{len(rows)} rows of {int(np.prod(kept))} features take {n_bytes / 1e9:.1f} GB, and {free / 1e9:.1f} GB "
            f"are free: give fewer rows= or channels=, or extract with --pool 1, which keeps one number a channel"
        )
    features = np.empty((len(rows), *kept), np.float32)
    for places, values in _read_pieces(stored, rows):
        restored = stored.restore(values)
        features[places] = restored if channels is None else restored[:, channels]
    return features.reshape(len(rows), int(np.prod(kept)))


def measure(stored: StoredRows, rows: npt.NDArray[np.int64]) -> Statistics:
    """The statistics of rows, added up in float64. Raises as StoredRows.read."""
    stored.refuse_unreadable(rows)
    n_channels, height, width = stored.reader.row_shape
    sums, square_sums = np.zeros(n_channels), np.zeros(n_channels)
    for _, values in _read_pieces(stored, rows):
        wide = values.astype(np.float64)
        sums += wide.sum(axis=(0, 2, 3))
        square_sums += np.square(wide, out=wide).sum(axis=(0, 2, 3))
    steps = stored.reader.encoding.steps
    if steps is not None:
        # Sums of integers are exact.
        step = steps.astype(np.float64)
        sums, square_sums = step * sums, step**2 * square_sums
    return Statistics.of_sums(sums, square_sums, n_rows=len(rows), n_cells=height * width)


def _read_pieces(
    stored: StoredRows, rows: npt.NDArray[np.int64]
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[Any]]]:
    """(places in rows, their stored coefficients), in the order of the store, read ahead."""
    order = np.argsort(stored.stored_row[rows], kind="stable")
    n = max(1, PIECE_BYTES // (8 * int(np.prod(stored.reader.row_shape))))
    pieces = [order[start : start + n] for start in range(0, len(order), n)]
    yield from zip(pieces, read_ahead(lambda piece: stored.read_stored(rows[piece]), pieces), strict=True)
