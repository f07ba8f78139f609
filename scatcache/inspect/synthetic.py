"""Images that stand for those that nobody has yet: noise with the spectrum of photographs, as JPEG files."""

import os
import re
from pathlib import Path

import numpy as np
from PIL import Image

from scatcache.errors import UsageError

# Different images, and names of them: more names are links to the same files.
N_DIFFERENT, MOST_NAMES = 16, 4096
# Larger images repeat a square of noise, which fits itself at its borders.
MOST_SIDE = 512
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
    for i, name in enumerate(names):
        if i < N_DIFFERENT:
            Image.fromarray(draw_noise(shape, seed=i)).save(name, quality=QUALITY)
        else:
            os.link(names[i % N_DIFFERENT], name)
    return folder


def draw_noise(shape: tuple[int, int], *, seed: int) -> np.ndarray:
    """(H, W, 3) uint8: noise whose amplitudes fall as 1 / frequency, with a little of its own in each colour."""
    rng = np.random.default_rng(seed)
    height, width = (min(side, MOST_SIDE) for side in shape)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1
    planes = []
    for _ in range(4):
        spectrum = np.fft.rfft2(rng.normal(size=(height, width))) / np.maximum(frequency, 1 / max(height, width))
        spectrum[0, 0] = 0
        plane = np.fft.irfft2(spectrum, s=(height, width))
        planes.append(plane / max(float(plane.std()), 1e-9))
    picture = np.stack([planes[0] + 0.3 * plane for plane in planes[1:]], axis=-1)
    drawn = np.clip(118 + 55 * picture, 0, 255).astype(np.uint8)
    repeats = (-(-shape[0] // height), -(-shape[1] // width), 1)
    return np.tile(drawn, repeats)[: shape[0], : shape[1]]
