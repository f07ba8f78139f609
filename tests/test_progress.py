import io
import sys
from dataclasses import replace

import pytest

from scatcache import progress
from scatcache.job.events import ArchiveProgress, ClusterWaiting, JobFinished, JobPlanned, ShardFinished
from scatcache.job.planned import JobPlan, SplitPlan
from scatcache.progress import LINE_EVERY_S, Tally, announce, watch_job
from scatcache.store.format.receipts import Receipt


def plan(*, images=1000, images_done=0, done=0, **changes):
    """A job of two splits, its rows and what is done of them in the first."""
    split = SplitPlan(
        images=images, image_shape=(32, 32), output_shape=(243, 8, 8), bytes=0, shards=10, shard_images=100, views=1
    )
    fields = {
        "store": "/data/photos-J2.zarr",
        "is_new": True,
        "settings": "J=2, limit=500",
        "splits": {
            "train": replace(split, images_done=images_done, done=done),
            "test": replace(split, images=0, shards=0),
        },
        "bytes": 3 * 10**9,
        "free_bytes": 5 * 10**9,
        "device": "cpu",
        "backend": "torch",
        "backend_reason": "no CUDA device",
        "warnings": (),
    }
    return JobPlanned(JobPlan(**fields | changes), n_workers=2)


def finish(n_rows=100, n_ok=100, file_bytes=2 * 10**6):
    return ShardFinished(
        Receipt("train", 0, "", "", (8, 8), n_rows, n_ok, file_bytes, "", 0, (), (), (), (), (), {"name": "torch"}, {})
    )


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_tally_counts_what_this_run_did_and_tells_what_is_left(clock):
    tally = Tally(plan(images_done=200, done=2))
    assert tally.describe() == "200/1,000, 0.0 images/s, 0 B, ? left, 0 unreadable"
    clock[0] = 5.0
    tally.add(finish(n_rows=100, n_ok=97))
    assert tally.describe() == "300/1,000, 20.0 images/s, 2.00 MB, 0:00:35 left, 3 unreadable"


def test_a_download_is_told_now_and_then(clock, capsys):
    with watch_job(quiet=False) as on_event:
        for done, seconds in ((1, 1.0), (2, 2.0), (3, LINE_EVERY_S + 1), (4, LINE_EVERY_S + 2)):
            clock[0] = seconds
            on_event(ArchiveProgress("downloading", "a.tar", done * 10**6, 4 * 10**6))
        on_event(plan())
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "downloading a.tar: 3.00 MB of 4.00 MB"
    assert lines[1] == "1,000 images -> /data/photos-J2.zarr"


def test_a_download_is_drawn_on_a_terminal_and_cleared_away(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with watch_job(quiet=False) as on_event:
        on_event(ArchiveProgress("downloading", "a.tar", 10**6, None))
        on_event(ArchiveProgress("downloading", "a.tar", 4 * 10**6, 4 * 10**6))
        on_event(plan())
        on_event(finish())
    assert "downloading a.tar: 1.00 MB" in terminal.getvalue() and "1,000 images" in terminal.getvalue()


def test_a_quiet_download_says_nothing(capsys):
    with watch_job(quiet=True) as on_event:
        on_event(ArchiveProgress("downloading", "a.tar", 4, 4))
    assert capsys.readouterr().err == ""


def test_the_plan_names_all_that_matters_before_the_work():
    text = announce(plan(done=3))
    for part in (
        "1,000 images -> /data/photos-J2.zarr",
        "settings: J=2, limit=500",
        "train 243x8x8, test 243x8x8",
        "at most 3.00 GB, 5.00 GB free",
        "10 shards, 3 of them done",
        "2 at once on cpu with torch (no CUDA device)",
    ):
        assert part in text


def test_without_a_terminal_there_is_a_line_at_most_every_ten_seconds(capsys, clock):
    with watch_job(quiet=False) as on_event:
        on_event(plan(images=10_000))
        n_lines = len(capsys.readouterr().err.splitlines())
        for second in range(1, 100):
            clock[0] = float(second)
            on_event(finish())
        on_event(JobFinished("store"))
    out, err = capsys.readouterr()
    assert (n_lines, out, len(err.splitlines())) == (5, "", 9)
    assert "\x1b" not in err and "\r" not in err
    assert LINE_EVERY_S == 10.0


def test_warnings_of_the_source_and_of_the_space_are_told(capsys):
    with watch_job(quiet=False) as on_event:
        on_event(plan(warnings=("not the official CIFAR-10",), free_bytes=2 * 10**9))
    err = capsys.readouterr().err
    assert "warning: not the official CIFAR-10\n" in err
    assert "warning: fits only if the coefficients compress" in err


def test_what_is_done_needs_no_more_space(capsys):
    with watch_job(quiet=False) as on_event:
        on_event(plan(images_done=900, free_bytes=10**9))
    assert "fits only" not in capsys.readouterr().err


@pytest.mark.parametrize("stream", [io.StringIO, Terminal, lambda: None])
def test_quiet_draws_nothing(monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream())
    with watch_job(quiet=True) as on_event:
        for event in (plan(), finish(), JobFinished("store")):
            on_event(event)
    assert sys.stderr is None or sys.stderr.getvalue() == ""


@pytest.mark.parametrize("quiet", [False, True])
def test_what_a_cluster_lacks_is_told_at_once_and_even_when_quiet(capsys, quiet):
    with watch_job(quiet=quiet) as on_event:
        on_event(ClusterWaiting("the scheduler at tcp://there:1 has no worker: start some"))
    assert capsys.readouterr().err == "the scheduler at tcp://there:1 has no worker: start some\n"


def test_a_closed_stderr_stops_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with watch_job(quiet=False) as on_event:
        for event in (plan(), finish(), JobFinished("store")):
            on_event(event)


def test_a_bar_is_drawn_on_a_terminal_and_cleared(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with watch_job(quiet=False) as on_event:
        on_event(plan())
        on_event(finish())
    drawn = sys.stderr.getvalue()
    assert "100/1,000, " in drawn
    assert drawn.endswith("\x1b[2K"), "the last thing written clears the bar's line"
    assert drawn.rindex("\x1b[?25h") > drawn.rindex("\x1b[?25l"), "the cursor is back"
