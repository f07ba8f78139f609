"""Images that stand for those that nobody has yet: noise with the spectrum of photographs, as JPEG files."""

import os
import re
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scatcache.errors import UsageError

# Different images: at least so many, more while there is time, since repeats would compress against each other. The
# other names are links to the same files.
LEAST_DIFFERENT, MOST_DIFFERENT, MOST_NAMES = 3, 512, 4096
DRAW_S = 2.0
# Planes of noise that the images are mixed of, and the most pixels along a side before a plane repeats itself.
N_PLANES, MOST_SIDE = 8, 512
QUALITY = 90


def parse_shape(shape: str | tuple[int, int] | None) -> tuple[int, int]:
    """(height, width) of "375x500" or a pair. Raises UsageError."""
    if isinstance(shape, str):
        found = re.fullmatch(r"(\d+)x(\d+)", shape.strip().lower())
        shape = (int(found[1]), int(found[2])) if found else None
    try:
        height, width = (int(side) for side in shape or ())
    except (TypeError, ValueError):
        height = width = 0
    if min(height, width) < 1:
        raise UsageError("image_shape is missing or no height and width: give --image-shape 375x500, say")
    return height, width


def draw_images(folder: Path, n_images: int, shape: tuple[int, int]) -> Path:
    """A folder of n_images JPEG files, at most MOST_NAMES, of (height, width) pixels."""
    folder.mkdir(parents=True)
    names = [folder / f"{i:06d}.jpg" for i in range(min(n_images, MOST_NAMES))]
    rng, started = np.random.default_rng(0), time.monotonic()
    planes = draw_planes(rng, shape)
    n_drawn = 0
    for name in names[:MOST_DIFFERENT]:
        if n_drawn >= LEAST_DIFFERENT and time.monotonic() - started > DRAW_S:
            break
        Image.fromarray(mix(rng, planes, shape)).save(name, quality=QUALITY)
        n_drawn += 1
    for i, name in enumerate(names[n_drawn:]):
        os.link(names[i % n_drawn], name)
    return folder


def draw_planes(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float32]:
    """(N_PLANES, h, w), at most MOST_SIDE a side, of unit variance: noise whose amplitudes fall as 1 / frequency.

    A plane ends as it begins: shifted and repeated it shows no seam.
    """
    height, width = (min(side, MOST_SIDE) for side in shape)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf
    planes = np.empty((N_PLANES, height, width), np.float32)
    for plane in planes:
        plane[...] = np.fft.irfft2(np.fft.rfft2(rng.normal(size=plane.shape)) / frequency, s=plane.shape)
        plane /= max(float(plane.std()), 1e-9)
    return planes


def mix(rng: np.random.Generator, planes: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W, 3): planes added, each shifted anywhere, with a brightness, a contrast and faint colours of its own."""
    base, *colours = (_shift(rng, planes[i], shape) for i in rng.choice(len(planes), 4, replace=False))
    brightness, contrast = rng.uniform(80, 155), rng.uniform(25, 75)
    picture = np.stack([base + rng.uniform(0.1, 0.4) * colour for colour in colours], axis=-1)
    return np.clip(brightness + contrast * picture, 0, 255).astype(np.uint8)


def _shift(rng: np.random.Generator, plane: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    for axis, side in enumerate(shape):
        period = plane.shape[axis]
        plane = plane.take((np.arange(side) + rng.integers(period)) % period, axis)
    return plane
