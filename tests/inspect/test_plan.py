import json
import time

import numpy as np
import pytest
from PIL import Image

import scatcache
from scatcache.inspect import plan as plan_module
from scatcache.inspect import sample, synthetic
from scatcache.inspect.bytes_table import leave_out_repeats
from scatcache.inspect.synthetic import draw_images as draw_noise_files
from scatcache.job import stages
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
    fields = json.loads(json.dumps(scatcache.plan(images, J=2, quick=True).to_dict()))
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


# What it costs


@pytest.fixture
def short(monkeypatch):
    """Samples of tenths of a second."""
    monkeypatch.setattr(plan_module, "STAGES_S", 0.2)
    monkeypatch.setattr(sample, "SHARD_S", 0.1)
    monkeypatch.setattr(sample, "READ_S", 0.2)


@pytest.mark.parametrize(
    "settings", [{}, {"encoding": "quantised"}, {"pool": 1}, {"angles": "mean", "encoding": "float32"}], ids=str
)
def test_a_plan_measures_and_leaves_nothing(tmp_path, short, settings):
    images, out = draw_images(tmp_path / "images", seed=0, n_images=60), tmp_path / "s.zarr"
    before = list_all(tmp_path)
    estimate = scatcache.plan(images, J=2, L=4, out=out, workers=1, **settings).estimate
    assert list_all(tmp_path) == before
    rates = estimate.rates
    assert set(rates.stage_s) == {"read", "decode", "transform", "encode", "write"} and min(rates.stage_s.values()) > 0
    assert 0 < rates.extract_images_per_s <= rates.compute_images_per_s and rates.memory_rows_per_s > 0
    assert estimate.extract_s == estimate.machines_s[1] >= 60 / rates.extract_images_per_s
    assert (estimate.images_left, estimate.epoch_rows) == (60, 60)
    scatcache.extract(images, J=2, L=4, out=out, workers=1, **settings)
    found = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    # Of so few images the documents are a good part.
    assert abs(estimate.store_bytes - found) < 0.3 * found + 20_000
    json.dumps(estimate.to_dict())


def test_views_share_what_decoding_their_image_takes(tmp_path, short, monkeypatch):
    images = draw_images(tmp_path / "images", seed=0, n_images=8)
    decode = stages.decode_noted
    monkeypatch.setattr(stages, "decode_noted", lambda *given: time.sleep(0.04) or decode(*given))
    planned = scatcache.plan(images, J=1, L=2, views=4, workers=1, out=tmp_path / "s.zarr")
    assert 0.01 <= planned.estimate.rates.stage_s["decode"] < 0.03


def test_bytes_are_weighed_of_every_encoding_and_reduction(tmp_path, short):
    images = draw_images(tmp_path / "images", seed=0, n_images=40)
    estimate = scatcache.plan(images, J=2, L=4, pool=2, workers=1, out=tmp_path / "s.zarr").estimate
    assert next(iter(estimate.bytes)) == "--pool 2" and len(estimate.bytes) == 5
    for row in estimate.bytes.values():
        assert row["quantised"] <= row["float16"] <= row["float32"]
    assert estimate.store_bytes == estimate.bytes["--pool 2"]["float16"]
    assert estimate.bytes["whole maps"]["float16"] > 3 * estimate.bytes["--pool 1"]["float16"]


def test_a_plan_needs_no_files(tmp_path, short, monkeypatch):
    monkeypatch.chdir(tmp_path)
    planned = scatcache.plan(images=1_281_167, image_shape="75x100", size=64, J=3, L=4)
    assert planned.images == 1_281_167 == planned.estimate.images_left and planned.output_shape[1:] == (8, 8)
    assert planned.estimate.extract_s > 60 and list(tmp_path.iterdir()) == []
    assert planned.store == str(tmp_path / "images-J3.zarr")
    same = scatcache.plan(None, images=1_281_167, image_shape=(75, 100), size=64, J=3, L=4, quick=True)
    assert same.estimate is None and same.splits == planned.splits


@pytest.mark.parametrize("shape", [None, "75", "75x", "0x5", (3,), "axb"])
def test_images_without_files_need_a_shape(shape):
    with pytest.raises(scatcache.UsageError, match="--image-shape 375x500"):
        scatcache.plan(None, images=10, image_shape=shape, J=1)


def test_no_source_and_both_are_refused(tmp_path):
    with pytest.raises(scatcache.UsageError, match="name one, or give --images"):
        scatcache.plan(None, J=1)
    with pytest.raises(scatcache.UsageError, match="stand for a source"):
        scatcache.plan(draw_images(tmp_path / "images", seed=0, n_images=3), J=1, images=10)


def test_what_is_finished_and_what_is_unreadable_is_not_measured(sound, tmp_path, images):
    assert scatcache.plan(images, out=sound).estimate is None
    folder = draw_images(tmp_path / "images", seed=0, n_images=4, unreadable=(1, 2, 3))
    planned = scatcache.plan(folder, J=1, out=tmp_path / "s.zarr")
    assert planned.estimate is None
    assert any("nothing was measured: split all: 3 of the first 4 images are unread" in w for w in planned.warnings)


def test_ctrl_c_leaves_no_sample(tmp_path, short, monkeypatch):
    images = draw_images(tmp_path / "images", seed=0, n_images=20)
    before = list_all(tmp_path)

    def interrupt(*given, **named):
        assert any(path.name.startswith(".scatcache-plan-") for path in tmp_path.iterdir())
        raise KeyboardInterrupt

    monkeypatch.setattr(plan_module, "weigh", interrupt)
    with pytest.raises(KeyboardInterrupt):
        scatcache.plan(images, J=2, L=4, out=tmp_path / "s.zarr")
    assert list_all(tmp_path) == before


def test_a_repeated_image_is_weighed_once():
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), np.uint8)
    kept = leave_out_repeats(images[[2, 0, 2, 1, 0, 0]])
    np.testing.assert_array_equal(kept, images[[2, 0, 1]])


def test_narrow_rows_of_images_without_files_take_what_their_values_do(tmp_path, short):
    estimate = scatcache.plan(
        None, images=100_000, image_shape=(48, 64), size=32, J=3, L=4, out=tmp_path / "s.zarr"
    ).estimate
    for reduction in ("--pool 1", "--pool 1 --angles mean"):
        row = estimate.bytes[reduction]
        assert row["quantised"] < row["float16"] <= row["float16raw"] < row["float32"]


def test_noise_for_photographs_is_different_in_each_image(tmp_path):
    files = sorted(draw_noise_files(tmp_path / "images", 40, (20, 600)).iterdir())
    assert len(files) == 40 == len({file.read_bytes() for file in files})
    with Image.open(files[0]) as image:
        assert image.size == (600, 20) and np.asarray(image).std() > 10


def test_noise_for_photographs_is_drawn_for_a_while_and_then_repeated(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "DRAW_S", 0.0)
    files = list(draw_noise_files(tmp_path / "images", 40, (20, 30)).iterdir())
    assert len(files) == 40 and len({file.read_bytes() for file in files}) == synthetic.LEAST_DIFFERENT
