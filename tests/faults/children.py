"""Running the command in a forked child of a warmed process, which spares it the start of Python and torch."""

import contextlib
import ctypes
import importlib
import json
import logging
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIMIT_S = 60.0
# Imported before the first child is: what takes longest.
HEAVY = ("torch", "distributed", "zarr", "xarray", "scatcache.commands", "tests.runs")
CRASHED = 70
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Ended:
    """How a child ended. signal: that ended it, 0 where it exited; hung: it was cut off; value: what its function
    returned, None where it did not; text: all that it wrote outside the function's value."""

    signal: int
    hung: bool
    value: Any
    text: str


def warm(call: Callable[[], Any], folder: Path) -> None:
    """Imports into this process what `call` imports when it is run in a child, threads and all that it starts."""

    # pyarrow, which xarray imports where it is installed, starts a thread of its allocator otherwise.
    os.environ.setdefault("JE_ARROW_MALLOC_CONF", "background_thread:false")
    logging.disable(logging.INFO)
    for name in HEAVY:
        importlib.import_module(name)

    def import_and_list() -> list[str]:
        call()
        return [name for name in sys.modules if not name.startswith("__")]

    ended = fork(import_and_list, folder, limit_s=10 * LIMIT_S)
    assert ended.value is not None, ended.text
    for name in ended.value:
        # Not the names that are no module's own, as six.moves.x.
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    logging.disable(logging.NOTSET)
    assert len(os.listdir("/proc/self/task")) == 1, "a process that is forked must not have threads"


def fork(function: Callable[[], Any], folder: Path, *, limit_s: float = LIMIT_S) -> Ended:
    """Runs a function in a child, the leader of a process group that is gone when this returns.

    The function returns what JSON holds; folder: where the child's output and value are kept meanwhile.
    """
    output, answer = folder / "output", folder / "answer"
    for path in (output, answer):
        path.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        _become_child(function, output, answer)
    deadline, hung = time.monotonic() + limit_s, False
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() > deadline:
            hung = True
            break
        time.sleep(0.002)
    _end_group(child)
    _, status = os.waitpid(child, 0)
    value = json.loads(answer.read_text()) if answer.exists() and not hung else None
    return Ended(
        signal=os.WTERMSIG(status) if os.WIFSIGNALED(status) and not hung else 0,
        hung=hung,
        value=value,
        text=output.read_text(errors="replace") if output.exists() else "",
    )


def follow_parent() -> None:
    """This process is killed when the one that started it ends, however that comes (prctl(2))."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _become_child(function: Callable[[], Any], output: Path, answer: Path) -> None:
    code = CRASHED
    try:
        os.setpgid(0, 0)
        follow_parent()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        written = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(written, 1)
        os.dup2(written, 2)
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, signal.SIG_DFL)
        value = json.dumps(function())
        temporary = answer.with_suffix(".part")
        temporary.write_text(value)
        temporary.rename(answer)
        code = 0
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def _end_group(leader: int) -> None:
    """SIGKILL to whoever is left of a group, and waits until nobody but the unreaped leader is."""
    deadline = time.monotonic() + 10
    while _find_members(leader) and time.monotonic() < deadline:
        try:
            os.killpg(leader, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return
        time.sleep(0.002)


def _find_members(group: int) -> list[int]:
    """The live processes of a group, its leader aside once that has ended."""
    members = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            fields = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[2]) == group and fields[0] not in "ZX":
            members.append(int(name))
    return members


def shorten_pauses() -> None:
    """Retries of this process follow each other at once: what comes of them is asked for, not the waiting."""
    for name, module in list(sys.modules.items()):
        if not name.startswith("scatcache."):
            continue
        for variable, value in list(vars(module).items()):
            if re.search("RETRY_PAUSE|PAUSES?_S$", variable):
                short = tuple(0.001 for _ in value) if isinstance(value, tuple) else 0.001
                setattr(module, variable, short)
