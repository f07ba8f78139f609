"""The command line: parse, call one public function of the same name, show the result, choose the exit code."""

import difflib
import logging
import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click

import scatcache
from scatcache import interruption
from scatcache.errors import ScatcacheError, SettingsDiffer, StoreLocked
from scatcache.job.events import StoreReplaced
from scatcache.job.watching import PATIENCE_S
from scatcache.progress import count, show_bytes, show_state, show_views, watch_job
from scatcache.spec import GRIDS
from scatcache.terminal import LogHandler, echo, echo_json, escape, show_click_error

LINE, BOUND_SPACE = 80, "\0"  # no path holds a NUL
GO_ON = "give the same command again, it goes on from here"
NOTHING_DELETED = "nothing was deleted, the same command again deletes the store and starts anew"
EXIT_FAILED, EXIT_USAGE, EXIT_UNREADABLE, EXIT_VERIFY, EXIT_SETTINGS, EXIT_LOCKED = 1, 2, 3, 4, 5, 6

# What of extract's options changes what plan says.
PLAN_OPTIONS = (
    *("root", "out", "J", "L", "max_order", "grid", "size", "limit", "encoding", "shard_images", "seed"),
    *("keep_background", "views", "view_padding", "device", "backend", "overwrite"),
)

Command = Callable[..., Any]


