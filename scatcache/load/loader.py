"""Batches for a training loop: rows read ahead in a thread, kept in the stored dtype until the device."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from scatcache.errors import BackendUnavailable
from scatcache.load.read_ahead import read_ahead
from scatcache.load.sampler import count_batches, count_rows, deal_rows, draw_rows, group_rows, seed_step

if TYPE_CHECKING:
    from scatcache.load.cache import Cache

# Torch's grain: it converts so many values in the calling thread, and more of them in threads of its own. On cores that
# reading or training keeps busy these wait for each other for longer than the conversion takes.
SERIAL_VALUES = 32768
STATE_FIELDS = ("seed", "shuffle", "batch_size", "drop_last", "rank", "world_size", "views", "rows")


class CacheLoader:
    """Iterates batches (S, y) of a cache's readable rows, or of those among rows; each iteration is the next epoch.

    S: (B, n_channels, h, w) of dtype (torch.float32 by default), channels picked where given; y: int64 (B,); both on
    device. shuffle: a permutation drawn from (seed, epoch); else source order. rank, world_size: this process's part,
    by default torch.distributed's where it is initialised, else everything. views: "one" delivers one row of each
    image, drawn from (seed, epoch) among those there are, and what is shuffled, dealt to ranks and counted by len is
    the image, however often rows names it; "all" delivers every row; a number that view alone; None is "one" with
    shuffle and "all" without. labels: (len(cache),) integers to take y from in place of cache.labels. augment: called
    as augment(S, spec=..., generator=...) on the converted batch on the device, the generator seeded from (seed, epoch,
    rank, step). state_dict() and load_state_dict() stop and go on in mid-epoch, batch for batch.

    Raises ValueError for arguments out of range; iterating raises StoreDamaged, StoreIncomplete as reading does.
    """

    def __init__(
        self,
        cache: "Cache",
        batch_size: int,
        shuffle: bool = False,
        *,
        seed: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
        drop_last: bool = False,
        rows: np.ndarray | None = None,
        channels: Sequence[int] | slice | None = None,
        views: int | str | None = None,
        labels: npt.ArrayLike | None = None,
        augment: Callable[..., torch.Tensor] | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
    ):
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}: expected at least 1")
        if seed < 0:
            raise ValueError(f"seed is {seed}: expected at least 0")
        self.cache, self.batch_size, self.shuffle, self.seed, self.drop_last = (
            cache,
            batch_size,
            bool(shuffle),
            seed,
            bool(drop_last),
        )
        self.rank, self.world_size = find_rank(rank, world_size)
        self.augment = augment
        self.device = find_device(device)
        self.dtype = torch.float32 if dtype is None else dtype
        self._channels = find_channels(channels, cache.spec.n_channels)
        self.views = find_views(views, cache.n_views, shuffle=self.shuffle)
        self._labels = cache.labels if labels is None else find_labels(labels, len(cache))
        self._rows, self._starts = self._choose_rows(rows)
        if cache.preloaded is not None:
            cache.preloaded.check_rows(self._rows)
            self._channels = cache.preloaded.find_channels(self._channels)
        self._next_epoch, self._next_step = 0, 0
        self._epoch, self._step = 0, 0

    def _choose_rows(self, rows: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
        """What an epoch is dealt from: rows, and where images begin in them if one of each is to be drawn."""
        cache = self.cache
        # In the order given, which is the order without shuffle.
        if rows is not None:
            rows = rows[np.isin(rows, cache.readable)]
        else:
            rows = cache.readable if cache.preloaded is None else cache.preloaded.rows
        if self.views == "one":
            return group_rows(rows, cache.image_index[rows])
        return rows if self.views == "all" else rows[cache.views[rows] == self.views], None

    def __len__(self) -> int:
        """Batches of a whole epoch on this rank."""
        n_units = len(self._rows if self._starts is None else self._starts)
        n_rows = count_rows(n_units, shuffle=self.shuffle, rank=self.rank, world_size=self.world_size)
        return count_batches(n_rows, self.batch_size, drop_last=self.drop_last)

    def set_epoch(self, epoch: int) -> None:
        """Makes the next iteration this epoch, from its first batch."""
        if epoch < 0:
            raise ValueError(f"epoch is {epoch}: expected at least 0")
        self._next_epoch, self._next_step = epoch, 0
        self._epoch, self._step = epoch, 0

    def state_dict(self) -> dict[str, Any]:
        """Where the latest iteration is: the batches delivered, and what must be equal to go on from there."""
        at_end = self._step == len(self)
        position = {"epoch": self._epoch + at_end, "step": 0 if at_end else self._step}
        return {**position, **self._identity()}

    def _identity(self) -> dict[str, Any]:
        settings = {name: getattr(self, name) for name in STATE_FIELDS[:-1]}
        return {**settings, "rows": hashlib.sha256(self._rows.tobytes()).hexdigest()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Makes the next iteration go on after the batches that state counts.

        Raises ValueError where this loader deals its rows otherwise than the one that made the state.
        """
        differing = [name for name in STATE_FIELDS if state.get(name) != self._identity()[name]]
        if differing:
            name = differing[0]
            raise ValueError(
                f"the state was made with {name}={state.get(name)!r}, this loader has {self._identity()[name]!r}: "
                f"make the loader as before"
            )
        self._next_epoch, self._next_step = state["epoch"], state["step"]
        self._epoch, self._step = state["epoch"], state["step"]

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        epoch, first = self._next_epoch, self._next_step
        self._next_epoch, self._next_step = epoch + 1, 0
        self._epoch, self._step = epoch, first
        rows = self._deal(epoch)
        batches = [rows[step * self.batch_size : (step + 1) * self.batch_size] for step in range(first, len(self))]
        fetched = read_ahead(self._read, batches) if self.cache.preloaded is None else map(self._take, batches)
        for step, (S, y) in enumerate(fetched, first):
            batch = self._deliver(S, y, epoch=epoch, step=step)
            # An older iteration that still goes on must not move the position of the latest.
            if epoch == self._epoch:
                self._step = step + 1
            yield batch

    def _deal(self, epoch: int) -> np.ndarray:
        """This rank's rows of an epoch, in order."""
        rows = self._rows
        if self._starts is not None:
            rows = draw_rows(rows, self._starts, seed=self.seed, epoch=epoch)
        return deal_rows(
            rows, shuffle=self.shuffle, seed=self.seed, epoch=epoch, rank=self.rank, world_size=self.world_size
        )

    def _read(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        coefficients = self.cache.coefficients(rows)
        if self._channels is not None:
            coefficients = np.ascontiguousarray(coefficients[:, self._channels])
        return self._prepare(torch.from_numpy(coefficients), rows)

    def _take(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        assert self.cache.preloaded is not None
        return self._prepare(self.cache.preloaded.take(rows, self._channels), rows)

    def _prepare(self, S: torch.Tensor, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """What is left to do on the CPU: to convert what stays there, to pin what leaves it."""
        y = torch.from_numpy(self._labels[rows])
        if S.device.type == self.device.type == "cpu":
            S = convert(S, self.dtype)
        return self._pin(S), self._pin(y)

    def _pin(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.pin_memory() if self.device.type == "cuda" and tensor.device.type == "cpu" else tensor

    def _deliver(self, S: torch.Tensor, y: torch.Tensor, *, epoch: int, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        # Copies to the CPU must be waited for.
        non_blocking = self.device.type != "cpu"
        S = S.to(self.device, non_blocking=non_blocking).to(self.dtype)
        y = y.to(self.device, non_blocking=non_blocking)
        if self.augment is not None:
            generator = torch.Generator(self.device)
            generator.manual_seed(seed_step(self.seed, epoch, self.rank, step))
            S = self.augment(S, spec=self.cache.spec, generator=generator)
        return S, y


def convert(S: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """S.to(dtype) of a contiguous tensor on the CPU, in the calling thread alone."""
    if S.dtype == dtype:
        return S
    converted = torch.empty(S.shape, dtype=dtype)
    parts = (tensor.view(-1).split(SERIAL_VALUES) for tensor in (converted, S))
    for target, part in zip(*parts, strict=True):
        target.copy_(part)
    return converted


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
    if not 0 <= rank < world_size:
        raise ValueError(f"rank is {rank}: expected 0 to world_size - 1 = {world_size - 1}")
    return rank, world_size


def find_views(views: int | str | None, n_views: int, *, shuffle: bool) -> int | str:
    """What views stands for: "one", "all" or a number; "all" where there is one view. Raises ValueError for others."""
    if views is None:
        views = "one" if shuffle else "all"
    if isinstance(views, bool) or views not in ("one", "all", *range(n_views)):
        numbers = "0" if n_views == 1 else f"0 to {n_views - 1}"
        raise ValueError(f"views is {views!r}: expected 'one', 'all' or the number of a view, here {numbers}")
    if n_views == 1:
        return "all"
    return views if isinstance(views, str) else int(views)


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
