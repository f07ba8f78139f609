"""The steps of quantised coefficients: a share of each channel's standard deviation over a seeded sample."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scatcache.errors import SourceError, UnreadableImage
from scatcache.images.decode import decode_noted
from scatcache.images.source import Part
from scatcache.job.pixels import check_form, decoding_of
from scatcache.job.planning import choose_rows
from scatcache.job.reading import ShardReads
from scatcache.resources import count_cores
from scatcache.scattering.backends import NATIVE
from scatcache.scattering.batch_transform import BatchTransform
from scatcache.scattering.batched import open_transform
from scatcache.scattering.channel_sums import add_by_numpy
from scatcache.store.format.encodings import Calibration
from scatcache.store.format.manifest import Manifest

# Samples of the images that are looked at, and how many those are at least and at most: 66 of 224 px, 1,024 of 32 px.
SAMPLE_VALUES = 10_000_000
LEAST_IMAGES, MOST_IMAGES = 16, 1024
# A channel that hardly varies in the sample gets the step of one that varies by this part of the most varied one.
LEAST_SPREAD = 1e-3
# int8 is chosen where the sample needs no more than this part of it: other images may reach further.
NARROW_SHARE = 0.5
DIGITS = 6


@dataclass(frozen=True)
class Moments:
    """Of the coefficients of some images: their number of values in a channel, and (n_channels,) float64 sums of them
    and of their squares, and the largest magnitude."""

    n: int
    sums: NDArray[np.float64]
    square_sums: NDArray[np.float64]
    most: NDArray[np.float64]


def calibrate(
    part: Part, split: str, *, manifest: Manifest, shape: tuple[int, int], device: str, backend: str
) -> Calibration:
    """The calibration of a new store: of a split's first rows in storage order, which are a seeded sample.

    Raises SourceError where none of them can be read, and as reading does.
    """
    n_images = min(max(SAMPLE_VALUES // (shape[0] * shape[1] * manifest.colours), LEAST_IMAGES), MOST_IMAGES)
    limit = min(n_images, manifest.settings.limit or n_images)
    chosen = choose_rows(part.listing.rows, seed=manifest.seed, limit=limit).tolist()
    transform = open_transform(manifest.spec, shape, pixels=manifest.pixels, device=device, backend=backend)
    n_threads = count_cores() if transform.name == NATIVE else 1
    n_batch = max(1, min(transform.batch_images, len(chosen) // n_threads))
    batches = [chosen[start : start + n_batch] for start in range(0, len(chosen), n_batch)]
    with ShardReads(part, split, chosen) as reads, ThreadPoolExecutor(n_threads) as pool:
        found = list(pool.map(partial(_measure, reads, manifest, transform), batches))
    n_values = sum(moments.n for moments in found)
    if not n_values:
        raise SourceError(
            f"the steps of quantised coefficients come from a sample of {len(chosen)} images, all of which are "
            f"unreadable: is this the right folder? or give --encoding float32"
        )
    step = manifest.settings.step
    assert step is not None
    sums, square_sums = (
        np.sum([getattr(moments, name) for moments in found], axis=0) for name in ("sums", "square_sums")
    )
    steps = find_steps(step, sums / n_values, square_sums / n_values)
    most = np.max([moments.most for moments in found], axis=0)
    return Calibration.of(step, steps, dtype=choose_dtype(most, steps))


def choose_dtype(most: NDArray[np.floating[Any]], steps: NDArray[np.float64]) -> str:
    """Of the integers: most, steps: (n_channels,), the largest magnitude in the sample, and the step."""
    return "int8" if (most / steps <= NARROW_SHARE * np.iinfo(np.int8).max).all() else "int16"


def find_steps(step: float, means: NDArray[np.float64], square_means: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n_channels,) steps of channels of these means and means of squares, step being in standard deviations.

    They are rounded to six digits, so that hosts whose transforms differ in the last bits agree.
    """
    spread = np.sqrt(np.maximum(square_means - means**2, 0))
    if not spread.any():
        # One image in one cell, or images of one value: then a part of the value itself, or of the largest sample.
        spread = LEAST_SPREAD * (np.sqrt(square_means) if square_means.any() else np.ones(len(means)))
    steps = step * np.maximum(spread, LEAST_SPREAD * spread.max())
    return np.array([float(f"{value:.{DIGITS}g}") for value in steps])


def _measure(reads: ShardReads, manifest: Manifest, transform: BatchTransform, chosen: list[int]) -> Moments:
    """The moments of those of the chosen images that can be read."""
    n_channels, height, width = transform.output_shape
    moments = Moments(0, np.zeros(n_channels), np.zeros(n_channels), np.zeros(n_channels))
    images = list(_read_images(reads, manifest, transform.shape, chosen))
    if not images:
        return moments
    coefficients = np.empty((len(images), *transform.output_shape), np.float32)
    transform(np.stack(images), coefficients)
    for row in coefficients:
        add_by_numpy(row, moments.sums, moments.square_sums)
    most = np.abs(coefficients).max(axis=(0, 2, 3)).astype(np.float64)
    return Moments(len(images) * height * width, moments.sums, moments.square_sums, most)


def _read_images(
    reads: ShardReads, manifest: Manifest, shape: tuple[int, int], chosen: list[int]
) -> Iterator[NDArray[np.generic]]:
    """Those of the chosen images that can be read, (H, W, colours)."""
    how = decoding_of(manifest)
    for i in chosen:
        try:
            image = decode_noted(reads.read(i), how).pixels
            check_form(image, manifest, shape)
        except UnreadableImage:
            continue
        yield image
