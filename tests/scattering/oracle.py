"""The reference library as an oracle; `import kymatio.torch` fails beside a recent SciPy, this import works."""

from functools import lru_cache

import numpy as np
import torch
from kymatio.scattering2d.frontend.torch_frontend import ScatteringTorch2D
from numpy.typing import NDArray

from scatcache.spec import ScatteringSpec


@lru_cache(maxsize=64)
def _module(J: int, shape: tuple[int, int], L: int, max_order: int) -> ScatteringTorch2D:
    return ScatteringTorch2D(J, shape, L=L, max_order=max_order)


def kymatio_coefficients(images: NDArray[np.floating], spec: ScatteringSpec) -> NDArray[np.floating]:
    """Kymatio's coefficients of images (..., H, W), computed in float64 and with its float32 filters."""
    module = _module(spec.J, tuple(images.shape[-2:]), spec.L, max(spec.max_order, 1)).double()
    coefficients = module(torch.tensor(images, dtype=torch.float64)).numpy()
    return coefficients[..., : spec.n_paths, :, :]


def kymatio_in_float32(images: NDArray[np.float32], spec: ScatteringSpec) -> NDArray[np.float32]:
    """Kymatio's coefficients of images (..., H, W), as it computes them in float32."""
    module = _module(spec.J, tuple(images.shape[-2:]), spec.L, max(spec.max_order, 1)).float()
    return module(torch.tensor(images, dtype=torch.float32)).numpy()[..., : spec.n_paths, :, :]
