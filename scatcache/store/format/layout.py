"""Where each row lies: the sizes of shards and chunks, decided here alone, and the names of their files."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from scatcache.spec import MAX_TARGETS
from scatcache.store.format.encodings import Encoding
from scatcache.typed import build, check

# Sequential reads gain nothing beyond this, and a shard is what a kill can cost.
TARGET_SHARD_BYTES = 128 * 2**20
# Enough for the shards to keep a machine's workers busy to the end, and for whole shards to be a fair shuffle.
MIN_SHARDS = 32
# Unless shards would then be smaller than this: a receipt takes some 6 kB, whatever the rows.
MIN_SHARD_BYTES = 64 * 2**10
# Where little is kept of the maps, a shard would hold hours of work: this many bytes of whole ones make some minutes.
MAX_SHARD_WORK_BYTES = 32 * TARGET_SHARD_BYTES
# Below this Blosc's header and our crc32c weigh, and lz4 has too little to look back on.
MIN_CHUNK_BYTES = 16 * 2**10
# Blosc cuts larger chunks into blocks, and shuffles no block whose numbers are not a multiple of eight: a chunk of one
# such block (a row of 28 px, in 7x7 maps) stays as large as it was, where lz4 takes 15% off others.
BLOCK_BYTES = 64 * 2**10
SHUFFLED_TOGETHER = 8
# What a split may claim: beyond, numbers are damage and not data.
MAX_ROWS = 2**40
MAX_SIDE = 2**24
MAX_GENERATIONS = 2**16


@dataclass(frozen=True)
class Generation:
    """What one extraction added. n_rows: rows stored; n_listed: rows of the source before any limit; listing: hash of
    the source's listing."""

    n_rows: int
    n_listed: int
    listing: str


@dataclass(frozen=True)
class SplitLayout:
    """One split's rows, in storage order, cut into shards of shard_images rows and those into chunks.

    Each generation begins on a new shard; positions between its last row and the end of that shard are gaps, which hold
    no row. image_shape: (height, width) in pixels of every image; folds: source rows of each of the dataset's own
    folds, None where it has none; n_targets: numbers stored with each row as what is to be predicted of it.
    """

    image_shape: tuple[int, int]
    shard_images: int
    chunk_images: int
    generations: tuple[Generation, ...]
    folds: tuple[tuple[int, ...], ...] | None = None
    n_targets: int = 0

    @cached_property
    def n_rows(self) -> int:
        return sum(generation.n_rows for generation in self.generations)

    @property
    def listing(self) -> str:
        """Hash of the source's listing at the last extraction."""
        return self.generations[-1].listing

    @property
    def n_listed(self) -> int:
        """Rows of that listing, before any limit."""
        return self.generations[-1].n_listed

    @cached_property
    def spans(self) -> tuple[range, ...]:
        """The positions of each generation's rows."""
        spans, n_shards = [], 0
        for generation in self.generations:
            start = n_shards * self.shard_images
            spans.append(range(start, start + generation.n_rows))
            n_shards += math.ceil(generation.n_rows / self.shard_images)
        return tuple(spans)

    @cached_property
    def n_positions(self) -> int:
        """Length of the arrays: rows, and the gaps before the last generation."""
        return self.spans[-1].stop

    @property
    def n_shards(self) -> int:
        return math.ceil(self.n_positions / self.shard_images)

    @property
    def n_chunks(self) -> int:
        """Chunks of one shard, those beyond the last row included."""
        return self.shard_images // self.chunk_images

    def rows_of(self, shard: int) -> range:
        """The positions of one shard's rows; the last shard of a generation may hold fewer."""
        start = shard * self.shard_images
        stop = next(span.stop for span in self.spans if start < span.stop)
        return range(start, min(start + self.shard_images, stop))

    def positions_of(self, shard: int) -> range:
        """All positions of one shard that the arrays have, gaps included."""
        start = shard * self.shard_images
        return range(start, min(start + self.shard_images, self.n_positions))

    def is_row(self) -> np.ndarray:
        """(n_positions,) bool: which positions are no gaps."""
        found = np.zeros(self.n_positions, bool)
        for span in self.spans:
            found[span.start : span.stop] = True
        return found

    def to_dict(self) -> dict[str, Any]:
        """Folds as one line of text each, for a number a line would be most of the document; folds and n_targets only
        where there are any."""
        fields: dict[str, Any] = {
            "image_shape": list(self.image_shape),
            "shard_images": self.shard_images,
            "chunk_images": self.chunk_images,
            "generations": [asdict(generation) for generation in self.generations],
        }
        if self.folds is not None:
            fields["folds"] = [" ".join(map(str, fold)) for fold in self.folds]
        return {**fields, "n_targets": self.n_targets} if self.n_targets else fields

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "SplitLayout":
        """Raises KeyError, TypeError, ValueError for missing, malformed or contradictory fields."""
        if type(fields) is not dict:
            raise TypeError("the split's record is no object")
        lines = check(tuple[str, ...] | None, fields.get("folds"), "folds")
        layout = build(cls, {name: value for name, value in fields.items() if name != "folds"})
        if lines is not None:
            layout = replace(layout, folds=tuple(tuple(map(int, line.split())) for line in lines))
        for problem in layout._find_problems():
            raise ValueError(problem)
        return layout

    def _find_problems(self) -> Iterator[str]:
        """Beyond contradictions, what choose_sizes never chooses: numbers that would only ask for memory."""
        sizes = (self.shard_images, self.chunk_images, *self.image_shape)
        if min(sizes) < 1 or self.shard_images % self.chunk_images:
            yield "the counts and sizes contradict each other"
            return
        counts = [generation.n_rows for generation in self.generations]
        if not 1 <= len(counts) <= MAX_GENERATIONS or any(count < 1 for count in counts[1:]):
            yield "it has no rows, or a generation has none"
            return
        if self.chunk_images > MIN_CHUNK_BYTES or self.shard_images > max(counts) + MIN_CHUNK_BYTES:
            yield "a shard or chunk holds more rows than there can be"
        if self.n_positions > MAX_ROWS or max(self.image_shape) > MAX_SIDE:
            yield "it has more rows or pixels than there can be"
        if self.n_targets > MAX_TARGETS:
            yield f"it has {self.n_targets} targets for each row, expected {MAX_TARGETS} at most"
        if not all(0 <= row < self.n_rows for fold in self.folds or () for row in fold):
            yield "a fold holds a row that the split has not"


