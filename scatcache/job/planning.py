"""The plan of an extraction, computed from listings and settings alone: no clock, no disk, no chance but the seed."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from scatcache.images.source import ListedRows, Listing
from scatcache.spec import ScatteringSpec
from scatcache.store.format.encodings import Encoding
from scatcache.store.format.json_text import to_json
from scatcache.store.format.layout import Generation, SplitLayout, choose_sizes
from scatcache.store.format.manifest import Manifest
from scatcache.store.format.row_arrays import RowTable

# Chunk's Blosc header and crc32c, and its entry in the shard's index.
CHUNK_OVERHEAD_BYTES = 16 + 4 + 16
# A chunk's bytes and crc32c in a receipt (base64) and in the split's index; its label, source index, view, file's
# bytes, status and key.
ROW_OVERHEAD_BYTES = 120
# Of one number of its target.
TARGET_BYTES = 4
# A receipt's sums and squares, as base64 of float64, and the rest of it.
CHANNEL_OVERHEAD_BYTES = 24
SHARD_OVERHEAD_BYTES = 8192
# Its arrays' metadata, once beside them and once consolidated in the root.
SPLIT_OVERHEAD_BYTES = 65536


class ShardId(NamedTuple):
    """Which shard: all that a task need say to a worker that has the row tables."""

    split: str
    shard: int


@dataclass(frozen=True)
class ShardTask:
    """One shard to compute. images, keys, views: of its rows in storage order, images as the listing numbers them;
    start: storage row of the first; rows_digest: of RowTable.digest."""

    split: str
    shard: int
    start: int
    images: tuple[int, ...]
    keys: tuple[str, ...]
    views: tuple[int, ...]
    rows_digest: str


def choose_rows(rows: ListedRows, *, seed: int, limit: int | None) -> np.ndarray:
    """int64 indices of the rows of a split in storage order: by blake2b(seed, key), the first limit of them.

    Takes 16 bytes a row, and as much again: a list of keys would take five times that.
    """
    hashed, start = np.empty((len(rows), 2), ">u8"), 0
    for block in rows.blocks():
        digests = b"".join(sort_key(key, seed=seed)[0] for key, *_ in block)
        # Two big-endian halves sort as the bytes do.
        hashed[start : start + len(block)] = np.frombuffer(digests, ">u8").reshape(-1, 2)
        start += len(block)
    high = hashed[:, 0].astype(np.uint64)
    among = np.arange(len(rows))
    if limit is not None and limit < len(rows):
        among = np.flatnonzero(high <= np.partition(high, limit - 1)[limit - 1])
    # Rows come sorted by key, and a stable sort leaves those of one hash so.
    return among[np.lexsort((hashed[among, 1].astype(np.uint64), high[among]))][:limit]


def sort_key(key: str, *, seed: int) -> tuple[bytes, str]:
    """What the rows of a split are sorted by."""
    return hashlib.blake2b(key.encode("utf-8"), digest_size=16, key=seed.to_bytes(8, "little")).digest(), key


def choose_folds(
    listing: Listing, *, seed: int, limit: int | None, n_views: int = 1
) -> tuple[tuple[int, ...], ...] | None:
    """A listing's folds as source rows of the store: all views of those of its indices that limit keeps, in order."""
    if listing.folds is None:
        return None
    kept = sorted(choose_rows(listing.rows, seed=seed, limit=limit).tolist())
    first_row = {index: place * n_views for place, index in enumerate(kept)}
    return tuple(
        tuple(first_row[index] + view for index in fold if index in first_row for view in range(n_views))
        for fold in listing.folds
    )


