"""Where shard tasks run: a Dask cluster of threads, of processes, one process per GPU, or one that is already there."""

import contextlib
import itertools
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
from scatcache.job.reading import TRANSIENT_ERRNOS
from scatcache.job.sharing import Shared, give, share
from scatcache.job.watching import AGAIN, Watch, Watched

if TYPE_CHECKING:
    from distributed import Client, Nanny, SpecCluster

logger = logging.getLogger(__name__)

# Tasks in flight per worker: one running, one waiting, so that no worker ever waits for the client.
TASKS_PER_WORKER = 2
# A task whose worker died is rerun by Dask; one that raised OSError is rerun this often.
N_RETRIES = 2
RETRY_PAUSE_S = 1.0
# Dask's defaults wait for stragglers that we have already told to stop.
CLOSE_TIMEOUT_S = 1.0
CONNECT_TIMEOUT_S = 10.0
# Dask's own clock for silent workers runs on while a laptop sleeps, and then takes every worker for dead.
NEVER_S = 1e9
LOST = f"the connection to the Dask scheduler was lost: start it again, {AGAIN}"
# By default Dask keeps its last thousand messages, ten thousand events, and a profile of every worker.
FRUGAL = {
    "distributed.admin.low-level-log-length": 10,
    "distributed.admin.log-length": 10,
    "distributed.diagnostics.computations.max-history": 1,
    "distributed.diagnostics.erred-tasks.max-history": 1,
    "distributed.worker.profile.enabled": False,
}


@dataclass(frozen=True)
class Cluster:
    """client: connected; n_workers: tasks that run at once, 0 where that may change; kill: ends our own worker
    processes at once; watched: how to look after workers in other processes, None where they are threads of this one.
    """

    client: "Client"
    n_workers: int
    kill: Callable[[], None]
    watched: Watched | None = None

    @property
    def is_here(self) -> bool:
        """Whether tasks run in this process."""
        return self.watched is None


