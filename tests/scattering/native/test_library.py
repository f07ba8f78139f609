"""Which core is chosen and why, on this machine and on others that are made up."""

import json
import os
import platform
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import scatcache
from scatcache.errors import BackendUnavailable
from scatcache.scattering import Scattering2D
from scatcache.scattering.native import library
from scatcache.scattering.native.library import (
    CORES,
    OFF,
    VARIABLE,
    Choice,
    choose_core,
    find_core,
    find_core_for,
    open_core,
    runs_here,
)
from scatcache.scattering.native.transform import NativeTransform
from scatcache.spec import ScatteringSpec
from tests.runs import make_images
from tests.scattering.native.cores import CORES_HERE, EACH_CORE, NEEDS_CORE

COMPILER = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
NEEDS_COMPILER = pytest.mark.skipif(COMPILER is None, reason="needs a C++ compiler")
AGAIN = "install it again where a C++17 compiler is"
AVX2 = frozenset({"sse2", "avx", "avx2", "fma", "f16c"})
AVX512 = AVX2 | {"avx512f", "avx512vl", "avx512bw", "avx512dq"}


@pytest.fixture(autouse=True)
def clear_choices(monkeypatch):
    """Nothing chosen before, nothing kept after; SCATCACHE_NATIVE unset."""
    monkeypatch.delenv(VARIABLE, raising=False)
    caches = (library._choose_core, library.open_core, library.instruction_sets)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """machine(built, instructions): pretend that these cores were built and the processor has these instructions."""

    def pretend(built, instructions):
        for name in built:
            (tmp_path / f"_{name}{library.EXTENSION_SUFFIXES[0]}").touch()
        monkeypatch.setattr(library, "FOLDER", tmp_path)
        monkeypatch.setattr(library, "instruction_sets", lambda: frozenset(instructions))

    return pretend


@NEEDS_COMPILER
def test_native_is_built_and_chosen_where_there_is_a_compiler():
    choice = choose_core()
    assert choice.core is not None, f"{COMPILER} is here, and {choice.reason}: see pip install -v -e ."
    assert Scattering2D(2, (32, 32)).backend == "native"
    assert open_core(choice.core).scatcache_run


@NEEDS_COMPILER
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="needs an x86-64 processor")
@pytest.mark.parametrize("name", CORES)
def test_every_core_is_built_on_x86_64(name):
    path = find_core(name)
    assert path is not None, f"{COMPILER} is here, and _{name}.cpp was not compiled: see pip install -v -e ."
    sources = [*library.FOLDER.glob("*.h"), library.FOLDER / f"{name}.cpp"]
    assert {path.name for path in sources} >= {"core.h", "settings.h", f"{name}.cpp"}


@NEEDS_CORE
def test_the_widest_core_that_runs_is_chosen():
    assert choose_core().core == next(name for name in CORES if name in CORES_HERE)


@pytest.mark.parametrize(
    ("built", "instructions", "core", "reason"),
    [
        (CORES, AVX512, "avx512", "the fastest that runs on this"),
        (CORES, AVX2, "avx2", "the fastest that runs on this"),
        (CORES, AVX512 - {"avx512vl"}, "avx2", "the fastest that runs on this"),
        (CORES, AVX2 - {"f16c"}, "portable", "the fastest that runs on this"),
        (CORES, (), "portable", "the fastest that runs on this"),
        (["avx2", "portable"], AVX512, "avx2", f"the avx512 core was not built when scatcache was installed: {AGAIN}"),
        (["portable"], AVX2, "portable", f"the avx2 core was not built when scatcache was installed: {AGAIN}"),
        (["avx512", "avx2"], (), None, "this processor runs none of those that were built: avx512, avx2"),
        ([], AVX512, None, f"no core was built when scatcache was installed: {AGAIN}"),
    ],
)
def test_the_choice_and_its_reason(machine, built, instructions, core, reason):
    machine(built, instructions)
    assert choose_core().core == core and choose_core().reason.startswith(reason)


