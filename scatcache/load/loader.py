"""Batches for a training loop: rows read ahead in a thread, kept in the stored dtype until the device."""

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from scatcache.load.arguments import (
    find_channels,
    find_device,
    find_labels,
    find_rank,
    find_remainder,
    find_views,
    find_whole,
)
from scatcache.load.read_ahead import read_ahead
from scatcache.load.sampler import count_batches, count_rows, deal_rows, draw_rows, group_rows, seed_step

if TYPE_CHECKING:
    from scatcache.load.cache import Cache

# Torch's grain: it converts so many values in the calling thread, and more of them in threads of its own. On cores that
# reading or training keeps busy these wait for each other for longer than the conversion takes.
SERIAL_VALUES = 32768
STATE_FIELDS = ("seed", "shuffle", "batch_size", "drop_last", "rank", "world_size", "remainder", "views", "rows")

logger = logging.getLogger(__name__)


class CacheLoader:
    """Iterates batches (S, y) of a cache's readable rows, or of those among rows; each iteration is the next epoch.

    S: (B, n_channels, h, w) of dtype (torch.float32 by default), channels picked where given; y: int64 (B,); both on
    device. shuffle: a permutation drawn from (seed, epoch); else source order. rank, world_size: this process's part,
    by default torch.distributed's where it is initialised, else everything. remainder: what becomes of the rows that
    cannot be dealt evenly to the ranks: "drop" (the default with shuffle) and "pad", with rows that are delivered
    already, give every rank equally many; "keep" (the default without) delivers each row once, to some ranks one batch
    more, which those that wait for each other in each step must not be given. views: "one" delivers one row of each
    image, drawn from (seed, epoch) among those there are, and what is shuffled, dealt to ranks and counted by len is
    the image, however often rows names it; "all" delivers every row; a number that view alone; None is "one" with
    shuffle and "all" without. labels: (len(cache),) integers to take y from in place of cache.labels. augment: called
    as augment(S, spec=..., generator=...) on the converted batch on the device, the generator seeded from (seed, epoch,
    rank, step). state_dict() and load_state_dict() stop and go on in mid-epoch, batch for batch.

    Raises ValueError for arguments out of range. Iterating raises ValueError where the epoch has no batch on any rank
    (len is 0 then; a rank that alone has none is warned in the log), and StoreDamaged, StoreIncomplete as reading does.
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
        remainder: str | None = None,
        rows: np.ndarray | None = None,
        channels: Sequence[int] | slice | None = None,
        views: int | str | None = None,
        labels: npt.ArrayLike | None = None,
        augment: Callable[..., torch.Tensor] | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
    ):
        self.cache, self.shuffle, self.drop_last = cache, bool(shuffle), bool(drop_last)
        self.batch_size, self.seed = find_whole("batch_size", batch_size, 1), find_whole("seed", seed, 0)
        self.rank, self.world_size = find_rank(rank, world_size)
        self.remainder = find_remainder(remainder, shuffle=self.shuffle)
        self.augment = augment
        self.device = find_device(device)
        self.dtype = torch.float32 if dtype is None else dtype
        self._channels = find_channels(channels, cache.spec.n_channels)
        self.views = find_views(views, cache.n_views, shuffle=self.shuffle)
        self._labels = cache.labels if labels is None else find_labels(labels, len(cache))
        self._n_asked = len(cache) if rows is None else len(rows)
        self._rows, self._starts = self._choose_rows(rows)
        if cache.preloaded is not None:
            cache.preloaded.check_rows(self._rows)
            self._channels = cache.preloaded.find_channels(self._channels)
        self._next_epoch, self._next_step = 0, 0
        self._epoch, self._step = 0, 0
        if not len(self) and self._count_batches(rank=0):
            logger.warning(
                "rank %d of %d gets no batch of %d rows: remainder='pad' gives every rank equally many",
                *(self.rank, self.world_size, self._n_units),
            )

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
        return self._count_batches(self.rank)

    @property
    def _n_units(self) -> int:
        """What is shuffled and dealt: images where one view of each is drawn, else rows."""
        return len(self._rows if self._starts is None else self._starts)

    def _count_batches(self, rank: int) -> int:
        n_rows = count_rows(self._n_units, rank=rank, world_size=self.world_size, remainder=self.remainder)
        return count_batches(n_rows, self.batch_size, drop_last=self.drop_last)

    def _check_not_empty(self) -> None:
        """Raises ValueError where no rank gets a batch: a training that does nothing would look like one that did."""
        # No rank gets more than the first.
        if self._count_batches(rank=0):
            return
        n, ranks = self._n_units, f"{self.world_size} rank{'s' if self.world_size > 1 else ''}"
        if not n:
            view = f" and view {self.views}" if isinstance(self.views, int) else ""
            reason = f"of {self._n_asked} rows none is readable{view}: give other rows="
        elif self.drop_last:
            n_rows = count_rows(n, rank=0, world_size=self.world_size, remainder=self.remainder)
            reason = (
                f"{n} rows for {ranks} are {n_rows} each, and drop_last drops less than batch_size="
                f"{self.batch_size}: give a smaller batch_size, drop_last=False or more rows"
            )
        else:
            reason = f"{n} rows for {ranks}: give at most {n} ranks, more rows, or remainder='pad'"
        raise ValueError(f"an epoch would have no batch: {reason}")

    def set_epoch(self, epoch: int) -> None:
        """Makes the next iteration this epoch, from its first batch."""
        self._next_epoch, self._next_step = find_whole("epoch", epoch, 0), 0
        self._epoch, self._step = self._next_epoch, 0

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
        self._check_not_empty()
        return self._iterate()

    def _iterate(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
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
            rows,
            shuffle=self.shuffle,
            seed=self.seed,
            epoch=epoch,
            rank=self.rank,
            world_size=self.world_size,
            remainder=self.remainder,
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