def add_options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """One decorator from several options, listed in --help in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


class ViewsType(click.ParamType):
    """A number from 1, or "all"."""

    name = "views"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        return value if value == "all" else click.IntRange(1).convert(value, param, ctx)


settings_options = add_options(
    click.option("--J", "J", type=click.IntRange(1, 8), help="log2 of the largest scale; needed for a new store"),
    click.option("--L", "L", type=click.IntRange(1, 127), help="number of angles  [default: 8]"),
    click.option("--max-order", type=click.IntRange(0, 2), help="largest order of the paths  [default: 2]"),
    click.option("--grid", type=click.Choice(GRIDS), help="centered: mirror images are exact  [default: kymatio]"),
    click.option("--size", type=click.IntRange(1), help="resize and centre-crop to this many pixels  [default: as is]"),
    click.option("--limit", type=click.IntRange(1), help="a fair sample of this many images of each split"),
    click.option("--encoding", help="float16, float16raw or float32  [default: float16]"),
    click.option("--views", type=ViewsType(), metavar="K|all",
                 help="store this many views of each image: the plain one, then random crops and flips  [default: 1]"),
    click.option("--view-padding", type=click.IntRange(0), metavar="PIXELS",
                 help="reflect-padding of those crops  [default: an eighth of the shorter side, at most 8]"),
    click.option("--shard-images", type=click.IntRange(1), help="rows per shard  [default: 128 MiB of them at most]"),
    click.option("--seed", type=click.IntRange(0, 2**63 - 1),
                 help="of the order of rows on disk, and of the views  [default: 0]"),
    click.option("--keep-background", is_flag=True, default=None, help="of caltech101, its pictures of no class too"),
)  # fmt: skip
place_options = add_options(
    click.option("--root", type=click.Path(path_type=Path), help="where the source's files are"),
    click.option("--split", multiple=True, help="which split (may be repeated)  [default: all but unlabeled]"),
)
out_option = click.option("--out", help="the store  [default: SOURCE-J2.zarr, with J as given]")
device_options = add_options(
    click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True),
    click.option(
        "--backend", type=click.Choice(["auto", "fused", "native", "torch"]), default="auto", show_default=True
    ),
)
run_options = add_options(
    click.option("--workers", type=click.IntRange(1), help="shards computed at once  [default: usable cores, or GPUs]"),
    click.option("--processes", is_flag=True,
                 help=f"worker processes instead of threads; one silent for {PATIENCE_S:.0f} s is replaced"),
    click.option("--decode-threads", type=click.IntRange(1), help="decoding threads per process"),
    click.option("--scheduler", metavar="ADDRESS",
                 help=f"run on the Dask cluster at this address; ends after {PATIENCE_S:.0f} s without an answer from "
                      f"it, without a worker, or without a sign of any"),
    click.option("--on-error", type=click.Choice(["skip", "fail"]), default="skip", show_default=True,
                 help="an unreadable image is recorded, or ends the run"),
    click.option("--retry-unreadable", is_flag=True, help="compute the shards again that hold unreadable images"),
    click.option("--download", is_flag=True,
                 help="fetch the official archive where there is none (caltech101, cifar10, stl10)"),
)  # fmt: skip
overwrite_option = click.option("--overwrite", is_flag=True, help="delete the store first (only one of ours)")
json_option = click.option("--json", "as_json", is_flag=True, help="print one JSON object on stdout")
talk_options = add_options(
    json_option,
    click.option("-q", "--quiet", is_flag=True, help="no progress"),
    click.option("-v", "--verbose", is_flag=True, help="log what happens inside"),
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(scatcache.__version__, prog_name="scatcache")
def cli() -> None:
    """Wavelet scattering coefficients of image datasets: computed once, kept safely, read at the speed of the disk."""


@cli.command()
@click.argument("source")
@settings_options
@place_options
@out_option
@device_options
@run_options
@overwrite_option
@talk_options
def extract(source: str, split: tuple[str, ...], as_json: bool, quiet: bool, verbose: bool, **options: Any) -> int:
    """Compute the coefficients of SOURCE into a store, or go on where an earlier run stopped.

    SOURCE: a name from `scatcache sources`, or a folder of images. Settings that are not given are taken from the
    store where there is one.
    """
    check_source(source, split, **{name: options[name] for name in ("root", "keep_background", "download")})
    check_out(options["out"])
    check_settings(options["J"], options["encoding"], options["out"], overwrite=options["overwrite"])
    with watch(quiet, verbose, overwrite=options["overwrite"]) as on_event:
        report = scatcache.extract(source, split=split or None, on_event=on_event, **options)
    return show_report(report, as_json)


@cli.command()
@click.argument("store")
@place_options
@device_options
@run_options
@talk_options
def resume(store: str, split: tuple[str, ...], as_json: bool, quiet: bool, verbose: bool, **options: Any) -> int:
    """Go on with STORE by its own settings."""
    check_out(store)
    with watch(quiet, verbose) as on_event:
        report = scatcache.resume(store, split=split or None, on_event=on_event, **options)
    return show_report(report, as_json)


@cli.command()
@click.argument("source")
@settings_options
@place_options
@out_option
@device_options
@run_options
@overwrite_option
@talk_options
def plan(source: str, split: tuple[str, ...], as_json: bool, **options: Any) -> int:
    """Say what extract would do and cost; write and download nothing.

    It takes whatever extract takes, so that the one word can be exchanged for the other.
    """
    check_source(source, split, **{name: options[name] for name in ("root", "keep_background", "download")})
    check_out(options["out"])
    check_settings(options["J"], options["encoding"], options["out"], overwrite=options["overwrite"])
    report = scatcache.plan(source, split=split or None, **{name: options[name] for name in PLAN_OPTIONS})
    for warning in report.warnings:
        echo(f"warning: {warning}", err=True)
    if as_json:
        echo_json(report.to_dict())
        return 0
    lines = [(name, f"{show_views(entry.images, entry.views)} of {show_shape(entry.image_shape)} -> "
              f"{show_shape(entry.output_shape)}, {entry.shards} shards of {entry.shard_images} "
              f"{'images' if entry.views == 1 else 'views'}, at most {show_bytes(entry.bytes)}")
             for name, entry in report.splits.items()]  # fmt: skip
    lines += [
        ("store", f"{bind(report.store)}, {show_bytes(report.free_bytes)} free there"),
        ("bytes", f"at most {show_bytes(report.bytes)}"),
        ("device", f"{report.device}, backend {report.backend} ({report.backend_reason})"),
    ]
    show_lines(lines)
    return 0


@cli.command()
@click.argument("store")
@json_option
def info(store: str, as_json: bool) -> int:
    """Describe STORE."""
    from scatcache.inspect.energy import show_shares

    report = scatcache.info(store)
    if as_json:
        echo_json(report.to_dict())
        return 0
    channels = f"{report.spec.n_paths} paths, {report.spec.n_channels} channels"
    state = show_state(report.state, report.limit)
    lines = [("store", bind(report.store)), ("state", state), ("source", report.source),
             ("settings", f"{report.settings}: {channels}"), ("on disk", show_bytes(report.bytes))]  # fmt: skip
    for name, split in report.splits.items():
        done = f"{split.shards_done} of {split.shards} shards"
        counts = f"{split.rows:,} rows, {split.ok:,} ok, {split.unreadable:,} unreadable"
        lines.append(
            (name, f"{counts}, {done}, {bind(f'images {show_shape(split.image_shape)}, {split.classes} classes')}")
        )
        lines += [("  images", text) for text in split.notes]
        if split.energy:
            shares = enumerate(show_shares(split.energy))
            lines.append(("  energy", ", ".join(bind(f"order {order} {share}") for order, share in shares)))
    show_lines(lines)
    return 0


@cli.command()
@click.argument("store")
@click.option("--recompute", type=click.FloatRange(0, 1), default=0.0, metavar="FRACTION",
              help="also compute this fraction of the rows again from their images")  # fmt: skip
@click.option("--root", type=click.Path(path_type=Path), help="where the source's files are")
@json_option
def verify(store: str, recompute: float, root: Path | None, as_json: bool) -> int:
    """Check every byte of STORE against its receipts."""
    report = scatcache.verify(store, recompute=recompute, root=root)
    for note in report.notes:
        echo(f"note: {note}", err=True)
    if as_json:
        echo_json(report.to_dict())
    else:
        for failure in report.failures:
            echo(f"{failure.path}: {failure.reason}")
        again = f", {count(report.recomputed, 'row')} recomputed" if report.recomputed else ""
        verdict = "ok" if report.ok else count(len(report.failures), "failure")
        echo(f"{count(report.checked, 'shard')} checked{again}: {verdict}")
        for line in advise_mending(report, store):
            echo(line, err=True)
    return 0 if report.ok else EXIT_VERIFY


def advise_mending(report: Any, store: str) -> Iterator[str]:
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


@cli.command(context_settings={"ignore_unknown_options": True})  # so that -1 is an INDEX
@click.argument("store")
@click.argument("index", type=int)
@click.option("--split", help="which split  [default: the only one]")
@click.option("--root", type=click.Path(path_type=Path), help="where the source's files are")
@click.option("--out", type=click.Path(path_type=Path), help="the picture  [default: STORE-SPLIT-INDEX.png]")
def show(store: str, index: int, split: str | None, root: Path | None, out: Path | None) -> int:
    """Draw row INDEX of STORE, its image and coefficients, as a PNG, and print where it is.

    INDEX counts source rows, as cache[INDEX] does; -1 is the last.
    """
    echo(scatcache.show(store, index, split=split, root=root, out=out))
    return 0


@cli.command()
@json_option
def sources(as_json: bool) -> int:
    """List the datasets that extract knows by name."""
    listed = scatcache.sources()
    if as_json:
        echo_json(listed)
    else:
        show_lines([*listed.items(), ("FOLDER", "class folders, split folders above class folders, or flat files")])
    return 0


@cli.command()
@json_option
def doctor(as_json: bool) -> int:
    """Say what this machine offers and which backends run on it."""
    report = scatcache.doctor()
    if as_json:
        echo_json(report.to_dict())
        return 0
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
    return 0


def check_source(
    source: str, splits: tuple[str, ...], *, root: Path | None, keep_background: bool | None, download: bool
) -> None:
    """What is wrong with SOURCE and its options on the command line alone is a usage error."""
    from scatcache.images.catalogue import DATASETS, explain_clash, is_known_source, source_exists

    if clash := explain_clash(source, root):
        raise click.UsageError(clash)
    if not source_exists(source):
        near = difflib.get_close_matches(source.lower(), DATASETS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ", which must exist" if os.sep in source else ""
        raise click.UsageError(f"unknown source {source!r}: expected one of {', '.join(DATASETS)}, or a folder{hint}")
    can = [row.name for row in DATASETS.values() if row.archive is not None]
    if download and source not in can:
        raise click.UsageError(f"{source} cannot be downloaded by --download, only {', '.join(can)}")
    known = DATASETS[source].splits if is_known_source(source) else splits
    for split in splits:
        if split not in known:
            raise click.UsageError(f"{source} has no split {split!r}: expected one of {', '.join(known)}")


def check_out(out: str | None) -> None:
    """Stores are written to file systems; elsewhere is a usage error."""
    if out is not None and "://" in out:
        from scatcache.store.places.place import show_place

        shown = show_place(out)
        raise click.UsageError(f"{shown}: extract writes to a local folder: extract there, then copy it with any tool")


def check_settings(J: int | None, encoding: str | None, out: str | None, *, overwrite: bool = False) -> None:
    """A new store without --J, and an unknown --encoding, are usage errors."""
    known = out is not None and any(map(os.path.lexists, (f"{out}/zarr.json", f"{out.rstrip('/')}.job/manifest.json")))
    if J is None and (overwrite or not known):
        raise click.UsageError("Missing option '--J' (the log2 of the largest scale): try --J 2")
    if encoding is not None:
        from scatcache.store.format.encodings import find_encoding

        try:
            find_encoding(encoding)
        except ValueError as error:
            raise click.UsageError(str(error)) from error


def show_report(report: Any, as_json: bool) -> int:
    """The result of extract or resume on stdout; returns the exit code."""
    n_unreadable = len(report.unreadable)
    for warning in report.warnings:
        echo(f"warning: {warning}", err=True)
    if as_json:
        echo_json(report.to_dict())
        return EXIT_UNREADABLE if n_unreadable else 0
    for name, split in report.splits.items():
        shards = f"{split.shards} shards ({split.shards_computed} computed, {split.shards_kept} kept)"
        echo(f"{name}: {show_views(split.rows, report.n_views)}, {split.unreadable:,} unreadable, {shards}")
    for entry in report.unreadable[:10]:
        echo(f"unreadable: {entry['split']}: {entry['key']}: {entry['reason']}", err=True)
    if n_unreadable > 10:
        echo(f"... and {n_unreadable - 10} more: --json lists all", err=True)
    rate = f"{report.images_per_s:,.1f} images/s" if report.images_per_s else "nothing to compute"
    tail = f", {n_unreadable:,} unreadable images recorded" if n_unreadable else ""
    state = show_state(report.state, report.limit)
    echo(f"{report.store}: {state}, {show_bytes(report.bytes)}, {report.elapsed_s:.1f} s, {rate}{tail}")
    return EXIT_UNREADABLE if n_unreadable else 0


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


def show_shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


@contextmanager
def watch(quiet: bool, verbose: bool, *, overwrite: bool = False) -> Iterator[Callable[[Any], None]]:
    """Progress on stderr: a bar on a terminal, elsewhere a plain line at most every 10 s."""
    interruption.advise(NOTHING_DELETED if overwrite else GO_ON)
    if verbose:
        log_to_stderr(logging.DEBUG, "%(asctime)s %(name)s: %(message)s")
        logging.getLogger("scatcache").setLevel(logging.DEBUG)
    with watch_job(quiet=quiet) as show:

        def on_event(event: Any) -> None:
            if isinstance(event, StoreReplaced):
                advise_replacing(event)
            show(event)

        yield on_event


def log_to_stderr(level: int = logging.WARNING, form: str = "%(message)s") -> None:
    """Our log alone, from a level on: Dask's says much and helps nobody here."""
    logger = logging.getLogger("scatcache")
    logger.handlers = [handler for handler in logger.handlers if not isinstance(handler, LogHandler)]
    handler = LogHandler(level)
    handler.setFormatter(logging.Formatter(form))
    logger.addHandler(handler)


