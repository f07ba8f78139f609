"""What a running job tells whoever watches it; commands.py draws, the library never prints."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scatcache.job.planned import JobPlan
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
    """Before any work. plan: what is about to be done; n_workers: shards computed at once; expected_s: how long it will
    take, from a look at some images, None of jobs of seconds and where nobody listens; expected_bytes: of what is still
    to be stored, were the images natural ones."""

    plan: "JobPlan"
    n_workers: int
    expected_s: float | None = None
    expected_bytes: int = 0


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


def tell_archive(on_event: Callable[[Event], None] | None) -> Callable[[str, str, int, int | None], None]:
    """An archive's progress, as those who fetch and index them tell it, as events."""

    def on_archive(action: str, file: str, done: int, total: int | None) -> None:
        if on_event is not None:
            on_event(ArchiveProgress(action, file, done, total))

    return on_archive
