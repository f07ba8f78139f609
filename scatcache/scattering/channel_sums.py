"""Sums and sums of squares of the channels of stored rows, added up row by row in float64."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from scatcache.scattering.native.library import choose_core, open_core

Adder = Callable[[NDArray[np.floating], NDArray[np.float64], NDArray[np.float64]], None]


def find_adder() -> Adder:
    """The fastest way to add a row's sums here: adder(row, sums, square_sums).

    row: (n_channels, h, w), float16 or float32, C-contiguous; sums, square_sums: float64 (n_channels,), added to. The
    last bits may differ between the native core and NumPy, and between nothing else.
    """
    core = choose_core().core
    if core is None:
        return add_by_numpy
    add_sums = open_core(core).scatcache_add_sums

    def add_by_core(row: NDArray[np.floating], sums: NDArray[np.float64], square_sums: NDArray[np.float64]) -> None:
        assert row.flags.c_contiguous and row.dtype in (np.float16, np.float32)
        n_channels, n_cells = len(row), row[0].size
        add_sums(
            row.ctypes.data, row.dtype == np.float16, n_channels, n_cells, sums.ctypes.data, square_sums.ctypes.data
        )

    return add_by_core


def add_by_numpy(row: NDArray[np.floating], sums: NDArray[np.float64], square_sums: NDArray[np.float64]) -> None:
    """An adder of find_adder, in NumPy."""
    values = row.reshape(len(row), -1).astype(np.float64)
    sums += values.sum(axis=1)
    square_sums += np.einsum("ci,ci->c", values, values)
