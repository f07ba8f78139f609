"""The fused kernels on the CPU: the source that a GPU compiles, its threads one after the other."""

import ctypes
import hashlib
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from scatcache.scattering.fused_plan import ARGUMENTS, FusedPlan, plan_fused
from scatcache.scattering.native.library import SAMPLE_TYPES
from scatcache.spec import SCALES, ScatteringSpec

FOLDER = Path(__file__).parent
ASCENDING, DESCENDING, SHUFFLED = range(3)
H200_BYTES = 227 << 10
# Elements before and behind each array: more than a plane of any array here.
N_GUARDS = 1 << 16


class Guarded:
    """A copy of an array between two zones that nothing may write; what is read from them spoils the result."""

    def __init__(self, values: NDArray[np.generic]) -> None:
        beyond = np.nan if values.dtype.kind == "f" else np.iinfo(values.dtype).max // 2
        self._whole = np.full(values.size + 2 * N_GUARDS, beyond, values.dtype)
        self.inside = self._whole[N_GUARDS : N_GUARDS + values.size]
        self.inside[...] = values
        self._beyond = self._zones().copy()

    def _zones(self) -> NDArray[np.generic]:
        return np.concatenate([self._whole[:N_GUARDS], self._whole[len(self._whole) - N_GUARDS :]])

    def is_intact(self) -> bool:
        return self._zones().tobytes() == self._beyond.tobytes()


def find_compiler() -> str:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("needs a C++17 compiler")
    return compiler


def compile_source(source: str, folder: Path) -> ctypes.CDLL:
    """The library of a plan's source."""
    text = "\n".join(
        [(FOLDER / "simulation_before.h").read_text(), source, (FOLDER / "simulation_after.h").read_text()]
    )
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    library = folder / f"{name}.so"
    if not library.exists():
        (folder / f"{name}.cpp").write_text(text)
        command = [find_compiler(), "-std=c++17", "-O2", "-fPIC", "-shared", "-w", "-ffp-contract=off"]
        subprocess.run([*command, str(folder / f"{name}.cpp"), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


def simulate(
    plan: FusedPlan,
    spec: ScatteringSpec,
    images: NDArray[np.generic],
    folder: Path,
    *,
    dtype: type = np.float32,
    order: int = ASCENDING,
    source: str | None = None,
    scale: float | None = None,
) -> NDArray[np.floating]:
    """Coefficients (B, C * n_paths, h, w) of images (B, C, H, W), any strides, by the plan's launches in turn.

    scale: what samples are divided by, that of SCALES by default.
    """
    library = compile_source(source or plan.source, folder)
    assert library.arguments_bytes() == ARGUMENTS.itemsize
    n_planes = images.shape[0] * images.shape[1]
    _, height, width = spec.output_shape(*images.shape[2:])
    out_shape = (images.shape[0], images.shape[1] * spec.n_paths, height, width)
    guarded = {
        "out": Guarded(np.full(np.prod(out_shape), np.nan, dtype)),
        "tables": Guarded(plan.tables),
        "indices": Guarded(plan.indices),
        **{name: Guarded(np.full(n_planes * size, np.nan, np.float32)) for name, size in plan.workspace.items()},
    }
    arguments = np.zeros(1, ARGUMENTS)
    arguments["images"] = images.ctypes.data
    for name, array in guarded.items():
        arguments[name] = array.inside.ctypes.data
    strides = ("image_stride", "colour_stride", "row_stride", "column_stride")
    for name, stride in zip(strides, images.strides, strict=True):
        arguments[name] = stride // images.itemsize
    arguments["n_colours"] = images.shape[1]
    arguments["sample_type"] = SAMPLE_TYPES[images.dtype.name]
    arguments["scale"] = SCALES[images.dtype.name] if scale is None else scale
    arguments["is_half"] = dtype == np.float16
    for launch in plan.launches:
        run = getattr(library, launch.name)
        n_blocks = ctypes.c_longlong(launch.blocks_per_plane * n_planes)
        pointer = ctypes.c_void_p(arguments.ctypes.data)
        status = run(pointer, n_blocks, ctypes.c_longlong(launch.shared_bytes), order)
        assert status == 0, f"{launch.name} wrote beyond its shared memory"
        touched = [name for name, array in guarded.items() if not array.is_intact()]
        assert not touched, f"{launch.name} wrote beyond {touched}"
    return guarded["out"].inside.reshape(out_shape)


def plan_whole(spec: ScatteringSpec, shape: tuple[int, int]) -> FusedPlan:
    return plan_fused(spec, shape, shared_bytes=H200_BYTES)
