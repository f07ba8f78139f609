"""One run of a prepared job: what is missing, the workers, the shards as they come, the finished splits."""

import contextlib
import gc
import json
import logging
import math
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from scatcache.errors import ScatcacheError, SourceError, StoreDamaged
from scatcache.images.decoding.notes import add_notes, word_notes
from scatcache.job.events import ClusterWaiting, Event, JobFinished, JobPlanned, ShardFinished
from scatcache.job.executors import open_cluster
from scatcache.job.opening import remember
from scatcache.job.planning import ShardPlace
from scatcache.job.preparation import Prepared
from scatcache.job.report import ExtractReport, SplitReport
from scatcache.job.settings import RunOptions
from scatcache.job.shard_job import ShardJob, stop_job
from scatcache.job.shard_task import lighten, run_shard
from scatcache.job.stored import keep_copy
from scatcache.job.takeover import check_ours
from scatcache.job.tasks import run_tasks, tell_workers
from scatcache.resources import count_cores, folder_bytes, free_disk_bytes, free_memory_bytes
from scatcache.retries import with_retries
from scatcache.scattering.paths import channel_table
from scatcache.store.format.encodings import find_encoding
from scatcache.store.format.receipts import Receipt
from scatcache.store.format.summaries import finish_split

logger = logging.getLogger(__name__)

# A split whose first rows are mostly unreadable is the wrong folder, not a folder with some bad files.
N_ROWS_ON_TRIAL = 1000
# A worker's buffers, and in a process torch itself.
WORKER_BYTES = 256 * 2**20
PROCESS_BYTES = 1024 * 2**20
# Rows of float32 coefficients that a worker holds at once where one is a whole batch: it matters for large images.
ROWS_HELD = 8


