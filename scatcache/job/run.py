"""One run of a prepared job: what is missing, the workers, the shards as they come, the finished splits."""

import contextlib
import json
import logging
import math
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any

from scatcache.errors import ScatcacheError, SourceError, StoreDamaged
from scatcache.images.contents import Contents
from scatcache.job.events import ClusterWaiting, Event, JobFinished, JobPlanned, ShardFinished
from scatcache.job.executors import open_cluster
from scatcache.job.planned import Job, JobPlan, survey, update
from scatcache.job.planning import ShardId
from scatcache.job.report import ExtractReport, count_images, find_warnings, report_run
from scatcache.job.settings import RunOptions
from scatcache.job.shard_job import ShardJob, stop_job
from scatcache.job.shard_task import run_shard
from scatcache.job.stages import measure_stages
from scatcache.job.stored import keep_copy
from scatcache.job.stored_source import remember
from scatcache.job.takeover import check_ours
from scatcache.job.tasks import run_tasks, tell_workers
from scatcache.job.workers import choose_decode_threads, choose_workers, keep_torch_threads, rows_out_of_collections
from scatcache.scattering.paths import channel_table
from scatcache.store.format.receipts import Receipt
from scatcache.store.format.summaries import finish_split

logger = logging.getLogger(__name__)

# A split whose first rows are mostly unreadable is the wrong folder, not a folder with some bad files.
N_ROWS_ON_TRIAL = 1000
# How long a job takes is looked into for so long, where it has so many coefficients: others take seconds.
LOOK_S, LEAST_EXPECTED_VALUES = 0.1, 300_000_000