@pytest.mark.parametrize("name", CORES)
def test_a_core_that_is_asked_for_is_chosen(machine, monkeypatch, name):
    machine(CORES, AVX512)
    monkeypatch.setenv(VARIABLE, name)
    assert choose_core() == Choice(name, f"chosen by {VARIABLE}={name}")


@pytest.mark.parametrize(
    ("built", "instructions", "asked", "reason"),
    [
        (CORES, AVX2, "avx512", "and this processor lacks avx512bw, avx512dq, avx512f, avx512vl"),
        (CORES, AVX512 - {"fma"}, "avx2", "and this processor lacks fma"),
        (["portable"], AVX512, "avx2", f"and the avx2 core was not built when scatcache was installed: {AGAIN}"),
    ],
)
def test_a_core_that_cannot_run_is_refused_with_what_is_missing(
    machine, monkeypatch, built, instructions, asked, reason
):
    machine(built, instructions)
    monkeypatch.setenv(VARIABLE, asked)
    assert choose_core() == Choice(None, f"{VARIABLE}={asked}, {reason}")
    check_that_torch_computes(choose_core().reason)


def test_where_no_core_was_built_torch_computes(machine):
    machine([], AVX512)
    check_that_torch_computes("no core was built")
    with pytest.raises(BackendUnavailable, match="the avx2 core was not built"):
        open_core("avx2")


def test_a_core_that_does_not_load_says_so_and_how_to_go_on(machine, monkeypatch):
    machine(["portable"], ())
    with pytest.raises(BackendUnavailable, match=r"the portable core does not load: .*set SCATCACHE_NATIVE=off"):
        Scattering2D(2, (32, 32))
    native = scatcache.doctor().backends["native"]
    assert not native["usable"] and "the portable core does not load" in native["reason"]
    monkeypatch.setenv(VARIABLE, OFF)
    assert Scattering2D(2, (32, 32)).backend == "torch"


def test_off_leaves_everything_to_torch(monkeypatch):
    monkeypatch.setenv(VARIABLE, OFF)
    assert choose_core() == Choice(None, f"turned off by {VARIABLE}={OFF}")
    check_that_torch_computes(f"turned off by {VARIABLE}={OFF}")


def check_that_torch_computes(reason):
    """auto is torch; native by its name, and the transform itself, are refused with the reason; doctor says it."""
    assert Scattering2D(2, (32, 32)).backend == "torch"
    with pytest.raises(BackendUnavailable) as refusal:
        Scattering2D(2, (32, 32), backend="native")
    assert reason in str(refusal.value) and str(refusal.value).endswith("choose the backend torch instead")
    with pytest.raises(BackendUnavailable, match=r"no native core: .*; choose the backend torch instead"):
        NativeTransform(ScatteringSpec(J=2), (32, 32))
    backends = scatcache.doctor().backends
    assert backends["native"] == {"usable": False, "reason": choose_core().reason}
    assert reason in backends["native"]["reason"] and backends["torch"]["usable"]


@pytest.mark.parametrize("asked", ["nonsense", "AVX2", "Off", "avx2,portable"])
def test_unknown_cores_are_refused_by_a_list_of_names(monkeypatch, asked):
    monkeypatch.setenv(VARIABLE, asked)
    expected = f"{VARIABLE} is '{asked}': expected off, portable, avx2, avx512, or nothing"
    for call in (choose_core, lambda: Scattering2D(2, (32, 32)), lambda: NativeTransform(ScatteringSpec(J=2), (8, 8))):
        with pytest.raises(ValueError, match=expected):
            call()
    assert scatcache.doctor().backends["native"] == {"usable": False, "reason": expected}
    assert Scattering2D(2, (32, 32), backend="torch").backend == "torch"


