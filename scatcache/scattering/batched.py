"""The transform as extraction calls it: batches of pixels in NumPy to stored coefficients in NumPy.

The coefficients of an image have the same bits at any position, among any neighbours, in a batch of any size.
The native core computes every image alone. In torch every pass computes the same number of images, missing ones being
zeros, and opening a transform checks that a pass gives one image the same bits in each of its positions. Where it does
not, images are computed one by one.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scatcache.scattering.backends import FUSED, NATIVE, TORCH, resolve_backend, resolve_device
from scatcache.scattering.batch_transform import BatchTransform, check_arrays
from scatcache.scattering.fused import FusedTransform, try_fused
from scatcache.scattering.magnitudes import ShiftedBatches, settle_scale
from scatcache.scattering.native.transform import NativeTransform
from scatcache.scattering.reduction import reduce_maps
from scatcache.scattering.torch_fft import BUDGET_BYTES, TorchScattering
from scatcache.spec import NATIVE as NATIVE_PIXELS
from scatcache.spec import Pixels, ScatteringSpec

__all__ = ["BatchTransform", "open_transform"]

# Planes in one call, at most, and the float32 bytes of their coefficients. More would gain nothing on a CPU.
MAX_BATCH_PLANES = {"cpu": 192, "cuda": 1536}
MAX_BATCH_BYTES = {"cpu": 8 << 20, "cuda": 256 << 20}


class NativeBatches:
    """A BatchTransform by the native core, on the calling thread, straight into the caller's array."""

    name = NATIVE

    def __init__(self, spec: ScatteringSpec, shape: tuple[int, int], pixels: Pixels, *, device: torch.device) -> None:
        self.spec = spec
        self.shape = shape
        self.pixels = pixels
        self.device = device
        self.versions: dict[str, str] = {}
        self.output_shape = spec.output_shape(*shape)
        self.batch_images = _most_images("cpu", spec, self.output_shape)
        self._transform = NativeTransform(spec, shape)
        self.core = self._transform.core

    def __call__(self, images: NDArray[Any], out: NDArray[np.floating]) -> None:
        check_arrays(self, images, out)
        direct = out if out.flags.carray else np.empty(out.shape, out.dtype)
        self._transform(images.transpose(0, 3, 1, 2), direct, scale=self.pixels.scale)
        if direct is not out:
            out[...] = direct

    def start(self, images: NDArray[Any], dtype: np.dtype[Any]) -> Callable[[], NDArray[np.floating]]:
        return _compute_now(self, images, dtype)


