"""The compiled core as a transform of one image shape: NumPy arrays in, coefficients into the caller's array."""

import ctypes
import weakref
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scatcache.errors import BackendUnavailable
from scatcache.scattering.filters import centering_ramp, filter_bank, lowpass_matrix, reflect_indices
from scatcache.scattering.native.library import (
    SAMPLE_TYPES,
    Images,
    PlanSettings,
    choose_core,
    find_core_for,
    open_core,
)
from scatcache.spec import SCALES, ScatteringSpec

OUT_DTYPES = (np.float16, np.float32)


class NativeTransform:
    """The transform of planes of one shape by a compiled core; any number of threads may call it at once.

    core: the core's name, None for the one that library.choose_core names.
    Raises BackendUnavailable where there is none, ValueError for shapes smaller than 2^J.
    """

    def __init__(self, spec: ScatteringSpec, shape: tuple[int, int], *, core: str | None = None) -> None:
        self.spec = spec
        self.shape = shape
        self.asked = core
        self.core = core or _chosen_core(spec.padded_shape(*shape))
        self._library = open_core(self.core)
        _, self._height, self._width = spec.output_shape(*shape)
        plan = _make_plan(self._library, spec, shape)
        self._plan = ctypes.c_void_p(plan)
        freed = weakref.finalize(self, self._library.scatcache_free_plan, self._plan)
        freed.atexit = False  # a daemon thread may still compute when the interpreter ends

    def __call__(
        self, images: NDArray[Any], out: NDArray[np.floating], *, scale: float | None = None, n_threads: int = 1
    ) -> None:
        """Write the coefficients of images (B, C, H, W) to out (B, C * n_paths, h, w), n_threads planes at a time.

        images: uint8, uint16 or float32, any strides; scale: what samples are divided by, in float32, by default that
        of spec.SCALES (255, 65535 and 1); out: float16 or float32, C-contiguous.
        The bits do not depend on B, on the other images or on n_threads. The interpreter's lock is not held.
        Raises TypeError and ValueError for other arrays, MemoryError.
        """
        self._check_arrays(images, out)
        if out.size == 0:
            return
        strides = [stride // images.itemsize for stride in images.strides]
        n_planes = images.shape[0] * images.shape[1]
        name = images.dtype.name
        divisor = SCALES[name] if scale is None else scale
        view = Images(images.ctypes.data, SAMPLE_TYPES[name], divisor, n_planes, images.shape[1], *strides)
        is_half = out.dtype == np.float16
        status = self._library.scatcache_run(
            self._plan, ctypes.byref(view), out.ctypes.data, is_half, min(max(1, n_threads), n_planes)
        )
        if status:
            raise MemoryError(f"no memory for the transform of {self.shape[0]}x{self.shape[1]} images")

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and other processes build their own, on the core that was asked for or else the one that is theirs."""
        return partial(NativeTransform, core=self.asked), (self.spec, self.shape)

    def _check_arrays(self, images: NDArray[Any], out: NDArray[np.floating]) -> None:
        if not images.dtype.isnative or images.dtype.name not in SAMPLE_TYPES or out.dtype not in OUT_DTYPES:
            raise TypeError(
                f"images are {images.dtype}, out {out.dtype}: expected uint8, uint16 or float32, and float16 or float32"
            )
        if images.ndim != 4 or images.shape[2:] != self.shape:
            raise ValueError(f"images have shape {images.shape}: expected (B, C, {self.shape[0]}, {self.shape[1]})")
        expected = (len(images), images.shape[1] * self.spec.n_paths, self._height, self._width)
        if out.shape != expected or not out.flags.carray:
            raise ValueError(f"out has shape {out.shape}: expected {expected}, C-contiguous, aligned and writeable")
        if any(stride % images.itemsize for stride in images.strides) or not images.flags.aligned:
            raise ValueError(
                f"images have strides {images.strides}: expected whole elements of {images.itemsize} bytes, aligned"
            )


def _chosen_core(padded_shape: tuple[int, int]) -> str:
    core = find_core_for(padded_shape)
    if core is None:
        raise BackendUnavailable(f"no native core: {choose_core().reason}; choose the backend torch instead")
    return core


def _make_plan(library: ctypes.CDLL, spec: ScatteringSpec, shape: tuple[int, int]) -> int:
    """A plan of the core, which copies what it needs of the arrays made here."""
    J, padded = spec.J, spec.padded_shape(*shape)
    psi: list[NDArray[Any] | None] = [None] * (J * J)
    bank = filter_bank(spec, padded) if spec.max_order else None
    for j in range(J):
        for res in range(max(j, 1) if spec.max_order == 2 else 1):
            psi[j * J + res] = np.ascontiguousarray(bank.psi[j][res], np.float32) if bank else None
    lowpass = [np.ascontiguousarray(lowpass_matrix(spec, padded[axis], j)) for axis in range(2) for j in range(J)]
    ramps: list[NDArray[Any] | None] = [
        _ramp_pairs(spec, padded[axis] >> res, fold) if res + fold < J else None
        for axis in range(2)
        for res in range(J)
        for fold in range(J)
    ]
    reflection = [reflect_indices(shape[axis], padded[axis]).astype(np.int64) for axis in range(2)]
    tables = [_pointers(arrays) for arrays in (psi, lowpass, ramps, reflection)]
    kept = (*spec.output_shape(*shape)[1:], spec.reduction.averages_angles)
    settings = PlanSettings(J, spec.L, spec.max_order, *shape, *padded, *kept, *tables)
    plan = library.scatcache_make_plan(ctypes.byref(settings))
    if not plan:
        raise MemoryError(f"no memory for the filters of {shape[0]}x{shape[1]} images")
    return plan


def _ramp_pairs(spec: ScatteringSpec, size: int, fold: int) -> NDArray[np.float32] | None:
    """(size, 2) real and imaginary parts of the grid's ramp, None where it moves nothing."""
    ramp = centering_ramp(spec, size, fold)
    if (ramp == 1).all():
        return None
    return np.stack([ramp.real, ramp.imag], axis=-1).astype(np.float32)


def _pointers(arrays: "list[NDArray[Any] | None] | list[NDArray[Any]]") -> Any:
    addresses = [None if array is None else array.ctypes.data for array in arrays]
    return (ctypes.c_void_p * len(addresses))(*addresses)