def choose_sizes(
    n_rows: int, row_bytes: int, *, encoding: Encoding, shard_images: int | None = None, work_bytes: int | None = None
) -> tuple[int, int]:
    """(shard_images, chunk_images) for n_rows rows of row_bytes bytes before compression.

    A shard holds about TARGET_SHARD_BYTES, less where the split would have fewer than MIN_SHARDS shards, or where that
    is much work: work_bytes is what a row takes before anything is left out of it, by default row_bytes. A chunk holds
    one image, several where an image compresses badly for being tiny. A shard_images that was asked for is cut to what
    n_rows rows fill.
    """
    most = min(TARGET_SHARD_BYTES // row_bytes, MAX_SHARD_WORK_BYTES // (work_bytes or row_bytes))
    wanted = max(1, min(most, max(n_rows // MIN_SHARDS, math.ceil(MIN_SHARD_BYTES / row_bytes))))
    chunk_images = 1
    if encoding.codec.compresses:
        most = wanted if shard_images is None else MIN_CHUNK_BYTES
        chunk_images = _choose_chunk(row_bytes, np.dtype(encoding.dtype).itemsize, most=most)
    if shard_images is None:
        shard_images = wanted - wanted % chunk_images
    # Absent chunks are not free: each takes 16 bytes of the index.
    shard_images = min(shard_images, max(1, math.ceil(n_rows / chunk_images)) * chunk_images)
    while shard_images % chunk_images:
        chunk_images -= 1
    return shard_images, chunk_images


def _choose_chunk(row_bytes: int, item_bytes: int, *, most: int) -> int:
    """How many rows a compressed chunk holds: MIN_CHUNK_BYTES of them, and no block that is not shuffled; at most most,
    which may leave no other."""
    chunk_images = max(1, MIN_CHUNK_BYTES // row_bytes)
    if chunk_images * row_bytes < BLOCK_BYTES:
        whole = SHUFFLED_TOGETHER // math.gcd(row_bytes // item_bytes, SHUFFLED_TOGETHER)
        chunk_images = min(math.ceil(chunk_images / whole) * whole, max(whole, most - most % whole))
    return min(chunk_images, most)


def shard_name(shard: int) -> str:
    """File of a shard in the coefficients' folder (Zarr's default chunk key, separator ".")."""
    return f"c.{shard}.0.0.0"


def receipt_name(shard: int) -> str:
    """File of a shard's receipt in the receipts' folder."""
    return f"{shard:05d}.json"
