"""Augmentation of cached coefficients by symmetries and shifts of images, for the loader's augment.

On the centered grid the batch is what turned images would have given, exactly; see symmetry.py for Kymatio's grid.
Shifts are exact on neither grid; see GridCrop.
"""

from collections.abc import Callable, Iterable
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


@dataclass(frozen=True)
class GridCrop:
    """Shifts each sample by -padding .. padding cells in y and in x, all equally likely; a cell is 2^J pixels.

    Stands in for reflect-padding images by padding * 2^J pixels and cropping them at random. Called as RandomFlip;
    raises ValueError where padding is more than h or w, and for pooled maps. Cells from within are those of the
    unshifted image, which near a border are not quite those of the shifted one; cells from beyond a border are
    mirrored, see shift_cells.
    """

    padding: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.padding, int) or self.padding < 0:
            raise ValueError(f"padding is {self.padding!r}: expected a number of cells, at least 0")

    def __call__(self, S: torch.Tensor, *, spec: ScatteringSpec, generator: torch.Generator) -> torch.Tensor:
        if spec.reduction.pool is not None:
            raise ValueError(
                f"maps are pooled to {spec.reduction.pool}x{spec.reduction.pool} cells, whose shifts are those of no "
                f"image: leave GridCrop out, or store views of each image"
            )
        if self.padding > min(S.shape[-2:]):
            height, width = S.shape[-2:]
            raise ValueError(f"padding is {self.padding}: expected at most the {height}x{width} cells there are")
        drawn = torch.randint(2 * self.padding + 1, (2, len(S)), generator=generator, device=generator.device)
        dy, dx = drawn.to(S.device) - self.padding
        return shift_cells(S, dy, dx, spec)


@dataclass(frozen=True, init=False)
class Compose:
    """Several augmentations in order, each called with the same generator: Compose([GridCrop(), RandomFlip()])."""

    augmentations: tuple[Callable[..., torch.Tensor], ...]

    def __init__(self, augmentations: Iterable[Callable[..., torch.Tensor]]):
        object.__setattr__(self, "augmentations", tuple(augmentations))

    def __call__(self, S: torch.Tensor, *, spec: ScatteringSpec, generator: torch.Generator) -> torch.Tensor:
        for augment in self.augmentations:
            S = augment(S, spec=spec, generator=generator)
        return S


def shift_cells(S: torch.Tensor, dy: torch.Tensor, dx: torch.Tensor, spec: ScatteringSpec) -> torch.Tensor:
    """Each sample's maps with cell (y + dy, x + dx) at (y, x); what lies beyond a border is mirrored there, angles too.

    S: (B, n_channels, h, w); dy, dx: int64 (B,), -h .. h and -w .. w, on its device. The border cell is repeated: the
    mirror image of a cell's centre, half a cell from the border, is the next cell's.
    """
    height, width = S.shape[-2:]
    y, y_mirrored = _mirror(dy[:, None, None] + torch.arange(height, device=S.device)[:, None], height)
    x, x_mirrored = _mirror(dx[:, None, None] + torch.arange(width, device=S.device), width)
    # Cell x of the image is cell width - 1 - x of its mirror image, which lies beside it. Mirrored twice, angles are
    # as before.
    pair = torch.cat([S, apply(S, "hflip", spec)], -1)
    cells = y * 2 * width + torch.where(y_mirrored ^ x_mirrored, 2 * width - 1 - x, x)
    return pair.flatten(2).gather(2, cells.flatten(1)[:, None].expand(-1, S.shape[1], -1)).view(S.shape)


def _mirror(cells: torch.Tensor, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cells -n .. 2 n - 1 as those of 0 .. n - 1 that they mirror, and which of them are mirrored."""
    inside = torch.where(cells < 0, -1 - cells, torch.where(cells >= n, 2 * n - 1 - cells, cells))
    return inside, inside != cells
