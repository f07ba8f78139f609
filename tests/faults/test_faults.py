"""A sample of both campaigns; `make faults` runs the whole."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.shim import NoCompiler, build

ROOT = Path(__file__).resolve().parents[2]
# Not "processes": each of its runs takes seconds.
CHOSEN = ("fresh", "resumed", "mended", "rootless", "overwritten", "split-added", "unpacked")
N_EACH = 4


def run_module(name: str, *arguments: str) -> str:
    """What a campaign printed, which must not have failed."""
    command = [sys.executable, "-m", f"tests.faults.{name}", "--jobs", "1", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_a_run_that_is_killed_or_fails_anywhere_leaves_nothing_wrong_and_is_healed_by_the_same_command(tmp_path):
    try:
        build(tmp_path)
    except NoCompiler as error:
        pytest.skip(str(error))
    chosen = [word for name in CHOSEN for word in ("--scenario", name)]
    text = run_module("campaign", *chosen, "--sample", str(N_EACH), "--seed", "1")
    assert f"{N_EACH * len(CHOSEN)} faults at" in text


@pytest.mark.slow
def test_whatever_becomes_of_a_file_of_a_store_is_told_and_healed_by_the_same_command():
    assert "60 corruptions" in run_module("corruptions", "--n", "60", "--seed", "1")
