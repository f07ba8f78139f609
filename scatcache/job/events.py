"""What a running job tells whoever watches it; commands.py draws, the library never prints."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scatcache.store.format.receipts import Receipt


@dataclass(frozen=True)
class ArchiveProgress:
    """An archive on its way. action: "downloading" or "indexing"; file: its name; bytes so far, and in all (None where
    the server does not say)."""

    action: str
    file: str
    bytes: int
    total_bytes: int | None


@dataclass(frozen=True)
class JobPlanned:
    """Before any work. settings: the store's, in words; output_shapes: (n_channels, h, w) by split; bytes: upper bound
    of what the splits take; n_images (each of n_views views counted), n_shards: of the splits asked for; n_done: shards
    that are kept; n_workers: shards computed at once."""

    store: str
    settings: str
    n_images: int
    output_shapes: dict[str, tuple[int, int, int]]
    bytes: int
    free_bytes: int
    n_shards: int
    n_done: int
    n_images_done: int
    device: str
    backend: str
    reason: str
    n_workers: int
    warnings: tuple[str, ...]
    n_views: int = 1


@dataclass(frozen=True)
class StoreReplaced:
    """The store that was there goes, because overwrite was asked for. deleted: False before, True when it is gone."""

    store: str
    deleted: bool


@dataclass(frozen=True)
class ClusterWaiting:
    """No shard comes for now. text: what is missing, what to do about it, and for how long that is waited for."""

    text: str


@dataclass(frozen=True)
class ShardFinished:
    """One more shard is on disk. receipt: without chunk_crc32c, sums, square_sums and versions, which it has there."""

    receipt: "Receipt"


@dataclass(frozen=True)
class JobFinished:
    """All shards are on disk and the splits are finished. warnings: what is to be told of their images."""

    store: str
    warnings: tuple[str, ...] = ()


Event = ArchiveProgress | JobPlanned | StoreReplaced | ClusterWaiting | ShardFinished | JobFinished
