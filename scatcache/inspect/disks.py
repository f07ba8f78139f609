"""Scattering disks: which path stands where in the frequency plane, and in what colour.

After the figures of J. Bruna, S. Mallat, "Invariant Scattering Convolution Networks" (arXiv 1203.1513). The rim is the
finest scale, j1 = 0; rings of equal thickness go inwards to the coarsest (a logarithmic frequency axis), around a hole
for the low-pass. A sector is centred on the direction of its wavelet's frequency, and drawn again opposite: the
spectrum of a real image is symmetric. At order 2 the sector of (j1, theta1) is divided into cells of (j2, theta2): j2
from j1 + 1 at its outer side to the coarsest; theta2 by the angle from theta1, parallel in the middle, perpendicular at
both edges.
"""

import math

import numpy as np
import numpy.typing as npt

from scatcache.scattering.filters import filter_parameters
from scatcache.scattering.paths import path_table
from scatcache.spec import ScatteringSpec

HOLE_RADIUS = 0.12
# Of the colours, below the strongest cell; float16 keeps about 7 decades of squares beside a typical order 1.
DYNAMIC_RANGE = 1e5
# A step of one grey level of 255 gives 1e-6 at order 1; nothing below this is worth a bright colour.
FAINT_ENERGY = 1e-9


def list_rings(spec: ScatteringSpec, order: int) -> list[tuple[int, int]]:
    """(j1, j2) of each ring of a disk of order 1 or 2, from the hole to the rim; j2 is -1 at order 1."""
    scales = range(spec.J - 1, -1, -1)
    return [(j1, j2) for j1 in scales for j2 in (range(spec.J - 1, j1, -1) if order == 2 else [-1])]


def find_ring_edges(n_rings: int) -> npt.NDArray[np.float64]:
    """(n_rings + 1,) radii from the hole to the rim, which has radius 1."""
    return np.linspace(HOLE_RADIUS, 1.0, n_rings + 1)


def find_paths(
    spec: ScatteringSpec, order: int, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """The path of order 1 or 2 whose cell holds each point of the unit disk; -1 outside of the rings.

    x: along columns, to the right; y: along rows, downwards: as in the image. x, y and what is returned have one shape.
    """
    rings = np.array(list_rings(spec, order), np.int64).reshape(-1, 2)
    ring = np.searchsorted(find_ring_edges(len(rings)), np.hypot(x, y), side="right") - 1
    inside = (ring >= 0) & (ring < len(rings))
    if not inside.any():
        return np.full(x.shape, -1)
    j1, j2 = np.moveaxis(rings[np.where(inside, ring, 0)], -1, 0)
    # theta as a real number: filter_parameters counts angles from the row axis, theta downwards in steps of pi / L.
    first_angle = filter_parameters(spec).psi[0].angle
    turn = (first_angle - np.arctan2(x, y)) * spec.L / math.pi
    nearest = np.rint(turn)
    theta1 = nearest.astype(np.int64) % spec.L
    # The width of a sector stands for the half circle of theta2, theta1 in the middle.
    theta2 = (theta1 + np.rint((turn - nearest) * spec.L).astype(np.int64)) % spec.L
    paths = _tabulate(spec, order)
    found = paths[j1, theta1, j2, theta2] if order == 2 else paths[j1, theta1, -1, -1]
    return np.where(inside, found, -1)


def _tabulate(spec: ScatteringSpec, order: int) -> npt.NDArray[np.int64]:
    """Path by (j1, theta1, j2, theta2); the last entries of both latter axes are those of -1, no wavelet."""
    table = path_table(spec)
    chosen = np.flatnonzero(table["order"] == order)
    paths = np.full((spec.J, spec.L, spec.J + 1, spec.L + 1), -1, np.int64)
    paths[tuple(table[field][chosen] for field in ("j1", "theta1", "j2", "theta2"))] = chosen
    return paths


def find_colour_limits(energies: npt.NDArray[np.float64], *, faint: float = FAINT_ENERGY) -> tuple[float, float]:
    """(darkest, brightest) energies of a logarithmic colour scale: one to five decades, positive whatever energies are.

    faint: what is not worth a bright colour. The faintest hundredth of the cells does not stretch the scale.
    """
    brightest = max(float(energies.max(initial=0.0)), faint)
    present = energies[energies > 0]
    faintest = float(np.percentile(present, 1)) if present.size else 0.0
    return min(max(faintest, brightest / DYNAMIC_RANGE), brightest / 10), brightest
