"""Batches for a training loop: rows read ahead in a thread, kept in the stored dtype until the device."""

import hashlib
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from scatcache.load.arguments import (
    LoaderOptions,
    find_channels,
    find_device,
    find_labels,
    find_rank,
    find_remainder,
    find_rows,
    find_targets,
    find_views,
    find_whole,
)
from scatcache.load.read_ahead import read_ahead
from scatcache.load.rows import Rows
from scatcache.load.sampler import count_batches, count_rows, deal_rows, draw_rows, group_rows, seed_step
from scatcache.scattering.quantisation import restore

# Torch's grain: it converts so many values in the calling thread, and more of them in threads of its own. On cores that
# reading or training keeps busy these wait for each other for longer than the conversion takes.
SERIAL_VALUES = 32768
STATE_FIELDS = ("seed", "shuffle", "batch_size", "drop_last", "rank", "world_size", "remainder", "views", "rows")

logger = logging.getLogger(__name__)


class CacheLoader:
    """Iterates batches (S, y) of rows as options say, (S, y, t) with targets; each iteration is the next epoch.

    S: (B, n_channels, h, w) of options.dtype, channels picked where given; y: int64 (B,); t: float32 (B, k); all on
    options.device.
    state_dict() and load_state_dict() stop and go on in mid-epoch, batch for batch.

    Raises ValueError for options out of range. Iterating raises ValueError where the epoch has no batch on any rank
    (len is 0 then; a rank that alone has none is warned in the log), and StoreDamaged, StoreIncomplete as reading does.
    """

    def __init__(self, rows: Rows, options: LoaderOptions):
        self.rows, self.shuffle, self.drop_last = rows, bool(options.shuffle), bool(options.drop_last)
        self.batch_size = find_whole("batch_size", options.batch_size, 1)
        self.seed = find_whole("seed", options.seed, 0)
        self.rank, self.world_size = find_rank(options.rank, options.world_size)
        self.remainder = find_remainder(options.remainder, shuffle=self.shuffle)
        self.augment = options.augment
        self.device = find_device(options.device)
        self.dtype = torch.float32 if options.dtype is None else options.dtype
        self._channels = find_channels(options.channels, rows.spec.n_channels)
        self._steps = ask_steps(rows, self._channels)
        n_rows = len(rows.labels)
        self.views = find_views(options.views, int(rows.views.max(initial=0)) + 1, shuffle=self.shuffle)
        self._labels = rows.labels if options.labels is None else find_labels(options.labels, n_rows)
        self._targets = find_targets(options.targets, rows)
        asked = None if options.rows is None else find_rows(options.rows, n_rows)
        self._n_asked = n_rows if asked is None else len(asked)
        self._chosen, self._starts = self._keep_views(rows.choose(asked, self._channels))
        self._next_epoch, self._next_step = 0, 0
        self._epoch, self._step = 0, 0
        if not len(self) and self._count_batches(rank=0):
            logger.warning(
                "rank %d of %d gets no batch of %d rows: remainder='pad' gives every rank equally many",
                *(self.rank, self.world_size, self._n_units),
            )

    def _keep_views(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """What an epoch is dealt from: rows, and where images begin in them if one of each is to be drawn."""
        if self.views == "one":
            return group_rows(chosen, self.rows.image_index[chosen])
        return chosen if self.views == "all" else chosen[self.rows.views[chosen] == self.views], None

    def __len__(self) -> int:
        """Batches of a whole epoch on this rank."""
        return self._count_batches(self.rank)

    @property
    def _n_units(self) -> int:
        """What is shuffled and dealt: images where one view of each is drawn, else rows."""
        return len(self._chosen if self._starts is None else self._starts)

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
        return {**settings, "rows": hashlib.sha256(self._chosen.tobytes()).hexdigest()}

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

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        self._check_not_empty()
        return self._iterate()

    def _iterate(self) -> Iterator[tuple[torch.Tensor, ...]]:
        epoch, first = self._next_epoch, self._next_step
        self._next_epoch, self._next_step = epoch + 1, 0
        self._epoch, self._step = epoch, first
        rows = self._deal(epoch)
        batches = [rows[step * self.batch_size : (step + 1) * self.batch_size] for step in range(first, len(self))]
        fetched = map(self._fetch, batches) if self.rows.in_memory else read_ahead(self._fetch, batches)
        for step, parts in enumerate(fetched, first):
            batch = self._deliver(*parts, epoch=epoch, step=step)
            # An older iteration that still goes on must not move the position of the latest.
            if epoch == self._epoch:
                self._step = step + 1
            yield batch

    def _deal(self, epoch: int) -> np.ndarray:
        """This rank's rows of an epoch, in order."""
        rows = self._chosen
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

    def _fetch(self, rows: np.ndarray) -> tuple[torch.Tensor, ...]:
        """A batch, with all done that is to be done on the CPU: what stays there converted, what leaves it pinned."""
        S = self.rows.fetch(rows, self._channels)
        if S.device.type == self.device.type == "cpu":
            S = convert(S.contiguous() if self._steps is None else self._restore(S), self.dtype)
        known = (self._labels,) if self._targets is None else (self._labels, self._targets)
        return self._pin(S), *(self._pin(torch.from_numpy(values[rows])) for values in known)

    def _restore(self, S: torch.Tensor) -> torch.Tensor:
        """float32 coefficients, contiguous, of integers of any strides, where these are."""
        assert self._steps is not None
        if S.device.type == "cpu":
            return torch.from_numpy(restore(S.numpy(), self._steps))
        steps = torch.from_numpy(self._steps).to(S.device)
        return (S.to(torch.float32) * steps[:, None, None]).contiguous()

    def _pin(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.pin_memory() if self.device.type == "cuda" and tensor.device.type == "cpu" else tensor

    def _deliver(self, S: torch.Tensor, *known: torch.Tensor, epoch: int, step: int) -> tuple[torch.Tensor, ...]:
        # Copies to the CPU must be waited for.
        non_blocking = self.device.type != "cpu"
        S = S.to(self.device, non_blocking=non_blocking)
        if self._steps is not None and not S.is_floating_point():
            S = self._restore(S)
        S = S.to(self.dtype).contiguous()
        known = tuple(values.to(self.device, non_blocking=non_blocking) for values in known)
        if self.augment is not None:
            generator = torch.Generator(self.device)
            generator.manual_seed(seed_step(self.seed, epoch, self.rank, step))
            S = self.augment(S, spec=self.rows.spec, generator=generator)
        return S, *known


def ask_steps(rows: Rows, channels: np.ndarray | None) -> np.ndarray | None:
    """What rows' integers are multiplied by, None where rows give values; rows need not know of it."""
    steps_of = getattr(rows, "steps_of", None)
    return None if steps_of is None else steps_of(channels)


def convert(S: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """S.to(dtype) of a contiguous tensor on the CPU, in the calling thread alone."""
    if S.dtype == dtype:
        return S
    converted = torch.empty(S.shape, dtype=dtype)
    parts = (tensor.view(-1).split(SERIAL_VALUES) for tensor in (converted, S))
    for target, part in zip(*parts, strict=True):
        target.copy_(part)
    return converted
