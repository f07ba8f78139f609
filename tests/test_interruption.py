"""Kills and signals: whatever comes, the same command goes on and ends in the store of a run that nothing stopped."""

import os
import random
import signal
import time
from pathlib import Path

import psutil
import pytest

import scatcache
from tests.runs import (
    call,
    dask_cluster,
    find_differences,
    identify_finished,
    is_shard_temporary,
    kill_group,
    list_group,
    list_receipts,
    list_temporaries,
    make_images,
    start,
    wait_for,
)

pytestmark = pytest.mark.slow
LAST_LINE = {
    signal.SIGINT: "scatcache: interrupted: give the same command again, it goes on from here",
    signal.SIGTERM: "scatcache: terminated: give the same command again, it goes on from here",
}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder of 120 images, which make 60 shards: enough for a run to last some seconds."""
    return make_images(tmp_path_factory.mktemp("many") / "images", 120, side=32)


@pytest.fixture(scope="module")
def straight(tmp_path_factory, images):
    """The store that nothing stopped."""
    out = tmp_path_factory.mktemp("straight") / "straight.zarr"
    assert call(*list_arguments(images, out)).code == 0
    return out


def list_arguments(images, out):
    return ["extract", images, "--J", "2", "--shard-images", "2", "--out", out]


def wait_for_receipt(store, process, known=frozenset()):
    """Waits for a shard that this process finishes."""
    wait_for(lambda: list_receipts(store) - known or process.poll() is not None)
    assert process.poll() is None, process.stderr.read()


def wait_for_nobody(leader, *, timeout_s):
    """Waits until no process of the group is left; returns how long that took."""
    started = time.monotonic()
    wait_for(lambda: not list_group(leader), timeout_s=timeout_s)
    return time.monotonic() - started


def assert_goes_on(arguments, straight, killed):
    """The same command ends the killed store as the straight one, keeping the files of finished shards."""
    finished = identify_finished(killed)
    done = call(*arguments)
    assert done.code == 0, done.err
    assert find_differences(straight, killed) == []
    found = identify_finished(killed)
    assert {path: found[path] for path in finished} == finished
    assert list_temporaries(killed) == []


# The command over slow disks, so that no machine is too fast for the kill.
SLOW_READING = """
import time
from scatcache.images.kinds.folder import FolderPart

def slow_down(kind, pause_s):
    read = kind.read
    kind.read = lambda part, i: (time.sleep(pause_s), read(part, i))[1]

slow_down(FolderPart, 0.03)
from scatcache.commands import main
main()
"""


def kill_twice(arguments, killed):
    """Two kills of the whole group after a run's first receipt, while a shard is being written."""
    dice = random.Random(0)
    for _ in range(2):
        known = list_receipts(killed)
        process = start(*arguments, "--workers", "2", code=SLOW_READING)
        wait_for_receipt(killed, process, known)
        time.sleep(dice.uniform(0, 0.2))
        wait_for(lambda: any(map(is_shard_temporary, list_temporaries(killed))), pause_s=0.001)
        kill_group(process)
        assert any(map(is_shard_temporary, list_temporaries(killed)))


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path, images, straight):
    killed = tmp_path / "killed.zarr"
    arguments = list_arguments(images, killed)
    kill_twice(arguments, killed)
    assert 2 <= len(list_receipts(killed)) < len(list_receipts(straight))
    assert_goes_on(arguments, straight, killed)


def test_workers_follow_a_killed_main_process(tmp_path, images, straight):
    killed = tmp_path / "killed.zarr"
    process = start(*list_arguments(images, killed), "--processes", "--workers", "2")
    wait_for_receipt(killed, process)
    assert len(list_group(process.pid)) >= 3
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert wait_for_nobody(process.pid, timeout_s=5) < 5
    process.communicate()
    assert_goes_on(list_arguments(images, killed), straight, killed)


def find_busy_workers(leader):
    """Worker processes, not the resource tracker."""
    return [
        process
        for process in psutil.Process(leader).children(recursive=True)
        if "resource_tracker" not in " ".join(process.cmdline())
    ]


def test_a_killed_worker_process_costs_nothing(tmp_path, images):
    out = tmp_path / "a.zarr"
    process = start(*list_arguments(images, out), "--processes", "--workers", "2")
    wait_for_receipt(out, process)
    find_busy_workers(process.pid)[0].kill()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors and "distributed" not in errors
    assert scatcache.info(out).splits["all"].ok == 120
    assert list_temporaries(out) == []


