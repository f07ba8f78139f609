"""A job's progress on stderr: a bar on a terminal, elsewhere a plain line at most every 10 s."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from scatcache.job.events import ArchiveProgress, ClusterWaiting, Event, JobPlanned, ShardFinished
from scatcache.terminal import echo, escape

LINE_EVERY_S = 10.0


class Tally:
    """What has been done since the job began, and what that makes of the rest."""

    def __init__(self, planned: JobPlanned):
        self.plan = planned.plan
        self.started = time.monotonic()
        self.images, self.bytes, self.unreadable = 0, 0, 0

    def add(self, event: ShardFinished) -> None:
        self.images += event.receipt.n_rows
        self.bytes += event.receipt.file_bytes
        self.unreadable += event.receipt.n_rows - event.receipt.n_ok

    @property
    def images_done(self) -> int:
        return self.plan.images_done + self.images

    @property
    def images_per_s(self) -> float:
        return self.images / max(time.monotonic() - self.started, 1e-9)

    def describe(self) -> str:
        """Done of all, rate, bytes written, time left, unreadable ones; it leaves room for a bar in 80 columns."""
        rate = self.images_per_s
        left = show_time((self.plan.images - self.images_done) / rate) if rate else "?"
        return (
            f"{self.images_done:,}/{self.plan.images:,}, {rate:,.1f} images/s, {show_bytes(self.bytes)}, "
            f"{left} left, {self.unreadable:,} unreadable"
        )


def show_time(seconds: float) -> str:
    """h:mm:ss."""
    return f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02d}:{int(seconds) % 60:02d}"


def show_bytes(n_bytes: float) -> str:
    """Bytes in the decimal unit that suits them."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} B" if unit == "B" else f"{n_bytes:.2f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.2f} TB"


def count(n: int, noun: str) -> str:
    """ "1 image", "2 images"."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def show_views(n_rows: int, n_views: int) -> str:
    """ "100 images", "2,000 views (20 of each of 100 images)"."""
    images = count(n_rows // n_views, "image")
    return images if n_views == 1 else f"{n_rows:,} views ({n_views} of each of {images})"


def show_state(state: str, limit: int | None) -> str:
    """ "complete", "complete, limited to 10" where no more images of a split were asked for."""
    return state if limit is None or state != "complete" else f"{state}, limited to {limit}"


def announce(planned: JobPlanned) -> str:
    """What is about to be done, before any of it is."""
    plan = planned.plan
    shapes = ", ".join(f"{name} {'x'.join(map(str, split.output_shape))}" for name, split in plan.splits.items())
    kept = f", {plan.done:,} of them done" if plan.done else ""
    took = "" if planned.expected_s is None else f"about {show_time(planned.expected_s)} by a look at some images; "
    return (
        f"{show_views(plan.images, plan.views)} -> {escape(plan.store)}\n"
        f"settings: {plan.settings}\n"
        f"coefficients: {shapes}; at most {show_bytes(plan.bytes)}, {show_bytes(plan.free_bytes)} free\n"
        f"{count(plan.shards, 'shard')}{kept}; {planned.n_workers} at once on {plan.device} with "
        f"{plan.backend} ({plan.backend_reason})\n"
        f"estimate: {took}about {show_bytes(planned.expected_bytes)} of natural images"
    )


@contextmanager
def watch_job(*, quiet: bool) -> Iterator[Callable[[Event], None]]:
    """A callback for a job's events that draws them; what was drawn is cleared away on leaving."""
    if quiet or sys.stderr is None:
        yield _show_warnings
    elif sys.stderr.isatty():
        with _draw_bar() as on_event:
            yield on_event
    else:
        yield _print_lines()


def describe_archive(event: ArchiveProgress) -> str:
    """What has come of an archive."""
    total = "" if event.total_bytes is None else f" of {show_bytes(event.total_bytes)}"
    return f"{event.action} {event.file}: {show_bytes(event.bytes)}{total}"


def _show_warnings(event: Event) -> None:
    for warning in event.plan.warnings if isinstance(event, JobPlanned) else ():
        echo(f"warning: {warning}", err=True)
    if isinstance(event, ClusterWaiting):
        echo(event.text, err=True)


def _show_plan(planned: JobPlanned) -> Tally:
    _show_warnings(planned)
    if planned.plan.bytes_left > planned.plan.free_bytes:
        echo("warning: fits only if the coefficients compress as those of natural images do", err=True)
    echo(*announce(planned).split("\n"), err=True)
    return Tally(planned)


def _print_lines() -> Callable[[Event], None]:
    state: dict[str, Any] = {"tally": None, "shown": None}

    def on_event(event: Event) -> None:
        if isinstance(event, ArchiveProgress):
            if state["shown"] is None:
                # What takes a moment is not worth a line.
                state["shown"] = time.monotonic()
            if time.monotonic() - state["shown"] >= LINE_EVERY_S:
                state["shown"] = time.monotonic()
                echo(describe_archive(event), err=True)
        elif isinstance(event, ClusterWaiting):
            _show_warnings(event)
        elif isinstance(event, JobPlanned):
            state.update(tally=_show_plan(event), shown=time.monotonic())
        elif isinstance(event, ShardFinished):
            state["tally"].add(event)
            if time.monotonic() - state["shown"] >= LINE_EVERY_S:
                state["shown"] = time.monotonic()
                echo(state["tally"].describe(), err=True)

    return on_event


@contextmanager
def _draw_bar() -> Iterator[Callable[[Event], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(stderr=True)
    # The terminal echoes ^C at the end of the line: were there no room, the bar would wrap and stay behind.
    console.width = max(20, console.width - 3)
    # A name in square brackets is no markup.
    text = TextColumn("{task.description}", markup=False)
    columns = (TextColumn("{task.percentage:>3.0f}%"), BarColumn(bar_width=None), text)
    progress = Progress(*columns, console=console, transient=True, expand=True)
    state: dict[str, Any] = {"tally": None, "task": None}
    archives: dict[str, Any] = {}

    def on_event(event: Event) -> None:
        if isinstance(event, ArchiveProgress):
            if event.file not in archives:
                archives[event.file] = progress.add_task(escape(describe_archive(event)))
                progress.start()
            progress.update(
                archives[event.file],
                description=escape(describe_archive(event)),
                completed=event.bytes,
                total=event.total_bytes,
                visible=event.bytes != event.total_bytes,
            )
        elif isinstance(event, ClusterWaiting):
            progress.console.print(escape(event.text), highlight=False, markup=False, soft_wrap=True)
        elif isinstance(event, JobPlanned):
            state["tally"] = _show_plan(event)
            state["task"] = progress.add_task("starting", total=event.plan.images, completed=event.plan.images_done)
            progress.start()
        elif isinstance(event, ShardFinished):
            tally = state["tally"]
            tally.add(event)
            progress.update(state["task"], completed=tally.images_done, description=tally.describe())

    try:
        yield on_event
    finally:
        progress.stop()
