"""What extract would do and cost: known from the source and the settings, measured here on a sample of it."""

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from scatcache.errors import ScatcacheError, UsageError
from scatcache.inspect.bytes_table import weigh
from scatcache.inspect.forecast import forecast
from scatcache.inspect.sample import make_scratch, run_sample
from scatcache.inspect.synthetic import draw_images, parse_shape
from scatcache.job.events import tell_archive
from scatcache.job.planned import Job, JobPlan, plan_splits, survey, update
from scatcache.job.planning import bound_bytes
from scatcache.job.preparation import prepare
from scatcache.job.request import check_request, open_asked, open_target, read_stored
from scatcache.job.settings import PlanOptions
from scatcache.job.stages import measure_stages
from scatcache.job.stored import confirm_manifest
from scatcache.options import describe
from scatcache.signatures import takes
from scatcache.store.format.layout import Generation

STAGES_S = 3.0
NOTHING_ASKED = PlanOptions()


@takes(PlanOptions, describe=describe)
def plan(source: Any = None, options: PlanOptions = NOTHING_ASKED) -> JobPlan:
    """Says what extract() with the same arguments would do and cost, and how much of it is done; errors are those of
    extract().

    source: as in extract(), or none with images=. What it costs is measured in less than half a minute: a sample is
    extracted into a temporary folder beside the store, read back, and removed. An archive that is still packed is
    unpacked, a tar indexed, into a temporary folder and forgotten. Nothing is downloaded.
    """
    with tempfile.TemporaryDirectory(prefix="scatcache-plan-") as scratch:
        if source is None:
            return _plan_without(options, Path(scratch))
        if options.images is not None or options.image_shape is not None:
            raise UsageError("images and image_shape stand for a source: leave them out, or the source")
        job, started = _prepare(source, options, Path(scratch), listed_s=time.monotonic())
        if options.overwrite:
            return _estimate(job, job.plan, options, prepare_s=started)
        confirm_manifest(job.folder, job.manifest)
        return _estimate(
            job, update(job, survey(job, retry_unreadable=options.retry_unreadable)), options, prepare_s=started
        )


def _prepare(source: Any, options: PlanOptions, scratch: Path, *, listed_s: float) -> tuple[Job, float]:
    """(the job, how long it took to prepare since listed_s)."""
    check_request(source, options)
    folder = open_target(source, options)
    stored = read_stored(folder, options.J, overwrite=options.overwrite)
    on_archive = tell_archive(options.on_event)
    opened = open_asked(
        source,
        options,
        folder,
        stored=stored,
        work_dir=scratch,
        beside=False,
        fetch=False,
        on_archive=on_archive,
    )
    job = prepare(opened, folder, settings=options, options=options, stored=stored, splits=options.splits)
    return job, time.monotonic() - listed_s


def _plan_without(options: PlanOptions, scratch: Path) -> JobPlan:
    """Of images that nobody has yet: noise stands for them."""
    if options.images is None:
        raise UsageError("there is no source: name one, or give --images N and --image-shape HxW")
    n_images = min(options.images, options.limit or options.images)
    images = draw_images(scratch / "images", n_images, parse_shape(options.image_shape))
    asked = replace(options, images=None, image_shape=None, limit=None)
    if options.out is None:
        asked = replace(asked, out=Path(f"images-J{options.J}.zarr"))
    job, prepare_s = _prepare(images, asked, scratch, listed_s=time.monotonic())
    layouts = {
        split: replace(layout, generations=(Generation(n_images * job.manifest.n_views, n_images, ""),))
        for split, layout in job.layouts.items()
    }
    whole = replace(
        job.plan, splits=plan_splits(job.manifest, layouts), bytes=bound_bytes(job.manifest, layouts.values())
    )
    return _estimate(replace(job, layouts=layouts), whole, asked, prepare_s=prepare_s)


def _estimate(job: Job, plan: JobPlan, options: PlanOptions, *, prepare_s: float) -> JobPlan:
    """The plan with its estimate, where one is wanted and can be had."""
    split = max(job.layouts, key=lambda name: job.layouts[name].n_rows)
    nothing_left = plan.images_done == plan.images and not options.overwrite
    if options.quick or nothing_left or not job.layouts[split].n_rows:
        return plan
    reason = "no image of the sample is readable"
    try:
        with make_scratch(job.folder.path) as scratch:
            look = measure_stages(job, split, budget_s=STAGES_S)
            sample = None if look is None else run_sample(job, split, options, look.stages, scratch=scratch)
            if look is not None and sample is not None:
                table = weigh(job, look.images, transform_s=look.stages.transform_s)
                return replace(plan, estimate=forecast(job, plan, look.stages, sample, table, prepare_s=prepare_s))
    except (ScatcacheError, OSError) as error:
        reason = str(error).splitlines()[0]
    return replace(plan, warnings=(*plan.warnings, f"nothing was measured: {reason}"))