@pytest.mark.parametrize("core", EACH_CORE)
def test_doctor_says_which_core_computes_and_why(monkeypatch, core):
    monkeypatch.setenv(VARIABLE, core)
    assert NativeTransform(ScatteringSpec(J=2), (8, 8)).core == core
    native = scatcache.doctor().backends["native"]
    assert native["usable"]
    assert native["reason"] == f"the {core} core transformed a 32x32 image; chosen by {VARIABLE}={core}"


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("processor : 0\nflags\t\t: fpu avx2 fma f16c\n\nflags : avx512f\n", {"fpu", "avx2", "fma", "f16c"}),
        ("processor : 0\nFeatures\t: fp asimd\n", set()),
        ("", set()),
        (None, set()),
    ],
    ids=["x86", "arm64", "silent", "absent"],
)
def test_instructions_are_those_of_the_first_processor(monkeypatch, tmp_path, cpuinfo, expected):
    if cpuinfo is not None:
        (tmp_path / "cpuinfo").write_text(cpuinfo)
    monkeypatch.setattr(library, "CPUINFO", tmp_path / "cpuinfo")
    assert library.instruction_sets() == expected
    assert [name for name in CORES if runs_here(name)] == (["avx2"] if expected else []) + ["portable"]


def test_importing_the_library_of_cores_brings_no_torch():
    program = "import sys; import scatcache.scattering.native.transform; print('torch' in sys.modules)"
    assert run_python(program).stdout == "False\n"


@pytest.mark.slow
def test_extraction_runs_on_a_core_and_on_none_and_says_which(tmp_path):
    make_images(tmp_path / "images", 3)
    rows = {}
    for asked in (OFF, *CORES_HERE[-1:]):
        out = tmp_path / f"{asked}.zarr"
        program = (
            "import json, scatcache\n"
            f"report = scatcache.extract({str(tmp_path / 'images')!r}, out={str(out)!r}, J=1, L=4, workers=1)\n"
            "print(json.dumps(report.backend))"
        )
        assert json.loads(run_python(program, asked).stdout) == ("torch" if asked == OFF else "native")
        backend = {"name": "torch", "core": ""} if asked == OFF else {"name": "native", "core": asked}
        receipts = [json.loads(p.read_text()) for p in out.rglob("receipts/*.json") if p.stem.isdigit()]
        assert receipts and all(receipt["backend"] == {**backend, "device": "cpu"} for receipt in receipts)
        rows[asked] = np.stack([sample for sample, _ in map(scatcache.open_cache(out).__getitem__, range(3))])
    for found in rows.values():
        np.testing.assert_allclose(found, rows[OFF], rtol=2e-3, atol=1e-5)


def run_python(program, asked=""):
    """A fresh interpreter's output with SCATCACHE_NATIVE as asked."""
    environment = {**os.environ, VARIABLE: asked}
    root = Path(scatcache.__file__).parents[1]
    return subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("asked", "built", "shape", "expected"),
    [
        ("", True, (136, 136), "avx512"),
        ("", True, (232, 232), "avx2"),
        ("", False, (232, 232), "avx512"),
        ("avx512", True, (232, 232), "avx512"),
    ],
)
def test_large_images_take_eight_lanes_where_sixteen_were_chosen(monkeypatch, asked, built, shape, expected):
    monkeypatch.setenv(VARIABLE, asked)
    monkeypatch.setattr(library, "choose_core", lambda: Choice("avx512", "widest"))
    monkeypatch.setattr(library, "find_core", lambda name: Path(name) if built else None)
    assert find_core_for(shape) == expected


def test_each_extension_depends_on_every_header():
    """Or an incremental build keeps a library of old headers."""
    root = Path(scatcache.__file__).resolve().parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text())
    headers = {str(path.relative_to(root)) for path in library.FOLDER.glob("*.h")}
    modules = project["tool"]["setuptools"]["ext-modules"]
    assert len(modules) == len(CORES) and headers
    assert all(set(module["depends"]) == headers for module in modules)
