"""How long one image takes in each stage of an extraction, on one thread, on images of the job itself."""

import time
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scatcache.errors import UnreadableImage
from scatcache.images.decode import decode_noted
from scatcache.job.pixels import check_form, decoding_of
from scatcache.job.planned import Job
from scatcache.job.planning import choose_rows
from scatcache.job.reading import ShardReads
from scatcache.job.workers import keep_torch_threads
from scatcache.scattering.batched import open_transform
from scatcache.scattering.channel_sums import find_adder
from scatcache.scattering.quantisation import find_quantiser
from scatcache.store.format.encodings import Encoding
from scatcache.store.format.layout import SplitLayout

# Images in one look: enough for the caches to be as full as in a run, few enough to look at the clock again.
LEAST_IMAGES, MOST_IMAGES = 2, 512
# What the first images may take, of the whole time: they say how many more there is time for.
FIRST_SHARE = 0.25


@dataclass(frozen=True)
class Stages:
    """Seconds a row takes on one thread: reading its bytes, decoding, the transform, sums and encoding. Views of an
    image share what reading and decoding it take."""

    read_s: float
    decode_s: float
    transform_s: float
    encode_s: float

    @property
    def total_s(self) -> float:
        return sum(getattr(self, entry.name) for entry in fields(self))

    @property
    def on_the_fly_s(self) -> float:
        """Without encoding: what training pays for a row that it transforms itself."""
        return self.total_s - self.encode_s


@dataclass(frozen=True)
class Look:
    """Stages, and the images that they were measured on, (n, H, W, colours)."""

    stages: Stages
    images: NDArray[Any]


def measure_stages(job: Job, split: str, *, budget_s: float) -> Look | None:
    """Times the stages on the first rows of a split, for about budget_s seconds; None where no image is readable."""
    part, manifest = job.source.find(split), job.manifest
    wanted = min(MOST_IMAGES, len(part.listing.rows))
    chosen = choose_rows(part.listing.rows, seed=manifest.seed, limit=wanted).tolist()
    layout = job.layouts[split]
    transform = open_transform(
        manifest.spec, layout.image_shape, pixels=manifest.pixels, device=job.plan.device, backend=job.plan.backend
    )
    started, n = time.monotonic(), min(LEAST_IMAGES, len(chosen))
    looks: list[Look] = []
    with ShardReads(part, split, chosen) as reads, keep_torch_threads(during=1):
        start = 0
        while start < len(chosen) and (start == 0 or budget_s > time.monotonic() - started):
            look = _look(chosen[start : start + n], reads, job, layout=layout, transform=transform)
            looks, start = looks if look is None else [*looks, look], start + n
            left, spent = budget_s - (time.monotonic() - started), (time.monotonic() - started) / start
            n = max(1, min(int(left * FIRST_SHARE / spent), transform.batch_images, len(chosen) - start))
    return _join(looks)


def _join(looks: list[Look]) -> Look | None:
    """Means over the images of all but the first, which pays for pages and tables that later ones find made."""
    if not looks:
        return None
    counted = looks[1:] or looks
    weights = [len(look.images) for look in counted]
    names = [entry.name for entry in fields(Stages)]
    means = [np.average([getattr(look.stages, name) for look in counted], weights=weights) for name in names]
    return Look(Stages(*(float(mean) for mean in means)), np.concatenate([look.images for look in looks]))


def encode_row(row: NDArray[np.floating[Any]], encoding: Encoding) -> NDArray[Any]:
    """(1, n_channels, h, w): a float32 row as an encoding takes it; integers that do not fit are 0."""
    if encoding.steps is None:
        return row[None].astype(encoding.compute_dtype)
    stored, sums = encoding.empty(1, row.shape), np.zeros((2, len(row)))
    if not find_quantiser()(np.ascontiguousarray(row, np.float32), encoding.steps, stored[0], sums[0], sums[1]):
        stored[...] = 0
    return stored


def encode_chunk(rows: list[NDArray[Any]], encoding: Encoding) -> bytes:
    """The bytes of a chunk, of rows as encode_row gives them."""
    joined = encoding.empty(len(rows), rows[0].shape[1:], dtype=rows[0].dtype)
    np.concatenate(rows, out=joined)
    return encoding.encode(joined)[0]


def _look(chosen: list[int], reads: ShardReads, job: Job, *, layout: SplitLayout, transform: Any) -> Look | None:
    manifest, encoding, add = job.manifest, job.manifest.stored_as, find_adder()
    clock, images = [time.perf_counter()], []
    data = [reads.read(i) for i in chosen]
    clock.append(time.perf_counter())
    for each in data:
        try:
            image = decode_noted(each, decoding_of(manifest)).pixels
            check_form(image, manifest, layout.image_shape)
        except UnreadableImage:
            continue
        images.append(image)
    if not images:
        return None
    batch = np.stack(images)
    clock.append(time.perf_counter())
    coefficients = np.empty((len(batch), *transform.output_shape), np.float32)
    for start in range(0, len(batch), transform.batch_images):
        stop = start + transform.batch_images
        transform(batch[start:stop], coefficients[start:stop])
    clock.append(time.perf_counter())
    sums, rows = np.zeros((2, transform.output_shape[0])), []
    for row in coefficients:
        rows.append(encode_row(row, encoding))
        if encoding.steps is None:
            add(rows[-1][0], sums[0], sums[1])
        if len(rows) == layout.chunk_images:
            encode_chunk(rows, encoding)
            rows = []
    if rows:
        encode_chunk(rows, encoding)
    clock.append(time.perf_counter())
    read_s, decode_s, transform_s, encode_s = (np.diff(clock) / len(batch)).tolist()
    return Look(Stages(read_s / manifest.n_views, decode_s / manifest.n_views, transform_s, encode_s), batch)
