"""From what was measured on a sample to what the whole job will cost."""

from dataclasses import asdict

from scatcache.inspect.bytes_table import name_reduction
from scatcache.inspect.sample import Sample
from scatcache.job.estimate import (
    MACHINES,
    MEMORY_SHARE,
    Estimate,
    Rates,
    Weighed,
    find_break_even,
    recommend,
    show_code,
)
from scatcache.job.planned import Job, JobPlan
from scatcache.job.stages import Stages
from scatcache.resources import free_memory_bytes
from scatcache.spec import ScatteringSpec
from scatcache.store.format.encodings import ENCODINGS

Table = dict[str, dict[str, int]]


def forecast(job: Job, plan: JobPlan, stages: Stages, sample: Sample, table: Table, *, prepare_s: float) -> Estimate:
    """table: of weigh(); prepare_s: what listing and calibrating took."""
    # Workers hinder one another, in all stages alike: the sample shows by how much.
    together = sample.images_per_s * stages.total_s
    rates = Rates(
        stage_s=_list_stages(stages, sample),
        extract_images_per_s=sample.images_per_s,
        compute_images_per_s=together / stages.on_the_fly_s,
        disk_rows_per_s=sample.cold_rows_per_s,
        memory_rows_per_s=sample.warm_rows_per_s,
        fixed_s=sample.fixed_s + prepare_s,
        open_s=sample.open_s,
    )
    images_left = plan.images - plan.images_done
    work_s = images_left / rates.extract_images_per_s
    choice = _weigh(job, plan, rates, table, extract_s=work_s + rates.fixed_s)
    advice, is_to_cache = recommend(choice)
    return Estimate(
        rates=rates,
        images_left=images_left,
        extract_s=choice.extract_s,
        machines_s={n: work_s / n + rates.fixed_s for n in MACHINES},
        store_bytes=choice.store_bytes,
        bytes=table,
        epoch_rows=_count_epoch(job),
        cached_epoch_s=choice.cached_epoch_s,
        is_in_memory=_fits_in_memory(choice.store_bytes),
        computed_epoch_s=choice.computed_epoch_s,
        break_even_epochs=find_break_even(choice),
        memory_bytes=sample.memory_bytes,
        advice=advice,
        code="" if is_to_cache else _show_code(job),
    )


def _weigh(job: Job, plan: JobPlan, rates: Rates, table: Table, *, extract_s: float) -> Weighed:
    store_bytes = table[name_reduction(job.manifest.spec.reduction)][job.manifest.encoding]
    rows_per_s = (
        rates.memory_rows_per_s if _fits_in_memory(store_bytes) else rates.disk_rows_per_s or rates.memory_rows_per_s
    )
    named = {
        f"--encoding {encoding}" + (f" {reduction}" if reduction.startswith("-") else ""): n_bytes
        for reduction, row in table.items()
        for encoding, n_bytes in row.items()
        if encoding == job.manifest.encoding or ENCODINGS[encoding].quantised
    }
    return Weighed(
        extract_s=extract_s,
        cached_epoch_s=rates.open_s + _count_epoch(job) / rows_per_s,
        computed_epoch_s=_count_epoch(job) / rates.compute_images_per_s,
        store_bytes=store_bytes,
        # What is there already needs no room.
        free_bytes=plan.free_bytes + round(store_bytes * plan.images_done / max(1, plan.images)),
        # The largest that fits is the one that leaves out least.
        bytes=dict(sorted(named.items(), key=lambda item: -item[1])),
    )


def _fits_in_memory(store_bytes: int) -> bool:
    return store_bytes < MEMORY_SHARE * free_memory_bytes()


def _list_stages(stages: Stages, sample: Sample) -> dict[str, float]:
    """Seconds of an image by stage; writing goes on beside the others, in threads of its own."""
    listed = {name.removesuffix("_s"): value for name, value in asdict(stages).items()}
    return listed if sample.write_s is None else {**listed, "write": sample.write_s}


def _count_epoch(job: Job) -> int:
    """Rows of the largest split."""
    return max(layout.n_rows for layout in job.layouts.values())


def _show_code(job: Job) -> str:
    spec, plain = job.manifest.spec, ScatteringSpec(J=job.manifest.spec.J)
    asked = {"L": spec.L, "max_order": spec.max_order, "grid": spec.grid, **asdict(spec.reduction)}
    usual = {"L": plain.L, "max_order": plain.max_order, "grid": plain.grid, **asdict(plain.reduction)}
    extra = "".join(f", {name}={value!r}" for name, value in asked.items() if value != usual[name])
    shape = next(iter(job.layouts.values())).image_shape
    return show_code(J=spec.J, shape=shape, options=extra, device=job.plan.device)
