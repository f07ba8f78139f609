"""What a job will do: the record that plan() returns, that a run tells before any work, and that it goes by."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

from scatcache.images.image_source import ImageSource
from scatcache.job.estimate import Estimate
from scatcache.job.planning import ShardId, bound_bytes
from scatcache.job.shard_task import lighten
from scatcache.job.store_folder import StoreFolder
from scatcache.resources import free_disk_bytes
from scatcache.retries import with_retries
from scatcache.store.format.layout import SplitLayout
from scatcache.store.format.manifest import Manifest
from scatcache.store.format.receipts import Receipt
from scatcache.store.format.row_arrays import RowTable


@dataclass(frozen=True)
class SplitPlan:
    """images: rows, each view of an image counted; views: rows of each image; output_shape: (n_channels, h, w); bytes:
    at most, before compression; done: shards that are there and stay; images_done: their rows."""

    images: int
    image_shape: tuple[int, int]
    output_shape: tuple[int, int, int]
    bytes: int
    shards: int
    shard_images: int
    views: int
    done: int = 0
    images_done: int = 0


@dataclass(frozen=True)
class JobPlan:
    """store: path; is_new: nothing is there yet, or it goes first; settings: the store's, in words; splits: those asked
    for; bytes: of all of them at most; free_bytes: where the store is, or would be; device, backend, backend_reason:
    what computes, and why; warnings: sentences for the user; estimate: what it will cost, None where nothing was
    measured."""

    store: str
    is_new: bool
    settings: str
    splits: dict[str, SplitPlan]
    bytes: int
    free_bytes: int
    device: str
    backend: str
    backend_reason: str
    warnings: tuple[str, ...]
    estimate: Estimate | None = None

    @property
    def state(self) -> str:
        """Of the store: "new", and of one that is there "incomplete" or "complete" in these splits."""
        return "new" if self.is_new else "complete" if self.done == self.shards else "incomplete"

    @property
    def images(self) -> int:
        return sum(split.images for split in self.splits.values())

    @property
    def shards(self) -> int:
        return sum(split.shards for split in self.splits.values())

    @property
    def done(self) -> int:
        """Shards that are there and stay."""
        return sum(split.done for split in self.splits.values())

    @property
    def images_done(self) -> int:
        return sum(split.images_done for split in self.splits.values())

    @property
    def bytes_left(self) -> int:
        """Of what is still to be computed, at most."""
        return round(self.bytes * (1 - self.images_done / self.images))

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """Of the first split."""
        return next(iter(self.splits.values())).output_shape

    @property
    def views(self) -> int:
        """Rows of each image."""
        return next(iter(self.splits.values())).views

    def to_dict(self) -> dict[str, Any]:
        """As plan --json prints it."""
        totals = {name: getattr(self, name) for name in ("state", "images", "output_shape", "shards", "done")}
        own = {name: value for name, value in asdict(self).items() if name not in ("is_new", "warnings", "estimate")}
        return own | totals | ({} if self.estimate is None else {"estimate": self.estimate.to_dict()})


@dataclass(frozen=True)
class Job:
    """A job ready to run: its plan, and what that is carried out with. layouts, rows: of the plan's splits."""

    plan: JobPlan
    folder: StoreFolder
    manifest: Manifest
    layouts: dict[str, SplitLayout]
    source: ImageSource
    rows: dict[str, RowTable]


@dataclass(frozen=True)
class Survey:
    """What of a job is there. receipts: of kept shards, by split and shard, lightened; missing: shards to compute;
    retried: those of them that hold unreadable rows, and are to be computed again."""

    receipts: dict[str, dict[int, Receipt]]
    missing: list[ShardId] = field(default_factory=list)
    retried: list[ShardId] = field(default_factory=list)


def survey(job: Job, *, retry_unreadable: bool) -> Survey:
    """Looks at every shard of a job."""
    found = Survey({split: {} for split in job.layouts})
    for split, layout in job.layouts.items():
        for shard in range(layout.n_shards):
            digest = job.rows[split].digest(layout.rows_of(shard))
            done = job.folder.writer.find_done(job.manifest, split, layout, shard, rows_digest=digest)
            if done is not None and done.unreadable and retry_unreadable:
                found.retried.append(ShardId(split, shard))
                done = None
            if done is None:
                found.missing.append(ShardId(split, shard))
            else:
                found.receipts[split][shard] = lighten(done)
    return found


def plan_splits(manifest: Manifest, layouts: Mapping[str, SplitLayout]) -> dict[str, SplitPlan]:
    """What these splits of a store take, nothing of them done."""
    plans = {}
    for split, layout in layouts.items():
        plans[split] = SplitPlan(
            images=layout.n_rows,
            image_shape=layout.image_shape,
            output_shape=manifest.spec.output_shape(*layout.image_shape),
            bytes=bound_bytes(manifest, [layout]),
            shards=layout.n_shards,
            shard_images=layout.shard_images,
            views=manifest.n_views,
        )
    return plans


def update(job: Job, found: Survey) -> JobPlan:
    """The job's plan as things stand: shards that are done, and space that is free, by now."""
    splits = {
        split: replace(plan, done=len(kept), images_done=sum(receipt.n_rows for receipt in kept.values()))
        for (split, plan), kept in zip(job.plan.splits.items(), found.receipts.values(), strict=True)
    }
    return replace(job.plan, splits=splits, free_bytes=with_retries(partial(free_disk_bytes, job.folder.path)))
