"""Augmentation of cached coefficients by the symmetries of images, for the loader's augment.

On the centered grid the batch is what turned images would have given, exactly; see symmetry.py for Kymatio's grid.
"""

from dataclasses import dataclass

import torch

from scatcache.spec import ScatteringSpec
from scatcache.symmetry import QUARTER_TURNS, apply, check_names


@dataclass(frozen=True)
class RandomFlip:
    """Mirrors each sample left to right with probability p, 0 to 1.

    Called with S (B, n_channels, h, w), the spec and a generator, from which alone chance comes.
    """

    p: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise ValueError(f"p is {self.p}: expected a probability from 0 to 1")

    def __call__(self, S: torch.Tensor, *, spec: ScatteringSpec, generator: torch.Generator) -> torch.Tensor:
        drawn = torch.rand(len(S), generator=generator, device=generator.device)
        return apply(S, ["hflip" if flipped else "identity" for flipped in (drawn < self.p).tolist()], spec)


@dataclass(frozen=True)
class RandomQuarterTurn:
    """Turns each sample by 0, 90, 180 or 270 degrees, all equally likely.

    Called as RandomFlip; raises ValueError where h is not w or L is odd.
    """

    def __call__(self, S: torch.Tensor, *, spec: ScatteringSpec, generator: torch.Generator) -> torch.Tensor:
        check_names(QUARTER_TURNS, S.shape, spec)
        drawn = torch.randint(len(QUARTER_TURNS), (len(S),), generator=generator, device=generator.device)
        return apply(S, [QUARTER_TURNS[turn] for turn in drawn.tolist()], spec)
