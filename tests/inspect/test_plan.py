import json

import numpy as np
import pytest

import scatcache
from scatcache.scattering.backends import resolve_backend
from tests.store.stores import SETTINGS, draw_images


def list_all(folder):
    return sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*"))


def test_plan_writes_nothing(tmp_path, monkeypatch):
    draw_images(tmp_path / "images", seed=0, n_images=6)
    monkeypatch.chdir(tmp_path)
    before = list_all(tmp_path)
    for out in (None, "s.zarr", "deep/down/s.zarr"):
        scatcache.plan("images/", J=2, out=out)
    assert list_all(tmp_path) == before


@pytest.mark.parametrize("encoding", ["float16", "float16raw", "float32"])
def test_plan_says_what_extract_then_does(tmp_path, encoding):
    images, out = draw_images(tmp_path / "images", seed=0, n_images=20), tmp_path / "s.zarr"
    plan = scatcache.plan(images, out=out, encoding=encoding, **SETTINGS)
    report = scatcache.extract(images, out=out, encoding=encoding, workers=1, **SETTINGS)
    info, cache = scatcache.info(out), scatcache.open_cache(out)
    assert plan.store == report.store and plan.images == report.splits["all"].rows == 20
    assert plan.shards == report.splits["all"].shards == 2
    assert plan.output_shape == plan.splits["all"].output_shape == cache.row_shape
    assert plan.splits["all"].image_shape == info.splits["all"].image_shape
    stored = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    assert stored <= plan.bytes and plan.bytes < 3 * 20 * np.prod(plan.output_shape) * 4
    assert plan.splits["all"].shard_images == 12 and plan.free_bytes > 0
    assert plan.backend == report.backend == resolve_backend("auto") and plan.backend_reason
    before = list_all(tmp_path)
    again = scatcache.plan(images, out=out)
    assert (again.shards, again.done, again.images_done, again.bytes_left, again.state) == (2, 2, 20, 0, "complete")
    assert again.settings == plan.settings and (plan.state, plan.done) == ("new", 0)
    assert scatcache.plan(images, out=out, overwrite=True, **SETTINGS).state == "new"
    assert list_all(tmp_path) == before
    next(out.rglob("00000.json")).unlink()
    assert (scatcache.plan(images, out=out).done, scatcache.plan(images, out=out).state) == (1, "incomplete")


def test_plan_has_the_promised_shape(tmp_path):
    images = draw_images(tmp_path / "images", seed=0, n_images=3)
    fields = json.loads(json.dumps(scatcache.plan(images, J=2).to_dict()))
    promised = "store settings state images output_shape bytes free_bytes shards done splits"
    assert set(fields) == {*promised.split(), "device", "backend", "backend_reason"}
    assert fields["splits"]["all"]["images"] == 3


def test_plan_of_several_splits_adds_them_up(tmp_path):
    for split, n_images in (("train", 6), ("test", 3)):
        draw_images(tmp_path / "images" / split, seed=0, n_images=n_images)
    plan = scatcache.plan(tmp_path / "images", J=2)
    assert plan.images == 9 and plan.shards == sum(split.shards for split in plan.splits.values())
    assert max(split.bytes for split in plan.splits.values()) < plan.bytes
    assert plan.bytes <= sum(split.bytes for split in plan.splits.values())
    assert scatcache.plan(tmp_path / "images", J=2, split="test").images == 3


def test_plan_refuses_what_extract_refuses(tmp_path, sound):
    images = draw_images(tmp_path / "images", seed=0, n_images=3)
    with pytest.raises(scatcache.UsageError, match="needs J"):
        scatcache.plan(images)
    with pytest.raises(scatcache.UsageError, match="too small for J=5"):
        scatcache.plan(images, J=5)
    with pytest.raises(scatcache.SettingsDiffer):
        scatcache.plan(images, J=3, out=sound)
    with pytest.raises(scatcache.UsageError, match="unknown source"):
        scatcache.plan(tmp_path / "nowhere", J=2)
