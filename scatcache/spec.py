"""The settings of one scattering transform and the sizes that follow from them."""

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from scatcache.typed import build

GRIDS = ("kymatio", "centered")
ALL_ANGLES, MEAN_ANGLES = "all", "mean"
ANGLES = (ALL_ANGLES, MEAN_ANGLES)
# Numbers of colours are stored as int16 at most.
MAX_COLOURS = 2**15 - 1
# Numbers that may be stored with each image.
MAX_TARGETS = 4096
# First and last value of each number of a spec.
RANGES = {"J": (1, 8), "L": (1, 127), "max_order": (0, 2), "colours": (1, MAX_COLOURS)}
# Numbers in a store are int64.
MAX_SEED = 2**63 - 1
RGB, GREY, NATIVE = "rgb", "grey", "native"
KINDS = (RGB, GREY, NATIVE)
# What samples of each type that enters the transform are divided by, where nobody says.
SCALES = {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}
# Planes of the kinds that have always as many.
COLOURS = {RGB: 3, GREY: 1}


@dataclass(frozen=True)
class Reduction:
    """What is kept of the maps. pool: None for whole maps, else G: the means over G x G cells of each map, which divide
    it as torch.nn.AdaptiveAvgPool2d does; angles: "all", or "mean": paths of order 1 averaged over theta1, of order 2
    over theta1 at each theta2 - theta1 modulo L.

    Raises TypeError, ValueError for what is no such number or name.
    """

    pool: int | None = None
    angles: str = ALL_ANGLES

    def __post_init__(self) -> None:
        if self.pool is not None and (isinstance(self.pool, bool) or not isinstance(self.pool, int)):
            raise TypeError(f"pool is {self.pool!r}: expected an integer from 1, or None")
        if self.pool is not None and self.pool < 1:
            raise ValueError(f"pool is {self.pool}: expected an integer from 1, or None")
        if self.angles not in ANGLES:
            raise ValueError(f"angles are {self.angles!r}: expected one of {', '.join(ANGLES)}")

    @property
    def averages_angles(self) -> bool:
        return self.angles == MEAN_ANGLES


WHOLE = Reduction()


@dataclass(frozen=True)
class ScatteringSpec:
    """J, L, max_order and grid of a 2-D scattering transform, of how many colours its images are, and what is kept.

    J: log2 of the largest scale; L: number of angles; max_order: largest order of the paths (see RANGES); grid: where
    maps are sampled ("kymatio": at pixels 0, 2^J, 2*2^J, ...; "centered": in the centre of each cell of 2^J pixels, at
    2^J i + (2^J - 1) / 2, which mirror images share: see symmetry.py); colours: planes of an image, each transformed
    alone; reduction: of the maps, by default none.

    Raises ValueError for values outside these ranges, TypeError for values that are no integers.
    """

    J: int
    L: int = 8
    max_order: int = 2
    grid: str = "kymatio"
    colours: int = 3
    reduction: Reduction = WHOLE

    def __post_init__(self) -> None:
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} is {value!r}: expected an integer from {low} to {high}")
            if not low <= value <= high:
                raise ValueError(f"{name} is {value}: expected an integer from {low} to {high}")
        if self.grid not in GRIDS:
            raise ValueError(f"grid is {self.grid!r}: expected one of {', '.join(GRIDS)}")

    def __repr__(self) -> str:
        shown = [field.name for field in fields(self) if field.name != "reduction" or self.reduction != WHOLE]
        return f"ScatteringSpec({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

    @property
    def is_centered(self) -> bool:
        return self.grid == "centered"

    @property
    def whole(self) -> "ScatteringSpec":
        """The same without a reduction: what the transform computes."""
        return self if self.reduction == WHOLE else replace(self, reduction=WHOLE)

    @property
    def n_paths(self) -> int:
        """Paths of one colour plane that are kept: up to order 2 1 + J L + L^2 J (J - 1) / 2, and with angles averaged
        1 + J + L J (J - 1) / 2."""
        of_angle = 1 if self.reduction.averages_angles else self.L
        n_paths_by_order = (1, self.J * of_angle, self.L * of_angle * self.J * (self.J - 1) // 2)
        return sum(n_paths_by_order[: self.max_order + 1])

    @property
    def n_channels(self) -> int:
        """Channels of an image: colour * n_paths + path."""
        return self.colours * self.n_paths

    def check_shape(self, height: int, width: int) -> None:
        """Raises ValueError where a (height, width) image is smaller than 2^J on an axis, or odd on a centered grid, or
        where its maps have fewer cells than are kept."""
        if min(height, width) < 2**self.J:
            raise ValueError(
                f"images of {height}x{width} are too small for J={self.J}, which needs {2**self.J} pixels on each "
                f"axis: choose a smaller J or larger images"
            )
        if self.is_centered and (height % 2 or width % 2):
            raise ValueError(
                f"images of {height}x{width} have an odd side, which the centered grid cannot pad by as much before as "
                f"after: expected even sides; choose the grid kymatio, or crop to an even size, as --size 224 does"
            )
        pool, least = self.reduction.pool, min(height, width) >> self.J
        if pool is not None and pool > least:
            raise ValueError(
                f"pool is {pool}, the maps of {height}x{width} images are {height >> self.J}x{width >> self.J}: "
                f"expected 1 to {least}"
            )

    def padded_shape(self, height: int, width: int) -> tuple[int, int]:
        """Padded size per axis, ((M + 2^J) // 2^J + 1) 2^J, as in Kymatio 0.3.0 (compute_padding)."""
        self.check_shape(height, width)
        return ((height >> self.J) + 2) << self.J, ((width >> self.J) + 2) << self.J

    def output_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """(n_channels, h, w) of what is kept of one image of (height, width) pixels; h and w are pool where maps are
        pooled.

        Raises ValueError as check_shape does.
        """
        height, width = self.map_shape(height, width)
        pool = self.reduction.pool
        return (self.n_channels, height, width) if pool is None else (self.n_channels, pool, pool)

    def map_shape(self, height: int, width: int) -> tuple[int, int]:
        """(h, w) of a whole map of one image of (height, width) pixels. Raises ValueError as check_shape does."""
        self.check_shape(height, width)
        return height >> self.J, width >> self.J


@dataclass(frozen=True)
class Pixels:
    """What enters the transform. kind: "rgb" and "grey", an image file's picture in 8 bits, or "native", its samples as
    the file or array holds them; colours: planes of an image; dtype: of the samples, "uint8", "uint16" or "float32";
    scale: what they are divided by, for S(255 x) = 255 S(x), so that a slip would be silent.

    Raises ValueError for what does not go together.
    """

    kind: str = RGB
    colours: int = 3
    dtype: str = "uint8"
    scale: float = 255.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"pixels are {self.kind!r}: expected one of {', '.join(KINDS)}")
        if self.dtype not in SCALES or not 1 <= self.colours <= MAX_COLOURS:
            raise ValueError(
                f"pixels are {self.colours} x {self.dtype}: expected 1 to {MAX_COLOURS} colours of {', '.join(SCALES)}"
            )
        if self.kind != NATIVE and (self.colours, self.dtype) != (COLOURS[self.kind], "uint8"):
            raise ValueError(
                f"{self.kind} pixels are {self.colours} x {self.dtype}: expected {COLOURS[self.kind]} x uint8"
            )
        if not 0 < self.scale < math.inf:
            raise ValueError(f"scale is {self.scale}: expected a number above 0")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Pixels":
        """Raises KeyError, TypeError, ValueError for fields that are missing, unknown or out of range."""
        return build(cls, fields)