class TorchBatches:
    """A BatchTransform by torch_fft."""

    name = TORCH
    core = ""

    def __init__(self, spec: ScatteringSpec, shape: tuple[int, int], pixels: Pixels, *, device: torch.device) -> None:
        self.spec = spec
        self.shape = shape
        self.pixels = pixels
        self.device = device
        self.versions: dict[str, str] = {}
        self.output_shape = spec.output_shape(*shape)
        self._transform = TorchScattering(spec, shape).to(device)
        pass_bytes = spec.colours * self._transform.plane_bytes(element_bytes=4)
        most_images = _most_images(device.type, spec, self.output_shape)
        self._pass_images = max(1, min(most_images, BUDGET_BYTES[device.type] // pass_bytes))
        self.batch_images = max(1, most_images // self._pass_images) * self._pass_images
        if not self._positions_agree():
            self._pass_images = 1

    def __call__(self, images: NDArray[Any], out: NDArray[np.floating]) -> None:
        check_arrays(self, images, out)
        with torch.inference_mode():
            for start in range(0, len(images), self._pass_images):
                part = images[start : start + self._pass_images]
                coefficients = self._compute(part)[: len(part)]
                torch.from_numpy(out[start : start + self._pass_images]).copy_(coefficients)

    def start(self, images: NDArray[Any], dtype: np.dtype[Any]) -> Callable[[], NDArray[np.floating]]:
        return _compute_now(self, images, dtype)

    def _compute(self, images: NDArray[Any]) -> Tensor:
        """float32 (pass, n_channels, h, w) on the device of a pass of images, those beyond len(images) being zeros."""
        is_small = images.dtype == np.uint8  # a quarter of the bytes to a device; torch computes with no uint16
        planes = np.zeros((self._pass_images, self.spec.colours, *self.shape), images.dtype if is_small else np.float32)
        planes[: len(images)] = images.transpose(0, 3, 1, 2)
        pixels = torch.from_numpy(planes).to(self.device).to(torch.float32) / self.pixels.scale
        return self._transform(pixels.flatten(0, 1)).reshape(self._pass_images, *self.output_shape)

    def _positions_agree(self) -> bool:
        """Whether one image gets the same bits at each position of a pass."""
        noise = np.random.default_rng(0).integers(0, 256, (1, *self.shape, self.spec.colours), dtype=np.uint8)
        images = np.repeat(noise.astype(self.pixels.dtype), self._pass_images, axis=0)
        with torch.inference_mode():
            coefficients = self._compute(images)
        return bool((coefficients == coefficients[:1]).all())


class FusedBatches:
    """A BatchTransform by the fused CUDA kernels, which compute every plane alone, on a stream of its own.

    start copies into page-locked memory and leaves the copy to the device, the kernels and the copy back to the stream:
    the caller decodes the next batch and encodes the last one meanwhile.
    """

    name = FUSED
    core = ""

    def __init__(self, transform: FusedTransform, spec: ScatteringSpec, pixels: Pixels) -> None:
        self.spec = spec
        self.shape = transform.shape
        self.pixels = pixels
        self.device = transform.device
        self.versions = {"cupy": transform.cupy_version}
        self.output_shape = self.spec.output_shape(*self.shape)
        self._transform = transform
        self._stream = torch.cuda.Stream(self.device)
        free_bytes, _ = torch.cuda.mem_get_info(self.device)
        self._map_shape = transform.spec.output_shape(*self.shape)
        fitting = free_bytes // 4 // (4 * math.prod(self._map_shape))
        self.batch_images = max(1, min(_most_images("cuda", self.spec, self._map_shape), fitting))

    def __call__(self, images: NDArray[Any], out: NDArray[np.floating]) -> None:
        check_arrays(self, images, out)
        out[...] = self.start(images, out.dtype)()

    def start(self, images: NDArray[Any], dtype: np.dtype[Any]) -> Callable[[], NDArray[np.floating]]:
        locked = torch.empty(images.shape, dtype=getattr(torch, self.pixels.dtype), pin_memory=True)
        locked.numpy()[...] = images
        out_dtype = torch.float16 if dtype == np.float16 else torch.float32
        coefficients = torch.empty((len(images), *self.output_shape), dtype=out_dtype, pin_memory=True)
        done = torch.cuda.Event()
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            self._run(locked, coefficients)
            done.record()

        def finish() -> NDArray[np.floating]:
            done.synchronize()
            assert len(locked) == len(coefficients)  # both stay where they are until the stream has used them
            result: NDArray[np.floating] = coefficients.numpy()
            return result

        return finish

    def _run(self, images: Tensor, out: Tensor) -> None:
        """Coefficients of images into out, both page-locked; in halves where the device has no memory for the whole."""
        if len(images) == 0:
            return
        try:
            pixels = images.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
            is_whole = self.spec == self._transform.spec
            dtype = out.dtype if is_whole else torch.float32
            maps = torch.empty(len(out), *self._map_shape, dtype=dtype, device=self.device)
            self._transform(pixels, maps, scale=self.pixels.scale)
            out.copy_(maps if is_whole else self._reduce(maps), non_blocking=True)
        except torch.cuda.OutOfMemoryError:
            if len(images) == 1:
                raise
            half = len(images) // 2
            for part in (slice(0, half), slice(half, None)):
                self._run(images[part], out[part])

    def _reduce(self, maps: Tensor) -> Tensor:
        """What is kept of whole maps (n, colours * paths, h, w): (n, n_channels, h, w)."""
        reduced = reduce_maps(maps.unflatten(1, (self.spec.colours, -1)), self.spec)
        return reduced.flatten(1, 2)


_TRANSFORMS: dict[str, type[NativeBatches] | type[TorchBatches]] = {NATIVE: NativeBatches, TORCH: TorchBatches}


def open_transform(
    spec: ScatteringSpec,
    shape: tuple[int, int],
    *,
    pixels: Pixels | None = None,
    device: str | torch.device = "cpu",
    backend: str = "auto",
) -> BatchTransform:
    """A BatchTransform of (H, W) images, its filters built and on the device.

    pixels: what enters it, by default 8 bits a sample, divided by 255, of as many colours as the spec has.
    Raises BackendUnavailable where there is no such device, ValueError for unknown names, shapes that spec.check_shape
    refuses, and pixels of other colours than the spec's.
    """
    pixels = pixels or Pixels(NATIVE_PIXELS, spec.colours)
    if pixels.colours != spec.colours:
        raise ValueError(f"pixels are of {pixels.colours} colours, the spec of {spec.colours}: expected as many")
    spec.check_shape(*shape)
    settled, shift = settle_scale(pixels)
    transform = _open(spec, shape, settled, device=resolve_device(device), backend=backend)
    return ShiftedBatches(transform, pixels, shift) if shift or pixels.dtype == "float32" else transform


def _open(
    spec: ScatteringSpec, shape: tuple[int, int], pixels: Pixels, *, device: torch.device, backend: str
) -> BatchTransform:
    name = resolve_backend(backend, device)
    if name == FUSED:
        fused = try_fused(spec.whole, shape, device, alone=backend == FUSED)
        return TorchBatches(spec, shape, pixels, device=device) if fused is None else FusedBatches(fused, spec, pixels)
    return _TRANSFORMS[name](spec, shape, pixels, device=device)


def _compute_now(
    transform: BatchTransform, images: NDArray[Any], dtype: np.dtype[Any]
) -> Callable[[], NDArray[np.floating]]:
    coefficients = np.empty((len(images), *transform.output_shape), dtype)
    transform(images, coefficients)
    return lambda: coefficients


def _most_images(kind: str, spec: ScatteringSpec, output_shape: tuple[int, int, int]) -> int:
    """Images of one call, at least one."""
    most_bytes = MAX_BATCH_BYTES[kind] // (4 * math.prod(output_shape))
    return max(1, min(MAX_BATCH_PLANES[kind] // spec.colours, most_bytes))
