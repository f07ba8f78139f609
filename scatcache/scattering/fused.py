"""The fused CUDA kernels behind torch tensors, and torch_fft for what they do not have: gradients, float64, other J.

CuPy compiles what fused_plan.py writes, and launches it on torch's memory and current stream; nothing is copied.
"""

import functools
import logging
import threading
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scatcache.errors import BackendUnavailable
from scatcache.scattering.fused_plan import ARGUMENTS, FusedPlan, NoFusedPlan, plan_fused
from scatcache.scattering.native.library import SAMPLE_TYPES
from scatcache.scattering.native.torch_module import needs_torch
from scatcache.scattering.paths import path_table
from scatcache.scattering.reduction import reduce_maps
from scatcache.scattering.torch_fft import LazyTorchScattering, TorchScattering
from scatcache.spec import SCALES, ScatteringSpec

LOGGER = logging.getLogger(__name__)
# Memory of the maps that pass through global memory, at most; more planes than that go one part after the other.
WORKSPACE_BYTES = 1 << 30
LEAST_CAPABILITY = (7, 0)
# ||fused - torch|| / ||torch|| of the float32 coefficients of an order; both round to less than 1e-6.
MOST_ERROR = 1e-5
# Of an image of noise that is computed both ways.
MOST_COLOURS = 3


@functools.cache
def fused_obstacle() -> str:
    """Why the kernels cannot run in this process, "" where they can: what is missing, and what to type."""
    if not torch.cuda.is_available():
        return f"torch {torch.__version__} sees no CUDA device"
    major = (torch.version.cuda or "12").split(".")[0]
    try:
        import cupy
    except ImportError as error:
        return f"CuPy does not import ({error}): pip install 'scatcache[cuda{major}]'"
    try:
        driver, runtime = cupy.cuda.runtime.driverGetVersion(), cupy.cuda.runtime.runtimeGetVersion()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"CuPy {cupy.__version__} finds no CUDA runtime ({error}): pip install 'scatcache[cuda{major}]'"
    if driver // 1000 < runtime // 1000:
        return (
            f"the driver supports CUDA {driver // 1000}, CuPy {cupy.__version__} was built for {runtime // 1000}: "
            f"update the driver, or pip install 'scatcache[cuda{driver // 1000}]'"
        )
    return ""