@dataclass
class JobRun:
    """One run of a prepared job, under the store's lock. receipts: by split and shard, kept ones and new ones, each
    lightened; computed: shards of this run, by split; retried: shards that hold unreadable rows and are to be computed
    again; on_trial: splits whose first rows are not all known yet; job_id: of take_over; is_watched: whether
    somebody wants to know how long it will take."""

    job: Job
    options: RunOptions
    on_event: Callable[[Event], None]
    receipts: dict[str, dict[int, Receipt]] = field(default_factory=dict)
    computed: dict[str, set[int]] = field(default_factory=dict)
    retried: list[ShardId] = field(default_factory=list)
    on_trial: set[str] = field(default_factory=set)
    job_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    is_watched: bool = False

    def execute(self) -> None:
        """Everything but the report."""
        job, folder, manifest = self.job, self.job.folder, self.job.manifest
        self._check_lost()
        found = survey(job, retry_unreadable=self.options.retry_unreadable)
        self.receipts, self.retried = found.receipts, found.retried
        self.computed = {split: set() for split in job.layouts}
        self.on_trial = set(job.layouts)
        n_workers, gpus = choose_workers(job, self.options)
        plan = update(job, found)
        expected_bytes = self._check_space(plan)
        self.on_event(JobPlanned(plan, n_workers, self._expect(plan, n_workers), expected_bytes))
        # First, so that no kill leaves a store that does not remember where its images are.
        remember(
            folder,
            root=job.source.url or str(job.source.root or ""),
            # What an earlier store in the same place was made with is forgotten.
            **{entry.name: None for entry in fields(Contents)} | dict(job.source.memory),
            host=socket.gethostname(),
            started=time.time(),
        )
        keep_copy(folder, manifest)
        self._make_folders()
        self._log(event="start", shards=len(found.missing), workers=n_workers, device=plan.device)
        for split in job.layouts:
            self._check_trial(split)
        if found.missing:
            self._compute(found.missing, n_workers, gpus)
        # A newer run may have taken the store over, where somebody deleted STORE.job and with it the lock.
        check_ours(folder, manifest, self.job_id)
        for split, layout in job.layouts.items():
            folder.writer.publish_split(finish_split(self._read_receipts(split), layout, job.rows[split]))
        folder.clean(job.layouts)
        self._check_whole()
        self._log(event="end", images=count_images(self.receipts, self.computed))
        self.on_event(JobFinished(str(folder.path), find_warnings(self.receipts, computed=self.computed)))

    def report(self, elapsed_s: float) -> ExtractReport:
        """What this run did."""
        return report_run(self.job, self.receipts, computed=self.computed, elapsed_s=elapsed_s)

    def _check_lost(self) -> None:
        """Raises StoreDamaged for a split that nobody asked for, and whose metadata alone is gone."""
        folder = self.job.folder
        # A split that is asked for gets its metadata back, one whose folder was deleted is gone.
        lost = set(folder.records.lost_splits()) - set(self.job.layouts)
        if there := [split for split in sorted(lost) if (folder.path / split).exists()]:
            raise StoreDamaged(
                f"{folder.path}: split {there[0]}: its zarr.json is missing: give --split {there[0]} to mend it, or "
                f"delete the folder {folder.path / there[0]}"
            )

    def _check_whole(self) -> None:
        """Raises StoreDamaged where the metadata vanished while the shards were computed."""
        folder, manifest = self.job.folder, self.job.manifest
        present = folder.records.splits()
        lost = [f"{split}/zarr.json" for split in self.job.layouts if split not in present]
        if not folder.writer.states(manifest):
            lost = ["zarr.json"]
        if lost:
            raise StoreDamaged(
                f"{folder.path}: {lost[0]} was removed or changed during the run: give the same command again: it "
                f"mends that and keeps every shard"
            )

    def _check_space(self, plan: JobPlan) -> int:
        """Refuses what cannot fit even when it compresses as natural images do; returns what it then takes."""
        expected = int(plan.bytes_left * self.job.manifest.stored_as.typical_ratio)
        if expected > plan.free_bytes:
            raise ScatcacheError(
                f"{plan.store} needs about {expected / 1e9:.2f} GB more (at most {plan.bytes_left / 1e9:.2f}), "
                f"{plan.free_bytes / 1e9:.2f} GB are free there: free some, choose another --out, or give --limit"
            )
        return expected

    def _expect(self, plan: JobPlan, n_workers: int) -> float | None:
        """Seconds that the rest of a job will take, from a look at some of its images."""
        n_left = plan.images - plan.images_done
        if not self.is_watched or n_left * math.prod(plan.output_shape) < LEAST_EXPECTED_VALUES:
            return None
        split = max(self.job.layouts, key=lambda name: self.job.layouts[name].n_rows)
        try:
            look = measure_stages(self.job, split, budget_s=LOOK_S)
        except (ScatcacheError, OSError):
            # The run itself will meet it, and say so.
            return None
        return None if look is None else n_left * look.stages.total_s / n_workers

    def _make_folders(self) -> None:
        job, folder, manifest = self.job, self.job.folder, self.job.manifest
        folder.writer.mend_root(manifest)
        folder.clean(job.layouts)
        channels = manifest.add_step(channel_table(manifest.spec))
        for split, layout in job.layouts.items():
            folder.writer.add_split(manifest, split, layout, rows=job.rows[split], channels=channels)
            if len(self.receipts[split]) < layout.n_shards:
                folder.writer.withdraw_summary(split)
        for split, shard in self.retried:
            folder.writer.withdraw_receipt(split, shard)
        folder.writer.consolidate(manifest, channels=channels)

    def _compute(self, places: list[ShardId], n_workers: int, gpus: tuple[str, ...]) -> None:
        options, plan = self.options, self.job.plan
        job = ShardJob(
            job_id=self.job_id,
            store=plan.store,
            manifest=self.job.manifest,
            layouts=self.job.layouts,
            source=self.job.source,
            device=plan.device,
            backend=plan.backend,
            decode_threads=choose_decode_threads(self.job, options, n_workers=n_workers, gpus=gpus),
            on_error=options.on_error,
        )
        whole = replace(job, rows=self.job.rows)
        cluster = open_cluster(n_workers=n_workers, processes=options.processes, gpus=gpus, scheduler=options.scheduler)
        with keep_torch_threads(), rows_out_of_collections(), cluster as opened:
            # Elsewhere nobody has the rows, and a few shards' of them at a time are less than all in every process.
            job, tasks = (whole, places) if opened.is_here else (job, map(whole.plan, places))
            try:
                shared = self.job.folder.job
                for receipt in run_tasks(opened, run_shard, job, tasks, folder=shared, on_wait=self._tell_waiting):
                    self._take(receipt)
            except BaseException:
                if options.scheduler is not None:
                    # Its workers outlive us and our lock: they must not go on writing.
                    tell_workers(opened, stop_job, job.job_id)
                raise
            finally:
                # Before the cluster closes, which waits for the tasks that still run.
                stop_job(job.job_id)

    def _tell_waiting(self, text: str) -> None:
        self._log(event="waiting", text=text)
        self.on_event(ClusterWaiting(text))

    def _read_receipts(self, split: str) -> Iterator[Receipt]:
        """A split's receipts in the order of its shards, from the disk: all of them at once may be gigabytes."""
        for shard in range(self.job.layouts[split].n_shards):
            found = self.job.folder.records.read_receipt(split, shard)
            if found is None:
                raise StoreDamaged(f"{self.job.folder.path}: split {split}: the receipt of shard {shard} vanished")
            yield found[0]

    def _take(self, receipt: Receipt) -> None:
        self.receipts[receipt.split][receipt.shard] = receipt
        self.computed[receipt.split].add(receipt.shard)
        self._log(event="shard", split=receipt.split, shard=receipt.shard, bytes=receipt.file_bytes)
        self.on_event(ShardFinished(receipt))
        self._check_trial(receipt.split)

    def _check_trial(self, split: str) -> None:
        """Raises SourceError once over half of a split's first rows turn out unreadable."""
        layout, known = self.job.layouts[split], self.receipts[split]
        n_rows = min(N_ROWS_ON_TRIAL, layout.n_rows)
        shards = range(math.ceil(n_rows / layout.shard_images))
        if split not in self.on_trial or any(shard not in known for shard in shards):
            return
        self.on_trial.remove(split)
        bad = [entry for shard in shards for entry in known[shard].unreadable if entry.row < n_rows]
        if 2 * len(bad) > n_rows:
            reasons = {entry.key: entry.reason for entry in bad}
            examples = "".join(f"\n  {key}: {reason}" for key, reason in list(reasons.items())[:3])
            raise SourceError(
                f"split {split}: {len(bad)} of the first {n_rows} images are unreadable, among them:{examples}\n"
                f"is this the right folder? what is readable is kept in {self.job.folder.path}; once the files "
                f"are whole, the same command with --retry-unreadable tries them again"
            )

    def _log(self, **fields: Any) -> None:
        line = json.dumps({"time": time.time(), **fields})
        logger.info("%s", line)
        with contextlib.suppress(OSError):
            self.job.folder.log(line)
