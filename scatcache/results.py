"""What the commands print of their results, for people."""

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from scatcache.job.estimate import show_seconds
from scatcache.progress import count, show_bytes, show_state, show_views
from scatcache.terminal import echo, escape

if TYPE_CHECKING:
    from scatcache.inspect.failures import VerifyReport
    from scatcache.job.estimate import Estimate
    from scatcache.job.planned import JobPlan
    from scatcache.job.report import ExtractReport
    from scatcache.spec import Pixels

LINE, BOUND_SPACE = 80, "\0"  # no path holds a NUL


def show_report(report: "ExtractReport") -> None:
    """What extract or resume did."""
    for name, split in report.splits.items():
        shards = f"{split.shards} shards ({split.shards_computed} computed, {split.shards_kept} kept)"
        echo(f"{name}: {show_views(split.rows, report.n_views)}, {split.unreadable:,} unreadable, {shards}")
    n_unreadable = len(report.unreadable)
    for entry in report.unreadable[:10]:
        echo(f"unreadable: {entry['split']}: {entry['key']}: {entry['reason']}", err=True)
    if n_unreadable > 10:
        echo(f"... and {n_unreadable - 10} more: --json lists all", err=True)
    rate = f"{report.images_per_s:,.1f} images/s" if report.images_per_s else "nothing to compute"
    tail = f", {n_unreadable:,} unreadable image{'' if n_unreadable == 1 else 's'} recorded" if n_unreadable else ""
    state = show_state(report.state, report.limit)
    echo(f"{report.store}: {state}, {show_bytes(report.bytes)}, {report.elapsed_s:.1f} s, {rate}{tail}")


def show_plan(plan: "JobPlan") -> None:
    """What extract would do."""
    lines = [(name, f"{show_views(split.images, split.views)} of {show_shape(split.image_shape)} -> "
              f"{show_shape(split.output_shape)}, {split.shards} shards of {split.shard_images} "
              f"{'images' if split.views == 1 else 'views'}, at most {show_bytes(split.bytes)}")
             for name, split in plan.splits.items()]  # fmt: skip
    lines += [
        ("store", f"{bind(plan.store)}, {show_bytes(plan.free_bytes)} free there"),
        ("state", "new" if plan.is_new else f"{plan.state}: {plan.done} of {count(plan.shards, 'shard')} done"),
        ("settings", plan.settings),
        ("bytes", f"at most {show_bytes(plan.bytes)}"),
        ("device", f"{plan.device}, backend {plan.backend} ({plan.backend_reason})"),
    ]
    show_lines(lines)
    if plan.estimate is not None:
        show_estimate(plan.estimate)


def show_estimate(estimate: "Estimate") -> None:
    """What extraction will cost, and whether it pays."""
    rates = estimate.rates
    stages = ", ".join(bind(f"{name} {1e3 * seconds:.3g}") for name, seconds in rates.stage_s.items())
    machines = ", ".join(bind(f"{n}: {show_seconds(seconds)}") for n, seconds in estimate.machines_s.items())
    disk = "" if rates.disk_rows_per_s is None else f", {rates.disk_rows_per_s:,.0f} from the disk"
    where = "memory" if estimate.is_in_memory else "the disk"
    pays = "never" if estimate.break_even_epochs is None else f"after {count(estimate.break_even_epochs, 'epoch')}"
    echo("")
    show_lines([
        ("measured", f"{stages} ms an image on one thread"),
        ("together", bind(f"{rates.extract_images_per_s:,.1f} images/s extracted, ")
         + bind(f"{rates.compute_images_per_s:,.1f} computed, ")
         + bind(f"{rates.memory_rows_per_s:,.0f} read from memory{disk}")),
        ("extraction", f"{show_seconds(estimate.extract_s)} here for {count(estimate.images_left, 'image')}"),
        ("machines", f"{machines}, where all are like this one"),
        ("memory", show_bytes(estimate.memory_bytes)),
        ("epoch", f"{show_seconds(estimate.cached_epoch_s)} read from {where}, "
                  f"{show_seconds(estimate.computed_epoch_s)} computed on the fly, "
                  f"{count(estimate.epoch_rows, 'row')}; the cache pays {pays}"),
    ])  # fmt: skip
    show_table(estimate.bytes)
    echo("", estimate.advice)
    for line in estimate.code.splitlines():
        echo(f"    {line}")


def show_table(table: dict[str, dict[str, int]]) -> None:
    """Bytes by reduction and encoding."""
    names = list(next(iter(table.values())))
    labels = {reduction: reduction.replace("--", "") for reduction in table}
    width = max(map(len, ("bytes", *labels.values())))
    echo("", f"{'bytes':<{width}}" + "".join(f"  {name:>{max(9, len(name))}}" for name in names))
    for reduction, row in table.items():
        cells = "".join(f"  {show_bytes(row[name]):>{max(9, len(name))}}" for name in names)
        echo(f"{labels[reduction]:<{width}}{cells}")


