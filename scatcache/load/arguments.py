"""The arguments of a loader and what they stand for; whatever cannot be meant is refused."""

import operator
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from scatcache.errors import BackendUnavailable

if TYPE_CHECKING:
    import torch

    from scatcache.load.rows import Rows

REMAINDERS = ("drop", "pad", "keep")


@dataclass(frozen=True)
class LoaderOptions:
    """What a loader delivers, and in which order.

    shuffle: a permutation drawn from (seed, epoch); else source order. rank, world_size: this process's part, by
    default torch.distributed's where it is initialised, else everything. drop_last: leaves out a last batch that is
    short. remainder: what becomes of the rows that cannot be dealt evenly to the ranks: "drop" (the default with
    shuffle) and "pad", with rows that are delivered already, give every rank equally many; "keep" (the default without)
    delivers each row once, to some ranks one batch more, which those that wait for each other in each step must not be
    given. rows: only these, as in Cache.coefficients, in their order; for folds and small samples. channels: only
    these, in their order. views: "one" delivers one row of each image, drawn from (seed, epoch) among those there are,
    and what is shuffled, dealt to ranks and counted by len is the image, however often rows names it; "all" delivers
    every row; a number that view alone; None is "one" with shuffle and "all" without. labels: (n,) integers, one for
    each row there is, to take y from. targets: whether batches hold the rows' targets too, as a third part. augment:
    called as augment(S, spec=..., generator=...) on the converted batch on the device, the generator seeded from (seed,
    epoch, rank, step). dtype: of S, torch.float32 by default.
    """

    batch_size: int
    shuffle: bool = False
    _: KW_ONLY
    seed: int = 0
    rank: int | None = None
    world_size: int | None = None
    drop_last: bool = False
    remainder: str | None = None
    rows: npt.ArrayLike | slice | None = None
    channels: Sequence[int] | slice | None = None
    views: int | str | None = None
    labels: npt.ArrayLike | None = None
    targets: bool = False
    augment: "Callable[..., torch.Tensor] | None" = None
    device: "str | torch.device" = "cpu"
    dtype: "torch.dtype | None" = None


def find_device(device: "str | torch.device") -> "torch.device":
    """Raises BackendUnavailable for CUDA where there is none."""
    import torch

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
        import torch

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


def find_targets(targets: Any, rows: "Rows") -> npt.NDArray[np.float32] | None:
    """The targets that batches of rows are to hold: float32 (n, k), None where none are asked for.

    Raises ValueError where they are asked for and there are none, and for anything but True and False.
    """
    if not isinstance(targets, bool | np.bool_):
        raise ValueError(
            f"targets is {type(targets).__name__}: expected True, for the targets that are stored with the rows, or "
            f"False; numbers of your own are yours to index, by the rows that rows= names"
        )
    if not targets:
        return None
    found = getattr(rows, "targets", None)
    if found is None:
        raise ValueError(
            "targets=True, and no targets are stored with these rows: leave targets out, or extract the images with "
            "targets"
        )
    if found.dtype != np.float32 or found.ndim != 2 or len(found) != len(rows.labels):
        raise ValueError(
            f"targets are {found.dtype} of shape {found.shape}: expected float32 of shape ({len(rows.labels)}, k)"
        )
    return found


def find_rows(rows: npt.ArrayLike | slice, n_rows: int) -> npt.NDArray[np.int64]:
    """int64 indices from 0 of a list of integers, a slice or a boolean mask. Raises IndexError for anything else."""
    if isinstance(rows, slice):
        return np.arange(n_rows)[rows]
    wanted = np.asarray(rows)
    if wanted.dtype == bool:
        if wanted.shape != (n_rows,):
            raise IndexError(f"the mask has shape {wanted.shape}, expected ({n_rows},)")
        return np.flatnonzero(wanted)
    if wanted.ndim != 1 or (wanted.size and not np.issubdtype(wanted.dtype, np.integer)):
        raise IndexError(f"rows are {wanted.dtype} of shape {wanted.shape}: expected a list of integers")
    outside = (wanted < -n_rows) | (wanted >= n_rows)
    if outside.any():
        raise IndexError(f"row {wanted[outside][0]} is out of range: the split has {n_rows} rows")
    wanted = wanted.astype(np.int64)
    return np.where(wanted < 0, wanted + n_rows, wanted)


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
