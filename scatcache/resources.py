"""What this process may use of the machine: cores, memory, disk."""

import contextlib
import os
import shutil
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")


def count_cores() -> int:
    """Cores this process may use: its affinity, cut to the control group's CPU quota (cgroups v2, cpu.max)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = (CGROUP / "cpu.max").read_text().split()
        cores = min(cores, max(1, int(quota) // int(period)))
    return cores


def free_memory_bytes() -> int:
    """Memory that may still be taken: what the machine has available, cut to the control group's limit.

    The page cache that the group can drop (inactive_file of memory.stat) counts as free, as psutil counts it.
    """
    free = int(psutil.virtual_memory().available)
    with contextlib.suppress(OSError, ValueError):
        limit = int((CGROUP / "memory.max").read_text())
        counts = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        used = int((CGROUP / "memory.current").read_text()) - int(counts.get("inactive_file", 0))
        free = min(free, limit - used)
    return max(0, free)


def total_memory_bytes() -> int:
    """The machine's memory, cut to the control group's limit."""
    total = int(psutil.virtual_memory().total)
    with contextlib.suppress(OSError, ValueError):
        total = min(total, int((CGROUP / "memory.max").read_text()))
    return total


def free_disk_bytes(path: Path) -> int:
    """Free bytes of the file system that path is on, or would be."""
    existing = path.absolute()
    while not existing.exists():
        existing = existing.parent
    return shutil.disk_usage(existing).free


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below a folder."""
    total = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(os.path.join(parent, name)).st_size
    return total
