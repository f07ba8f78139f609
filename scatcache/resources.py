"""What this process may use of the machine: cores, memory, disk."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import psutil

# Where Linux says which control groups this process is in, and where they are mounted.
PROCESS = Path("/proc/self")


def count_cores() -> int:
    """Cores this process may use: its affinity, cut to its control groups' CPU quotas; rounded down, at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for group in _control_groups("cpu"):
        words = _read_words(group / "cpu.max")
        words = words or _read_words(group / "cpu.cfs_quota_us") + _read_words(group / "cpu.cfs_period_us")
        if len(words) == 2 and words[0] not in ("max", "-1"):
            cores = min(cores, int(words[0]) // int(words[1]))
    return max(1, cores)


def free_memory_bytes() -> int:
    """Memory that may still be taken: what the machine has available, cut to what is left in each control group.

    The page cache that a group can drop (inactive_file of memory.stat) counts as free, as psutil counts it.
    """
    free = int(psutil.virtual_memory().available)
    for group, limit in _memory_limits():
        used = _read_words(group / "memory.current") or _read_words(group / "memory.usage_in_bytes")
        words = _read_words(group / "memory.stat")
        counts = dict(zip(words[::2], words[1::2], strict=True))
        cache = counts.get("total_inactive_file", counts.get("inactive_file", 0))  # cgroups v1, v2
        if used:
            free = min(free, limit - (int(used[0]) - int(cache)))
    return max(0, free)


def total_memory_bytes() -> int:
    """The machine's memory, cut to the limits of the control groups."""
    return min([int(psutil.virtual_memory().total), *(limit for _, limit in _memory_limits())])


def _memory_limits() -> Iterator[tuple[Path, int]]:
    """(folder, bytes) of the control groups with a limit. Beyond memory.high a process is slowed down to a crawl."""
    for group in _control_groups("memory"):
        names = ("memory.max", "memory.high", "memory.limit_in_bytes")
        limits = [int(word) for name in names for word in _read_words(group / name) if word != "max"]
        if limits:
            yield group, min(limits)


def _control_groups(controller: str) -> Iterator[Path]:
    """Folders of the control groups that this process is in, v1 and v2: its own, the one around it, to the topmost.

    A limit holds for all groups inside. Containers mostly see their own group as the topmost.
    """
    paths = {}
    for line in _read_lines(PROCESS / "cgroup"):
        _, controllers, path = line.split(":", 2)
        if not controllers or controller in controllers.split(","):
            paths["cgroup" if controllers else "cgroup2"] = path
    for line in _read_lines(PROCESS / "mountinfo"):
        # "id parent device ROOT TOP ... - KIND source OPTIONS": proc(5)
        before, _, after = line.partition(" - ")
        (root, top), (kind, *_, options) = before.split()[3:5], after.split()
        if kind not in paths or (kind == "cgroup" and controller not in options.split(",")):
            continue
        own = PurePosixPath(paths[kind])
        # A group outside what is mounted (/../x, or a name of the host's) is the mount's topmost as seen from here.
        is_below = own.is_relative_to(root) and ".." not in own.parts
        below = own.relative_to(root) if is_below else PurePosixPath()
        yield from (Path(top, part) for part in (below, *below.parents))


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _read_words(path: Path) -> list[str]:
    return [word for line in _read_lines(path) for word in line.split()]


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
