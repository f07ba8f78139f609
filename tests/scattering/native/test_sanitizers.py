"""The portable core under the sanitizers of addresses, undefined behaviour and threads, called as ever from Python."""

import os
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

import scatcache
from scatcache.scattering.native.library import FOLDER

pytestmark = pytest.mark.slow

ROOT = Path(scatcache.__file__).parents[1]
# Lines for the reports, and no more: all of -g takes as long again as the rest.
FLAGS = ("-std=c++17", "-g1", "-O1", "-fPIC", "-shared", "-pthread", "-Wno-psabi", "-Wno-ignored-attributes")
MEMORY, THREADS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all"), ("-fsanitize=thread",)
RUNTIMES = {MEMORY: "libasan.so", THREADS: "libtsan.so"}
# Each wrong in a way of its own: what the sanitizers must stop at, or their silence would mean nothing.
FAULTS = {
    "AddressSanitizer": "float* volatile p = new float[4]; delete[] p; return int(p[0]); /* after it was freed */",
    "runtime error": "int n = 2147483647; volatile int one = 1; return n + one; /* overflow */",
    "ThreadSanitizer: data race": "int n = 0; std::thread other([&] { ++n; }); ++n; other.join(); return n;",
}
MEMORY_PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from scatcache.scattering.native import library
library.FOLDER = Path(sys.argv[1])
from scatcache.scattering.native.transform import NativeTransform
from scatcache.spec import Reduction, ScatteringSpec

rng = np.random.default_rng(0)
CASES = [
    *[(ScatteringSpec(J=J, L=L), shape) for J, shape in ((1, (7, 9)), (2, (33, 30)), (3, (17, 24))) for L in (1, 3, 8)],
    *[(ScatteringSpec(J=J, L=L, grid="centered"), (16, 22)) for J, L in ((1, 3), (2, 8), (3, 3), (3, 8))],
    (ScatteringSpec(J=2, L=5, max_order=1), (31, 29)), (ScatteringSpec(J=2, max_order=0), (4, 70)),
    (ScatteringSpec(J=2, L=2), (20, 70)), (ScatteringSpec(J=4, L=2), (16, 33)), (ScatteringSpec(J=5, L=1), (32, 34)),
    *[(ScatteringSpec(J=2, L=L, reduction=Reduction(G, "mean")), (17, 24)) for L, G in ((3, 1), (8, 2), (8, None))],
    (ScatteringSpec(J=2, reduction=Reduction(3)), (33, 30)),
    (ScatteringSpec(J=2), (4, 4)), (ScatteringSpec(J=1, L=3), (30, 54)), (ScatteringSpec(J=3, L=8), (15, 9)),
]
for spec, shape in CASES:
    transform = NativeTransform(spec, shape, core="portable")
    for dtype, out_dtype in ((np.uint8, np.float16), (np.uint16, np.float16), (np.float32, np.float32)):
        bytes_last = rng.integers(0, 256, (3, *shape, 3), dtype=np.uint8)
        images = bytes_last.astype(dtype).transpose(0, 3, 1, 2)
        results = []
        for n_threads in (1, 2):
            out = np.full((3, 3 * spec.n_paths, *spec.output_shape(*shape)[1:]), np.nan, out_dtype)
            transform(images[::-1, :, ::-1], out, n_threads=n_threads)
            assert np.isfinite(out).all()
            results.append(out)
        assert np.array_equal(*results)
    special = np.full((2, 1, *shape), 1e30, np.float32)
    special[0, 0, -1, -1] = np.nan
    transform(special, np.empty((2, spec.n_paths, *spec.output_shape(*shape)[1:]), np.float16), n_threads=2)
print("ran", len(CASES))
"""


THREADS_PROGRAM = """
import sys, threading
from pathlib import Path
import numpy as np
from scatcache.scattering.native import library
library.FOLDER = Path(sys.argv[1])
from scatcache.scattering.native.transform import NativeTransform
from scatcache.spec import ScatteringSpec

