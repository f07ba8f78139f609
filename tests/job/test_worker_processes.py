import contextlib
import os
import signal
import threading
import time

import psutil
import pytest

from scatcache.job.executors import open_cluster
from scatcache.job.worker_processes import leave_the_dead
from tests.runs import wait_for

pytestmark = pytest.mark.slow


def list_workers():
    """Our live worker processes, not the resource tracker."""
    workers = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if "--multiprocessing-fork" in child.cmdline():
                workers.append(child)
    return workers


def find_answering(cluster):
    """The process that a task runs in."""
    return cluster.client.submit(os.getpid, pure=False).result(timeout=30)


def test_ctrl_c_reaches_no_worker_process():
    with open_cluster(n_workers=1, processes=True) as cluster:
        before = list_workers()
        for _ in range(5):
            before[0].send_signal(signal.SIGINT)
            time.sleep(0.05)
        assert find_answering(cluster) == before[0].pid
        # Nor one that takes the place of another.
        before[0].kill()
        replaced = wait_for(lambda: [worker for worker in list_workers() if worker not in before])
        replaced[0].send_signal(signal.SIGINT)
        assert find_answering(cluster) == replaced[0].pid


def test_ctrl_c_while_they_start_leaves_none():
    def interrupt():
        wait_for(list_workers)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt), open_cluster(n_workers=2, processes=True):
        pass
    thread.join()
    assert list_workers() == []


def test_the_dead_are_left_once_that_is_said():
    with open_cluster(n_workers=1, processes=True):
        leave_the_dead()
        list_workers()[0].kill()
        wait_for(lambda: not list_workers())
        time.sleep(0.5)
        assert list_workers() == []