def order_rows(
    rows: ListedRows,
    *,
    seed: int,
    limit: int | None = None,
    n_views: int = 1,
    targets: np.ndarray | None = None,
) -> RowTable:
    """The rows of a split in storage order: its first limit images by blake2b(seed, key), the views of each together.

    rows come sorted by key, each key once. The order of two keys never depends on the others, so that --limit keeps a
    fair sample and the same rows lead at any limit. targets: float32 (n, k) of the rows, None where there are none.
    """
    chosen = choose_rows(rows, seed=seed, limit=limit)
    place = np.empty(len(chosen), np.int64)
    place[np.argsort(chosen)] = np.arange(len(chosen))
    key = np.empty(len(chosen), object)
    key[:] = rows.pick(chosen)
    view = np.tile(np.arange(n_views), len(chosen))
    return RowTable(
        key=np.repeat(key, n_views),
        label=np.repeat(rows.labels[chosen], n_views),
        source_index=np.repeat(place * n_views, n_views) + view,
        view=view.astype(np.uint16),
        file_bytes=np.repeat(rows.sizes[chosen], n_views),
        target=None if targets is None else np.repeat(targets[chosen], n_views, axis=0),
    )


def row_bytes(spec: ScatteringSpec, image_shape: tuple[int, int], encoding: Encoding) -> int:
    """Bytes of one image's coefficients before compression."""
    return int(np.prod(spec.output_shape(*image_shape))) * np.dtype(encoding.dtype).itemsize


def lay_out(
    spec: ScatteringSpec,
    encoding: Encoding,
    *,
    n_listed: int,
    listing: str,
    image_shape: tuple[int, int],
    limit: int | None,
    shard_images: int | None,
    folds: tuple[tuple[int, ...], ...] | None = None,
    n_views: int = 1,
    n_targets: int = 0,
) -> SplitLayout:
    """The layout of one split that is extracted at once."""
    n_rows = n_views * (n_listed if limit is None else min(limit, n_listed))
    bytes_each = row_bytes(spec, image_shape, encoding)
    work = row_bytes(spec.whole, image_shape, encoding)
    sizes = choose_sizes(n_rows, bytes_each, encoding=encoding, shard_images=shard_images, work_bytes=work)
    return SplitLayout(image_shape, *sizes, (Generation(n_rows, n_listed, listing),), folds, n_targets)


def bound_bytes(manifest: Manifest, layouts: Iterable[SplitLayout]) -> int:
    """What splits of these layouts take on disk at most, were nothing compressible."""
    encoding = manifest.stored_as
    total = 2 * len(to_json(manifest.to_dict(), indent=2))
    for layout in layouts:
        each = row_bytes(manifest.spec, layout.image_shape, encoding) + CHUNK_OVERHEAD_BYTES + ROW_OVERHEAD_BYTES
        each += TARGET_BYTES * layout.n_targets
        # Twice a document, in the split's and in the root's.
        total += 4 * len(to_json(layout.to_dict(), indent=2))
        shard = CHANNEL_OVERHEAD_BYTES * manifest.spec.n_channels + SHARD_OVERHEAD_BYTES
        # A split's last chunk is stored whole.
        total += each * (layout.n_rows + layout.chunk_images - 1) + shard * (layout.n_shards + 1) + SPLIT_OVERHEAD_BYTES
    return total


def find_images(rows: RowTable, listing: Listing, *, n_views: int) -> np.ndarray:
    """(n_rows,) int64: which image of the listing each row shows; rows: of its split, all or the first by a limit."""
    places = (rows.source_index - rows.view) // n_views
    if n_views * len(listing.rows) == len(rows.key):
        return places
    kept = set(rows.key.tolist())
    found = (key in kept for block in listing.rows.blocks() for key, *_ in block)
    return np.flatnonzero(np.fromiter(found, bool, len(listing.rows)))[places]


def plan_task(layout: SplitLayout, place: ShardId, rows: RowTable, *, images: np.ndarray) -> ShardTask:
    """The task of one shard; rows: of its split; images: as find_images gives them."""
    span = layout.rows_of(place.shard)
    chosen, keys, views = (tuple(values[span.start : span.stop].tolist()) for values in (images, rows.key, rows.view))
    return ShardTask(place.split, place.shard, span.start, chosen, keys, views, rows.digest(span))
