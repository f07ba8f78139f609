"""Which code computes the transform, and where: the one place that resolves a backend's or a device's name."""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from scatcache.errors import BackendUnavailable
from scatcache.scattering.native.library import choose_core
from scatcache.scattering.native.module import NativeScattering
from scatcache.scattering.torch_fft import TorchScattering
from scatcache.spec import ScatteringSpec

AUTO, NATIVE, TORCH = "auto", "native", "torch"
_BACKENDS: dict[str, Callable[[ScatteringSpec, tuple[int, int]], nn.Module]] = {
    NATIVE: partial(NativeScattering, alone=True),
    TORCH: TorchScattering,
}
_AUTO_CHOICES = {**_BACKENDS, NATIVE: NativeScattering}


def resolve_backend(backend: str, device: str | torch.device = "cpu") -> str:
    """The backend's own name: "auto" becomes the fastest one that runs here and on the kind of device.

    Raises ValueError for unknown names, BackendUnavailable for the native one where it does not run.
    """
    on_cpu = torch.device(device).type == "cpu"
    if backend == AUTO:
        return NATIVE if on_cpu and choose_core().core else TORCH
    if backend not in _BACKENDS:
        raise ValueError(f"backend is {backend!r}: expected one of {', '.join((AUTO, *_BACKENDS))}")
    if backend == NATIVE and not on_cpu:
        raise BackendUnavailable(f"the native backend runs on the CPU, not on {device}: choose the backend torch")
    if backend == NATIVE and (choice := choose_core()).core is None:
        raise BackendUnavailable(f"the native backend does not run here: {choice.reason}; or choose the backend torch")
    return backend


def build_backend(backend: str, spec: ScatteringSpec, shape: tuple[int, int]) -> nn.Module:
    """The transform of (H, W) planes by a backend, filters built, on the CPU; "auto" leaves to torch what native lacks.

    Raises ValueError for unknown backends and for shapes that spec.check_shape refuses, BackendUnavailable.
    """
    builders = _AUTO_CHOICES if backend == AUTO else _BACKENDS
    return builders[resolve_backend(backend)](spec, shape)


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
