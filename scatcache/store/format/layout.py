"""Where each row lies: the sizes of shards and chunks, decided here alone, and the names of their files."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from scatcache.store.format.encodings import Encoding
from scatcache.typed import build, check

# Sequential reads gain nothing beyond this, and a shard is what a kill can cost.
TARGET_SHARD_BYTES = 128 * 2**20
# Enough for the shards to keep a machine's workers busy to the end, and for whole shards to be a fair shuffle.
MIN_SHARDS = 32
# Below this Blosc's header and our crc32c weigh, and lz4 has too little to look back on.
MIN_CHUNK_BYTES = 16 * 2**10
# What a manifest may claim: beyond, numbers are damage and not data.
MAX_ROWS = 2**40
MAX_SIDE = 2**24


@dataclass(frozen=True)
class SplitLayout:
    """One split's rows, in storage order, cut into shards of shard_images rows and those into chunks.

    n_rows: rows stored; n_listed: rows of the source before any limit; listing: hash of the source's listing;
    image_shape: (height, width) in pixels of every image, None where the source's sizes differ; folds: source rows of
    each of the dataset's own folds, None where it has none.
    """

    n_rows: int
    n_listed: int
    listing: str
    image_shape: tuple[int, int] | None
    shard_images: int
    chunk_images: int
    folds: tuple[tuple[int, ...], ...] | None = None

    @property
    def n_shards(self) -> int:
        return math.ceil(self.n_rows / self.shard_images)

    @property
    def n_chunks(self) -> int:
        """Chunks of one shard, those beyond the last row included."""
        return self.shard_images // self.chunk_images

    def rows_of(self, shard: int) -> range:
        """The rows of one shard; the last shard may hold fewer."""
        start = shard * self.shard_images
        return range(start, min(start + self.shard_images, self.n_rows))

    def to_dict(self) -> dict[str, Any]:
        """Folds as one line of text each, where there are any: a number a line would be most of the manifest."""
        fields = {**asdict(self), "image_shape": list(self.image_shape) if self.image_shape else None}
        del fields["folds"]
        folds = {} if self.folds is None else {"folds": [" ".join(map(str, fold)) for fold in self.folds]}
        return {**fields, **folds}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "SplitLayout":
        """Raises KeyError, TypeError, ValueError for missing, malformed or contradictory fields."""
        lines = check(tuple[str, ...] | None, fields.get("folds"), "folds")
        layout = build(cls, {name: value for name, value in fields.items() if name != "folds"})
        if lines is not None:
            layout = replace(layout, folds=tuple(tuple(map(int, line.split())) for line in lines))
        sizes = (layout.shard_images, layout.chunk_images, *(layout.image_shape or (1, 1)))
        if min(sizes) < 1 or layout.shard_images % layout.chunk_images:
            raise ValueError("the counts and sizes contradict each other")
        # Beyond what choose_sizes chooses: numbers that would only ask for memory.
        if layout.chunk_images > MIN_CHUNK_BYTES or layout.shard_images > layout.n_rows + MIN_CHUNK_BYTES:
            raise ValueError("a shard or chunk holds more rows than there can be")
        if layout.n_rows > MAX_ROWS or max(sizes[2:]) > MAX_SIDE:
            raise ValueError("it has more rows or pixels than there can be")
        if not all(0 <= row < layout.n_rows for fold in layout.folds or () for row in fold):
            raise ValueError("a fold holds a row that the split has not")
        return layout


def choose_sizes(
    n_rows: int, row_bytes: int, *, encoding: Encoding, shard_images: int | None = None
) -> tuple[int, int]:
    """(shard_images, chunk_images) for n_rows rows of row_bytes bytes before compression.

    A shard holds about TARGET_SHARD_BYTES, less where the split would have fewer than MIN_SHARDS shards. A chunk
    holds one image, several where an image compresses badly for being tiny. A shard_images that was asked for is cut
    to what n_rows rows fill.
    """
    chunk_images = max(1, MIN_CHUNK_BYTES // row_bytes) if encoding.compressor else 1
    if shard_images is None:
        wanted = max(1, min(TARGET_SHARD_BYTES // row_bytes, n_rows // MIN_SHARDS))
        chunk_images = min(chunk_images, wanted)
        shard_images = wanted - wanted % chunk_images
    # Absent chunks are not free: each takes 16 bytes of the index.
    shard_images = min(shard_images, max(1, math.ceil(n_rows / chunk_images)) * chunk_images)
    while shard_images % chunk_images:
        chunk_images -= 1
    return shard_images, chunk_images


def shard_name(shard: int) -> str:
    """File of a shard in the coefficients' folder (Zarr's default chunk key, separator ".")."""
    return f"c.{shard}.0.0.0"


def status_name(shard: int) -> str:
    """File of the statuses of a shard's rows in the status array's folder."""
    return f"c.{shard}"


def receipt_name(shard: int) -> str:
    """File of a shard's receipt in the receipts' folder."""
    return f"{shard:05d}.json"
