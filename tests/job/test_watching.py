import os
import signal
import time
from types import SimpleNamespace

import psutil
import pytest

from scatcache.errors import ScatcacheError
from scatcache.job import executors, watching
from scatcache.job.executors import open_cluster
from scatcache.job.tasks import run_tasks
from scatcache.job.watching import HANDOVER_S, PATIENCE_S, Watch, Watched
from tests.runs import dask_cluster

KEYS = {"shard-1", "shard-2"}


class Cluster:
    """What a scheduler would say of its workers at a time that passes as the test wants it to.

    heartbeats: of each worker, by address; None where it sends one whenever it is asked for.
    """

    def __init__(self, monkeypatch):
        self.now, self.status, self.silent = 1000.0, "running", False
        self.heartbeats: dict[str, float | None] = {}
        self.holding: dict[str, list[str]] = {}
        self.scheduler = SimpleNamespace(identity=self.identity, processing=lambda: self.holding)
        self.told: list[str] = []
        self.replaced: list[str] = []
        monkeypatch.setattr(watching, "time", SimpleNamespace(monotonic=lambda: self.now))

    def identity(self):
        return {
            "workers": {
                address: {"nthreads": 2, "last_seen": self.now if heartbeat is None else heartbeat}
                for address, heartbeat in self.heartbeats.items()
            }
        }

    def sync(self, call, *, callback_timeout):
        if self.silent:
            raise TimeoutError
        return call()

    def watch(self, *, ours=False):
        replace = self.replaced.append if ours else None
        watched = Watched(self, "the scheduler at tcp://there:1", "start some", replace)
        return Watch(watched, self.told.append)

    def look_for(self, watch, seconds):
        for _ in range(int(seconds)):
            self.now += 1
            watch.look(KEYS)


@pytest.fixture
def cluster(monkeypatch):
    return Cluster(monkeypatch)


def test_live_workers_are_waited_for_without_end_and_counted(cluster):
    watch, cluster.heartbeats = cluster.watch(), {"a": None, "b": None}
    cluster.look_for(watch, 2 * HANDOVER_S)
    assert (watch.n_threads, cluster.told) == (4, [])


def test_missing_workers_are_told_at_once_and_end_the_run_later(cluster):
    watch = cluster.watch()
    cluster.look_for(watch, PATIENCE_S - 1)
    assert cluster.told == ["the scheduler at tcp://there:1 has no worker: start some; waiting for one for up to 60 s"]
    with pytest.raises(ScatcacheError, match="has had no worker for 60 s: start some, then give the same command"):
        cluster.look_for(watch, 2)


def test_workers_that_come_in_time_are_welcome(cluster):
    watch = cluster.watch()
    cluster.look_for(watch, PATIENCE_S - 1)
    cluster.heartbeats = {"a": None}
    cluster.look_for(watch, 3)
    cluster.heartbeats = {}
    cluster.look_for(watch, PATIENCE_S - 1)


def test_a_silent_scheduler_ends_the_run(cluster):
    watch, cluster.silent = cluster.watch(), True
    cluster.look_for(watch, PATIENCE_S - 1)
    assert "does not answer" in cluster.told[0] and len(cluster.told) == 1
    with pytest.raises(ScatcacheError, match="has not answered for 60 s: see whether its machine runs"):
        cluster.look_for(watch, 2)


def test_a_lost_connection_ends_the_run_at_once(cluster):
    watch, cluster.status = cluster.watch(), "connecting"
    with pytest.raises(ScatcacheError, match="connection to the Dask scheduler was lost"):
        watch.look(KEYS)


def test_workers_that_all_fall_silent_are_named(cluster):
    watch, cluster.heartbeats = cluster.watch(), {f"tcp://w{n}": 5.0 for n in range(7)}
    cluster.look_for(watch, PATIENCE_S)
    with pytest.raises(
        ScatcacheError, match=r"no worker has been heard of for 60 s \(tcp://w0, .*tcp://w4 and 2 more\)"
    ):
        cluster.look_for(watch, 2)


def test_silent_workers_that_hold_the_rest_are_told_then_end_the_run(cluster):
    watch, cluster.heartbeats = cluster.watch(), {"alive": None, "frozen": 5.0}
    cluster.holding = {"alive": ["of somebody else"], "frozen": ["shard-1"]}
    cluster.look_for(watch, HANDOVER_S - 1)
    assert len(cluster.told) == 1 and "not heard of for 60 s: frozen; their shards go to others" in cluster.told[0]
    with pytest.raises(ScatcacheError, match=r"not heard of for 600 s \(frozen\): stop these"):
        cluster.look_for(watch, 2)


def test_a_silent_worker_is_nobodys_business_while_others_compute(cluster):
    watch, cluster.heartbeats = cluster.watch(), {"alive": None, "frozen": 5.0}
    cluster.holding = {"alive": ["shard-2"], "frozen": ["shard-1"]}
    cluster.look_for(watch, 2 * HANDOVER_S)
    assert cluster.told == []


def test_a_silent_process_of_our_own_is_replaced(cluster):
    watch, cluster.heartbeats = cluster.watch(ours=True), {"alive": None, "frozen": 5.0}
    cluster.look_for(watch, PATIENCE_S)
    assert cluster.replaced == []
    cluster.look_for(watch, 1)
    assert cluster.replaced == ["frozen"] and "silent for 60 s" in cluster.told[0]


# The same on real processes


def freeze_once(shared, task):
    time.sleep(0.02)
    try:
        open(shared, "x").close()
    except FileExistsError:
        return task
    os.kill(os.getpid(), signal.SIGSTOP)
    return task


def name_process(shared, task):
    return os.getpid()


@pytest.fixture
def impatient(monkeypatch):
    for name, seconds in {"PATIENCE_S": 1.0, "LOOK_EVERY_S": 0.1, "ANSWER_S": 0.3}.items():
        monkeypatch.setattr(watching, name, seconds)


@pytest.mark.slow
def test_a_stopped_worker_process_is_replaced_and_its_task_run_again(tmp_path, impatient):
    told = []
    with open_cluster(n_workers=2, processes=True) as cluster:
        found = sorted(run_tasks(cluster, freeze_once, str(tmp_path / "frozen"), range(12), on_wait=told.append))
    assert found == list(range(12))
    assert len(told) == 1 and "is replaced" in told[0]


@pytest.mark.slow
def test_a_stopped_scheduler_ends_the_run_and_the_next_one_before_it_starts(tmp_path, impatient, monkeypatch):
    monkeypatch.setattr(executors, "CONNECT_TIMEOUT_S", 0.5)
    with dask_cluster(tmp_path, n_workers=1) as (address, _):
        (scheduler,) = [child for child in psutil.Process().children() if "scheduler" in child.cmdline()]

        def stop_it():
            with open_cluster(n_workers=1, scheduler=address) as cluster:
                for _ in run_tasks(cluster, name_process, None, range(100)):
                    scheduler.suspend()

        try:
            with pytest.raises(ScatcacheError, match="has not answered for 1 s"):
                stop_it()
            started = time.monotonic()
            with pytest.raises(ScatcacheError, match=r"no Dask scheduler answers at .*no answer within"):
                open_cluster(n_workers=1, scheduler=address).__enter__()
            assert time.monotonic() - started < 5
        finally:
            scheduler.resume()