for spec in (ScatteringSpec(J=2, L=3), ScatteringSpec(J=3, L=2, grid="centered"), ScatteringSpec(J=1, max_order=0)):
    transform = NativeTransform(spec, (24, 26), core="portable")
    images = np.random.default_rng(0).random((13, 3, 24, 26), np.float32)
    outs = [np.empty((13, 3 * spec.n_paths, *spec.output_shape(24, 26)[1:]), np.float32) for _ in range(3)]
    calls = [threading.Thread(target=transform, args=(images, out), kwargs={"n_threads": 4}) for out in outs]
    for call in calls:
        call.start()
    for call in calls:
        call.join()
    assert all(np.array_equal(out, outs[0]) for out in outs)
print("ran")
"""


class Checked:
    """A compiler, the sanitizers that one run of it turns on, and a Python that runs beneath these."""

    def __init__(self, folder, compiler, checks):
        self.folder, self.compiler, self.checks = folder, compiler, checks
        self.runtimes = list(self.find_runtimes())

    def find_runtimes(self):
        """The sanitizers' library, and the C++ one whose exceptions they follow; these have to be loaded first."""
        for name in (RUNTIMES[self.checks], "libstdc++.so"):
            command = [self.compiler, f"-print-file-name={name}"]
            path = subprocess.run(command, capture_output=True, text=True).stdout.strip()
            if os.path.isabs(path):
                yield str(Path(path).resolve())

    def build(self, source, name):
        """The library of a source; raises CalledProcessError."""
        path = self.folder / f"{name}{EXTENSION_SUFFIXES[0]}"
        command = [self.compiler, *FLAGS, *self.checks, str(source), "-o", str(path)]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=480)
        return path

    def run(self, program, *arguments):
        """A fresh interpreter's end; what Python itself leaks there is no concern of ours."""
        environment = {
            **os.environ,
            "LD_PRELOAD": " ".join(self.runtimes),
            "ASAN_OPTIONS": "detect_leaks=0",
            "TSAN_OPTIONS": "halt_on_error=1",
            "PYTHONMALLOC": "malloc",
            "OPENBLAS_NUM_THREADS": "1",
        }
        command = [sys.executable, "-c", program, *map(str, arguments)]
        return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=240)


def prepare(folder, checks):
    """A Checked with its library of faults; skips where there is no compiler, no sanitizer or no library of it."""
    compiler = next(filter(None, map(shutil.which, ("g++", "c++", "clang++"))), None)
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    faults = [f'extern "C" int fault_{i}() {{ {fault} }}\n' for i, fault in enumerate(FAULTS.values())]
    (folder / "faults.cpp").write_text("#include <thread>\n" + "".join(faults))
    checked = Checked(folder, compiler, checks)
    try:
        checked.faults = checked.build(folder / "faults.cpp", "faults")
    except subprocess.CalledProcessError:
        pytest.skip(f"needs a compiler that takes {checks[0]}")
    if not checked.runtimes or checked.run("print('ran')").stdout != "ran\n":
        pytest.skip(f"needs {RUNTIMES[checks]}, and a Python that runs beneath it")
    return checked


@pytest.fixture(scope="module")
def memory(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("memory"), MEMORY)


@pytest.fixture(scope="module")
def threads(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("threads"), THREADS)


@pytest.mark.parametrize("message", FAULTS)
def test_sanitizers_stop_at_a_fault(request, message):
    checked = request.getfixturevalue("threads" if message.startswith("Thread") else "memory")
    call = f"import ctypes; ctypes.CDLL({str(checked.faults)!r}).fault_{list(FAULTS).index(message)}()"
    done = checked.run(call)
    assert done.returncode != 0 and message in done.stderr


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("name", "program"), [("memory", MEMORY_PROGRAM), ("threads", THREADS_PROGRAM)])
def test_the_portable_core_runs_clean(request, name, program):
    checked = request.getfixturevalue(name)
    core = checked.build(FOLDER / "portable.cpp", "_portable")
    done = checked.run(program, core.parent)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr[-6000:]
    assert done.stdout.startswith("ran")
