"""Coefficients to integers and back: q = round(S / step) to the nearest, the even one of two, and S = step * q."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scatcache.scattering.native.library import choose_core, open_core

Integers = NDArray[np.signedinteger[Any]]
Quantiser = Callable[
    [NDArray[np.float32], NDArray[np.float32], Integers, NDArray[np.float64], NDArray[np.float64]], bool
]
WIDE = np.dtype(np.int16)


def find_quantiser() -> Quantiser:
    """The fastest way to quantise a row here: quantiser(row, steps, out, sums, square_sums).

    row: float32 (n_channels, h, w), C-contiguous; steps: float32 (n_channels,); out: int8 or int16 (n_channels, h, w),
    filled; sums, square_sums: float64 (n_channels,), to which those of step * out are added. Returns False, and adds
    nothing, where a coefficient is none that out holds. The bits are the same whatever computes.
    """
    core = choose_core().core
    return quantise_by_numpy if core is None else _find_in(core)


@lru_cache
def _find_in(core: str) -> Quantiser:
    quantise = open_core(core).scatcache_quantise

    def quantise_by_core(
        row: NDArray[np.float32],
        steps: NDArray[np.float32],
        out: Integers,
        sums: NDArray[np.float64],
        square_sums: NDArray[np.float64],
    ) -> bool:
        assert row.flags.c_contiguous and row.dtype == steps.dtype == np.float32
        channels_last = out.transpose(1, 2, 0)
        direct = channels_last if channels_last.flags.carray else np.empty(channels_last.shape, out.dtype)
        found = np.empty((2, len(row)), np.int64)
        fits = quantise(
            *(row.ctypes.data, len(row), row[0].size, steps.ctypes.data),
            *(direct.ctypes.data, out.dtype == WIDE, found[0].ctypes.data, found[1].ctypes.data),
        )
        if not fits:
            return False
        if direct is not channels_last:
            channels_last[...] = direct
        _add(found[0], found[1], steps, sums, square_sums)
        return True

    return quantise_by_core


def quantise_by_numpy(
    row: NDArray[np.float32],
    steps: NDArray[np.float32],
    out: Integers,
    sums: NDArray[np.float64],
    square_sums: NDArray[np.float64],
) -> bool:
    """A quantiser of find_quantiser, in NumPy."""
    found = np.rint(row / steps[:, None, None])
    # Not "none is above": NaN fits nowhere.
    if not (np.abs(found) <= np.iinfo(out.dtype).max).all():
        return False
    out[...] = found
    whole = found.reshape(len(row), -1).astype(np.int64)
    _add(whole.sum(axis=1), (whole**2).sum(axis=1), steps, sums, square_sums)
    return True


def restore(stored: Integers, steps: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, n_channels, h, w) float32 coefficients, C-contiguous: steps (n_channels,) * stored (n, n_channels, h, w).

    The bits are the same whatever computes.
    """
    channels_last = stored.transpose(0, 2, 3, 1)
    core = choose_core().core
    if core is None or not channels_last.flags.carray:
        return np.multiply(stored, steps[:, None, None], dtype=np.float32, order="C")
    values = np.empty(stored.shape, np.float32)
    open_core(core).scatcache_restore(
        *(channels_last.ctypes.data, stored.dtype == WIDE, len(stored), stored.shape[1]),
        *(stored.shape[2] * stored.shape[3], np.ascontiguousarray(steps, np.float32).ctypes.data, values.ctypes.data),
    )
    return values


def _add(
    wholes: NDArray[np.int64],
    squares: NDArray[np.int64],
    steps: NDArray[np.float32],
    sums: NDArray[np.float64],
    square_sums: NDArray[np.float64],
) -> None:
    step = steps.astype(np.float64)
    sums += step * wholes
    square_sums += step**2 * squares
