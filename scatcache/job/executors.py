"""Where shard tasks run: a Dask cluster of threads, of processes, one process per GPU, or one that is already there."""

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scatcache.errors import ScatcacheError
from scatcache.retries import TRANSIENT_ERRNOS

if TYPE_CHECKING:
    from distributed import Client, SpecCluster

# Tasks in flight per worker: one running, one waiting, so that no worker ever waits for the client.
TASKS_PER_WORKER = 2
# A task whose worker died is rerun by Dask; one that raised OSError is rerun this often.
N_RETRIES = 2
RETRY_PAUSE_S = 1.0
# Dask's defaults wait for stragglers that we have already told to stop.
CLOSE_TIMEOUT_S = 1.0


@dataclass(frozen=True)
class Cluster:
    """client: connected; n_workers: tasks that run at once; kill: ends our own worker processes at once."""

    client: "Client"
    n_workers: int
    kill: Callable[[], None]


@contextlib.contextmanager
def open_cluster(
    *, n_workers: int, processes: bool = False, gpus: tuple[str, ...] = (), scheduler: str | None = None
) -> Iterator[Cluster]:
    """A Dask client with n_workers single-task workers, closed or killed on leaving.

    scheduler: address of a running cluster, whose workers share our file system and have scatcache installed; gpus:
    one process for each, which sees that GPU alone (CUDA_VISIBLE_DEVICES); processes: processes, not threads of this
    process. Raises ScatcacheError where the scheduler does not answer or has no worker.
    """
    if scheduler is not None:
        opened = _connect(scheduler)
    elif gpus or processes:
        opened = _start_processes([{"CUDA_VISIBLE_DEVICES": gpu} for gpu in gpus] or [{}] * n_workers)
    else:
        opened = _start_threads(n_workers)
    with _silence_dask(), opened as cluster:
        try:
            yield cluster
        except BaseException:
            cluster.kill()
            raise


@contextlib.contextmanager
def _connect(address: str) -> Iterator[Cluster]:
    from distributed import Client
    from distributed.comm.addressing import parse_address, parse_host_port
    from distributed.comm.registry import get_backend

    try:
        # A Client that refuses an address complains once more, with a traceback, when it is collected.
        protocol, place = parse_address(address)
        get_backend(protocol)
        parse_host_port(place)
        client = Client(address, timeout=10, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ScatcacheError(
            f"no Dask scheduler answers at {address} ({error}): start one with `dask scheduler`, workers with "
            f"`dask worker {address} --nthreads 1`"
        ) from error
    try:
        n_workers = sum(client.nthreads().values())
        if not n_workers:
            raise ScatcacheError(f"the scheduler at {address} has no worker: start some with `dask worker {address}`")
        yield Cluster(client, n_workers, lambda: None)
    finally:
        client.close(timeout=CLOSE_TIMEOUT_S)


@contextlib.contextmanager
def _start_threads(n_workers: int) -> Iterator[Cluster]:
    from distributed import Worker

    options = {"nthreads": n_workers, "protocol": "inproc://"}
    with _start({"protocol": "inproc://"}, Worker, [options]) as (_, client):
        yield Cluster(client, n_workers, lambda: None)


@contextlib.contextmanager
def _start_processes(environments: list[dict[str, str]]) -> Iterator[Cluster]:
    from distributed import Nanny

    # One thread for each library: the workers already fill the cores.
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    options = [{"nthreads": 1, "host": "127.0.0.1", "env": {**threads, **environment}} for environment in environments]
    with _start({"host": "127.0.0.1"}, Nanny, options) as (cluster, client):

        def kill() -> None:
            for nanny in list(cluster.workers.values()):
                nanny.auto_restart = False
                if nanny.pid:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(nanny.pid, signal.SIGKILL)

        yield Cluster(client, len(environments), kill)


@contextlib.contextmanager
def _start(
    scheduler: dict[str, Any], kind: type, workers: list[dict[str, Any]]
) -> Iterator[tuple["SpecCluster", "Client"]]:
    """A scheduler with these options, and one worker of this kind for each dictionary of options in workers."""
    from distributed import Client, Scheduler, SpecCluster

    # Dask's HTTP server cannot be turned off, and by default listens to the network.
    http = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
    common = {**http, "memory_limit": 0, "silence_logs": logging.CRITICAL}
    with contextlib.ExitStack() as held:
        try:
            cluster = held.enter_context(
                SpecCluster(
                    scheduler={"cls": Scheduler, "options": {**http, "port": 0, **scheduler}},
                    workers={n: {"cls": kind, "options": {**common, **options}} for n, options in enumerate(workers)},
                    name="scatcache",
                )
            )
        except RuntimeError as error:
            raise ScatcacheError(
                f"the workers did not start ({error}): a script that asks for processes calls extract() under "
                f'`if __name__ == "__main__":`, or leaves processes out'
            ) from error
        yield cluster, held.enter_context(Client(cluster, timeout=30, set_as_default=False))


_silence_lock = threading.Lock()
_silence = contextlib.ExitStack()
_n_silent = 0


@contextlib.contextmanager
def _silence_dask() -> Iterator[None]:
    """Keeps Dask's log off stderr while any cluster of ours is open; its own way fails where two overlap."""
    from distributed.utils import silence_logging_cmgr

    global _n_silent
    with _silence_lock:
        if _n_silent == 0:
            _silence.enter_context(silence_logging_cmgr(logging.CRITICAL))
        _n_silent += 1
    try:
        yield
    finally:
        with _silence_lock:
            _n_silent -= 1
            if _n_silent == 0:
                _silence.close()


def run_tasks(cluster: Cluster, function: Callable[..., Any], shared: Any, tasks: Iterable[Any]) -> Iterator[Any]:
    """Yields function(shared, task) for each task as it ends, keeping a bounded window in flight.

    Raises what the function raised, after N_RETRIES further tries for OSErrors that pass; ScatcacheError where a task's
    worker died again and again.
    """
    from distributed import as_completed

    window = TASKS_PER_WORKER * cluster.n_workers
    waiting = iter(tasks)
    running = as_completed(loop=cluster.client.loop)

    def submit_next() -> bool:
        for task in waiting:
            running.add(cluster.client.submit(run_task, function, shared, task, pure=False, retries=N_RETRIES))
            return True
        return False

    n_running = sum(submit_next() for _ in range(window))
    while n_running:
        future = next(running)
        outcome = _take_result(future)
        future.release()
        n_running += submit_next() - 1
        yield outcome


def run_task(function: Callable[..., Any], shared: Any, task: Any) -> Any:
    """function(shared, task); final errors are returned, not raised, so that Dask retries only the machine's."""
    try:
        return function(shared, task)
    except ScatcacheError as error:
        return error
    except OSError as error:
        if error.errno not in TRANSIENT_ERRNOS:
            return error
        time.sleep(RETRY_PAUSE_S)
        raise


def _take_result(future: Any) -> Any:
    from distributed.scheduler import KilledWorker

    try:
        outcome = future.result()
    except CancelledError as error:
        raise ScatcacheError(
            "the connection to the Dask scheduler was lost: start it again, then give the same command again: it goes "
            "on from here"
        ) from error
    except KilledWorker as error:
        raise ScatcacheError(
            f"the workers that took a shard died {error.allowed_failures + 1} times (out of memory?): give the same "
            f"command again with fewer --workers"
        ) from error
    if isinstance(outcome, (ScatcacheError, OSError)):
        raise outcome
    return outcome
