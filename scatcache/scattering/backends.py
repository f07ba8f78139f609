"""Which code computes the transform, and where: the one place that resolves a backend's or a device's name."""

from collections.abc import Callable

import torch

from scatcache.errors import BackendUnavailable
from scatcache.scattering.torch_fft import TorchScattering
from scatcache.spec import ScatteringSpec

AUTO = "auto"
_BACKENDS: dict[str, Callable[[ScatteringSpec, tuple[int, int]], TorchScattering]] = {"torch": TorchScattering}
_AUTO_CHOICE = "torch"


def resolve_backend(backend: str) -> str:
    """The backend's own name: "auto" becomes the fastest one that runs here. Raises ValueError for unknown names."""
    if backend == AUTO:
        return _AUTO_CHOICE
    if backend not in _BACKENDS:
        raise ValueError(f"backend is {backend!r}: expected one of {', '.join((AUTO, *_BACKENDS))}")
    return backend


def build_backend(backend: str, spec: ScatteringSpec, shape: tuple[int, int]) -> TorchScattering:
    """The transform of (H, W) planes by a backend, filters built, on the CPU.

    Raises ValueError for unknown backends and for shapes that spec.check_shape refuses.
    """
    return _BACKENDS[resolve_backend(backend)](spec, shape)


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
