"""What a run of extract or resume tells when it is over."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from scatcache.images.decoding.notes import add_notes, word_notes
from scatcache.job.planned import Job
from scatcache.resources import folder_bytes
from scatcache.retries import with_retries
from scatcache.store.format.receipts import Receipt

Receipts = Mapping[str, Mapping[int, Receipt]]
Computed = Mapping[str, Collection[int]]


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


def report_run(job: Job, receipts: Receipts, *, computed: Computed, elapsed_s: float) -> ExtractReport:
    """What a run did. receipts: of all shards, by split; computed: which of them are this run's, by split."""
    manifest, records = job.manifest, job.folder.records
    finished = all(records.read_summary(split) is not None for split in records.splits())
    every = [receipt for known in receipts.values() for _, receipt in sorted(known.items())]
    # Each image once, however many of its views are rows.
    unreadable = {(receipt.split, entry.key): entry.reason for receipt in every for entry in receipt.unreadable}
    return ExtractReport(
        store=job.plan.store,
        state="complete" if finished else "incomplete",
        splits={split: _report_split(known, len(computed[split])) for split, known in receipts.items()},
        bytes=with_retries(partial(folder_bytes, job.folder.path)),
        elapsed_s=elapsed_s,
        images_per_s=count_images(receipts, computed) / elapsed_s,
        backend=", ".join(sorted({receipt.backend["name"] for receipt in every})),
        unreadable=tuple({"split": split, "key": key, "reason": reason} for (split, key), reason in unreadable.items()),
        n_views=manifest.n_views,
        limit=manifest.settings.limit,
        warnings=find_warnings(receipts, computed=computed),
    )


def count_images(receipts: Receipts, computed: Computed) -> int:
    """Rows of some shards."""
    return sum(receipts[split][shard].n_rows for split, shards in computed.items() for shard in shards)


def _report_split(known: Mapping[int, Receipt], computed: int) -> SplitReport:
    rows, ok = sum(receipt.n_rows for receipt in known.values()), sum(receipt.n_ok for receipt in known.values())
    return SplitReport(rows, ok, rows - ok, len(known), computed, len(known) - computed)


def find_warnings(receipts: Receipts, *, computed: Computed) -> tuple[str, ...]:
    """What is to be told of the images of a job's splits, those that earlier runs recorded as unreadable too."""
    every = [receipt for known in receipts.values() for receipt in known.values()]
    ours = [receipts[split][shard] for split, shards in computed.items() for shard in shards]
    n_kept = len(_list_unreadable(every) - _list_unreadable(ours))
    retry = f"{n_kept:,} unreadable images were recorded by earlier runs: --retry-unreadable tries them again"
    if n_kept == 1:
        retry = "1 unreadable image was recorded by an earlier run: --retry-unreadable tries it again"
    return (*word_notes(add_notes(*(receipt.notes for receipt in every))), *([retry] if n_kept else []))


def _list_unreadable(receipts: Iterable[Receipt]) -> set[tuple[str, str]]:
    """Split and key of each image that is recorded as unreadable."""
    return {(receipt.split, entry.key) for receipt in receipts for entry in receipt.unreadable}
