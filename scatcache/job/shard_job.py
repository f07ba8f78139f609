"""What the shards of one job have in common, and how a job that has ended stops those that still run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from scatcache.images.image_source import ImageSource
from scatcache.job.planning import ShardId, ShardTask, find_images, plan_task
from scatcache.store.format.layout import SplitLayout
from scatcache.store.format.manifest import Manifest
from scatcache.store.format.row_arrays import RowTable

_stopped: set[str] = set()


class JobStopped(BaseException):
    """Unwinds a shard task of a job that has ended; never leaves the worker."""


@dataclass(frozen=True)
class ShardJob:
    """What every shard of a job shares. job_id: the run's token, see take_over; store: absolute path, the same on every
    worker; layouts: of its splits; device: "cpu" or "cuda"; backend: a name of open_transform; decode_threads: per
    process; on_error: "skip" or "fail"; rows: the splits' row tables in the process that has them anyway, never sent to
    another."""

    job_id: str
    store: str
    manifest: Manifest
    layouts: Mapping[str, SplitLayout]
    source: ImageSource
    device: str
    backend: str
    decode_threads: int
    on_error: str
    rows: Mapping[str, RowTable] = field(default_factory=dict)

    @cached_property
    def _images(self) -> dict[str, np.ndarray]:
        """(n_rows,) by split: what plan_task takes."""
        return {
            split: find_images(rows, self.source.find(split).listing, n_views=self.manifest.n_views)
            for split, rows in self.rows.items()
        }

    def plan(self, place: ShardId) -> ShardTask:
        """All that is known of one shard before its pixels."""
        layout, rows = self.layouts[place.split], self.rows[place.split]
        return plan_task(layout, place, rows, images=self._images[place.split])

    def check_running(self) -> None:
        """Raises JobStopped once the job has ended."""
        if self.job_id in _stopped:
            raise JobStopped


def stop_job(job_id: str) -> None:
    """Makes the tasks of this job in this process end at their next batch, leaving no file."""
    _stopped.add(job_id)
