"""The command line: parse, call one public function of the same name, show the result, choose the exit code."""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click

import scatcache
from scatcache import interruption
from scatcache.click_options import add_options, add_table
from scatcache.errors import ScatcacheError, SettingsDiffer, StoreLocked, UsageError
from scatcache.job.events import StoreReplaced
from scatcache.job.settings import ExtractOptions, PlanOptions, ResumeOptions
from scatcache.progress import watch_job
from scatcache.results import show_doctor, show_info, show_plan, show_report, show_sources, show_verification
from scatcache.terminal import LogHandler, echo, echo_json, show_click_error

GO_ON = "give the same command again, it goes on from here"
NOTHING_DELETED = "nothing was deleted, the same command again deletes the store and starts anew"
EXIT_FAILED, EXIT_UNREADABLE, EXIT_VERIFY = 1, 3, 4
EXIT_CODES = {UsageError: 2, SettingsDiffer: 5, StoreLocked: 6}

json_option = click.option("--json", "as_json", is_flag=True, help="print one JSON object on stdout")
talk_options = add_options(
    json_option,
    click.option("-q", "--quiet", is_flag=True, help="no progress"),
    click.option("-v", "--verbose", is_flag=True, help="log what happens inside"),
)
root_option = click.option("--root", metavar="DIR", help="where the source's files are")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(scatcache.__version__, prog_name="scatcache")
def cli() -> None:
    """Wavelet scattering coefficients of image datasets: computed once, kept safely, read at the speed of the disk."""


@cli.command()
@click.argument("source")
@add_table(ExtractOptions)
@talk_options
def extract(source: str, as_json: bool, quiet: bool, verbose: bool, **options: Any) -> int:
    """Compute the coefficients of SOURCE into a store, or go on where an earlier run stopped.

    SOURCE: a name from `scatcache sources`, a folder of images, a file or URL of an array (.npy, .npz, .h5, .fits,
    Zarr), parquet, or tars. Settings that are not given are taken from the store where there is one.
    """
    with watch(quiet, verbose, overwrite=options["overwrite"]) as on_event:
        report = scatcache.extract(source, on_event=on_event, **options)
    return give_report(report, as_json)


@cli.command()
@click.argument("store")
@add_table(ResumeOptions)
@talk_options
def resume(store: str, as_json: bool, quiet: bool, verbose: bool, **options: Any) -> int:
    """Go on with STORE by its own settings."""
    with watch(quiet, verbose) as on_event:
        report = scatcache.resume(store, on_event=on_event, **options)
    return give_report(report, as_json)


def give_report(report: Any, as_json: bool) -> int:
    """The result of extract or resume; returns the exit code."""
    for warning in report.warnings:
        echo(f"warning: {warning}", err=True)
    give(report, as_json, show_report)
    return EXIT_UNREADABLE if report.unreadable else 0


def give(report: Any, as_json: bool, show: Callable[[Any], None]) -> None:
    """A result on stdout, as JSON or for people."""
    if as_json:
        echo_json(report.to_dict())
    else:
        show(report)


@cli.command()
@click.argument("source", required=False)
@add_table(PlanOptions)
@talk_options
def plan(source: str | None, as_json: bool, quiet: bool, verbose: bool, **options: Any) -> int:
    """Say what extract would do and cost, and what of it is done.

    SOURCE and the options are those of extract; --images N --image-shape HxW stand for a SOURCE that is not there yet.
    What it costs is measured on a sample, in less than half a minute; nothing of it is left, and nothing is downloaded.
    """
    report = scatcache.plan(source, **options)
    for warning in report.warnings:
        echo(f"warning: {warning}", err=True)
    give(report, as_json, show_plan)
    return 0


@cli.command()
@click.argument("store")
@json_option
def info(store: str, as_json: bool) -> int:
    """Describe STORE."""
    give(scatcache.info(store), as_json, show_info)
    return 0


@cli.command()
@click.argument("store")
@click.option("--recompute", type=float, default=0.0, metavar="FRACTION",
              help="also compute this fraction of the rows again from their images  [0 to 1; default: 0]")  # fmt: skip
@root_option
@json_option
def verify(store: str, recompute: float, root: str | None, as_json: bool) -> int:
    """Check every byte of STORE against its receipts."""
    report = scatcache.verify(store, recompute=recompute, root=root)
    for note in report.notes:
        echo(f"note: {note}", err=True)
    give(report, as_json, lambda report: show_verification(report, store))
    return 0 if report.ok else EXIT_VERIFY


@cli.command(context_settings={"ignore_unknown_options": True})  # so that -1 is an INDEX
@click.argument("store")
@click.argument("index", type=int)
@click.option("--split", metavar="NAME", help="which split  [default: the only one]")
@root_option
@click.option("--out", metavar="PNG", help="the picture  [default: STORE-SPLIT-INDEX.png]")
def show(store: str, index: int, split: str | None, root: str | None, out: str | None) -> int:
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
        show_sources(listed)
    return 0


@cli.command()
@json_option
def doctor(as_json: bool) -> int:
    """Say what this machine offers and which backends run on it."""
    give(scatcache.doctor(), as_json, show_doctor)
    return 0


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
    return next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), EXIT_FAILED)


def tell(error: Exception) -> None:
    """One line on what failed; after a signal that alone is told."""
    if not interruption.received():
        interruption.say(f"error: {interruption.reword(str(error)) or type(error).__name__}")


if __name__ == "__main__":
    main()
