"""The passes of the fused kernels' FFT over one line: which radices in which order, and where each index ends."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def first_radix(size: int) -> int:
    """The radix of the first pass over blocks of this size: 8, 4 and 2 so that passes are few, then primes in order."""
    log2_even = (size & -size).bit_length() - 1
    if log2_even:
        return {1: 2, 2: 4, 4: 4}.get(log2_even, 8)
    return next((prime for prime in range(3, size, 2) if size % prime == 0), size)


def list_radices(size: int) -> list[int]:
    """Radices of the passes over lines of this size, in the order of an inverse FFT."""
    return [] if size == 1 else [first_radix(size), *list_radices(size // first_radix(size))]


def list_blocks(size: int) -> Iterator[int]:
    """Sizes of the blocks that each pass takes apart."""
    while size > 1:
        yield size
        size //= first_radix(size)


def index_of_position(size: int) -> NDArray[np.int64]:
    """The index that each position holds after the passes of an inverse FFT: see kernels/fft.cuh."""
    if size == 1:
        return np.zeros(1, np.int64)
    radix = first_radix(size)
    return (np.arange(radix)[:, None] + radix * index_of_position(size // radix)).ravel()
