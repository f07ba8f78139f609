"""The compiled core behind torch tensors; torch_fft for what it cannot do: gradients, float64 and other devices."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from scatcache.errors import BackendUnavailable
from scatcache.scattering.native.transform import NativeTransform
from scatcache.scattering.torch_fft import LazyTorchScattering
from scatcache.spec import ScatteringSpec

DTYPES = (torch.uint8, torch.float32)


class NativeScattering(nn.Module):
    """The transform of one image shape, with as many threads as torch.get_num_threads() says.

    alone: whether what the core cannot compute is refused, rather than left to torch.
    Raises BackendUnavailable where there is no core, ValueError for shapes that spec.check_shape refuses.
    """

    def __init__(self, spec: ScatteringSpec, shape: tuple[int, int], *, alone: bool = False) -> None:
        super().__init__()
        self.spec = spec
        self.shape = shape
        self.alone = alone
        self.native = NativeTransform(spec, shape)
        self.otherwise = LazyTorchScattering(spec, shape)

    @property
    def device(self) -> torch.device:
        return self.otherwise.device

    def forward(self, planes: Tensor) -> Tensor:
        """Coefficients of image planes (n, H, W): (n, n_paths, h, w), float32, or float64 for float64.

        Raises TypeError and ValueError for what the core cannot compute, where it is alone.
        """
        obstacle = _find_obstacle(planes)
        if obstacle is None:
            _, height, width = self.spec.output_shape(*self.shape)
            out = np.empty((len(planes), self.spec.n_paths, height, width), np.float32)  # in huge pages
            images = planes.detach().resolve_neg().unsqueeze(1).numpy()
            self.native(images, out, n_threads=torch.get_num_threads())
            return torch.from_numpy(out)
        if self.alone:
            raise obstacle
        coefficients: Tensor = self.otherwise(planes)
        return coefficients


def _find_obstacle(planes: Tensor) -> TypeError | ValueError | BackendUnavailable | None:
    """Why the core cannot transform planes, None where it can."""
    advice = 'choose backend="torch" or "auto"'
    if planes.dtype not in DTYPES:
        return TypeError(f"images are {planes.dtype}, the native backend takes torch.uint8 and torch.float32: {advice}")
    if planes.device.type != "cpu":
        return BackendUnavailable(f"images are on {planes.device}, the native backend runs on the CPU: {advice}")
    if needs_torch(planes):
        return ValueError(f"images need a gradient or a trace, which the native backend does not have: {advice}")
    return None


def needs_torch(planes: Tensor) -> bool:
    """Whether something follows the operations on planes: autograd, forward mode, torch.func, a tracer, a subclass."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined]
        return True
    if type(planes) not in (Tensor, nn.Parameter) or torch._C._len_torch_dispatch_stack() > 0:
        return True
    if torch._C._functorch.is_functorch_wrapped_tensor(planes):
        return True
    follows = planes.requires_grad and torch.is_grad_enabled()
    return follows or (planes.is_floating_point() and forward_ad.unpack_dual(planes).tangent is not None)
