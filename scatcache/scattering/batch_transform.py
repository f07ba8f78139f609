"""What every backend is to extraction: a transform of batches of images."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from scatcache.spec import Pixels, ScatteringSpec

OUT_DTYPES = (np.float16, np.float32)


class BatchTransform(Protocol):
    """The transform of images of one shape and kind of pixels on one device; made by open_transform.

    name: the backend's name; core: the native core's, empty elsewhere; device: a torch.device; versions: of packages
    that compute beside torch; batch_images: the most images one call takes.
    """

    spec: ScatteringSpec
    shape: tuple[int, int]
    pixels: Pixels
    name: str
    core: str
    versions: dict[str, str]
    device: torch.device
    output_shape: tuple[int, int, int]
    batch_images: int

    def __call__(self, images: NDArray[Any], out: NDArray[np.floating]) -> None:
        """Write the coefficients of images (B, H, W, colours) to out, float16 or float32 (B, n_channels, h, w).

        images: of pixels.dtype, uint8, uint16 or float32; their samples are divided by pixels.scale in float32.
        B is at most batch_images. The caller sets torch.set_num_threads(1) where several threads call.
        Raises TypeError and ValueError for arrays of other dtypes and shapes.
        """

    def start(self, images: NDArray[Any], dtype: np.dtype[Any]) -> Callable[[], NDArray[np.floating]]:
        """Begin with the coefficients of images, as __call__; what is returned gives them, once, from any thread.

        A device computes meanwhile; on a CPU they are there when this returns.
        """


def check_arrays(transform: BatchTransform, images: NDArray[Any], out: NDArray[np.floating]) -> None:
    """Raises TypeError and ValueError for what a transform's call does not take."""
    if images.dtype != transform.pixels.dtype or out.dtype not in OUT_DTYPES:
        raise TypeError(
            f"images are {images.dtype}, out {out.dtype}: expected {transform.pixels.dtype}, and float16 or float32"
        )
    colours = transform.spec.colours
    if images.shape[1:] != (*transform.shape, colours) or len(images) > transform.batch_images:
        raise ValueError(
            f"images have shape {images.shape}: expected (B, {transform.shape[0]}, {transform.shape[1]}, {colours}), "
            f"B at most {transform.batch_images}"
        )
    if out.shape != (len(images), *transform.output_shape):
        raise ValueError(f"out has shape {out.shape}: expected {(len(images), *transform.output_shape)}")