def test_a_killed_worker_of_a_scheduler_costs_nothing(tmp_path, images):
    out = tmp_path / "a.zarr"
    with dask_cluster(tmp_path) as (address, workers):
        process = start(*list_arguments(images, out), "--scheduler", address)
        wait_for_receipt(out, process)
        find_busy_workers(workers.pid)[0].kill()
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert scatcache.info(out).splits["all"].ok == 120


def test_a_scheduler_that_dies_ends_the_run_resumably(tmp_path, images, straight):
    out = tmp_path / "a.zarr"
    with dask_cluster(tmp_path) as (address, _):
        process = start(*list_arguments(images, out), "--scheduler", address)
        wait_for_receipt(out, process)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].startswith("scatcache: error: ") and "scheduler" in errors.splitlines()[-1]
    assert_goes_on(list_arguments(images, out), straight, out)


# Workers that say that they have a shard, do nothing until they are told to go on, and say how it ended. As defaults: a
# preload is run twice.
HELD_UP = """
import pathlib, time
from scatcache.job import shard_task

folder = pathlib.Path({folder!r})

def hold_up(job, split, find=shard_task._find_transform):
    (folder / "holds").touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
    return find(job, split)

def note(job, task, compute=shard_task.compute_shard):
    end = "published"
    try:
        return compute(job, task)
    except BaseException as error:
        end = str(error)
        raise
    finally:
        (folder / "ended").write_text(end)

shard_task._find_transform, shard_task.compute_shard = hold_up, note
"""


def test_workers_of_a_killed_command_leave_a_newer_store_alone(tmp_path, images):
    out, straight = tmp_path / "a.zarr", tmp_path / "straight.zarr"
    newer = ["--J", "1", "--shard-images", "30"]
    assert call("extract", images, *newer, "--out", straight).code == 0
    with dask_cluster(tmp_path, n_workers=1, preload=HELD_UP.format(folder=str(tmp_path))) as (address, _):
        older = ["--J", "2", "--shard-images", "30", "--out", out]
        process = start("extract", images, *older, "--scheduler", address)
        wait_for((tmp_path / "holds").exists)
        kill_group(process)
        assert call("extract", images, *newer, "--out", out, "--overwrite").code == 0
        (tmp_path / "go").touch()
        ended = tmp_path / "ended"
        wait_for(lambda: ended.exists() and ended.read_text())
    assert "a newer run has taken the store over" in ended.read_text()
    assert find_differences(straight, out) == []


# Signals

# A command that says that it lists its images, and is at it for long.
SLOW_LISTING = """
import time
from scatcache.images.kinds.folder import FolderPart

def list_rows(part):
    open({sign!r}, "x").close()
    time.sleep(60)

FolderPart.listing = property(list_rows)
from scatcache.commands import main
main()
"""


def start_until(moment, tmp_path, images, *more):
    """Starts an extraction and returns it once it imports torch, lists its images or computes."""
    arguments = [*list_arguments(images, tmp_path / "a.zarr"), *more]
    if moment == "listing":
        sign = tmp_path / "listing"
        process = start(*arguments, code=SLOW_LISTING.format(sign=str(sign)))
        wait_for(sign.exists)
        return process
    process = start(*arguments)
    if moment == "import":
        maps = Path(f"/proc/{process.pid}/maps")
        wait_for(lambda: "libtorch_cpu" in maps.read_text(), pause_s=0)
    else:
        wait_for_receipt(tmp_path / "a.zarr", process)
    return process


def send(signum, target, process):
    if target == "group":
        os.killpg(process.pid, signum)
    else:
        os.kill(process.pid, signum)


def assert_left(process, signum, *, since):
    """Gone in 2 s with the signal's exit code, one line of ours at the end, and nobody of the group left."""
    _, errors = process.communicate(timeout=30)
    assert time.monotonic() - since < 2
    assert process.returncode == 128 + signum
    assert "Traceback" not in errors and "Exception ignored" not in errors
    assert errors.splitlines()[-1] == LAST_LINE[signum]
    assert errors.count("scatcache: ") == 1
    wait_for_nobody(process.pid, timeout_s=0.5)


