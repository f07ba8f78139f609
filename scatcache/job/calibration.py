"""The steps of quantised coefficients: a share of each channel's standard deviation over a seeded sample."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from scatcache.errors import SourceError, UnreadableImage
from scatcache.images.decode import decode_noted
from scatcache.images.source import Part
from scatcache.job.pixels import check_form, decoding_of
from scatcache.job.planning import choose_rows
from scatcache.retries import with_retries
from scatcache.scattering.batched import open_transform
from scatcache.scattering.channel_sums import find_adder
from scatcache.store.format.encodings import Calibration
from scatcache.store.format.manifest import Manifest

# Samples of the images that are looked at, and how many those are at least and at most.
SAMPLE_VALUES = 2**25
LEAST_IMAGES, MOST_IMAGES = 16, 1024
# A channel that hardly varies in the sample gets the step of one that varies by this part of the most varied one.
LEAST_SPREAD = 1e-3


def calibrate(part: Part, manifest: Manifest, shape: tuple[int, int], *, device: str, backend: str) -> Calibration:
    """The calibration of a new store of a split: of its first rows in storage order, which are a seeded sample.

    Raises SourceError where none of them can be read.
    """
    n_images = min(max(SAMPLE_VALUES // (shape[0] * shape[1] * manifest.colours), LEAST_IMAGES), MOST_IMAGES)
    limit = min(n_images, manifest.settings.limit or n_images)
    chosen = choose_rows(part.listing.rows, seed=manifest.seed, limit=limit).tolist()
    transform = open_transform(manifest.spec, shape, pixels=manifest.pixels, device=device, backend=backend)
    add = find_adder()
    n_channels, height, width = transform.output_shape
    sums, square_sums, n_read = np.zeros(n_channels), np.zeros(n_channels), 0
    for batch in _read_batches(part, manifest, shape, chosen, transform.batch_images):
        coefficients = np.empty((len(batch), *transform.output_shape), np.float32)
        transform(batch, coefficients)
        for row in coefficients:
            add(row, sums, square_sums)
        n_read += len(batch)
    if not n_read:
        raise SourceError(
            f"the steps of quantised coefficients come from a sample of {len(chosen)} images, all of which are "
            f"unreadable: is this the right folder? or give --encoding float32"
        )
    n_values = n_read * height * width
    spread = np.sqrt(np.maximum(square_sums / n_values - (sums / n_values) ** 2, 0))
    if not spread.any():
        # One image in one cell, or images of one value: then a part of the value itself, or of the largest sample.
        spread = LEAST_SPREAD * (np.sqrt(square_sums / n_values) if square_sums.any() else np.ones(n_channels))
    step = manifest.settings.step
    assert step is not None
    return Calibration.of(step, step * np.maximum(spread, LEAST_SPREAD * spread.max()), dtype="int16")


def _read_batches(
    part: Part, manifest: Manifest, shape: tuple[int, int], chosen: list[int], batch_images: int
) -> Iterator[np.ndarray]:
    """Those of the chosen images that can be read, (B, H, W, colours)."""
    how = decoding_of(manifest)

    def read(i: int) -> np.ndarray | None:
        try:
            image = decode_noted(with_retries(lambda: part.read(i)), how).pixels
            check_form(image, manifest, shape)
        except UnreadableImage:
            return None
        return image

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(chosen), batch_images):
            images = [image for image in pool.map(read, chosen[start : start + batch_images]) if image is not None]
            if images:
                yield np.stack(images)
