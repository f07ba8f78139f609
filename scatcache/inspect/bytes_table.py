"""What a store takes under each encoding and reduction, by encoding a sample of its coefficients in each way."""

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scatcache.job.calibration import choose_dtype, find_steps
from scatcache.job.estimate import CHANNEL_BYTES, EVERY_ROW_BYTES, EVERY_SHARD_BYTES, EVERY_STORE_BYTES
from scatcache.job.planned import Job
from scatcache.job.planning import lay_out
from scatcache.job.stages import encode_chunk, encode_row
from scatcache.scattering.batched import open_transform
from scatcache.scattering.reduction import reduce_maps
from scatcache.spec import MEAN_ANGLES, Reduction, ScatteringSpec
from scatcache.store.format.encodings import DEFAULT_STEP, ENCODINGS, Calibration, Encoding
from scatcache.store.format.layout import SplitLayout

# The sample, in values of whole maps.
SAMPLE_VALUES = 36_000_000
# What transforming the sample may take.
TRANSFORM_S = 2.0


def weigh(job: Job, images: NDArray[Any], *, transform_s: float) -> dict[str, dict[str, int]]:
    """{reduction: {encoding: bytes}} of the whole store. images: a sample, (n, H, W, colours); transform_s: of one."""
    spec, shape = job.manifest.spec, (images.shape[1], images.shape[2])
    table: dict[str, dict[str, int]] = {}
    whole = _transform(job, leave_out_repeats(images)[: max(1, int(TRANSFORM_S / transform_s))])
    for reduction in list_reductions(spec):
        kept = replace(spec, reduction=reduction)
        values = whole.reshape(len(whole), spec.colours, -1, *whole.shape[2:])
        sample = reduce_maps(values, kept).reshape(len(whole), *kept.output_shape(*shape))
        row = {}
        for encoding in ENCODINGS.values():
            row[encoding.name] = sum(
                _weigh_split(kept, _calibrate(encoding, sample, job, spec=kept), layout, sample)
                for layout in job.layouts.values()
            )
        table[name_reduction(reduction)] = row
    return {name: {key: value + EVERY_STORE_BYTES for key, value in row.items()} for name, row in table.items()}


def leave_out_repeats(images: NDArray[Any]) -> NDArray[Any]:
    """Each image once: of a small sample, one that is there twice would seem to compress to nothing."""
    _, first = np.unique([hashlib.sha256(image.tobytes()).digest() for image in images], return_index=True)
    return images[np.sort(first)]


def list_reductions(spec: ScatteringSpec) -> list[Reduction]:
    """Whole maps, averaged angles, one vector an image, and what is asked for."""
    usual = [Reduction(), Reduction(None, MEAN_ANGLES), Reduction(1), Reduction(1, MEAN_ANGLES)]
    return usual if spec.reduction in usual else [spec.reduction, *usual]


def name_reduction(reduction: Reduction) -> str:
    """As it is typed: "--pool 1 --angles mean"; "whole maps" of none."""
    pool = [] if reduction.pool is None else [f"--pool {reduction.pool}"]
    return " ".join([*pool, *(["--angles mean"] if reduction.averages_angles else [])]) or "whole maps"


def _transform(job: Job, images: NDArray[Any]) -> NDArray[np.float32]:
    """Whole maps of as many of the images as make a sample, float32 (n, n_channels, h, w)."""
    shape, plan = (images.shape[1], images.shape[2]), job.plan
    transform = open_transform(
        job.manifest.spec.whole, shape, pixels=job.manifest.pixels, device=plan.device, backend=plan.backend
    )
    n = max(1, min(len(images), SAMPLE_VALUES // int(np.prod(transform.output_shape))))
    whole = np.empty((n, *transform.output_shape), np.float32)
    for start in range(0, n, transform.batch_images):
        stop = min(n, start + transform.batch_images)
        transform(images[start:stop], whole[start:stop])
    return whole


def _calibrate(encoding: Encoding, sample: NDArray[np.float32], job: Job, *, spec: ScatteringSpec) -> Encoding:
    if not encoding.quantised:
        return encoding
    own = job.manifest.calibration
    if own is not None and spec == job.manifest.spec:
        return encoding.calibrated(own)
    wide = sample.astype(np.float64)
    steps = find_steps(
        job.manifest.settings.step or DEFAULT_STEP, wide.mean((0, 2, 3)), np.square(wide).mean((0, 2, 3))
    )
    dtype = choose_dtype(np.abs(sample).max(axis=(0, 2, 3)), steps)
    return encoding.calibrated(Calibration.of(job.manifest.settings.step or DEFAULT_STEP, steps, dtype=dtype))


def _weigh_split(spec: ScatteringSpec, encoding: Encoding, layout: SplitLayout, sample: NDArray[np.float32]) -> int:
    """Bytes of a split, from the sample's chunks."""
    cut = lay_out(
        spec,
        encoding,
        n_listed=layout.n_rows,
        listing="",
        image_shape=layout.image_shape,
        limit=None,
        shard_images=None,
    )
    rows = [encode_row(row, encoding) for row in sample]
    # A sample of fewer rows than a chunk is one chunk.
    n = min(cut.chunk_images, len(rows))
    chunks, encoded = len(rows) // n, 0
    for chunk in range(chunks):
        encoded += len(encode_chunk(rows[chunk * n : (chunk + 1) * n], encoding)) + 16
    of_rows = layout.n_rows * (encoded / (chunks * n) + EVERY_ROW_BYTES)
    return round(of_rows + cut.n_shards * (EVERY_SHARD_BYTES + CHANNEL_BYTES * spec.n_channels))