def advise_replacing(event: StoreReplaced) -> None:
    """From where the old store is gone, --overwrite would delete what has been computed."""
    if event.deleted:
        without = "the same command without --overwrite"
        interruption.advise(f"give {without}, it goes on from here", instead=without)
    else:
        # The manifest goes last, so that the rest can be told for ours.
        interruption.advise("part of the old store is deleted, give the same command again, it deletes the rest")


def main() -> NoReturn:
    """The installed command. Errors are one line on stderr, never a traceback."""
    with interruption.leave_on_signals():
        code = run()
    sys.exit(code)


def run() -> int:
    """Runs the command and returns its exit code; what failed is told on stderr."""
    log_to_stderr()
    try:
        return cli.main(standalone_mode=False) or 0
    except click.ClickException as error:
        show_click_error(error)
        return error.exit_code
    except ScatcacheError as error:
        tell(error)
        return find_exit_code(error)
    except BrokenPipeError:
        # Whoever read our output has left; Python would complain once more while flushing at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except (OSError, ValueError, IndexError, MemoryError, RuntimeError) as error:
        tell(error)
        return EXIT_FAILED


def find_exit_code(error: ScatcacheError) -> int:
    """The exit code of a failed command."""
    codes = {SettingsDiffer: EXIT_SETTINGS, StoreLocked: EXIT_LOCKED}
    return next((code for kind, code in codes.items() if isinstance(error, kind)), EXIT_FAILED)


def tell(error: Exception) -> None:
    """One line on what failed; after a signal that alone is told."""
    if not interruption.received():
        interruption.say(f"error: {interruption.reword(str(error)) or type(error).__name__}")


if __name__ == "__main__":
    main()
