"""Weights on scattering channels as functions of angles: their Fourier coefficients, and layers without the smallest.

A layer's weights (n_filters, n_channels) are taken apart by order. For each filter, colour and scales, those of order 1
are a function of theta1 on the circle of L angles, those of order 2 one of (theta1, theta2) on the torus. Order 0 has
no angle: nothing here changes its weights.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

# Coordinates of the channels of a store; from the second on in the order of sorting, slowest first.
FIELDS = ("order", "colour", "j1", "j2", "theta1", "theta2")
ROUNDING = 1e-9


@dataclass(frozen=True)
class Block:
    """The channels of one order, int64 (n_functions, L) or (n_functions, L, L): by colour and scales, then by angle."""

    order: int
    channels: torch.Tensor

    @property
    def axes(self) -> tuple[int, ...]:
        """The last ones, those of the angles."""
        return tuple(range(-self.order, 0))

    def read(self, weights: torch.Tensor) -> torch.Tensor:
        """The weights (n_filters, n_channels) of this order: float64 (n_filters, n_functions, L[, L])."""
        return weights.double()[:, self.channels]

    def transform(self, weights: torch.Tensor) -> torch.Tensor:
        """The unitary discrete Fourier transform of read(weights) along the angles: complex128."""
        return torch.fft.fftn(self.read(weights), dim=self.axes, norm="ortho")

    def invert(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Of coefficients that are conjugate in pairs the weights, float64: the inverse of transform()."""
        return torch.fft.ifftn(coefficients, dim=self.axes, norm="ortho").real

    def pair(self, values: torch.Tensor) -> torch.Tensor:
        """values, one for each coefficient, where -k has that of k: what is chosen by them is conjugate in pairs."""
        number = torch.arange(math.prod(values.shape[-self.order :])).reshape(values.shape[-self.order :])
        mirrored = number.flip(self.axes).roll((1,) * self.order, self.axes)
        return values.flatten(-self.order)[..., torch.minimum(number, mirrored)]


def list_blocks(channels: Mapping[str, np.ndarray]) -> list[Block]:
    """The blocks of orders 1 and 2, as far as there are any.

    channels: int8 (n_channels,) by the names of FIELDS, -1 where a channel has no such wavelet.
    """
    n_angles = int(channels["theta1"].max()) + 1
    sequence = np.lexsort([channels[name] for name in reversed(FIELDS[1:])])
    blocks = []
    for order in (1, 2):
        members = sequence[channels["order"][sequence] == order]
        if members.size:
            blocks.append(Block(order, torch.from_numpy(members.reshape(-1, *[n_angles] * order))))
    return blocks


def normalise(values: torch.Tensor) -> torch.Tensor:
    """|values| (n_filters, ...) of one order, divided by their root mean square in each filter.

    So that filters and orders compete by shape and not by size; batch normalisation takes a filter's size away anyway.
    """
    size = values.abs().square().flatten(1).mean(1).sqrt().clamp(min=1e-30)
    return values.abs() / size.reshape(-1, *[1] * (values.dim() - 1))


def choose_smallest(ranks: Sequence[torch.Tensor], fraction: float) -> list[torch.Tensor]:
    """bool, shaped like ranks: the smallest `fraction` of them all, rounded down; equal ranks go together."""
    n_chosen = int(fraction * sum(rank.numel() for rank in ranks) + ROUNDING)
    if n_chosen == 0:
        return [torch.zeros_like(rank, dtype=torch.bool) for rank in ranks]
    limit = torch.cat([rank.flatten() for rank in ranks]).kthvalue(n_chosen).values
    return [rank <= limit for rank in ranks]


def zero_fourier(weights: torch.Tensor, blocks: Sequence[Block], fraction: float) -> torch.Tensor:
    """float32 weights without the smallest fraction of their normalised angular Fourier coefficients."""
    ranks = [block.pair(normalise(block.transform(weights))) for block in blocks]
    return take_away(weights, blocks, choose_smallest(ranks, fraction))


def zero_at_random(weights: torch.Tensor, blocks: Sequence[Block], fraction: float, *, seed: int) -> torch.Tensor:
    """A control: without as many of the Fourier coefficients, whichever."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(len(weights), *block.channels.shape) for block in blocks]
    noise = [torch.rand(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    ranks = [block.pair(values) for block, values in zip(blocks, noise, strict=True)]
    return take_away(weights, blocks, choose_smallest(ranks, fraction))


def zero_weights(weights: torch.Tensor, blocks: Sequence[Block], fraction: float) -> torch.Tensor:
    """A control: without as many of the weights themselves, the smallest, normalised in the same way."""
    chosen = choose_smallest([normalise(block.read(weights)) for block in blocks], fraction)
    sparse = weights.clone()
    for block, mask in zip(blocks, chosen, strict=True):
        sparse[:, block.channels] = weights[:, block.channels].masked_fill(mask, 0)
    return sparse


def take_away(weights: torch.Tensor, blocks: Sequence[Block], chosen: Sequence[torch.Tensor]) -> torch.Tensor:
    """float32 weights less the inverse transform of the chosen coefficients, computed in float64.

    The same as the inverse transform of those that stay, and the weights to the last bit where none is chosen.
    """
    rest = weights.double()
    for block, mask in zip(blocks, chosen, strict=True):
        rest[:, block.channels] -= block.invert(block.transform(weights) * mask)
    return rest.float()


def measure_round_trip(weights: torch.Tensor, blocks: Sequence[Block]) -> float:
    """The largest change of a weight by the transform and its inverse in float64, relative to the largest weight."""
    changes = [(block.invert(block.transform(weights)) - block.read(weights)).abs().max() for block in blocks]
    return float(max(changes) / weights.abs().max())


def measure_energy(weights: torch.Tensor, block: Block) -> torch.Tensor:
    """float64 (L,) or (L, L): the share of each angular frequency in the energy of a filter, mean over the filters."""
    energy = block.transform(weights).abs().square().sum(1)
    return (energy / energy.flatten(1).sum(1).clamp(min=1e-30).reshape(-1, *[1] * block.order)).mean(0)
