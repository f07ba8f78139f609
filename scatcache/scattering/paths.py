"""The order of scattering paths and channels: the one definition that every backend and reader follows.

Paths stand in Kymatio's order: S0; all of order 1, j1 outer and theta1 inner; all of order 2, (j1, theta1) outer and
(j2, theta2) inner with j2 > j1. With averaged angles: S0; order 1 by j1; order 2 by j1, j2 and dtheta, the last
fastest. channel = colour * n_paths + path.
"""

import numpy as np
from numpy.typing import NDArray

from scatcache.spec import ScatteringSpec

PATH_FIELDS = ("order", "j1", "theta1", "j2", "theta2")
# Of paths with averaged angles: theta2 - theta1 modulo L.
DTHETA = "dtheta"


def path_table(spec: ScatteringSpec) -> dict[str, NDArray[np.int8]]:
    """What each path of one colour plane is.

    Returns int8 arrays (n_paths,) named order, j1, theta1, j2, theta2, and dtheta where angles are averaged; -1 where a
    path has no such wavelet or no such angle.
    """
    if spec.reduction.averages_angles:
        return _averaged_table(spec)
    blocks = [np.array([[0, -1, -1, -1, -1]], np.int8)]
    if spec.max_order >= 1:
        blocks += [_first_order_block(spec, j1) for j1 in range(spec.J)]
    if spec.max_order >= 2:
        blocks += [_second_order_block(spec, j1) for j1 in range(spec.J)]
    paths = np.concatenate(blocks)
    return {field: np.ascontiguousarray(paths[:, i]) for i, field in enumerate(PATH_FIELDS)}


def channel_table(spec: ScatteringSpec) -> dict[str, NDArray[np.signedinteger]]:
    """What each stored channel is: the path table of each colour in turn, and the colour.

    Returns the arrays of path_table (n_channels,) and colour, int16 where there are more than int8 counts.
    """
    channels = {field: np.tile(values, spec.colours) for field, values in path_table(spec).items()}
    colours = np.arange(spec.colours, dtype=np.int8 if spec.colours <= np.iinfo(np.int8).max else np.int16)
    return {**channels, "colour": np.repeat(colours, spec.n_paths)}


def _averaged_table(spec: ScatteringSpec) -> dict[str, NDArray[np.int8]]:
    paths = [(0, -1, -1, -1, -1, -1)]
    paths += [(1, j1, -1, -1, -1, -1) for j1 in range(spec.J) if spec.max_order >= 1]
    pairs = [(j1, j2) for j1 in range(spec.J) for j2 in range(j1 + 1, spec.J) if spec.max_order >= 2]
    paths += [(2, j1, -1, j2, -1, dtheta) for j1, j2 in pairs for dtheta in range(spec.L)]
    table = np.array(paths, np.int8)
    return {field: np.ascontiguousarray(table[:, i]) for i, field in enumerate((*PATH_FIELDS, DTHETA))}


def _first_order_block(spec: ScatteringSpec, j1: int) -> NDArray[np.int8]:
    """(L, 5) rows of path_table for the paths of order 1 at scale j1, theta1 ascending."""
    block = np.full((spec.L, len(PATH_FIELDS)), -1, np.int8)
    block[:, :3] = [(1, j1, theta1) for theta1 in range(spec.L)]
    return block


def _second_order_block(spec: ScatteringSpec, j1: int) -> NDArray[np.int8]:
    """(L * (J - 1 - j1) * L, 5) rows of path_table for order 2 from scale j1: theta1, j2, theta2, the last fastest."""
    theta1, j2, theta2 = np.meshgrid(np.arange(spec.L), np.arange(j1 + 1, spec.J), np.arange(spec.L), indexing="ij")
    columns = [np.full(j2.size, 2), np.full(j2.size, j1), theta1.ravel(), j2.ravel(), theta2.ravel()]
    return np.stack(columns, axis=1).astype(np.int8)
