"""Running tasks on a cluster: a few in flight at once, each with one object that all share, failures told apart."""

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scatcache.errors import ScatcacheError
from scatcache.job.executors import CLOSE_TIMEOUT_S, Cluster
from scatcache.job.sharing import Shared, forget, share
from scatcache.job.watching import LOST, Watch
from scatcache.retries import TRANSIENT_ERRNOS

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)

# Tasks in flight per worker: one running, one waiting, so that no worker ever waits for the client.
TASKS_PER_WORKER = 2
# A task whose worker died is rerun by Dask; one that raised OSError is rerun this often.
N_RETRIES = 2
RETRY_PAUSE_S = 1.0


def run_tasks(
    cluster: Cluster,
    function: Callable[..., Any],
    shared: Any,
    tasks: Iterable[Any],
    *,
    folder: Path | None = None,
    on_wait: Callable[[str], None] = logger.info,
) -> Iterator[Any]:
    """Yields function(shared, task) for each task as it ends, keeping a bounded window in flight.

    shared: one object in each process, whatever the number of tasks; folder: of share(); on_wait: told in a sentence
    when nothing comes because workers, or a scheduler, are missing. Raises what the function raised, after N_RETRIES
    further tries for OSErrors that pass; ScatcacheError where a task's worker died again and again, and where nothing
    can come any more.
    """
    with share(shared, here=cluster.is_here, folder=folder) as common:
        yield from _run_window(cluster, function, common, iter(tasks), on_wait)
    if not cluster.is_here:
        tell_workers(cluster, forget, common.token)


def _run_window(
    cluster: Cluster,
    function: Callable[..., Any],
    common: Shared,
    waiting: Iterator[Any],
    on_wait: Callable[[str], None],
) -> Iterator[Any]:
    from distributed import as_completed

    client = cluster.client
    watch = None if cluster.watched is None else Watch(cluster.watched, on_wait)
    # With results: waiting for one that a frozen worker holds would keep all others waiting too.
    running = as_completed(loop=client.loop, with_results=True)
    keys: set[Any] = set()

    def fill() -> None:
        # Clusters that grow with their work start without a worker, and must be given some.
        n_workers = cluster.n_workers or max(1, watch.n_threads if watch else 1)
        for task in itertools.islice(waiting, max(0, TASKS_PER_WORKER * n_workers - len(keys))):
            _check_connected(client)
            # With each task, not as a task that all depend on: Dask would give all to the worker that has it.
            future = client.submit(run_task, function, common, task, pure=False, retries=N_RETRIES)
            keys.add(future.key)
            running.add(future)

    if watch is not None:
        watch.look(keys)
    fill()
    while keys:
        future, outcome = _take_next(lambda: next(running) if watch is None else watch.next(running, keys, fill))
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
        cluster.client.run(
            _call_beside, function, *arguments, wait=False, on_error="ignore", callback_timeout=CLOSE_TIMEOUT_S
        )


async def _call_beside(function: Callable[..., None], *arguments: Any) -> None:
    """Dask waits for every plain function, so that workers refuse one with wait=False; of a coroutine they do not."""
    await asyncio.to_thread(function, *arguments)


def _check_connected(client: "Client") -> None:
    if client.status not in ("running", "connecting"):
        raise ScatcacheError(LOST)


def _take_next(take: Callable[[], Any]) -> tuple[Any, Any]:
    """(future, outcome) as take() gives them, failures raised."""
    from distributed.scheduler import KilledWorker

    try:
        future, outcome = take()
    except KilledWorker as error:
        raise ScatcacheError(
            f"the workers that took a shard died {error.allowed_failures + 1} times (out of memory?): give the same "
            f"command again with fewer --workers"
        ) from error
    if isinstance(outcome, CancelledError):
        raise ScatcacheError(LOST) from outcome
    if isinstance(outcome, (ScatcacheError, OSError)):
        raise outcome
    return future, outcome
