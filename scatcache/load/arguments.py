"""What the arguments of a loader stand for; whatever cannot be meant is refused."""

import operator
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from scatcache.errors import BackendUnavailable

REMAINDERS = ("drop", "pad", "keep")


def find_device(device: str | torch.device) -> torch.device:
    """Raises BackendUnavailable for CUDA where there is none."""
    found = torch.device(device)
    if found.type == "cuda" and not torch.cuda.is_available():
        raise BackendUnavailable(
            f"device is {device}: torch {torch.__version__} sees no CUDA device: give device='cpu'"
        )
    return found


def find_rank(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """(rank, world_size), from torch.distributed where neither is given and it is initialised, else (0, 1)."""
    if (rank is None) != (world_size is None):
        raise ValueError(f"rank is {rank} and world_size is {world_size}: give both or neither")
    if rank is None or world_size is None:
        distributed = torch.distributed
        if distributed.is_available() and distributed.is_initialized():
            return distributed.get_rank(), distributed.get_world_size()
        return 0, 1
    rank, world_size = find_whole("rank", rank, None), find_whole("world_size", world_size, None)
    if not 0 <= rank < world_size:
        raise ValueError(f"rank is {rank}: expected 0 to world_size - 1 = {world_size - 1}")
    return rank, world_size


def find_whole(name: str, value: int, least: int | None, *, expected: str = "a whole number") -> int:
    """Python's own int of any integer, such as NumPy's, which json and torch.load(weights_only=True) do not take.

    Raises ValueError for another type, a bool too, and below least.
    """
    try:
        found = operator.index(value)
    except TypeError:
        found = None
    # NumPy's bool too, which older ones take for an index.
    if found is None or type(value).__name__ in ("bool", "bool_"):
        raise ValueError(f"{name} is {value!r}: expected {expected}")
    if least is not None and found < least:
        raise ValueError(f"{name} is {found}: expected at least {least}")
    return found


def find_remainder(remainder: str | None, *, shuffle: bool) -> str:
    """What remainder stands for. Raises ValueError for none of REMAINDERS."""
    if remainder is None:
        return "drop" if shuffle else "keep"
    if remainder not in REMAINDERS:
        raise ValueError(f"remainder is {remainder!r}: expected one of {', '.join(REMAINDERS)}")
    return remainder


def find_views(views: int | str | None, n_views: int, *, shuffle: bool) -> int | str:
    """What views stands for: "one", "all" or a number; "all" where there is one view. Raises ValueError for others."""
    if views is None:
        views = "one" if shuffle else "all"
    expected = f"'one', 'all' or the number of a view, here {'0' if n_views == 1 else f'0 to {n_views - 1}'}"
    if not isinstance(views, str):
        views = find_whole("views", views, None, expected=expected)
    if views not in ("one", "all", *range(n_views)):
        raise ValueError(f"views is {views!r}: expected {expected}")
    return "all" if n_views == 1 else views


def find_labels(labels: npt.ArrayLike, n_rows: int) -> npt.NDArray[np.int64]:
    """A copy as int64 (n_rows,). Raises ValueError for another shape or anything but integers."""
    found = np.asarray(labels)
    if found.shape != (n_rows,) or not np.issubdtype(found.dtype, np.integer):
        raise ValueError(f"labels are {found.dtype} of shape {found.shape}: expected integers of shape ({n_rows},)")
    return found.astype(np.int64)


def find_channels(channels: Sequence[int] | slice | None, n_channels: int) -> np.ndarray | None:
    """int64 indices from 0, None for all; a boolean mask picks too. Raises IndexError for anything else."""
    if channels is None:
        return None
    if isinstance(channels, slice):
        return np.arange(n_channels)[channels]
    chosen = np.asarray(channels)
    if chosen.dtype == bool and chosen.shape == (n_channels,):
        return np.flatnonzero(chosen)
    whole = chosen.ndim == 1 and np.issubdtype(chosen.dtype, np.integer)
    if not whole or (chosen < -n_channels).any() or (chosen >= n_channels).any():
        raise IndexError(f"channels are {channels!r}: expected a list of integers below {n_channels}")
    return chosen.astype(np.int64) % n_channels
