from pathlib import Path

import pytest
import torch

import scatcache
from pipelines import memory
from pipelines.memory import keep_in_memory


@pytest.fixture
def cache(photos: scatcache.Cache, stores: Path) -> scatcache.Cache:
    return scatcache.open_cache(stores / "photos-J2-32px-limit64.zarr")


def test_splits_that_fit_are_kept_in_memory(cache):
    assert cache.preloaded is None and keep_in_memory(cache, "cpu").preloaded is not None


def test_splits_that_do_not_fit_are_read_as_training_goes(cache, monkeypatch):
    monkeypatch.setattr(memory, "SHARE", 0)
    assert keep_in_memory(cache, "cpu") is cache


def test_training_does_not_depend_on_it(run, gratings, tmp_path, monkeypatch):
    weights = []
    for name, share in (("kept", memory.SHARE), ("read", 0)):
        monkeypatch.setattr(memory, "SHARE", share)
        arguments = ("--root", gratings, "--stores", tmp_path, "--epochs", 2, "--save-model")
        ended = run("cifar10_linear", *arguments, results=name)
        weights.append(torch.load(*ended.folder.glob("*.pt"), weights_only=True))
    assert all(torch.equal(weights[1][key], value) for key, value in weights[0].items())


def test_damage_met_in_training_stops_the_recipe(run, gratings, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "SHARE", 0)
    arguments = ("--root", gratings, "--stores", tmp_path, "--epochs", 1)
    assert run("cifar10_linear", *arguments, results="sound").code == 0
    shard = tmp_path / "cifar10-J2.zarr" / "train" / "coefficients" / "c.5.0.0.0"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    ended = run("cifar10_linear", *arguments)
    assert ended.code == 1 and "shard 5" in ended.err and not ended.folder.exists()
