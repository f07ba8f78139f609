"""What this machine offers: versions, cores, memory, disk, and which backends run."""

import importlib.metadata
import os
import platform
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scatcache.inspect.disk_speed import measure_fsync
from scatcache.resources import count_cores, free_memory_bytes, total_memory_bytes
from scatcache.version import __version__

CPUINFO = Path("/proc/cpuinfo")
PACKAGES = ("torch", "cupy-cuda12x", "cupy-cuda13x", "zarr", "numcodecs", "dask", "distributed", "xarray", "numpy")
MORE_PACKAGES = ("zstandard", "scipy", "pillow", "matplotlib", "obstore", "click", "rich", "scikit-image")
FORMAT_PACKAGES = ("tifffile", "imagecodecs", "astropy", "h5py", "pyarrow")
# Those that decide how fast transforms and codecs run, as /proc/cpuinfo spells them: x86, then arm64.
INSTRUCTION_SETS = (
    *("sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_fp16", "amx_tile"),
    *("asimd", "asimdhp", "sve", "sve2"),
)


@dataclass(frozen=True)
class MachineReport:
    """versions: by package, None where it is not installed; cpu, cuda, disk: facts by name; backends: by name, whether
    each is usable and why; memory_bytes: free to take."""

    versions: dict[str, str | None]
    cpu: dict[str, Any]
    backends: dict[str, dict[str, Any]]
    cuda: dict[str, Any]
    memory_bytes: int
    disk: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def doctor() -> MachineReport:
    """Looks at this machine and this environment; every value is read or measured, none assumed.

    disk holds what syncing costs in the working folder, measured with a file that has no name there: fsync_mb_s,
    fsync_ms (the median of 4 KiB), both None where it cannot be written to, and fsync_reason, how or why not.
    """
    usage = shutil.disk_usage(Path.cwd())
    return MachineReport(
        versions=_find_versions(),
        cpu={
            "model": _read_cpu_model(),
            "architecture": platform.machine(),
            "cores": os.cpu_count(),
            "usable_cores": count_cores(),
            "instruction_sets": _read_instruction_sets(),
            "memory_bytes": total_memory_bytes(),
        },
        backends=_probe_backends(),
        cuda=_probe_cuda(),
        memory_bytes=free_memory_bytes(),
        disk={
            "path": str(Path.cwd()),
            "free_bytes": usage.free,
            "total_bytes": usage.total,
            **measure_fsync(Path.cwd()),
        },
    )


def _find_versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {"scatcache": __version__, "python": platform.python_version()}
    for name in (*PACKAGES, *MORE_PACKAGES, *FORMAT_PACKAGES):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def _read_cpu_model() -> str:
    return _read_cpuinfo("model name") or platform.processor() or "unknown"


def _read_instruction_sets() -> list[str]:
    """Those of INSTRUCTION_SETS that this CPU has; none where the system does not say."""
    flags = (_read_cpuinfo("flags") or _read_cpuinfo("Features")).split()
    return [name for name in INSTRUCTION_SETS if name in flags]


def _read_cpuinfo(field: str) -> str:
    """A field of the first core, "" where there is none."""
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == field), "")


def _probe_backends() -> dict[str, dict[str, Any]]:
    """Runs each backend once on a small image: usable means that it ran and gave finite numbers."""
    import torch

    from scatcache.scattering.fused import fused_obstacle
    from scatcache.scattering.native.library import choose_core

    torch_ran = f"torch {torch.__version__} transformed a 32x32 image on the CPU"
    try:
        choice = choose_core()
    except ValueError as error:
        native: dict[str, Any] = {"usable": False, "reason": str(error)}
    else:
        native = {"usable": False, "reason": choice.reason}
        if choice.core:
            native = _probe("native", f"the {choice.core} core transformed a 32x32 image; {choice.reason}")
    if obstacle := fused_obstacle():
        fused: dict[str, Any] = {"usable": False, "reason": obstacle}
    else:
        fused = _probe("fused", "the kernels transformed a 32x32 image as torch does", device="cuda")
    return {"fused": fused, "native": native, "torch": _probe("torch", torch_ran)}


def _probe(backend: str, what_ran: str, device: str = "cpu") -> dict[str, Any]:
    """Whether a backend gives finite numbers for a random image, and what_ran, or the first line of its error."""
    import torch

    from scatcache.scattering.scattering2d import Scattering2D

    try:
        images = torch.rand(3, 32, 32, device=device)
        coefficients = Scattering2D(2, (32, 32), backend=backend).to(device)(images)
    except (RuntimeError, ImportError) as error:
        return {"usable": False, "reason": str(error).splitlines()[0]}
    if not torch.isfinite(coefficients).all():
        return {"usable": False, "reason": f"{backend} gave what is not finite for a 32x32 image"}
    return {"usable": True, "reason": what_ran}


def _probe_cuda() -> dict[str, Any]:
    import torch

    if not torch.cuda.is_available():
        reason = (
            "no CUDA device is visible" if torch.version.cuda else f"torch {torch.__version__} is built without CUDA"
        )
        return {"usable": False, "reason": reason, "devices": []}
    devices = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        capability = f"{properties.major}.{properties.minor}"
        devices.append({"name": properties.name, "capability": capability, "memory_bytes": properties.total_memory})
    return {"usable": True, "reason": f"CUDA {torch.version.cuda}", "devices": devices}
