"""What a run of extract or resume tells when it is over."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class SplitReport:
    """rows of the split; ok and unreadable ones; its shards, those computed in this run, those kept from earlier."""

    rows: int
    ok: int
    unreadable: int
    shards: int
    shards_computed: int
    shards_kept: int


@dataclass(frozen=True)
class ExtractReport:
    """What a run did. store: path; state: "complete" or "incomplete"; bytes: of the store on disk; elapsed_s: of the
    run; images_per_s: rows computed in this run / elapsed_s; backend: name; unreadable: split, key and reason; n_views:
    rows of each image; limit: images kept of each split at most, None for all; warnings: what is to be told of the
    images, a line each."""

    store: str
    state: str
    splits: dict[str, SplitReport]
    bytes: int
    elapsed_s: float
    images_per_s: float
    backend: str
    unreadable: tuple[dict[str, str], ...]
    n_views: int = 1
    limit: int | None = None
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name not in ("n_views", "limit", "warnings")}
