"""Where shard tasks run: a Dask cluster of threads, of processes, one process per GPU, or one that is already there."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scatcache.errors import ScatcacheError
from scatcache.job.watching import Watched
from scatcache.job.worker_processes import WorkerProcesses

if TYPE_CHECKING:
    from distributed import Client, SpecCluster

# Dask's defaults wait for stragglers that we have already told to stop.
CLOSE_TIMEOUT_S = 1.0
CONNECT_TIMEOUT_S = 10.0
# Dask's own clock for silent workers runs on while a laptop sleeps, and then takes every worker for dead.
NEVER_S = 1e9
# By default Dask keeps its last thousand messages, ten thousand events, and a profile of every worker.
FRUGAL = {
    "distributed.admin.low-level-log-length": 10,
    "distributed.admin.log-length": 10,
    "distributed.diagnostics.computations.max-history": 1,
    "distributed.diagnostics.erred-tasks.max-history": 1,
    "distributed.worker.profile.enabled": False,
}
# Dask's HTTP server cannot be turned off, and by default listens to the network.
HTTP = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
COMMON = {**HTTP, "memory_limit": 0, "silence_logs": logging.CRITICAL}


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
        _ask_whether_it_answers(address)
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


def _ask_whether_it_answers(address: str) -> None:
    """Raises OSError where not: a Client would wait for ever for one that accepts connections and then is silent."""
    from distributed import rpc

    async def ask() -> None:
        async with rpc(address) as scheduler:
            await scheduler.identity()

    async def ask_for_a_while() -> None:
        try:
            await asyncio.wait_for(ask(), CONNECT_TIMEOUT_S)
        except TimeoutError as error:
            raise TimeoutError(f"no answer within {CONNECT_TIMEOUT_S:.0f} s") from error

    # A notebook's own thread has a loop that runs.
    pool = ThreadPoolExecutor(1, thread_name_prefix="scatcache-ask")
    try:
        pool.submit(asyncio.run, ask_for_a_while()).result()
    finally:
        pool.shutdown(wait=False)


@contextlib.contextmanager
def _start_threads(n_workers: int) -> Iterator[Cluster]:
    from distributed import Worker

    worker = {"cls": Worker, "options": {**COMMON, "nthreads": n_workers, "protocol": "inproc://"}}
    with _start({"protocol": "inproc://"}, [worker], lambda: None) as client:
        yield Cluster(client, n_workers, lambda: None)


@contextlib.contextmanager
def _start_processes(environments: list[dict[str, str]]) -> Iterator[Cluster]:
    # One thread for each library: the workers already fill the cores.
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    options = {**COMMON, "nthreads": 1, "host": "127.0.0.1"}
    ours = WorkerProcesses()
    workers = [
        {"cls": ours.start, "options": {"options": {**options, "env": {**threads, **environment}}}}
        for environment in environments
    ]
    with contextlib.closing(ours), _start({"host": "127.0.0.1"}, workers, ours.kill) as client:
        watched = Watched(client, "our own scheduler", "none of the worker processes starts", ours.replace)
        yield Cluster(client, len(environments), ours.kill, watched)


@contextlib.contextmanager
def _start(scheduler: dict[str, Any], workers: list[dict[str, Any]], kill: Callable[[], None]) -> Iterator["Client"]:
    """Connected to a scheduler with these options and these workers. kill: ends them where they do not all start."""
    from distributed import Client, Scheduler, SpecCluster

    options = {**HTTP, "port": 0, "worker_ttl": NEVER_S, **scheduler}
    with contextlib.ExitStack() as held:
        cluster = held.enter_context(
            SpecCluster(scheduler={"cls": Scheduler, "options": options}, workers={}, name="scatcache")
        )
        # Not at once: a signal would leave a cluster that nobody can close.
        cluster.worker_spec.update(enumerate(workers))
        started = asyncio.run_coroutine_threadsafe(_wait_for(cluster), cluster.loop.asyncio_loop)
        try:
            started.result()
        except RuntimeError as error:
            raise ScatcacheError(
                f"the workers did not start ({error}): a script that asks for processes calls extract() under "
                f'`if __name__ == "__main__":`, or leaves processes out'
            ) from error
        except BaseException:
            kill()
            # The cluster closes once all have started or failed, and some may not be processes yet.
            while not wait([started], 0.05).done:
                kill()
            raise
        yield held.enter_context(Client(cluster, timeout=30, set_as_default=False))


async def _wait_for(cluster: "SpecCluster") -> None:
    """Returns once all its workers have started."""
    await cluster


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
