"""Finds and opens the compiled cores: one source, built for several instruction sets; the widest usable one is chosen,
for large images the next.

SCATCACHE_NATIVE overrides the choice: off, portable, avx2 or avx512.
"""

import ctypes
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from scatcache.errors import BackendUnavailable

VARIABLE = "SCATCACHE_NATIVE"
OFF = "off"
INTERFACE = 3  # SCATCACHE_INTERFACE of settings.h
# By the name of a dtype, as in settings.h.
SAMPLE_TYPES = {"float32": 0, "uint8": 1, "uint16": 2}
FOLDER = Path(__file__).resolve().parent
CPUINFO = Path("/proc/cpuinfo")
# The instructions each core was compiled to use, widest first.
CORES: Mapping[str, frozenset[str]] = {
    "avx512": frozenset({"avx512f", "avx512vl", "avx512bw", "avx512dq", "avx2", "fma", "f16c"}),
    "avx2": frozenset({"avx2", "fma", "f16c"}),
    "portable": frozenset(),
}
# Padded pixels up to which sixteen lanes are faster than eight: beyond, two planes' maps no longer fit the second-level
# cache (measured on Zen 4: 4% to 12% between 224 and 256 px, the other way round at 128).
WIDEST_PIXELS = 160 * 160


class PlanSettings(ctypes.Structure):
    """struct scatcache_settings of settings.h."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("J", "L", "max_order", "height", "width", "padded_height")),
        *((name, ctypes.c_int32) for name in ("padded_width", "cells_high", "cells_wide", "mean_angles")),
        *((name, ctypes.POINTER(ctypes.c_void_p)) for name in ("psi", "lowpass", "ramps", "reflection")),
    )


class Images(ctypes.Structure):
    """struct scatcache_images of settings.h."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("sample_type", ctypes.c_int32),
        ("scale", ctypes.c_float),
        *((name, ctypes.c_int64) for name in ("n_planes", "n_colours", "image_stride", "colour_stride")),
        *((name, ctypes.c_int64) for name in ("row_stride", "column_stride")),
    )


@dataclass(frozen=True)
class Choice:
    """core: the core's name, None where there is none; reason: why this one, in words."""

    core: str | None
    reason: str


def choose_core() -> Choice:
    """The widest core that this process can use and why. Raises ValueError where SCATCACHE_NATIVE names none."""
    asked = os.environ.get(VARIABLE, "")
    if asked and asked != OFF and asked not in CORES:
        raise ValueError(f"{VARIABLE} is {asked!r}: expected {OFF}, {', '.join(reversed(list(CORES)))}, or nothing")
    return _choose_core(asked)


def find_core_for(padded_shape: tuple[int, int]) -> str | None:
    """The core that this process uses for one padded shape: choose_core's, or the narrower one for large images."""
    choice = choose_core()
    is_large = padded_shape[0] * padded_shape[1] > WIDEST_PIXELS
    narrow = choice.core == "avx512" and is_large and not os.environ.get(VARIABLE) and find_core("avx2")
    return "avx2" if narrow else choice.core


@lru_cache
def open_core(name: str) -> ctypes.CDLL:
    """A core's library, its functions declared. Raises BackendUnavailable where it was not built or does not load."""
    path = find_core(name)
    if path is None:
        raise BackendUnavailable(_not_built(name))
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise BackendUnavailable(
            f"the {name} core does not load: {error}: install scatcache again, or set {VARIABLE}={OFF}"
        ) from error
    if not hasattr(library, "scatcache_interface") or library.scatcache_interface() != INTERFACE:
        raise BackendUnavailable(f"the {name} core was built from other sources: install scatcache again")
    library.scatcache_make_plan.argtypes = [ctypes.POINTER(PlanSettings)]
    library.scatcache_make_plan.restype = ctypes.c_void_p
    library.scatcache_free_plan.argtypes = [ctypes.c_void_p]
    library.scatcache_free_plan.restype = None
    library.scatcache_run.argtypes = [
        *(ctypes.c_void_p, ctypes.POINTER(Images), ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32)
    ]
    library.scatcache_run.restype = ctypes.c_int
    library.scatcache_add_sums.argtypes = [
        *(ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)
    ]
    library.scatcache_add_sums.restype = None
    pointer, wide, count = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64
    library.scatcache_quantise.argtypes = [pointer, count, count, pointer, pointer, wide, pointer, pointer]
    library.scatcache_quantise.restype = ctypes.c_int
    library.scatcache_restore.argtypes = [pointer, wide, count, count, count, pointer, pointer]
    library.scatcache_restore.restype = None
    return library


def find_core(name: str) -> Path | None:
    """The file of a core that was built for this interpreter, None where there is none."""
    candidates = (FOLDER / f"_{name}{suffix}" for suffix in EXTENSION_SUFFIXES)
    return next((path for path in candidates if path.is_file()), None)


def runs_here(name: str) -> bool:
    """Whether this processor has the instructions of a core."""
    return CORES[name] <= instruction_sets()


@lru_cache
def instruction_sets() -> frozenset[str]:
    """The processor's flags as Linux lists them; none where it lists none."""
    try:
        lines = CPUINFO.read_text(errors="replace").splitlines()
    except OSError:
        return frozenset()
    flags = next((line for line in lines if line.startswith("flags")), "")
    return frozenset(flags.partition(":")[2].split())


@lru_cache
def _choose_core(asked: str) -> Choice:
    if asked == OFF:
        return Choice(None, f"turned off by {VARIABLE}={OFF}")
    if asked:
        if find_core(asked) is None:
            return Choice(None, f"{VARIABLE}={asked}, and {_not_built(asked)}")
        if not runs_here(asked):
            missing = ", ".join(sorted(CORES[asked] - instruction_sets()))
            return Choice(None, f"{VARIABLE}={asked}, and this processor lacks {missing}")
        return Choice(asked, f"chosen by {VARIABLE}={asked}")
    built = [name for name in CORES if find_core(name)]
    if not built:
        return Choice(None, _not_built("no"))
    usable = [name for name in built if runs_here(name)]
    if not usable:
        return Choice(None, f"this processor runs none of those that were built: {', '.join(built)}")
    faster = [name for name in CORES if name not in built and runs_here(name)]
    fastest = f"the fastest that runs on this {platform.machine()} processor"
    if usable[:2] == ["avx512", "avx2"]:
        fastest += f"; avx2 computes images of more than {WIDEST_PIXELS} padded pixels"
    return Choice(usable[0], _not_built(faster[0]) if faster else fastest)


def _not_built(name: str) -> str:
    which = "no core was" if name == "no" else f"the {name} core was not"
    return f"{which} built when scatcache was installed: install it again where a C++17 compiler is"
