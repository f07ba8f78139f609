"""docs/keeping.md: its programs run as they stand, its commands are those that there are."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from scatcache.commands import cli

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "keeping.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_its_programs_run(tmp_path, monkeypatch):
    pytest.importorskip("skimage")
    pytest.importorskip("xarray")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    of_xarray, of_scatcache = PROGRAMS
    exec(of_scatcache, names)
    assert names["X"].shape == (len(names["train"]), 243) and np.isfinite(names["X"]).all()
    exec(of_xarray, names)
    assert bool(np.isfinite(names["S"].values).all()) and names["S"].dtype == np.float32


def test_its_commands_parse():
    lines = [shlex.split(line) for line in PAGE.splitlines() if line.startswith("scatcache ")]
    assert len(lines) == 2
    for _, command, *words in lines:
        known = {option for parameter in cli.commands[command].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known


def test_every_option_that_it_mentions_exists():
    known = {option for command in cli.commands.values() for parameter in command.params for option in parameter.opts}
    assert set(re.findall(r"(?<![\w-])--[a-z][\w-]*", PAGE)) <= known