@contextlib.contextmanager
def open_cluster(
    *, n_workers: int, processes: bool = False, gpus: tuple[str, ...] = (), scheduler: str | None = None
) -> Iterator[Cluster]:
    """A Dask client with n_workers single-task workers, closed or killed on leaving.

    scheduler: address of a running cluster, whose workers share our file system and have scatcache installed; gpus:
    one process for each, which sees that GPU alone (CUDA_VISIBLE_DEVICES); processes: processes, not threads of this
    process. Raises ScatcacheError where the scheduler does not answer.
    """
    if scheduler is not None:
        opened = _connect(scheduler)
    elif gpus or processes:
        opened = _start_processes([{"CUDA_VISIBLE_DEVICES": gpu} for gpu in gpus] or [{}] * n_workers)
    else:
        opened = _start_threads(n_workers)
    with _calm_dask(), opened as cluster:
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
        client = Client(address, timeout=CONNECT_TIMEOUT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ScatcacheError(
            f"no Dask scheduler answers at {address} ({error}): start one with `dask scheduler`, workers with "
            f"`dask worker {address} --nthreads 1`"
        ) from error
    start = f"start some with `dask worker {address} --nthreads 1`"
    try:
        yield Cluster(client, 0, lambda: None, Watched(client, f"the scheduler at {address}", start))
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
                _kill_worker(nanny)

        def replace(address: str) -> None:
            for nanny in list(cluster.workers.values()):
                if nanny.worker_address == address:
                    _kill_worker(nanny)

        watched = Watched(client, "our own scheduler", "none of the worker processes starts", replace)
        yield Cluster(client, len(environments), kill, watched)


def _kill_worker(nanny: "Nanny") -> None:
    """Ends its worker process at once, even a stopped one."""
    if nanny.pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(nanny.pid, signal.SIGKILL)


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
                    scheduler={"cls": Scheduler, "options": {**http, "port": 0, "worker_ttl": NEVER_S, **scheduler}},
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


_calm_lock = threading.Lock()
_calm = contextlib.ExitStack()
_n_calm = 0


@contextlib.contextmanager
def _calm_dask() -> Iterator[None]:
    """Keeps Dask's log off stderr and its memory short while any cluster of ours is open; Dask's own ways fail where
    two overlap."""
    import dask
    from distributed.utils import silence_logging_cmgr

    global _n_calm
    with _calm_lock:
        if _n_calm == 0:
            _calm.enter_context(silence_logging_cmgr(logging.CRITICAL))
            _calm.enter_context(dask.config.set(FRUGAL))
        _n_calm += 1
    try:
        yield
    finally:
        with _calm_lock:
            _n_calm -= 1
            if _n_calm == 0:
                _calm.close()


def run_tasks(
    cluster: Cluster,
    function: Callable[..., Any],
    shared: Any,
    tasks: Iterable[Any],
    *,
    on_wait: Callable[[str], None] = logger.info,
) -> Iterator[Any]:
    """Yields function(shared, task) for each task as it ends, keeping a bounded window in flight.

    shared: one object in each process, whatever the number of tasks; on_wait: told in a sentence when nothing comes
    because workers, or a scheduler, are missing. Raises what the function raised, after N_RETRIES further tries for
    OSErrors that pass; ScatcacheError where a task's worker died again and again, and where nothing can come any more.
    """
    from distributed import as_completed

    client, waiting = cluster.client, iter(tasks)
    watch = None if cluster.watched is None else Watch(cluster.watched, on_wait)
    running = as_completed(loop=client.loop)
    keys: set[Any] = set()
    common = share(shared, here=cluster.is_here)
    given = client.submit(give, common, pure=False)

    def fill() -> None:
        # Clusters that grow with their work start without a worker, and must be given some.
        n_workers = cluster.n_workers or max(1, watch.n_threads if watch else 1)
        for task in itertools.islice(waiting, max(0, TASKS_PER_WORKER * n_workers - len(keys))):
            _check_connected(client)
            future = client.submit(run_task, function, given, task, pure=False, retries=N_RETRIES)
            keys.add(future.key)
            running.add(future)

    if watch is not None:
        watch.look(keys)
    fill()
    while keys:
        future = next(running) if watch is None else watch.next(running, keys, fill)
        outcome = _take_result(future)
        keys.remove(future.key)
        future.release()
        fill()
        yield outcome


def run_task(function: Callable[..., Any], shared: Shared, task: Any) -> Any:
    """function(shared's value, task); final errors are returned, not raised: Dask retries only the machine's."""
    try:
        return function(shared.value, task)
    except ScatcacheError as error:
        return error
    except OSError as error:
        if error.errno not in TRANSIENT_ERRNOS:
            return error
        time.sleep(RETRY_PAUSE_S)
        raise


def tell_workers(cluster: Cluster, function: Callable[..., None], *arguments: Any) -> None:
    """Calls the function in every worker process that answers, and waits for no other."""
    with contextlib.suppress(OSError, RuntimeError):
        # Dask has timeouts of half a minute and more, and whoever calls this is leaving.
        cluster.client.run(function, *arguments, wait=False, on_error="ignore", callback_timeout=CLOSE_TIMEOUT_S)


def _check_connected(client: "Client") -> None:
    if client.status not in ("running", "connecting"):
        raise ScatcacheError(LOST)


def _take_result(future: Any) -> Any:
    from distributed.scheduler import KilledWorker

    try:
        outcome = future.result()
    except CancelledError as error:
        raise ScatcacheError(LOST) from error
    except KilledWorker as error:
        raise ScatcacheError(
            f"the workers that took a shard died {error.allowed_failures + 1} times (out of memory?): give the same "
            f"command again with fewer --workers"
        ) from error
    if isinstance(outcome, (ScatcacheError, OSError)):
        raise outcome
    return outcome