def show_info(report: Any) -> None:
    """What a store holds."""
    from scatcache.inspect.energy import show_shares

    channels = f"{report.spec.n_paths} paths, {report.spec.n_channels} channels"
    state = show_state(report.state, report.limit)
    lines = [("store", bind(report.store)), ("state", state), ("source", report.source),
             ("pixels", show_pixels(report.pixels)),
             ("settings", f"{report.settings}: {channels}"), ("on disk", show_bytes(report.bytes))]  # fmt: skip
    for name, split in report.splits.items():
        done = f"{split.shards_done} of {split.shards} shards"
        counts = f"{split.rows:,} rows, {split.ok:,} ok, {split.unreadable:,} unreadable"
        known = f"{split.classes} classes" + (f", {count(split.targets, 'target')}" if split.targets else "")
        lines.append((name, f"{counts}, {done}, {bind(f'images {show_shape(split.image_shape)}, {known}')}"))
        lines += [("  images", text) for text in split.notes]
        if split.energy:
            shares = enumerate(show_shares(split.energy))
            lines.append(("  energy", ", ".join(bind(f"order {order} {share}") for order, share in shares)))
    show_lines(lines)


def show_verification(report: "VerifyReport", store: str) -> None:
    """What verify found, and on stderr what to do about it. store: as typed."""
    for failure in report.failures:
        echo(f"{failure.path}: {failure.reason}")
    again = f", {count(report.recomputed, 'row')} recomputed" if report.recomputed else ""
    verdict = "ok" if report.ok else count(len(report.failures), "failure")
    echo(f"{count(report.checked, 'shard')} checked{again}: {verdict}")
    for line in advise_mending(report, store):
        echo(line, err=True)


def advise_mending(report: "VerifyReport", store: str) -> Iterator[str]:
    """What to do about failures that do not say so themselves."""
    untold = [failure for failure in report.failures if "scatcache resume" not in failure.reason]
    if report.recomputed:
        # Rows are computed again of a sound store alone.
        if untold:
            yield "the stored bytes are whole: delete nothing; the images, or what computes them, have changed since"
        return
    if any(failure.shard is not None for failure in untold):
        mend = f"delete the file named, if it is there, and give `scatcache resume {store}`"
        yield f"to mend a shard, {'copy the file named anew' if '://' in store else mend}"
    if any(failure.shard is None for failure in untold):
        mend = "copy the store anew" if "://" in store else f"give `scatcache resume {store}`"
        yield f"to mend or finish the rest, {mend}; what is still named then, delete first"


def show_sources(listed: dict[str, str]) -> None:
    """The datasets that extract knows by name."""
    show_lines([*listed.items(), ("FOLDER", "class folders, split folders above class folders, or flat files")])


def show_doctor(report: Any) -> None:
    """What a machine offers."""
    versions = ", ".join(bind(f"{name} {version}") for name, version in report.versions.items() if version)
    missing = ", ".join(name for name, version in report.versions.items() if not version)
    cpu, disk, gpus = report.cpu, report.disk, ", ".join(device["name"] for device in report.cuda["devices"])
    cores = f"{cpu['model']}, {cpu['usable_cores']} of {cpu['cores']} cores usable"
    backends = [(f"backend {name}", f"{'usable' if entry['usable'] else 'not usable'}: {entry['reason']}")
                for name, entry in report.backends.items()]  # fmt: skip
    lines = [
        ("versions", versions),
        ("not installed", missing or "-"),
        ("cpu", f"{cores}; {' '.join(cpu['instruction_sets']) or 'instruction sets unknown'}"),
        *backends,
        ("cuda", f"{gpus or 'not usable'}: {report.cuda['reason']}"),
        ("memory", f"{show_bytes(report.memory_bytes)} free of {show_bytes(cpu['memory_bytes'])}"),
        ("disk", f"{show_bytes(disk['free_bytes'])} free of {show_bytes(disk['total_bytes'])} in {bind(disk['path'])}"),
        ("fsync there", show_speed(disk)),
    ]
    show_lines(lines)


def show_lines(lines: list[tuple[str, str]]) -> None:
    """Two columns, aligned; the second goes on below itself, where a space is not bound and no word is cut."""
    lines = [(escape(name), escape(text, keep=BOUND_SPACE)) for name, text in lines]
    width = max(len(name) for name, _ in lines)
    for name, text in lines:
        parts = textwrap.wrap(text, max(20, LINE - width - 2), break_long_words=False, break_on_hyphens=False)
        for line, part in enumerate(parts or [""]):
            echo(f"{name if line == 0 else '':<{width}}  {part.replace(BOUND_SPACE, ' ')}")


def bind(text: object) -> str:
    """Text that show_lines keeps on one line, such as a path with spaces."""
    return str(text).replace(" ", BOUND_SPACE)


def show_speed(disk: dict[str, Any]) -> str:
    """What doctor measured of a disk."""
    if disk["fsync_ms"] is None:
        return f"not measured: {disk['fsync_reason']}"
    return f"{disk['fsync_mb_s']:,.0f} MB/s, {disk['fsync_ms']:.2g} ms for 4 KiB ({disk['fsync_reason']})"


def show_pixels(pixels: "Pixels") -> str:
    """What enters the transform, such as `rgb, 3 x uint8 / 255`."""
    return bind(f"{pixels.kind}, {pixels.colours} x {pixels.dtype} / {pixels.scale:g}")


def show_shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
