"""Worker processes of our own: no Ctrl-C reaches them, those that die are replaced, and none outlives its run."""

import contextlib
import os
import signal
import threading
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed import Nanny

_all_nannies: "list[Nanny]" = []


class WorkerProcesses:
    """The worker processes of one cluster, each in the care of a Nanny of Dask's, which restarts it."""

    def __init__(self) -> None:
        self._nannies: list[Nanny] = []

    def start(self, scheduler: str, *, name: int, options: dict[str, Any]) -> "Nanny":
        """A Nanny with these options, as a SpecCluster asks for it in the thread of its event loop."""
        from distributed import Nanny

        _hide_children_from_ctrl_c()
        nanny = Nanny(scheduler, name=name, **options)
        self._nannies.append(nanny)
        _all_nannies.append(nanny)
        return nanny

    def kill(self) -> None:
        """Ends all of them at once, for good."""
        _stop_replacing(self._nannies)
        for nanny in tuple(self._nannies):
            _kill_worker(nanny)

    def replace(self, address: str) -> None:
        """Ends the one with this address; another takes its place."""
        for nanny in tuple(self._nannies):
            if nanny.worker_address == address:
                _kill_worker(nanny)

    def close(self) -> None:
        """Forgets them, once their cluster is closed."""
        for nanny in self._nannies:
            _all_nannies.remove(nanny)
        self._nannies.clear()


def leave_the_dead() -> None:
    """From now on no worker process of any cluster is replaced. Safe in a signal handler."""
    _stop_replacing(_all_nannies)


def _stop_replacing(nannies: "list[Nanny]") -> None:
    for nanny in tuple(nannies):
        # One that closes already would never end, one that still starts fails with its worker.
        if nanny.status.name == "running":
            nanny.close_gracefully()


def _kill_worker(nanny: "Nanny") -> None:
    """Ends its worker process at once, even a stopped one."""
    if nanny.pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(nanny.pid, signal.SIGKILL)


def _hide_children_from_ctrl_c() -> None:
    """Blocks SIGINT in this thread for good, and so in all threads and processes that it starts.

    A terminal sends it to every process of ours. Python answers with a traceback from its first moment on, long before
    a worker process could ask it not to: the main process alone is to answer.
    """
    assert threading.current_thread() is not threading.main_thread()
    # Whoever starts it unblocks SIGINT afterwards.
    resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
