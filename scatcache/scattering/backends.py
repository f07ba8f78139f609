"""Which code computes the transform, and where: the one place that resolves a backend's or a device's name."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from scatcache.errors import BackendUnavailable
from scatcache.scattering.fused import FusedScattering, fused_obstacle
from scatcache.scattering.native.library import choose_core
from scatcache.scattering.native.torch_module import NativeScattering
from scatcache.scattering.torch_fft import TorchScattering
from scatcache.spec import ScatteringSpec

AUTO, FUSED, NATIVE, TORCH = "auto", "fused", "native", "torch"
_BACKENDS: dict[str, Callable[[ScatteringSpec, tuple[int, int]], nn.Module]] = {
    FUSED: partial(FusedScattering, alone=True),
    NATIVE: partial(NativeScattering, alone=True),
    TORCH: TorchScattering,
}


def resolve_backend(backend: str, device: str | torch.device = "cpu") -> str:
    """The backend's own name: "auto" becomes the fastest one that runs here and on the kind of device.

    Raises ValueError for unknown names, BackendUnavailable for those that do not run here or not on that device.
    """
    on_cpu = torch.device(device).type == "cpu"
    if backend == AUTO and on_cpu:
        return NATIVE if choose_core().core else TORCH
    if backend == AUTO:
        return TORCH if fused_obstacle() else FUSED
    if backend not in _BACKENDS:
        raise ValueError(f"backend is {backend!r}: expected one of {', '.join((AUTO, *_BACKENDS))}")
    if backend == NATIVE and not on_cpu:
        raise BackendUnavailable(f"the native backend runs on the CPU, not on {device}: choose the backend torch")
    if backend == FUSED and (obstacle := fused_obstacle()):
        raise BackendUnavailable(f"the fused backend does not run here: {obstacle}; choose the backend torch instead")
    if backend == FUSED and on_cpu:
        raise BackendUnavailable("the fused backend runs on CUDA devices, not on cpu: choose the backend auto")
    if backend == NATIVE and (choice := choose_core()).core is None:
        raise BackendUnavailable(
            f"the native backend does not run here: {choice.reason}; choose the backend torch instead"
        )
    return backend


class AutoScattering(nn.Module):
    """The fastest backend for where the images are, on a CPU or on CUDA devices."""

    def __init__(self, spec: ScatteringSpec, shape: tuple[int, int]) -> None:
        super().__init__()
        self.spec = spec
        self.shape = shape
        self.on_cpu = NativeScattering(spec, shape) if choose_core().core else TorchScattering(spec, shape)
        self.on_cuda = FusedScattering(spec, shape)

    @property
    def device(self) -> torch.device:
        return self.on_cpu.device

    def forward(self, planes: Tensor) -> Tensor:
        """Coefficients of image planes (n, H, W): (n, n_paths, h, w), as the backend that computes them."""
        backend = self.on_cuda if planes.is_cuda and not fused_obstacle() else self.on_cpu
        coefficients: Tensor = backend(planes)
        return coefficients


def build_backend(backend: str, spec: ScatteringSpec, shape: tuple[int, int]) -> nn.Module:
    """The transform of (H, W) planes by a backend, on the CPU until it is moved; "auto" is one for every device.

    Raises ValueError for unknown backends and for shapes that spec.check_shape refuses, BackendUnavailable.
    """
    if backend == AUTO:
        return AutoScattering(spec, shape)
    return _BACKENDS[resolve_backend(backend, "cuda" if backend == FUSED else "cpu")](spec, shape)


def _advise_on_cuda() -> str:
    return "check the driver with nvidia-smi" if torch.version.cuda else "install a CUDA build of torch"


def resolve_device(device: str | torch.device) -> torch.device:
    """The device of a name such as "cpu", "cuda" or "cuda:1".

    Raises BackendUnavailable for a CUDA device that this process cannot see, ValueError for other kinds of device.
    """
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device is {device!r}: expected cpu, cuda or cuda:N") from error
    if resolved.type not in ("cpu", "cuda"):
        raise ValueError(f"device is {resolved}: expected cpu, cuda or cuda:N")
    n_devices = torch.cuda.device_count() if resolved.type == "cuda" and torch.cuda.is_available() else 0
    if resolved.type == "cuda" and (resolved.index or 0) >= n_devices:
        raise BackendUnavailable(
            f"device {resolved} was asked for, and torch {torch.__version__} sees {n_devices} CUDA devices: "
            f"choose the device cpu, or {_advise_on_cuda()}"
        )
    return resolved
