"""Scattering2D: the transform as a torch module, called like Kymatio's."""

import torch
from torch import Tensor, nn

from scatcache.scattering.backends import AUTO, build_backend, resolve_backend
from scatcache.spec import ALL_ANGLES, WHOLE, Reduction, ScatteringSpec


class Scattering2D(nn.Module):
    """Scattering coefficients of images of one shape: (..., H, W) -> (..., n_paths, h, w), (h, w) that of spec.

    J: log2 of the largest scale; shape: (H, W) in pixels; L: number of angles; max_order: 0, 1 or 2; backend: "auto",
    "native", "fused" or "torch"; grid: as in ScatteringSpec; pool, angles: what is kept of the maps, as in Reduction.
    Paths stand in Kymatio's order (see path_table).

    Floats are taken as they are and decide the precision, float32 or float64; uint8 is divided by 255 in float32. The
    transform is differentiable, with a gradient of 0 where a modulus is 0, and follows .to(device); its filters keep
    their precision under .half() and the like, and are no part of the state dict.

    The attribute backend says which code computes: "native", the compiled core on as many threads as
    torch.get_num_threads() says, "fused", CUDA kernels through CuPy, or "torch". "auto" is native on a CPU where a core
    was built, fused on CUDA devices where CuPy imports, and even then leaves to torch what these have not: gradients,
    float64, and of fused other J than 2 and 3, large images and some other sizes. Asked for by name, native refuses.

    Raises ValueError for settings out of range, images smaller than 2^J or odd on the centered grid, and unknown
    backends, BackendUnavailable for one that does not run here.
    """

    def __init__(
        self,
        J: int,
        shape: tuple[int, int],
        L: int = 8,
        max_order: int = 2,
        *,
        backend: str = "auto",
        grid: str = "kymatio",
        pool: int | None = None,
        angles: str = ALL_ANGLES,
    ) -> None:
        super().__init__()
        self.spec = ScatteringSpec(J=J, L=L, max_order=max_order, grid=grid, reduction=Reduction(pool, angles))
        self.shape = _check_shape(shape)
        self._asked = backend
        self.transform = build_backend(backend, self.spec, self.shape)

    @property
    def backend(self) -> str:
        """Which code computes: what was asked for, "auto" resolved for where the module is now."""
        return resolve_backend(AUTO, self.device) if self._asked == AUTO else self._asked

    @property
    def device(self) -> torch.device:
        device: torch.device = self.transform.device  # type: ignore[assignment]
        return device

    @property
    def J(self) -> int:
        return self.spec.J

    @property
    def L(self) -> int:
        return self.spec.L

    @property
    def max_order(self) -> int:
        return self.spec.max_order

    def forward(self, images: Tensor) -> Tensor:
        """Coefficients (..., n_paths, h, w) of images (..., H, W), on their device.

        Raises TypeError for what is no tensor of uint8, float32 or float64, ValueError for another spatial size and for
        images on another device than the module.
        """
        self._check_images(images)
        coefficients = self.transform(images.reshape(-1, *self.shape))
        return coefficients.reshape(*images.shape[:-2], *coefficients.shape[1:])

    def scattering(self, images: Tensor) -> Tensor:
        """The same as calling the module; Kymatio's name."""
        return self(images)

    def extra_repr(self) -> str:
        settings = f"J={self.J}, shape={self.shape}, L={self.L}, max_order={self.max_order}, backend={self.backend!r}"
        reduction = self.spec.reduction
        kept = "" if reduction == WHOLE else f", pool={reduction.pool}, angles={reduction.angles!r}"
        return f"{settings}, grid={self.spec.grid!r}{kept}"

    def _check_images(self, images: Tensor) -> None:
        if not isinstance(images, Tensor):
            raise TypeError(
                f"images are a {type(images).__name__}: expected a torch.Tensor; try torch.as_tensor(images)"
            )
        if tuple(images.shape[-2:]) != self.shape:
            found, expected = tuple(images.shape), f"(..., {self.shape[0]}, {self.shape[1]})"
            channels_last = tuple(images.shape[-3:-1]) == self.shape
            hint = ": channels stand last, try images.movedim(-1, -3)" if channels_last else ""
            raise ValueError(f"images have shape {found}, expected {expected}{hint}")
        if images.device != self.device:
            raise ValueError(
                f"images are on {images.device}, this Scattering2D on {self.device}: move one of them with .to(device)"
            )


def _check_shape(shape: tuple[int, int]) -> tuple[int, int]:
    try:
        height, width = shape
    except (TypeError, ValueError):
        raise TypeError(f"shape is {shape!r}: expected (height, width) in pixels") from None
    if not all(isinstance(size, int) and not isinstance(size, bool) for size in (height, width)):
        raise TypeError(f"shape is {shape!r}: expected two integers, (height, width) in pixels")
    return height, width
