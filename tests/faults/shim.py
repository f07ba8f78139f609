"""The file operations of a run as steps: traced, or one of them made to fail or to be the last; see shim.c."""

import ctypes
import functools
import mmap
import os
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")
VARIABLE = "SCATCACHE_FAULTS"
# As in shim.c, whose struct control this is the head of.
HEAD = struct.Struct("<4i16s1024s2i")
CONTROL_BYTES = HEAD.size + 16 * 16384
MODES = ("trace", "kill", "tear", "once", "path", "room")


class NoCompiler(Exception):
    """There is no C compiler on this machine, or it does not compile the shim."""


@dataclass(frozen=True, order=True)
class Step:
    """One file operation of a run. path: below the watched folder, hexadecimal names as "*"; occurrence: from 1."""

    operation: str
    path: str
    occurrence: int

    def __str__(self) -> str:
        return f"{self.operation} {self.path} #{self.occurrence}"


@dataclass(frozen=True)
class Injection:
    """What happens at a step. mode: of MODES: "kill" ends the process group before it, "tear" in the middle of a write;
    "once" fails it with error, "path" whatever is done to its path from then on, "room" whatever takes room."""

    step: Step
    mode: str
    error: int = 0

    def __str__(self) -> str:
        name = f" ({os.strerror(self.error)})" if self.error else ""
        return f"{self.mode}{name} at {self.step}"


def build(folder: Path) -> Path:
    """Compiles the shim into a folder. Raises NoCompiler."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        raise NoCompiler("no C compiler (cc, gcc, clang) is on the PATH")
    library = folder / "faults.so"
    done = subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], capture_output=True, text=True
    )
    if done.returncode:
        raise NoCompiler(f"{compiler} does not compile {SOURCE.name}: {done.stderr.strip().splitlines()[0]}")
    return library


class Control:
    """The file by which a run is told what to do and tells what it did. path: made new, outside the watched folder."""

    def __init__(self, path: Path, injection: Injection | None = None):
        self.path = path
        step, mode, error = (injection.step, injection.mode, injection.error) if injection else (None, "trace", 0)
        operation, name, occurrence = (step.operation, step.path, step.occurrence) if step else ("", "", 0)
        head = HEAD.pack(MODES.index(mode), error, occurrence, 0, operation.encode(), os.fsencode(name), 0, 0)
        with open(path, "wb") as file:
            file.write(head)
            file.truncate(CONTROL_BYTES)

    @property
    def n_hits(self) -> int:
        """How often something was made to happen."""
        with open(self.path, "rb") as file, mmap.mmap(file.fileno(), HEAD.size, prot=mmap.PROT_READ) as mapped:
            return HEAD.unpack(mapped[: HEAD.size])[3]


def arm(folder: Path, control: Control, trace: Path | None = None) -> None:
    """Begins to watch a folder in this process, which runs under the shim, and in those that it spawns."""
    words = [os.path.realpath(folder), str(control.path), str(trace or "")]
    os.environ[VARIABLE] = "\n".join(words)
    failed = loaded().faults_arm(*map(os.fsencode, words))
    assert not failed, os.strerror(failed)


@functools.cache
def loaded() -> ctypes.CDLL:
    """The shim of this process, which was started with it in LD_PRELOAD."""
    return ctypes.CDLL(None)


def read_steps(trace: Path) -> list[tuple[Step, int]]:
    """The steps of a traced run, in their order, each with the process that took it."""
    lines = (line.split("\t") for line in trace.read_text(errors="surrogateescape").splitlines())
    return [(Step(operation, path, int(n)), int(process)) for operation, path, n, process in lines]
