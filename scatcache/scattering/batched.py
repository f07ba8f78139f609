"""The transform as extraction calls it: uint8 RGB batches in NumPy to stored coefficients in NumPy.

The coefficients of an image have the same bits at any place of a batch, among any neighbours, in a batch of any size:
every pass computes the same number of images, missing ones being zeros, and opening a transform checks that a pass
gives one image the same bits in each of its places. Where it does not, images are computed one by one.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scatcache.scattering.backends import build_backend, resolve_backend, resolve_device
from scatcache.scattering.torch_fft import BUDGET_BYTES, scale_pixels
from scatcache.spec import N_COLOURS, ScatteringSpec

# Images in one call, at most, and the float32 bytes of their coefficients. More would gain nothing on a CPU.
MAX_BATCH_IMAGES = {"cpu": 64, "cuda": 512}
MAX_BATCH_BYTES = {"cpu": 8 << 20, "cuda": 256 << 20}
OUT_DTYPES = (np.float16, np.float32)


class BatchTransform:
    """The transform of RGB images of one shape on one device; made by open_transform.

    name: the backend's name; device: a torch.device; batch_images: the most images one call takes, a function of the
    spec, the shape, the backend and the kind of device alone.
    """

    def __init__(self, spec: ScatteringSpec, shape: tuple[int, int], *, device: torch.device, backend: str) -> None:
        self.spec = spec
        self.shape = shape
        self.name = resolve_backend(backend)
        self.device = device
        self.output_shape = spec.output_shape(*shape)
        self._transform = build_backend(self.name, spec, shape).to(device)
        kind, image_bytes = device.type, 4 * math.prod(self.output_shape)
        pass_bytes = N_COLOURS * self._transform.plane_bytes(element_bytes=4)
        most_images = min(MAX_BATCH_IMAGES[kind], MAX_BATCH_BYTES[kind] // image_bytes)
        self._pass_images = max(1, min(most_images, BUDGET_BYTES[kind] // pass_bytes))
        self.batch_images = max(1, most_images // self._pass_images) * self._pass_images
        if not self._places_agree():
            self._pass_images = 1

    def __call__(self, images: NDArray[np.uint8], out: NDArray[np.floating]) -> None:
        """Write the coefficients of images, uint8 (B, H, W, 3), to out, float16 or float32 (B, n_channels, h, w).

        B is at most batch_images. The caller sets torch.set_num_threads(1) where several threads call.
        Raises TypeError and ValueError for arrays of other dtypes and shapes.
        """
        self._check_arrays(images, out)
        with torch.inference_mode():
            for start in range(0, len(images), self._pass_images):
                part = images[start : start + self._pass_images]
                coefficients = self._compute(part)[: len(part)]
                torch.from_numpy(out[start : start + self._pass_images]).copy_(coefficients)

    def _compute(self, images: NDArray[np.uint8]) -> Tensor:
        """float32 (pass, n_channels, h, w) on the device of a pass of images, those beyond len(images) being zeros."""
        planes = np.zeros((self._pass_images, N_COLOURS, *self.shape), np.uint8)
        planes[: len(images)] = images.transpose(0, 3, 1, 2)
        pixels = scale_pixels(torch.from_numpy(planes).to(self.device))
        return self._transform(pixels.flatten(0, 1)).reshape(self._pass_images, *self.output_shape)

    def _places_agree(self) -> bool:
        """Whether one image gets the same bits in each place of a pass."""
        noise = np.random.default_rng(0).integers(0, 256, (1, *self.shape, N_COLOURS), dtype=np.uint8)
        with torch.inference_mode():
            coefficients = self._compute(np.repeat(noise, self._pass_images, axis=0))
        return bool((coefficients == coefficients[:1]).all())

    def _check_arrays(self, images: NDArray[np.uint8], out: NDArray[np.floating]) -> None:
        if images.dtype != np.uint8 or out.dtype not in OUT_DTYPES:
            raise TypeError(f"images are {images.dtype}, out {out.dtype}: expected uint8, and float16 or float32")
        if images.shape[1:] != (*self.shape, N_COLOURS) or len(images) > self.batch_images:
            raise ValueError(
                f"images have shape {images.shape}: expected (B, {self.shape[0]}, {self.shape[1]}, {N_COLOURS}), "
                f"B at most {self.batch_images}"
            )
        if out.shape != (len(images), *self.output_shape):
            raise ValueError(f"out has shape {out.shape}: expected {(len(images), *self.output_shape)}")


def open_transform(
    spec: ScatteringSpec, shape: tuple[int, int], *, device: str | torch.device = "cpu", backend: str = "auto"
) -> BatchTransform:
    """A BatchTransform of (H, W) images, its filters built and on the device.

    Raises BackendUnavailable where there is no such device, ValueError for unknown names and shapes that
    spec.check_shape refuses.
    """
    return BatchTransform(spec, shape, device=resolve_device(device), backend=backend)
