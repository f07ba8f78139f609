"""SIGINT and SIGTERM: the command is gone within 2 s, with one line, no traceback and nothing left running."""

import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

import click
import psutil

from scatcache.job.worker_processes import leave_the_dead
from scatcache.terminal import echo

# What is still unwinding after this is cut off.
UNWIND_S = 1.0
SIGNALS = (signal.SIGINT, signal.SIGTERM)

# How errors say what to type; see advise.
AGAIN = "the same command again"

_received: list[int] = []
_advice: list[str] = []
_instead: list[str] = [AGAIN]
_leaving = threading.Lock()


class Interrupted(BaseException):
    """SIGINT or SIGTERM arrived."""


@contextmanager
def leave_on_signals() -> Iterator[None]:
    """Within it a signal unwinds whatever runs; then, or after UNWIND_S, the process ends with 128 + the signal."""
    for signum in SIGNALS:
        signal.signal(signum, interrupt)
    try:
        yield
        for signum in SIGNALS:  # nothing is left to unwind but the interpreter
            signal.signal(signum, lambda signum, frame: leave(128 + signum))
    finally:
        if _received:  # whatever the signal's unwinding ended in
            leave(128 + _received[0])


def received() -> bool:
    """Whether a signal has come."""
    return bool(_received)


def advise(text: str, *, instead: str = AGAIN) -> None:
    """What to say of the work that a signal cuts off; the latest counts. instead: which command goes on from here."""
    _advice.append(text)
    _instead.append(instead)


def reword(text: str) -> str:
    """An error's text, which says "the same command again" where by now another one goes on."""
    return text.replace(AGAIN, _instead[-1])


def say(text: str) -> None:
    """A message on stderr, mostly of one line."""
    echo(*f"scatcache: {text}".split("\n"), err=True)


def interrupt(signum: int, frame: FrameType | None) -> None:
    """Unwinds the command; cuts it off after UNWIND_S, or at a second signal."""
    _received.append(signum)
    code = 128 + _received[0]
    if len(_received) == 1:
        fall_silent()
        leave_the_dead()
        watchdog = threading.Timer(UNWIND_S, leave, [code])
        watchdog.daemon = True
        watchdog.start()
        raise Interrupted
    if not _leaving.locked():  # else this may be the very thread that leaves: it must go on
        leave(code)


def fall_silent() -> None:
    """What a signal upsets on its way, in callbacks and other threads, is no news."""
    sys.unraisablehook = lambda unraisable: None
    threading.excepthook = lambda args: None
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")


def leave(code: int) -> NoReturn:
    """Ends this process and its children at once, with one line; everything unfinished is made to be cut off."""
    if not _leaving.acquire(blocking=False):
        threading.Event().wait()
    deadline = time.monotonic() + 0.3
    while (workers := find_workers()) and time.monotonic() < deadline:  # again: one may just have been started
        leave_the_dead()
        for worker in workers:
            with suppress(psutil.NoSuchProcess):
                worker.kill()
        psutil.wait_procs(workers, timeout=0.1)
    if sys.stderr is not None and sys.stderr.isatty():
        click.echo("\r\x1b[K\x1b[?25h", err=True, nl=False)  # a bar that was cut off, and its hidden cursor
    word = "interrupted" if code == 128 + signal.SIGINT else "terminated"
    say(word + (f": {_advice[-1]}" if _advice else ""))
    silence_children()
    for child in psutil.Process().children(recursive=True):
        with suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)
    os._exit(code)


def silence_children() -> None:
    """Another thread may start one after we have looked for the last time: it would complain that we are gone."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def find_workers() -> list[psutil.Process]:
    """Our child processes but multiprocessing's resource tracker, which our other threads would noisily restart."""
    workers = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if not any("resource_tracker" in word for word in child.cmdline()):
                workers.append(child)
    return workers
