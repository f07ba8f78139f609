"""Recipes run in this process, on stores of photographs that the tests of one session share."""

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import scatcache
from pipelines.data import Wanted, open_store
from pipelines.recipe import Options
from scatcache import ScatteringSpec


@dataclass(frozen=True)
class Ended:
    """How a recipe ended. folder: its --results; report: what it wrote there, None for nothing."""

    code: int
    out: str
    err: str
    folder: Path

    @property
    def report(self) -> dict[str, Any]:
        (path,) = self.folder.glob("*.json")
        return json.loads(path.read_text())


Run = Callable[..., Ended]


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where smoke runs find or make their stores."""
    return tmp_path_factory.mktemp("stores")


@pytest.fixture
def run(stores: Path, tmp_path: Path) -> Run:
    """run("cifar10_linear", "--smoke"): that recipe with a --results of its own; and --stores, unless one is given."""

    def call(name: str, *arguments: object, results: str = "results") -> Ended:
        words = [*map(str, arguments), "--results", str(tmp_path / results)]
        if "--stores" not in words:
            words += ["--stores", str(stores)]
        done = CliRunner().invoke(importlib.import_module(f"pipelines.{name}").main, words)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Ended(done.exit_code, done.stdout, done.stderr, tmp_path / results)

    return call


@pytest.fixture
def options(stores: Path, tmp_path: Path) -> Options:
    """Those of a smoke run."""
    return Options(
        root=None,
        stores=stores,
        results=tmp_path / "results",
        limit=None,
        device="cpu",
        seeds=(0,),
        epochs=None,
        as_json=False,
        smoke=True,
        permute_labels=False,
        validate=False,
        checkpoint_minutes=10,
        save_model=False,
        command="",
    )


@pytest.fixture
def photos(options: Options) -> scatcache.Cache:
    """64 crops of photographs at 32 pixels, J=2."""
    return open_store(options, Wanted("cifar10", ScatteringSpec(J=2), size=32)).caches[0]


@pytest.fixture(scope="session")
def gratings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an archive in CIFAR-10's layout: 40 noisy gratings a file, each class at an angle of its own."""
    root = tmp_path_factory.mktemp("gratings")
    folder = root / "cifar-10-batches-bin"
    folder.mkdir()
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32]
    for name in [*(f"data_batch_{index}" for index in range(1, 6)), "test_batch"]:
        labels = np.arange(40) % 10
        angles, phases = labels * np.pi / 10, generator.uniform(0, 2 * np.pi, 40)
        waves = np.cos(x * np.cos(angles)[:, None, None] + y * np.sin(angles)[:, None, None] + phases[:, None, None])
        images = 128 + 60 * waves[:, None] + generator.normal(0, 20, (40, 3, 32, 32))
        records = np.concatenate([labels[:, None], images.clip(0, 255).reshape(40, -1)], axis=1)
        (folder / f"{name}.bin").write_bytes(records.astype(np.uint8).tobytes())
    return root
