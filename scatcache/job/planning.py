"""The plan of an extraction, computed from listings and settings alone: no clock, no disk, no chance but the seed."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from scatcache.images.catalogue import Listing, Row
from scatcache.spec import ScatteringSpec
from scatcache.store.format.encodings import Encoding, find_encoding
from scatcache.store.format.json_text import to_json
from scatcache.store.format.layout import Generation, SplitLayout, choose_sizes
from scatcache.store.format.manifest import Manifest
from scatcache.store.format.rows import RowTable

# Chunk's Blosc header and crc32c, and its entry in the shard's index.
CHUNK_OVERHEAD_BYTES = 16 + 4 + 16
# A chunk's bytes and crc32c in a receipt (base64) and in the split's index; its label, source index, view, file's
# bytes, status and key.
ROW_OVERHEAD_BYTES = 120
# A receipt's sums and squares, as base64 of float64, and the rest of it.
CHANNEL_OVERHEAD_BYTES = 24
SHARD_OVERHEAD_BYTES = 8192
# Its arrays' metadata, once beside them and once consolidated in the root.
SPLIT_OVERHEAD_BYTES = 65536


class ShardPlace(NamedTuple):
    """Which shard: all that a task need say to a worker that has the row tables."""

    split: str
    shard: int


@dataclass(frozen=True)
class ShardTask:
    """One shard to compute. keys, views, file_bytes: of its rows in storage order; start: storage row of the first;
    rows_digest: of RowTable.digest."""

    split: str
    shard: int
    start: int
    keys: tuple[str, ...]
    views: tuple[int, ...]
    file_bytes: tuple[int, ...]
    rows_digest: str


def choose_rows(rows: Sequence[Row], *, seed: int, limit: int | None) -> list[int]:
    """Indices of the rows of a split in storage order: by blake2b(seed, key), the first limit of them."""
    return sorted(range(len(rows)), key=lambda index: place_key(rows[index].key, seed=seed))[:limit]


def place_key(key: str, *, seed: int) -> tuple[bytes, str]:
    """What the rows of a split are sorted by."""
    return hashlib.blake2b(key.encode("utf-8"), digest_size=16, key=seed.to_bytes(8, "little")).digest(), key


def choose_folds(
    listing: Listing, *, seed: int, limit: int | None, n_views: int = 1
) -> tuple[tuple[int, ...], ...] | None:
    """A listing's folds as source rows of the store: all views of those of its indices that limit keeps, in order."""
    if listing.folds is None:
        return None
    kept = sorted(choose_rows(listing.rows, seed=seed, limit=limit))
    first_row = {index: place * n_views for place, index in enumerate(kept)}
    return tuple(
        tuple(first_row[index] + view for index in fold if index in first_row for view in range(n_views))
        for fold in listing.folds
    )


def order_rows(rows: Sequence[Row], *, seed: int, limit: int | None = None, n_views: int = 1) -> RowTable:
    """The rows of a split in storage order: its first limit images by blake2b(seed, key), the views of each together.

    rows come sorted by key, each key once. The order of two keys never depends on the others, so that --limit keeps a
    fair sample and the same rows lead at any limit.
    """
    chosen = np.array(choose_rows(rows, seed=seed, limit=limit), np.int64)
    place = np.empty(len(chosen), np.int64)
    place[np.argsort(chosen)] = np.arange(len(chosen))
    key = np.empty(len(chosen), object)
    key[:] = [rows[index].key for index in chosen]
    view = np.tile(np.arange(n_views), len(chosen))
    return RowTable(
        key=np.repeat(key, n_views),
        label=np.repeat(np.array([rows[index].label for index in chosen], np.int64), n_views),
        source_index=np.repeat(place * n_views, n_views) + view,
        view=view.astype(np.uint16),
        file_bytes=np.repeat(np.array([rows[index].size for index in chosen], np.int64), n_views),
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
) -> SplitLayout:
    """The layout of one split that is extracted at once."""
    n_rows = n_views * (n_listed if limit is None else min(limit, n_listed))
    bytes_each = row_bytes(spec, image_shape, encoding)
    sizes = choose_sizes(n_rows, bytes_each, encoding=encoding, shard_images=shard_images)
    return SplitLayout(image_shape, *sizes, (Generation(n_rows, n_listed, listing),), folds)


def bound_bytes(manifest: Manifest, layouts: Iterable[SplitLayout]) -> int:
    """What splits of these layouts take on disk at most, were nothing compressible."""
    encoding = find_encoding(manifest.encoding)
    total = 2 * len(to_json(manifest.to_dict(), indent=2))
    for layout in layouts:
        each = row_bytes(manifest.spec, layout.image_shape, encoding) + CHUNK_OVERHEAD_BYTES + ROW_OVERHEAD_BYTES
        # Twice a document, in the split's and in the root's.
        total += 4 * len(to_json(layout.to_dict(), indent=2))
        shard = CHANNEL_OVERHEAD_BYTES * manifest.spec.n_channels + SHARD_OVERHEAD_BYTES
        # A split's last chunk is stored whole.
        total += each * (layout.n_rows + layout.chunk_images - 1) + shard * (layout.n_shards + 1) + SPLIT_OVERHEAD_BYTES
    return total


def plan_tasks(layout: SplitLayout, split: str, rows: RowTable) -> Iterator[ShardTask]:
    """One task per shard, in the order of the shards."""
    for shard in range(layout.n_shards):
        yield plan_task(layout, ShardPlace(split, shard), rows)


def plan_task(layout: SplitLayout, place: ShardPlace, rows: RowTable) -> ShardTask:
    """The task of one shard; rows: of its split."""
    span = layout.rows_of(place.shard)
    columns = (rows.key, rows.view, rows.file_bytes)
    keys, views, file_bytes = (tuple(values[span.start : span.stop].tolist()) for values in columns)
    return ShardTask(place.split, place.shard, span.start, keys, views, file_bytes, rows.digest(span))
