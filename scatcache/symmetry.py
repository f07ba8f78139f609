"""The symmetries of the square as they act on coefficients: S of a turned image from S of the image, by index alone.

On the centered grid apply(S(x), name, spec) is S of the turned x exactly, borders included. On Kymatio's grid, which
samples a corner of each cell, every axis that is reversed moves besides: the result is S of the turned, padded image
moved by 2^J - 1 pixels towards the start of that axis.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from scatcache.scattering.filters import first_angle
from scatcache.scattering.paths import DTHETA, path_table
from scatcache.spec import ScatteringSpec

if TYPE_CHECKING:
    import torch

# (y and x exchanged, then y reversed, x reversed); rot90 and rot270 are numpy.rot90 over (y, x) with k=1 and k=3.
_STEPS = {
    "identity": (False, False, False),
    "hflip": (False, False, True),
    "vflip": (False, True, False),
    "rot90": (True, True, False),
    "rot180": (False, True, True),
    "rot270": (True, False, True),
    "transpose": (True, False, False),
    "antitranspose": (True, True, True),
}
_NAME_OF = {steps: name for name, steps in _STEPS.items()}
NAMES = tuple(_STEPS)
QUARTER_TURNS = ("identity", "rot90", "rot180", "rot270")

Coefficients = TypeVar("Coefficients", NDArray[Any], "torch.Tensor")


def apply(S: Coefficients, name: str | Sequence[str], spec: ScatteringSpec) -> Coefficients:
    """The coefficients of images turned by name, from those of the images; a new array.

    S: NumPy or torch, any dtype, (..., C, h, w), C being spec.n_channels or spec.n_paths. name: one of NAMES, or one
    for each sample of S (B, C, h, w). Returns the same kind and dtype, h and w exchanged where name exchanges them.
    Raises ValueError for other shapes, and as permute_channels and, for a list, check_names do; TypeError for what is
    neither NumPy's nor torch's.
    """
    n_colours = _count_colours(S, spec)
    if isinstance(name, str):
        return _apply_one(S, name, spec, n_colours)
    if S.ndim != 4 or len(S) != len(name):
        raise ValueError(
            f"S has shape {tuple(S.shape)} and there are {len(name)} names: expected (B, C, h, w) and B names, or one "
            f"name, given as a str"
        )
    check_names(name, S.shape, spec)
    names = np.asarray(name, dtype=object)
    turned = S.copy() if isinstance(S, np.ndarray) else S.clone()
    for kind in sorted({*name} - {"identity"}):
        rows = _index_like(S, np.flatnonzero(names == kind))
        turned[rows] = _apply_one(S[rows], kind, spec, n_colours)
    return turned


def check_names(names: Iterable[str], shape: Sequence[int], spec: ScatteringSpec) -> None:
    """Raises ValueError unless samples of S of this shape may be turned by these names each and stay one array.

    Names that exchange y and x need h = w, and an even L.
    """
    height, width = shape[-2:]
    for name in sorted(set(names)):
        permute_channels(name, spec)
        if _STEPS[name][0] and height != width:
            raise ValueError(
                f"{name} turns coefficients of {height}x{width} into {width}x{height}, which stand in no array beside "
                f"others: expected square ones; choose hflip, vflip or rot180, or give one name for all"
            )


@lru_cache(maxsize=128)
def permute_channels(name: str, spec: ScatteringSpec, n_colours: int = 1) -> NDArray[np.int64]:
    """Which path of S each path of the turned S comes from: int64 (n_colours * n_paths,), read-only.

    theta goes to 2 a - theta where one axis is reversed, to 2 a - L / 2 - theta where axes are exchanged, modulo L; a
    is first_angle(L), which is L / 2 - 1 for even L. Averaged angles: theta2 - theta1 changes its sign in reflections
    and stays in rotations.
    Raises ValueError for unknown names, and for those that exchange y and x where L is odd.
    """
    if name not in _STEPS:
        raise ValueError(f"the symmetry is {name!r}: expected one of {', '.join(NAMES)}")
    exchanged, *reversed_axes = _STEPS[name]
    if exchanged and spec.L % 2:
        raise ValueError(
            f"{name} turns wavelets to angles that L={spec.L} has not: expected an even L; choose hflip, "
            f"vflip or rot180"
        )
    theta, a = np.arange(spec.L), first_angle(spec.L)
    if exchanged:
        theta = 2 * a - spec.L // 2 - theta
    if reversed_axes[0] != reversed_axes[1]:
        theta = 2 * a - theta
    # The last is for -1, where there is no such wavelet.
    turned_theta = np.append(theta % spec.L, -1)
    table = path_table(spec)
    turned = {**table, **{field: turned_theta[table[field]] for field in ("theta1", "theta2")}}
    if spec.reduction.averages_angles and exchanged != (reversed_axes[0] != reversed_axes[1]):
        turned[DTHETA] = np.append(-np.arange(spec.L) % spec.L, -1)[table[DTHETA]]
    source = np.empty(spec.n_paths, np.int64)
    source[np.lexsort(list(table.values()))] = np.lexsort(list(turned.values()))
    index = (np.arange(n_colours)[:, None] * spec.n_paths + source).ravel()
    index.setflags(write=False)
    return index


def compose(first: str, second: str) -> str:
    """The name of turning by first, then by second."""
    exchanged1, y1, x1 = _STEPS[first]
    exchanged2, y2, x2 = _STEPS[second]
    if exchanged2:
        y1, x1 = x1, y1
    return _NAME_OF[exchanged1 != exchanged2, y1 != y2, x1 != x2]


def inverse(name: str) -> str:
    """The name that turns back."""
    return next(other for other in NAMES if compose(name, other) == "identity")


def _count_colours(S: Any, spec: ScatteringSpec) -> int:
    """How many times n_paths there are along the axis -3 of S: 1 or spec.colours."""
    if not isinstance(S, np.ndarray):
        import torch

        if not isinstance(S, torch.Tensor):
            raise TypeError(f"S is a {type(S).__name__}: expected a NumPy array or a torch.Tensor")
    n_found = S.shape[-3] if S.ndim >= 3 else 0
    if n_found not in (spec.n_paths, spec.n_channels):
        raise ValueError(
            f"S has shape {tuple(S.shape)}: expected (..., C, h, w), C being the {spec.n_channels} channels or the "
            f"{spec.n_paths} paths of {spec}"
        )
    return spec.colours if n_found == spec.n_channels else 1


def _apply_one(S: Coefficients, name: str, spec: ScatteringSpec, n_colours: int) -> Coefficients:
    index = permute_channels(name, spec, n_colours)
    exchanged, *reversed_axes = _STEPS[name]
    axes = tuple(axis for axis, is_reversed in zip((-2, -1), reversed_axes, strict=True) if is_reversed)
    if isinstance(S, np.ndarray):
        return np.take(np.flip(S.swapaxes(-2, -1) if exchanged else S, axes), index, axis=-3)
    turned = (S.transpose(-2, -1) if exchanged else S).flip(axes)
    return turned.index_select(-3, _index_like(S, index))


def _index_like(S: Coefficients, index: NDArray[np.int64]) -> Any:
    """An index in the form in which S is indexed, on its device."""
    if isinstance(S, np.ndarray):
        return index
    import torch

    return torch.tensor(index, device=S.device)
