"""What is kept of whole maps: means over cells, means over angles; the plain definition, in NumPy and in torch.

Backends that compute their low-pass as matrices never make the whole maps: see filters.lowpass_matrix.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from scatcache.scattering.paths import path_table
from scatcache.spec import ScatteringSpec

if TYPE_CHECKING:
    import torch

Maps = TypeVar("Maps", NDArray[Any], "torch.Tensor")


def reduce_maps(S: Maps, spec: ScatteringSpec) -> Maps:
    """What spec keeps of whole maps: (..., n_paths, h, w) of spec.whole to that of spec, in S's dtype.

    Means are taken in float64. S: NumPy or torch, float; spec itself where it keeps all.
    """
    reduction = spec.reduction
    if reduction.pool is not None:
        S = _average_cells(S, reduction.pool)
    return average_angles(S, spec)


def spread_angles(S: NDArray[Any], spec: ScatteringSpec) -> NDArray[Any]:
    """What is known of every angle: (..., n_paths, h, w) with averaged angles to those of all, each the mean that it
    is part of; S itself where angles are not averaged."""
    if not spec.reduction.averages_angles:
        return S
    groups = angle_groups(spec)
    kept = np.empty(spec.whole.n_paths, np.int64)
    kept[groups] = np.arange(len(groups))[:, None]
    return S.take(kept, axis=-3)


def cell_bounds(size: int, pool: int) -> list[tuple[int, int]]:
    """(start, stop) of each of pool cells of an axis of size samples, as torch.nn.AdaptiveAvgPool2d has them."""
    return [(cell * size // pool, -(-(cell + 1) * size // pool)) for cell in range(pool)]


@lru_cache(maxsize=32)
def angle_groups(spec: ScatteringSpec) -> NDArray[np.int64]:
    """(n_paths, L): the whole paths whose mean each path with averaged angles is; S0 alone L times."""
    table, kept = path_table(spec.whole), path_table(spec)
    dtheta = np.where(table["order"] == 2, (table["theta2"] - table["theta1"]) % spec.L, -1)
    whole = np.stack([table["order"], table["j1"], table["j2"], dtheta], axis=1)
    wanted = np.stack([kept["order"], kept["j1"], kept["j2"], kept["dtheta"]], axis=1)
    found = [np.flatnonzero((whole == path).all(axis=1)) for path in wanted]
    groups = np.stack([np.resize(members, spec.L) for members in found])
    groups.setflags(write=False)
    return groups


def _average_cells(S: Maps, pool: int) -> Maps:
    """(..., pool, pool) means, along the columns first."""
    means = S
    for axis in (-1, -2):
        bounds = cell_bounds(S.shape[axis], pool)
        parts = [means[..., start:stop] if axis == -1 else means[..., start:stop, :] for start, stop in bounds]
        if isinstance(S, np.ndarray):
            means = np.stack([part.mean(axis=axis, dtype=np.float64) for part in parts], axis=axis)
        else:
            import torch

            means = torch.stack([part.mean(dim=axis, dtype=torch.float64) for part in parts], dim=axis)
    return means.astype(S.dtype) if isinstance(means, np.ndarray) else means.to(S.dtype)


def average_angles(S: Maps, spec: ScatteringSpec) -> Maps:
    """(..., n_paths, h, w) of every angle to what spec keeps of them, in S's dtype; means are taken in float64."""
    if not spec.reduction.averages_angles:
        return S
    groups = angle_groups(spec)
    if isinstance(S, np.ndarray):
        return np.take(S, groups, axis=-3).mean(axis=-3, dtype=np.float64).astype(S.dtype)
    import torch

    index = torch.tensor(groups, device=S.device)
    picked = S.index_select(-3, index.flatten()).unflatten(-3, groups.shape)
    return picked.mean(dim=-3, dtype=torch.float64).to(S.dtype)
