"""The implementations that bench_transform compares, each as one call on float32 images (n, 3, H, W) in [0, 1]."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import torch
from kymatio.scattering2d.frontend.numpy_frontend import ScatteringNumPy2D
from kymatio.scattering2d.frontend.torch_frontend import ScatteringTorch2D
from numpy.typing import NDArray

from scatcache import Scattering2D
from scatcache.errors import BackendUnavailable

Images = NDArray[np.float32]
# Coefficients (n, 3, n_paths, h, w), in as many pieces as the implementation leaves them in.
Call = Callable[[Images, int], list[NDArray[np.float32]]]

YARDSTICK = "kymatio-torch"
FIELD_SIZE = 1024


def build_native(J: int, size: int) -> Call:
    try:
        module = Scattering2D(J, (size, size), backend="native")
    except ValueError as error:
        raise BackendUnavailable(str(error)) from error
    if module.backend != "native":
        raise BackendUnavailable(f"backend 'native' was resolved to {module.backend!r}: expected 'native'")
    return call_torch(module)


def build_torch(J: int, size: int) -> Call:
    return call_torch(Scattering2D(J, (size, size), backend="torch"))


def build_kymatio_torch(J: int, size: int) -> Call:
    return call_torch(ScatteringTorch2D(J, (size, size)))


def build_kymatio_numpy(J: int, size: int) -> Call:
    """One thread by itself; more only as Python threads, each with its share of the images."""
    transform = ScatteringNumPy2D(J, (size, size))

    def call(images: Images, n_threads: int) -> list[NDArray[np.float32]]:
        n_parts = min(n_threads, len(images))
        if n_parts == 1:
            return [transform(images)]
        return list(open_pool(n_parts).map(transform, np.array_split(images, n_parts)))

    return call


@lru_cache
def open_pool(n_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads)


def call_torch(module: torch.nn.Module) -> Call:
    """A call that leaves the number of threads to torch.set_num_threads."""

    def call(images: Images, n_threads: int) -> list[NDArray[np.float32]]:
        with torch.inference_mode():
            return [module(torch.from_numpy(images)).numpy()]

    return call


BUILDERS: dict[str, Callable[[int, int], Call]] = {
    "native": build_native,
    "torch": build_torch,
    YARDSTICK: build_kymatio_torch,
    "kymatio-numpy": build_kymatio_numpy,
}


def make_images(n_images: int, size: int, *, seed: int = 0) -> Images:
    """Distinct crops (n_images, 3, size, size) of one random field whose spectrum falls as a photograph's, 1/f."""
    generator = np.random.default_rng(seed)
    rows, columns = np.fft.fftfreq(FIELD_SIZE)[:, None], np.fft.rfftfreq(FIELD_SIZE)[None, :]
    amplitude = 1 / np.maximum(np.hypot(rows, columns), 1 / FIELD_SIZE)
    noise = generator.standard_normal((3, FIELD_SIZE, FIELD_SIZE))
    field = np.fft.irfft2(np.fft.rfft2(noise) * amplitude, s=(FIELD_SIZE, FIELD_SIZE))
    field = ((field - field.min()) / np.ptp(field)).astype(np.float32)
    corners = generator.choice((FIELD_SIZE - size) ** 2, n_images, replace=False)
    images = np.empty((n_images, 3, size, size), np.float32)
    for image, corner in zip(images, corners, strict=True):
        row, column = divmod(int(corner), FIELD_SIZE - size)
        image[:] = field[:, row : row + size, column : column + size]
    return images


class Inputs:
    """Batches taken one after the other from a pool of images, so that no call sees the batch of the call before."""

    def __init__(self, images: Images) -> None:
        self.images = images
        self._next = 0

    def take(self, n_images: int) -> Images:
        assert 3 * n_images <= len(self.images), "with less than three batches the first may overlap the one before it"
        start = self._next if self._next + n_images <= len(self.images) else 0
        self._next = start + n_images
        return self.images[start : self._next]
