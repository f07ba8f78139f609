import os
import time
from pathlib import Path

import dask
import pytest
from distributed import LocalCluster

from scatcache.errors import ScatcacheError
from scatcache.job import watching
from scatcache.job.executors import open_cluster
from scatcache.job.tasks import run_tasks, tell_workers

QUIET = {"processes": True, "dashboard_address": None, "silence_logs": 50}


class Source:
    """What is not to be copied: each copy would hold its own images."""

    n_copies = 0

    def __init__(self):
        self.images = b"an empty state is not set"

    def __setstate__(self, state):
        type(self).n_copies += 1
        self.__dict__.update(state)


def identify(shared, task):
    time.sleep(0.005)
    return os.getpid(), id(shared), shared.n_copies


def hang(seconds):
    time.sleep(seconds)


def test_threads_share_the_object_itself():
    shared = Source()
    with open_cluster(n_workers=2) as cluster:
        assert set(run_tasks(cluster, identify, shared, range(50))) == {(os.getpid(), id(shared), 0)}


@pytest.mark.slow
def test_each_process_makes_one_object_of_it():
    with open_cluster(n_workers=2, processes=True) as cluster:
        found = set(run_tasks(cluster, identify, Source(), range(50)))
    assert {n_copies for _, _, n_copies in found} == {1}
    assert len(found) == len({pid for pid, _, _ in found}) == 2


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["first in, first out", "first in, last out"])
def test_dask_keeps_few_messages_while_a_cluster_of_ours_is_open(order):
    def read():
        return dask.config.get("distributed.admin.low-level-log-length")

    before, clusters = read(), [open_cluster(n_workers=1), open_cluster(n_workers=1)]
    for cluster in clusters:
        cluster.__enter__()
    clusters[order[0]].__exit__(None, None, None)
    assert read() <= 10
    clusters[order[1]].__exit__(None, None, None)
    assert read() == before


def test_a_scheduler_without_workers_is_given_tasks_and_told_after_a_while(monkeypatch):
    monkeypatch.setattr(watching, "PATIENCE_S", 0.2)
    monkeypatch.setattr(watching, "LOOK_EVERY_S", 0.05)
    told = []
    with (
        LocalCluster(n_workers=0, **QUIET) as local,
        pytest.raises(ScatcacheError, match=r"has had no worker for 0 s: start some with `dask worker .*goes on"),
        open_cluster(n_workers=1, scheduler=local.scheduler_address) as cluster,
    ):
        list(run_tasks(cluster, identify, Source(), range(3), on_wait=told.append))
    assert len(told) == 1 and "has no worker: start some with `dask worker tcp://127.0.0.1" in told[0]


@pytest.mark.slow
def test_a_worker_that_comes_late_does_the_work():
    with (
        LocalCluster(n_workers=0, **QUIET) as local,
        open_cluster(n_workers=1, scheduler=local.scheduler_address) as cluster,
    ):
        found = list(run_tasks(cluster, identify, Source(), range(8), on_wait=lambda text: local.scale(1)))
    assert len(found) == 8


def test_telling_workers_waits_for_none_that_hangs():
    with open_cluster(n_workers=1) as cluster:
        started = time.monotonic()
        tell_workers(cluster, hang, 3)
        assert time.monotonic() - started < 2.5


def leave(path):
    Path(path, str(os.getpid())).touch()


@pytest.mark.slow
def test_telling_workers_reaches_every_process(tmp_path):
    """Dask's workers refuse to call a plain function without being waited for, and only their log says so."""
    with open_cluster(n_workers=2, processes=True) as cluster:
        tell_workers(cluster, leave, str(tmp_path))
        deadline = time.monotonic() + 20
        while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    found = {path.name for path in tmp_path.iterdir()}
    assert len(found) == 2 and str(os.getpid()) not in found