@pytest.mark.parametrize(
    ("moment", "signum", "target", "more"),
    [
        ("import", signal.SIGINT, "group", []),
        ("import", signal.SIGTERM, "main", ["--processes"]),
        ("listing", signal.SIGINT, "main", []),
        ("listing", signal.SIGTERM, "group", []),
        ("computing", signal.SIGINT, "group", []),
        ("computing", signal.SIGTERM, "main", []),
        ("computing", signal.SIGINT, "group", ["--processes"]),
        ("computing", signal.SIGTERM, "main", ["--processes"]),
    ],
)
def test_a_signal_ends_the_command_at_once_and_quietly(tmp_path, images, moment, signum, target, more):
    process = start_until(moment, tmp_path, images, *more)
    since = time.monotonic()
    send(signum, target, process)
    assert_left(process, signum, since=since)
    if moment != "computing":
        assert not (tmp_path / "a.zarr").exists()


def test_an_interrupted_run_goes_on_to_the_same_bytes(tmp_path, images, straight):
    process = start_until("computing", tmp_path, images)
    send(signal.SIGINT, "group", process)
    process.communicate(timeout=30)
    assert_goes_on(list_arguments(images, tmp_path / "a.zarr"), straight, tmp_path / "a.zarr")


@pytest.mark.parametrize("more", [[], ["--processes"]], ids=["threads", "processes"])
def test_hammering_on_the_keys_neither_hangs_nor_repeats(tmp_path, images, more):
    process = start_until("computing", tmp_path, images, *more)
    since = time.monotonic()
    while process.poll() is None and time.monotonic() - since < 10:
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.01)
    assert_left(process, signal.SIGINT, since=since)


# Python runs it before anything else: worker processes stay at it for long.
SLOW_START = """
import sys, time

if "--multiprocessing-fork" in sys.orig_argv:
    open({sign!r}, "w").close()
    time.sleep(60)
"""


def test_worker_processes_are_silent_from_their_first_moment_on(tmp_path, images):
    sign = tmp_path / "starts"
    (tmp_path / "sitecustomize.py").write_text(SLOW_START.format(sign=str(sign)))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    process = start(*list_arguments(images, tmp_path / "a.zarr"), "--processes", "--workers", "2", env=environment)
    wait_for(sign.exists)
    workers = find_busy_workers(process.pid)
    for worker in workers:
        worker.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert workers and all(worker.is_running() for worker in workers)
    since = time.monotonic()
    send(signal.SIGINT, "group", process)
    assert_left(process, signal.SIGINT, since=since)


# A command that starts one more process when it has looked for its children for the last time.
LATE_CHILD = """
import os, subprocess, sys

def start_another(code, leave=os._exit):
    subprocess.run([sys.executable, "-c", "raise EOFError"])
    leave(code)

os._exit = start_another
"""


def test_a_process_that_starts_too_late_to_be_found_is_silent(tmp_path, images):
    sign = tmp_path / "listing"
    code = LATE_CHILD + SLOW_LISTING.format(sign=str(sign))
    process = start(*list_arguments(images, tmp_path / "a.zarr"), code=code)
    wait_for(sign.exists)
    since = time.monotonic()
    send(signal.SIGINT, "main", process)
    assert_left(process, signal.SIGINT, since=since)


# A command whose unwinding goes wrong: it hangs, as a lost network file system makes it, or fails.
UNWINDING = """
import time
from scatcache.job import run

def hang(job):
    open({sign!r}, "x").close()
    try:
        time.sleep(60)
    finally:
        {last}

run.JobRun.execute = hang
from scatcache.commands import main
main()
"""


@pytest.mark.parametrize(
    ("last", "n_signals"), [("time.sleep(60)", 1), ("time.sleep(60)", 2), ("raise RuntimeError", 1)]
)
def test_an_unwinding_that_goes_wrong_is_cut_off(tmp_path, images, last, n_signals):
    sign = tmp_path / "unwinding"
    code = UNWINDING.format(sign=str(sign), last=last)
    process = start(*list_arguments(images, tmp_path / "a.zarr"), code=code)
    wait_for(sign.exists)
    since = time.monotonic()
    for _ in range(n_signals):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
    assert_left(process, signal.SIGTERM, since=since)