class FusedTransform:
    """The kernels of one image shape on one CUDA device; several threads may call it, each on its own stream.

    spec: without a reduction. Two images are computed both ways at the start. Raises BackendUnavailable where the
    kernels cannot run or disagree with torch, NoFusedPlan for what they do not cover.
    """

    def __init__(self, spec: ScatteringSpec, shape: tuple[int, int], device: torch.device) -> None:
        if obstacle := fused_obstacle():
            raise BackendUnavailable(
                f"the fused backend does not run here: {obstacle}; choose the backend torch instead"
            )
        import cupy

        self.spec = spec
        self.shape = shape
        self.cupy_version: str = cupy.__version__
        self.device = torch.device("cuda", device.index if device.index is not None else torch.cuda.current_device())
        capability = torch.cuda.get_device_capability(self.device)
        if capability < LEAST_CAPABILITY:
            raise BackendUnavailable(
                f"{self.device} has compute capability {capability[0]}.{capability[1]}, the fused kernels need "
                f"{LEAST_CAPABILITY[0]}.{LEAST_CAPABILITY[1]} or more: choose the backend torch"
            )
        with cupy.cuda.Device(self.device.index) as current:
            self.plan = plan_fused(spec, shape, shared_bytes=current.attributes["MaxSharedMemoryPerBlockOptin"])
            self._kernels = _compile(self.plan)
        self._tables = torch.from_numpy(self.plan.tables).to(self.device)
        self._indices = torch.from_numpy(self.plan.indices).to(self.device)
        self._check_against_torch()

    def __call__(self, images: Tensor, out: Tensor, *, scale: float | None = None) -> None:
        """Write the coefficients of images (B, C, H, W) to out (B, C * n_paths, h, w), on torch's current stream.

        images: uint8, uint16 or float32, any strides; scale: what samples are divided by, in float32, by default that
        of spec.SCALES (255, 65535 and 1); out: float32 or float16, contiguous; both on the device. The bits do not
        depend on B, nor on the memory that is free. Raises TypeError, ValueError, torch.cuda.OutOfMemoryError where not
        even one plane's maps fit.
        """
        self._check(images, out)
        divisor = SCALES[_name_of(images.dtype)] if scale is None else scale
        n_planes = images.shape[0] * images.shape[1]
        plane_elements = sum(self.plan.workspace.values())
        n_part = max(1, min(n_planes, WORKSPACE_BYTES // (4 * plane_elements)))
        first = 0
        while first < n_planes:
            n_part = min(n_part, n_planes - first)
            try:
                self._run_part(images, out, first, n_part, divisor)
            except torch.cuda.OutOfMemoryError:
                if n_part == 1:
                    raise
                n_part //= 2
                continue
            first += n_part

    def _run_part(self, images: Tensor, out: Tensor, first: int, n_planes: int, scale: float) -> None:
        import cupy

        arguments = np.zeros(1, ARGUMENTS)
        workspace = {
            name: torch.empty(max(1, n_planes * elements), dtype=torch.float32, device=self.device)
            for name, elements in self.plan.workspace.items()
        }
        arrays = {"images": images, "out": out, "tables": self._tables, "indices": self._indices, **workspace}
        for name, tensor in arrays.items():
            arguments[name] = tensor.data_ptr()
        strides = ("image_stride", "colour_stride", "row_stride", "column_stride")
        for name, stride in zip(strides, images.stride(), strict=True):
            arguments[name] = stride
        arguments["n_colours"] = images.shape[1]
        arguments["sample_type"] = SAMPLE_TYPES[_name_of(images.dtype)]
        arguments["scale"] = scale
        arguments["is_half"] = out.dtype == torch.float16
        arguments["first_plane"] = first
        stream = torch.cuda.current_stream(self.device)
        for constants in (self._tables, self._indices):
            constants.record_stream(stream)
        with cupy.cuda.Device(self.device.index), cupy.cuda.ExternalStream(stream.cuda_stream, self.device.index):
            for launch in self.plan.launches:
                self._kernels[launch.name](
                    (launch.blocks_per_plane * n_planes,),
                    (self.plan.n_threads,),
                    (arguments,),
                    shared_mem=launch.shared_bytes,
                )

    def _check_against_torch(self) -> None:
        """Raises BackendUnavailable where images of noise do not get torch_fft's coefficients on this device."""
        n_colours = min(self.spec.colours, MOST_COLOURS)
        noise = np.random.default_rng(0).integers(0, 256, (2, *self.shape, n_colours), dtype=np.uint8)
        images = torch.from_numpy(noise).to(self.device).permute(0, 3, 1, 2)
        orders = torch.from_numpy(path_table(self.spec)["order"].astype(np.int64)).to(self.device)
        with torch.inference_mode():
            expected = TorchScattering(self.spec, self.shape).to(self.device)(images.flatten(0, 1))
            found = torch.full_like(expected, torch.nan)
            self(images, found.view(len(images), -1, *found.shape[2:]))
            differences = (found - expected).transpose(0, 1)
            scales = expected.transpose(0, 1)
            errors = [differences[orders == m].norm() / scales[orders == m].norm() for m in orders.unique()]
            error = float(torch.stack(errors).max())  # NaN where one of them is
        if not error <= MOST_ERROR:
            raise BackendUnavailable(
                f"the fused kernels of {self.shape[0]}x{self.shape[1]} images differ from torch by {error:.1e} on "
                f"{torch.cuda.get_device_name(self.device)}, expected at most {MOST_ERROR:.0e}: choose the backend "
                f"torch, and tell us"
            )

    def _check(self, images: Tensor, out: Tensor) -> None:
        if _name_of(images.dtype) not in SAMPLE_TYPES or out.dtype not in (torch.float16, torch.float32):
            raise TypeError(
                f"images are {images.dtype}, out {out.dtype}: expected uint8, uint16 or float32, and float16 or float32"
            )
        if images.dim() != 4 or tuple(images.shape[2:]) != self.shape:
            raise ValueError(f"images have shape {tuple(images.shape)}: expected (B, C, *{self.shape})")
        _, height, width = self.spec.output_shape(*self.shape)
        expected = (images.shape[0], images.shape[1] * self.spec.n_paths, height, width)
        if tuple(out.shape) != expected or not out.is_contiguous():
            raise ValueError(f"out has shape {tuple(out.shape)}: expected {expected}, contiguous")
        if images.device != self.device or out.device != self.device:
            raise ValueError(f"images are on {images.device}, out on {out.device}: expected {self.device}")


def _name_of(dtype: torch.dtype) -> str:
    """The name that NumPy has for a dtype."""
    return str(dtype).removeprefix("torch.")


def _compile(plan: FusedPlan) -> dict[str, Any]:
    """The plan's kernels on CuPy's current device, allowed the shared memory that they need.

    Raises BackendUnavailable where CuPy cannot compile or load them.
    """
    import cupy
    from cupy.cuda.compiler import CompileException

    try:
        module = cupy.RawModule(code=plan.source, options=("-std=c++17",))
        kernels = {launch.name: module.get_function(launch.name) for launch in plan.launches}
        for launch in plan.launches:
            kernels[launch.name].max_dynamic_shared_size_bytes = launch.shared_bytes
    except (CompileException, RuntimeError, OSError) as error:  # CUDA's own errors are RuntimeErrors
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise BackendUnavailable(
            f"CuPy {cupy.__version__} cannot build the fused kernels: {reason[0]}; choose the backend torch"
        ) from error
    return kernels


def try_fused(
    spec: ScatteringSpec, shape: tuple[int, int], device: torch.device, *, alone: bool
) -> FusedTransform | None:
    """The kernels, or None where torch is to compute, with the reason in the log: no plan, or kernels that cannot run.

    Raises BackendUnavailable for the latter where alone.
    """
    try:
        return FusedTransform(spec, shape, device)
    except NoFusedPlan as reason:
        LOGGER.info("%s; torch computes instead", reason)
    except BackendUnavailable as reason:
        if alone:
            raise
        LOGGER.warning("%s; torch computes instead", reason)
    return None


class FusedScattering(nn.Module):
    """The transform of one image shape on CUDA devices; torch_fft for gradients, float64 and what has no fused plan.

    alone: whether kernels that cannot run are an error on first use, BackendUnavailable, rather than a warning in the
    log and torch's work. Raises ValueError for shapes that spec.check_shape refuses.
    """

    def __init__(self, spec: ScatteringSpec, shape: tuple[int, int], *, alone: bool = False) -> None:
        super().__init__()
        self.alone = alone
        self.spec = spec
        self.shape = shape
        self.otherwise = LazyTorchScattering(spec, shape)
        self._transforms: dict[torch.device, FusedTransform | None] = {}
        self._lock = threading.Lock()

    @property
    def device(self) -> torch.device:
        return self.otherwise.device

    def forward(self, planes: Tensor) -> Tensor:
        """Coefficients of image planes (n, H, W): (n, n_paths, h, w), float32, or float64 for float64."""
        can_fuse = planes.is_cuda and planes.dtype in (torch.uint8, torch.float32) and not needs_torch(planes)
        transform = self._find_transform(planes.device) if can_fuse else None
        if transform is None:
            coefficients: Tensor = self.otherwise(planes)
            return coefficients
        maps = (transform.spec.n_paths, *self.spec.map_shape(*self.shape))
        out = torch.empty(len(planes), *maps, dtype=torch.float32, device=planes.device)
        if len(planes):
            transform(planes.detach().resolve_neg().unsqueeze(1), out)
        return reduce_maps(out, self.spec)

    def _find_transform(self, device: torch.device) -> FusedTransform | None:
        """The device's kernels, compiled on first use; None, said once in the log, where torch is to compute."""
        with self._lock, torch.inference_mode(False):
            if device not in self._transforms:
                self._transforms[device] = try_fused(self.spec.whole, self.shape, device, alone=self.alone)
            return self._transforms[device]

    def __getstate__(self) -> dict[str, Any]:
        """Without kernels and lock: a copy compiles its own."""
        return {**super().__getstate__(), "_transforms": {}, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({**state, "_lock": threading.Lock()})