@dataclass
class JobRun:
    """One run of a prepared job, under the store's lock. receipts: by split and shard, kept ones and new ones, each
    lightened; computed: shards by split; retried: shards that hold unreadable rows and are to be computed again;
    on_trial: splits whose first rows are not all known yet; refused: split and key of images unreadable in this run;
    job_id: of take_over."""

    prepared: Prepared
    options: RunOptions
    on_event: Callable[[Event], None]
    receipts: dict[str, dict[int, Receipt]] = field(default_factory=dict)
    computed: dict[str, int] = field(default_factory=dict)
    retried: list[tuple[str, int]] = field(default_factory=list)
    on_trial: set[str] = field(default_factory=set)
    refused: set[tuple[str, str]] = field(default_factory=set)
    n_images_computed: int = 0
    job_id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def execute(self) -> None:
        """Everything but the report."""
        prepared, folder, manifest = self.prepared, self.prepared.folder, self.prepared.manifest
        # A split that is asked for gets its metadata back, one whose folder was deleted is gone.
        lost = set(folder.records.lost_splits()) - set(prepared.splits)
        if there := [split for split in sorted(lost) if (folder.path / split).exists()]:
            raise StoreDamaged(
                f"{folder.path}: split {there[0]}: its zarr.json is missing: give --split {there[0]} to mend it, or "
                f"delete the folder {folder.path / there[0]}"
            )
        self.computed = dict.fromkeys(prepared.splits, 0)
        self.on_trial = set(prepared.splits)
        tasks = self._find_missing()
        n_workers, gpus = self._choose_workers()
        planned = self._plan(n_workers)
        self._check_space(planned)
        self.on_event(planned)
        # First, so that no kill leaves a store that does not remember where its images are.
        remember(folder, root=str(prepared.source.root or ""), host=socket.gethostname(), started=time.time())
        keep_copy(folder, manifest)
        self._make_folders()
        self._log(event="start", shards=len(tasks), workers=n_workers, device=prepared.device)
        for split in prepared.splits:
            self._check_trial(split)
        if tasks:
            self._compute(tasks, n_workers, gpus)
        # A newer run may have taken the store over, where somebody deleted STORE.job and with it the lock.
        check_ours(folder, manifest, self.job_id)
        for split in prepared.splits:
            folder.writer.publish_split(
                finish_split(self._read_receipts(split), prepared.layouts[split], prepared.rows[split])
            )
        folder.clean(prepared.splits)
        self._check_whole()
        self._log(event="end", images=self.n_images_computed)
        self.on_event(JobFinished(str(folder.path), self._find_warnings()))

    def _check_whole(self) -> None:
        """Raises StoreDamaged where the metadata vanished while the shards were computed."""
        folder, manifest = self.prepared.folder, self.prepared.manifest
        present = folder.records.splits()
        lost = [f"{split}/zarr.json" for split in self.prepared.splits if split not in present]
        if not folder.writer.states(manifest):
            lost = ["zarr.json"]
        if lost:
            raise StoreDamaged(
                f"{folder.path}: {lost[0]} was removed or changed during the run: give the same command again: it "
                f"mends that and keeps every shard"
            )

    def _find_missing(self) -> list[ShardPlace]:
        """The shards to compute; fills receipts with those that are done."""
        prepared = self.prepared
        missing = []
        for split in prepared.splits:
            known = self.receipts[split] = {}
            layout = prepared.layouts[split]
            for shard in range(layout.n_shards):
                digest = prepared.rows[split].digest(layout.rows_of(shard))
                done = prepared.folder.writer.find_done(prepared.manifest, split, layout, shard, rows_digest=digest)
                if done is not None and done.unreadable and self.options.retry_unreadable:
                    self.retried.append((split, shard))
                    done = None
                if done is None:
                    missing.append(ShardPlace(split, shard))
                else:
                    known[shard] = lighten(done)
        return missing

    def _choose_workers(self) -> tuple[int, tuple[str, ...]]:
        """(workers, the GPUs that get a process each)."""
        options = self.options
        in_process = self.prepared.source.parallel != "processes"
        if in_process and (options.processes or options.scheduler is not None):
            name = self.prepared.source.name
            raise ValueError(f"{name} can be read in this process alone: leave processes and scheduler out")
        if self.prepared.device == "cuda" and options.scheduler is None:
            gpus = find_gpus()[: 1 if in_process else options.workers]
            # One GPU needs no second process, and a script without a main guard works then.
            return len(gpus), gpus if len(gpus) > 1 or options.processes else ()
        if options.workers is not None:
            return options.workers, ()
        each = PROCESS_BYTES if options.processes else WORKER_BYTES
        each += ROWS_HELD * max(4 * math.prod(shape) for shape in self._find_output_shapes().values())
        return max(1, min(count_cores(), free_memory_bytes() // 2 // each)), ()

    def _find_output_shapes(self) -> dict[str, tuple[int, int, int]]:
        spec, layouts = self.prepared.manifest.spec, self.prepared.layouts
        return {split: spec.output_shape(*layout.image_shape) for split, layout in layouts.items()}

    def _plan(self, n_workers: int) -> JobPlanned:
        prepared, manifest = self.prepared, self.prepared.manifest
        kept = [receipt for receipts in self.receipts.values() for receipt in receipts.values()]
        return JobPlanned(
            store=str(prepared.folder.path),
            settings=manifest.describe(),
            n_images=sum(layout.n_rows for layout in prepared.layouts.values()),
            output_shapes=self._find_output_shapes(),
            bytes=prepared.bound_bytes,
            free_bytes=with_retries(partial(free_disk_bytes, prepared.folder.path)),
            n_shards=sum(layout.n_shards for layout in prepared.layouts.values()),
            n_done=len(kept),
            n_views=manifest.n_views,
            n_images_done=sum(receipt.n_rows for receipt in kept),
            device=prepared.device,
            backend=prepared.backend,
            reason=prepared.reason,
            n_workers=n_workers,
            warnings=prepared.warnings,
        )

    def _check_space(self, planned: JobPlanned) -> None:
        """Refuses what cannot fit even when it compresses as natural images do."""
        part = 1 - planned.n_images_done / planned.n_images
        expected = int(planned.bytes * part * find_encoding(self.prepared.manifest.encoding).typical_ratio)
        if expected > planned.free_bytes:
            raise ScatcacheError(
                f"{planned.store} needs about {expected / 1e9:.2f} GB more (at most {planned.bytes * part / 1e9:.2f}), "
                f"{planned.free_bytes / 1e9:.2f} GB are free there: free some, choose another --out, or give --limit"
            )

    def _make_folders(self) -> None:
        prepared, folder, manifest = self.prepared, self.prepared.folder, self.prepared.manifest
        folder.writer.mend_root(manifest)
        folder.clean(prepared.splits)
        channels = channel_table(manifest.spec)
        for split in prepared.splits:
            layout = prepared.layouts[split]
            folder.writer.add_split(manifest, split, layout, rows=prepared.rows[split], channels=channels)
            if len(self.receipts[split]) < layout.n_shards:
                folder.writer.withdraw_summary(split)
        for split, shard in self.retried:
            folder.writer.withdraw_receipt(split, shard)
        folder.writer.consolidate(manifest, channel_names=tuple(channels))

    def _compute(self, places: list[ShardPlace], n_workers: int, gpus: tuple[str, ...]) -> None:
        options, prepared = self.options, self.prepared
        # A GPU takes all that the cores decode; a core that transforms decodes for itself.
        per_worker = max(1, count_cores() // n_workers) if prepared.device == "cuda" else 1
        n_here = 1 if options.processes or gpus else n_workers
        job = ShardJob(
            job_id=self.job_id,
            store=str(prepared.folder.path),
            manifest=prepared.manifest,
            layouts=prepared.layouts,
            source=prepared.source,
            device=prepared.device,
            backend=prepared.backend,
            decode_threads=options.decode_threads or per_worker * n_here,
            on_error=options.on_error,
        )
        whole = replace(job, rows=prepared.rows)
        cluster = open_cluster(n_workers=n_workers, processes=options.processes, gpus=gpus, scheduler=options.scheduler)
        with _keep_torch_threads(), _rows_out_of_collections(), cluster as opened:
            # Elsewhere nobody has the rows, and a few shards' of them at a time are less than all in every process.
            job, tasks = (whole, places) if opened.is_here else (job, map(whole.plan, places))
            try:
                for receipt in run_tasks(
                    opened, run_shard, job, tasks, folder=prepared.folder.job, on_wait=self._tell_waiting
                ):
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
        for shard in range(self.prepared.layouts[split].n_shards):
            found = self.prepared.folder.records.read_receipt(split, shard)
            if found is None:
                raise StoreDamaged(f"{self.prepared.folder.path}: split {split}: the receipt of shard {shard} vanished")
            yield found[0]

    def _take(self, receipt: Receipt) -> None:
        self.receipts[receipt.split][receipt.shard] = receipt
        self.computed[receipt.split] += 1
        self.n_images_computed += receipt.n_rows
        self.refused.update((receipt.split, entry.key) for entry in receipt.unreadable)
        self._log(event="shard", split=receipt.split, shard=receipt.shard, bytes=receipt.file_bytes)
        self.on_event(ShardFinished(receipt))
        self._check_trial(receipt.split)

    def _check_trial(self, split: str) -> None:
        """Raises SourceError once over half of a split's first rows turn out unreadable."""
        layout, known = self.prepared.layouts[split], self.receipts[split]
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
                f"is this the right folder? what is readable is kept in {self.prepared.folder.path}; once the files "
                f"are whole, the same command with --retry-unreadable tries them again"
            )

    def _log(self, **fields: Any) -> None:
        line = json.dumps({"time": time.time(), **fields})
        logger.info("%s", line)
        with contextlib.suppress(OSError):
            self.prepared.folder.log(line)

    def _find_warnings(self) -> tuple[str, ...]:
        """What is to be told of the images of the job's splits, those of earlier runs too."""
        every = [receipt for receipts in self.receipts.values() for receipt in receipts.values()]
        n_kept = len({(receipt.split, entry.key) for receipt in every for entry in receipt.unreadable} - self.refused)
        retry = f"{n_kept:,} unreadable images were recorded by earlier runs: --retry-unreadable tries them again"
        if n_kept == 1:
            retry = "1 unreadable image was recorded by an earlier run: --retry-unreadable tries it again"
        return (*word_notes(add_notes(*(receipt.notes for receipt in every))), *([retry] if n_kept else []))

    def report(self, elapsed_s: float) -> ExtractReport:
        """What this run did."""
        prepared, manifest = self.prepared, self.prepared.manifest
        every = {split: list(self.receipts[split].values()) for split in prepared.splits}
        records = prepared.folder.records
        finished = all(records.read_summary(split) is not None for split in records.splits())
        names = {receipt.backend["name"] for receipts in every.values() for receipt in receipts}
        # Each image once, however many of its views are rows.
        unreadable = {
            (split, entry.key): entry.reason
            for split, receipts in every.items()
            for receipt in sorted(receipts, key=lambda receipt: receipt.shard)
            for entry in receipt.unreadable
        }
        return ExtractReport(
            store=str(prepared.folder.path),
            state="complete" if finished else "incomplete",
            splits={split: self._report_split(split, receipts) for split, receipts in every.items()},
            bytes=with_retries(partial(folder_bytes, prepared.folder.path)),
            elapsed_s=elapsed_s,
            images_per_s=self.n_images_computed / elapsed_s,
            backend=", ".join(sorted(names)),
            unreadable=tuple(
                {"split": split, "key": key, "reason": reason} for (split, key), reason in unreadable.items()
            ),
            n_views=manifest.n_views,
            limit=manifest.limit,
            warnings=self._find_warnings(),
        )

    def _report_split(self, split: str, receipts: list[Receipt]) -> SplitReport:
        rows, ok = sum(receipt.n_rows for receipt in receipts), sum(receipt.n_ok for receipt in receipts)
        computed = self.computed[split]
        return SplitReport(rows, ok, rows - ok, len(receipts), computed, len(receipts) - computed)


def find_gpus() -> tuple[str, ...]:
    """The GPUs this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible:
        return tuple(visible.split(","))[: torch.cuda.device_count()]
    return tuple(str(index) for index in range(torch.cuda.device_count()))


@contextlib.contextmanager
def _rows_out_of_collections() -> Iterator[None]:
    """The garbage collector leaves alone what there is by now: it would walk over every row again and again.

    A program that has frozen objects itself keeps them so.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextlib.contextmanager
def _keep_torch_threads() -> Iterator[None]:
    """Shard tasks set torch to one thread, process-wide; the caller's own number comes back afterwards."""
    import torch

    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)
