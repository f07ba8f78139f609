"""What a benchmark ran on, for the head of its JSON, and beside whom."""

import subprocess
import time
from pathlib import Path
from typing import Any

import psutil

import scatcache

ROOT = Path(__file__).resolve().parents[2]


def describe_machine() -> dict[str, Any]:
    """cpu, versions, memory, GPU, and the commit with a + where the tree differs from it."""
    report = scatcache.doctor()
    return {"cpu": report.cpu, "versions": report.versions, "cuda": report.cuda, "commit": find_commit()}


def find_commit() -> str:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def read_clocks() -> tuple[float, float, float]:
    """Seconds: of the clock, of all busy cores, of this process."""
    cores, own = psutil.cpu_times(), psutil.Process().cpu_times()
    idle = cores.idle + getattr(cores, "iowait", 0.0)
    # Guests' time is within the user's.
    guests = getattr(cores, "guest", 0.0) + getattr(cores, "guest_nice", 0.0)
    return time.monotonic(), sum(cores) - guests - idle, own.user + own.system


def count_others(before: tuple[float, float, float]) -> float:
    """How many cores other processes kept busy since."""
    elapsed_s, busy_s, own_s = (now - then for now, then in zip(read_clocks(), before, strict=True))
    return max(0.0, (busy_s - own_s) / elapsed_s)
