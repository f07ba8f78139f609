import contextlib
import errno
import io
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from scatcache.errors import ScatcacheError, SourceError
from scatcache.job import executors, tasks
from scatcache.job.executors import open_cluster
from scatcache.job.tasks import N_RETRIES, TASKS_PER_WORKER, run_tasks
from tests.runs import wait_for


def double(shared, task):
    return shared, 2 * task, os.getpid()


def describe_environment(shared, task):
    time.sleep(0.5)  # long enough for every worker to get one
    return os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ["OMP_NUM_THREADS"], os.getpid()


def fail_on_the_machine(shared, task):
    with open(shared, "a") as file:
        file.write(".")
    raise OSError(errno.EIO, "Input/output error")


def fail_on_a_full_disk(shared, task):
    with open(shared, "a") as file:
        file.write(".")
    raise OSError(errno.ENOSPC, "No space left on device")


def fail_for_good(shared, task):
    with open(shared, "a") as file:
        file.write(".")
    raise SourceError("no such class")


def die(shared, task):
    """Dies by SIGKILL, `shared[1]` times in all."""
    folder, n_deaths = shared
    n_dead = len(os.listdir(folder))
    if n_dead < n_deaths:
        Path(folder, str(n_dead)).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return n_dead


def test_threads_are_threads_of_this_process():
    with open_cluster(n_workers=2) as cluster:
        outcomes = sorted(run_tasks(cluster, double, "shared", range(50)))
    assert outcomes == [("shared", 2 * task, os.getpid()) for task in range(50)]


def test_closing_ends_the_threads():
    def list_workers():
        return [thread for thread in threading.enumerate() if "Dask-Default" in thread.name]

    with open_cluster(n_workers=3) as cluster:
        assert len(list(run_tasks(cluster, double, None, range(6)))) == 6
        assert list_workers()
    wait_for(lambda: not list_workers(), timeout_s=5)


def test_few_tasks_are_in_flight_at_once():
    """Millions of shards never become a graph of millions of tasks."""
    taken, done = [], 0
    with open_cluster(n_workers=2) as cluster:
        for _ in run_tasks(cluster, double, None, (taken.append(task) or task for task in range(100))):
            done += 1
            assert len(taken) - done <= 2 * TASKS_PER_WORKER
    assert done == 100


@pytest.mark.parametrize("processes", [False, True])
def test_nothing_listens_to_the_network(processes):
    with open_cluster(n_workers=1, processes=processes) as cluster:
        list(run_tasks(cluster, double, None, range(2)))
        ours = [psutil.Process(), *psutil.Process().children(recursive=True)]
        listening = [
            connection.laddr.ip
            for process in ours
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        ]
    assert set(listening) <= {"127.0.0.1"}


def test_a_taken_dashboard_port_is_no_news(recwarn):
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            held.enter_context(socket.create_server(("127.0.0.1", 8787)))
        held.enter_context(open_cluster(n_workers=1))
    assert [str(warning.message) for warning in recwarn if "8787" in str(warning.message)] == []


def test_final_errors_are_raised_and_not_tried_again(tmp_path):
    with pytest.raises(SourceError, match="no such class"), open_cluster(n_workers=1) as cluster:
        list(run_tasks(cluster, fail_for_good, str(tmp_path / "tries"), [1]))
    assert (tmp_path / "tries").read_text() == "."


def test_a_full_disk_is_not_tried_again(tmp_path):
    with pytest.raises(OSError, match="No space"), open_cluster(n_workers=1) as cluster:
        list(run_tasks(cluster, fail_on_a_full_disk, str(tmp_path / "tries"), [1]))
    assert (tmp_path / "tries").read_text() == "."


def test_failures_of_the_machine_are_tried_again_then_raised(tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "RETRY_PAUSE_S", 0.0)
    with pytest.raises(OSError, match="Input/output"), open_cluster(n_workers=1) as cluster:
        list(run_tasks(cluster, fail_on_the_machine, str(tmp_path / "tries"), [1]))
    assert (tmp_path / "tries").read_text() == "." * (1 + N_RETRIES)


@pytest.fixture
def dask_log():
    """A handler as Dask installs one."""
    handler = logging.StreamHandler(io.StringIO())
    logging.getLogger("distributed").addHandler(handler)
    yield handler
    logging.getLogger("distributed").removeHandler(handler)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["first in, first out", "first in, last out"])
def test_clusters_that_overlap_keep_dask_quiet_and_give_its_log_back(dask_log, order):
    clusters = [contextlib.ExitStack(), contextlib.ExitStack()]
    for cluster in clusters:
        cluster.enter_context(open_cluster(n_workers=1))
    clusters[order[0]].close()
    assert dask_log.level == logging.CRITICAL
    clusters[order[1]].close()
    assert dask_log.level == logging.NOTSET
    assert dask_log.stream.getvalue() == ""


@pytest.mark.slow
def test_each_gpu_gets_a_process_of_its_own():
    with open_cluster(n_workers=2, gpus=("3", "GPU-abc")) as cluster:
        outcomes = set(run_tasks(cluster, describe_environment, None, range(4)))
    assert {(gpu, threads) for gpu, threads, _ in outcomes} == {("3", "1"), ("GPU-abc", "1")}
    assert len({pid for _, _, pid in outcomes} - {os.getpid()}) == 2


@pytest.mark.slow
def test_an_error_kills_the_worker_processes_at_once():
    children = []
    with pytest.raises(KeyboardInterrupt), open_cluster(n_workers=2, processes=True) as cluster:
        for _, _, pid in run_tasks(cluster, double, None, range(20)):
            children.append(psutil.Process(pid))
            if len(children) == 20:
                raise KeyboardInterrupt
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.slow
def test_a_task_whose_worker_died_is_run_again(tmp_path):
    with open_cluster(n_workers=1, processes=True) as cluster:
        assert list(run_tasks(cluster, die, (str(tmp_path), 1), [0])) == [1]


@pytest.mark.slow
def test_a_task_that_kills_every_worker_is_given_up(tmp_path):
    with (
        pytest.raises(ScatcacheError, match=r"died \d times \(out of memory\?\).*fewer --workers"),
        open_cluster(n_workers=1, processes=True) as cluster,
    ):
        list(run_tasks(cluster, die, (str(tmp_path), 100), [0]))


@pytest.mark.parametrize("address", ["localhost", "", "nonsense://x", "nonsense://x:1", "inproc://x", "::", "tcp://"])
def test_a_malformed_address_is_told_at_once(address):
    with pytest.raises(ScatcacheError, match=r"no Dask scheduler answers at .*dask scheduler"):
        open_cluster(n_workers=1, scheduler=address).__enter__()


def test_a_scheduler_that_does_not_answer_is_told(monkeypatch):
    monkeypatch.setattr(executors, "CONNECT_TIMEOUT_S", 0.3)
    with pytest.raises(ScatcacheError, match=r"no Dask scheduler answers at tcp://127.0.0.1:1 .*: start one with"):
        open_cluster(n_workers=1, scheduler="tcp://127.0.0.1:1").__enter__()


@pytest.mark.slow
def test_a_script_without_a_main_guard_is_told_what_to_do(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import scatcache\nscatcache.extract('photos', J=1, max_order=0, limit=2, out='out.zarr', processes=True)\n"
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "ScatcacheError: the workers did not start" in done.stderr.strip().splitlines()[-1]
    assert "__main__" in done.stderr.strip().splitlines()[-1]
