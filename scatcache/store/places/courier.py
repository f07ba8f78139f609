"""Requests on behalf of a forked process: obstore's threads do not survive a fork, and what it is asked then hangs."""

import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from scatcache.errors import ScatcacheError
from scatcache.store.places.objects import ObjectFiles, Span

N_THREADS = 8
# A fresh interpreter that imports from where this one does.
PROGRAM = "import sys; sys.path[:] = sys.argv[2:]; from scatcache.store.places.courier import serve; serve(sys.argv[1])"


class Courier:
    """ObjectFiles' methods, carried out by a process of its own; safe for threads, ends with the process it serves."""

    def __init__(self, url: str):
        self.url = url
        command = [sys.executable, "-c", PROGRAM, url, *sys.path]
        # Of its own group: Ctrl-C is for those it serves, whose end ends it.
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[Any]] = {}
        self._n_sent, self._gone = 0, False
        threading.Thread(target=self._receive, name="scatcache-courier", daemon=True).start()

    def fetch(self, name: str, span: Span | None) -> tuple[bytes, int] | None:
        return self._ask("fetch", name, span)

    def list_sizes(self, folder: str) -> dict[str, int] | None:
        return self._ask("list_sizes", folder)

    def _ask(self, *request: Any) -> Any:
        answer: Future[Any] = Future()
        with self._lock:
            self._n_sent += 1
            if not self._gone:
                self._waiting[self._n_sent] = answer
                self._send(self._n_sent, request)
            else:
                answer.set_exception(self._lost())
        return answer.result()

    def _send(self, number: int, request: tuple[Any, ...]) -> None:
        assert self._process.stdin is not None
        try:
            pickle.dump((number, request), self._process.stdin)
            self._process.stdin.flush()
        except BrokenPipeError:
            # _receive() finds it gone too, and tells all who wait.
            return

    def _receive(self) -> None:
        assert self._process.stdout is not None
        while True:
            try:
                number, value, error = pickle.load(self._process.stdout)
            except (EOFError, pickle.UnpicklingError):
                break
            with self._lock:
                answer = self._waiting.pop(number)
            if error is None:
                answer.set_result(value)
            else:
                answer.set_exception(error)
        with self._lock:
            self._gone, lost, self._waiting = True, self._waiting, {}
        for answer in lost.values():
            answer.set_exception(self._lost())

    def _lost(self) -> ScatcacheError:
        return ScatcacheError(f"{self.url}: the process that reads it for this forked one has ended: start anew")


def serve(url: str) -> None:
    """Answers the requests on stdin until it closes. Whatever else prints goes to stderr."""
    answers, lock = os.fdopen(os.dup(1), "wb"), threading.Lock()
    os.dup2(2, 1)
    files: list[ObjectFiles] = []

    def answer(number: int, request: tuple[Any, ...]) -> None:
        value, error = None, None
        try:
            with lock:
                files[:] = files or [ObjectFiles(url)]
            value = getattr(files[0], request[0])(*request[1:])
        except (ScatcacheError, FileNotFoundError) as failure:
            error = failure
        with lock:
            pickle.dump((number, value, error), answers)
            answers.flush()

    with ThreadPoolExecutor(N_THREADS) as pool:
        while True:
            try:
                number, request = pickle.load(sys.stdin.buffer)
            except EOFError:
                return
            pool.submit(answer, number, request).add_done_callback(_leave_on_failure)


def _leave_on_failure(answered: "Future[None]") -> None:
    """Ends this process where an answer failed unforeseen: whoever waits for it is told, and does not wait for ever."""
    if answered.exception() is not None:
        os._exit(1)
