"""The README's programs are those that run, its commands those that there are."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import scatcache
from scatcache.commands import cli

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
N_RECORDS = 40


@pytest.fixture(scope="module")
def small_cifar10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with cifar10-J2.zarr, made from a small archive of random images in CIFAR-10's layout."""
    folder = tmp_path_factory.mktemp("readme")
    batches = folder / "data" / "cifar-10-batches-bin"
    batches.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for name in [f"data_batch_{index}" for index in range(1, 6)] + ["test_batch"]:
        records = generator.integers(0, 256, (N_RECORDS, 3073), dtype=np.uint8)
        records[:, 0] = np.arange(N_RECORDS) % 10
        (batches / f"{name}.bin").write_bytes(records.tobytes())
    scatcache.extract("cifar10", root=folder / "data", out=folder / "cifar10-J2.zarr", J=2)
    return folder


def python_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_linear_classifier_runs_on_any_cifar10_store(small_cifar10):
    shown = next(block for block in python_blocks() if "CosineAnnealingLR" in block)
    program = [sys.executable, "-c", shown]
    done = subprocess.run(program, cwd=small_cifar10, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"test accuracy \d+\.\d\d%\n", done.stdout)


def test_the_other_programs_run_as_they_stand(small_cifar10, monkeypatch):
    import torch

    monkeypatch.chdir(small_cifar10)
    names = {"torch": torch, "scatcache": scatcache}
    for block in python_blocks():
        if "CosineAnnealingLR" not in block:
            exec(block, names)
    assert names["S"].shape == (128, 3, 81, 8, 8)
    assert names["report"].state == "complete" and names["report"].splits["train"].shards_computed == 0


def test_every_command_shown_parses():
    blocks = "".join(re.findall(r"```\n(.*?)```", README, re.DOTALL))
    lines = re.findall(r"^scatcache (\w+)(.*)$", blocks, re.MULTILINE)
    assert {name for name, _ in lines} >= {"extract", "info", "verify", "resume"}
    for name, arguments in lines:
        command = cli.commands[name]
        command.make_context(name, shlex.split(arguments), resilient_parsing=False)


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_help_of_every_command_is_there(name):
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0 and "Usage" in result.output


def test_every_option_named_in_the_readme_exists():
    options = {option for command in cli.commands.values() for param in command.params for option in param.opts}
    spans = " ".join(re.findall(r"`([^`\n]+)`", README))
    named = set(re.findall(r"--[A-Za-z][\w-]*", spans))
    assert len(named) > 15 and named <= options | {"--nthreads"}  # of dask worker
