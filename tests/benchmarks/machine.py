"""What a benchmark ran on, for the head of its JSON."""

import subprocess
from pathlib import Path
from typing import Any

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
