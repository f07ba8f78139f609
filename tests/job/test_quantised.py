"""Quantised coefficients from a folder of images to readers: steps, integers, and what they do not hold."""

import numpy as np
import pytest

import scatcache
from scatcache.job import calibration
from scatcache.job.calibration import find_steps
from scatcache.scattering import open_transform
from scatcache.store.format.encodings import DEFAULT_STEP
from scatcache.store.reader import open_split
from tests.store.stores import draw_images

SETTINGS = {"J": 2, "L": 4, "encoding": "quantised", "shard_images": 5, "workers": 1}


def smooth(n, side=24, seed=0, contrast=60):
    """(n, side, side, 3) uint8: blobs of some contrast."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(128, contrast, (n, 4, 4, 3))
    return np.clip(coarse.repeat(side // 4, 1).repeat(side // 4, 2), 0, 255).astype(np.uint8)


def compute(cache, images):
    transform = open_transform(cache.spec, images.shape[1:3])
    out = np.empty((len(images), *transform.output_shape), np.float32)
    for start in range(0, len(images), transform.batch_images):
        transform(images[start : start + transform.batch_images], out[start : start + transform.batch_images])
    return out


def extract(images, out, **settings):
    return scatcache.extract(images, name="smooth", out=out, **{**SETTINGS, **settings})


@pytest.mark.parametrize(
    "settings",
    [{}, {"step": 0.1}, {"step": 3.0}, {"pool": 1}, {"pool": 2, "angles": "mean"}, {"grid": "centered", "J": 1}],
    ids=str,
)
def test_every_coefficient_is_within_half_a_step(tmp_path, settings):
    images = smooth(23)
    extract(images, tmp_path / "a.zarr", **settings)
    cache = scatcache.open_cache(tmp_path / "a.zarr")
    expected, steps = compute(cache, images), cache.manifest.stored_as.steps[:, None, None]
    found = cache.coefficients(slice(None))
    assert found.dtype == np.float32 and (np.abs(found - expected) <= 0.5 * steps + 2e-6 * np.abs(expected)).all()
    assert scatcache.verify(tmp_path / "a.zarr").ok
    deviation = expected.astype(np.float64).std((0, 2, 3))
    varied = deviation > 0.01 * deviation.max()
    step = settings.get("step", DEFAULT_STEP)
    np.testing.assert_allclose(steps[varied, 0, 0], step * deviation[varied], rtol=1e-4)


def test_the_step_coordinate_turns_integers_into_coefficients(tmp_path):
    xarray = pytest.importorskip("xarray")
    extract(smooth(8), tmp_path / "a.zarr", pool=2, angles="mean")
    dataset = xarray.open_zarr(tmp_path / "a.zarr", group="all")
    assert dataset.coefficients.dtype == np.int8 and dataset.step.dtype == np.float32
    cache = scatcache.open_cache(tmp_path / "a.zarr")
    values = (dataset.coefficients * dataset.step).transpose("image", "channel", "y", "x").values
    np.testing.assert_array_equal(values[np.argsort(dataset.source_index.values)], cache.coefficients(slice(None)))
    assert set(dataset.coords) >= {"dtheta", "step"}
    assert dataset.set_xindex("dtheta").sel(dtheta=2).sizes["channel"] == 3


def test_a_wide_range_takes_wide_integers(tmp_path):
    images = smooth(20)
    for step, dtype in ((0.5, np.int8), (0.01, np.int16)):
        extract(images, tmp_path / f"{step}.zarr", step=step)
        reader = open_split(tmp_path / f"{step}.zarr")
        assert reader.read(np.arange(3)).dtype == dtype


def test_what_no_integer_holds_is_unreadable_and_told(tmp_path):
    """The sample is of faint images, another is not: it is recorded, not cut."""
    faint = (smooth(30, contrast=1) // 8 + 100).astype(np.uint8)
    images = np.concatenate([faint, np.random.default_rng(0).integers(0, 2, (1, 24, 24, 3), dtype=np.uint8) * 255])
    out, path = tmp_path / "a.zarr", tmp_path / "images.npy"
    np.save(path, images)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "choose_rows", lambda rows, *, seed, limit: np.arange(30))
        with pytest.raises(scatcache.UnreadableImage, match=r"go beyond .* stopped because of --on-error fail"):
            scatcache.extract(path, out=out, on_error="fail", **{**SETTINGS, "step": 0.05})
        report = scatcache.extract(path, out=out, **{**SETTINGS, "step": 0.05})
    (entry,) = report.unreadable
    verified = scatcache.verify(out, recompute=1.0)
    assert verified.ok and verified.recomputed == 30
    assert "beyond what int" in entry["reason"] and "--step or --encoding float32" in entry["reason"]
    cache = scatcache.open_cache(out)
    assert len(cache.readable) == 30
    with pytest.raises(scatcache.UnreadableImage, match="go beyond"):
        cache.coefficients([int(np.setdiff1d(np.arange(31), cache.readable)[0])])
    assert np.isnan(cache.to_xarray().coefficients.values).any(axis=(1, 2, 3)).sum() == 1
    mean = cache.coefficients(cache.readable).astype(np.float64).mean((0, 2, 3))
    np.testing.assert_allclose(cache.channel_mean, mean, rtol=1e-6)


def test_steps_come_from_the_store_whatever_comes_later(tmp_path):
    """Another split, a resumed run and a run without the settings all take the first run's steps."""
    for split, seed in (("train", 0), ("val", 1)):
        draw_images(tmp_path / "images" / split, seed=seed, n_images=12)
    out, straight = tmp_path / "a.zarr", tmp_path / "straight.zarr"
    settings = {**SETTINGS, "pool": 2}
    scatcache.extract(tmp_path / "images", out=straight, **settings)
    scatcache.extract(tmp_path / "images", out=out, split="train", **settings)
    steps = scatcache.open_cache(out, "train").manifest.stored_as.steps
    for name in ("receipts/00001.json", "receipts/summary.json", "receipts/index.bin", "c.1.0.0.0"):
        (out / "train/coefficients" / name).unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scatcache.job.preparation.calibrate", None)
        scatcache.resume(out, workers=1)
        scatcache.extract(tmp_path / "images", out=out, split="val", workers=1)
    assert np.array_equal(scatcache.open_cache(out, "val").manifest.stored_as.steps, steps)
    for path in straight.rglob("c.*"):
        assert path.read_bytes() == (out / path.relative_to(straight)).read_bytes()


@pytest.mark.parametrize("changes", [{"step": 0.25}, {"encoding": "float16"}, {"pool": 1}, {"angles": "mean"}])
def test_another_step_encoding_or_reduction_is_another_store(tmp_path, changes):
    extract(smooth(6), tmp_path / "a.zarr", pool=2)
    with pytest.raises(scatcache.SettingsDiffer) as raised:
        extract(smooth(6), tmp_path / "a.zarr", **{"pool": 2, **changes})
    assert next(iter(changes)) in str(raised.value)


@pytest.mark.parametrize("encoding", [None, "float16", "float32"])
def test_a_step_of_other_encodings_is_refused(tmp_path, encoding):
    with pytest.raises(scatcache.UsageError, match="step"):
        extract(smooth(4), tmp_path / "a.zarr", encoding=encoding, step=0.2)


def test_the_bytes_are_those_of_any_number_of_workers_and_processes(tmp_path):
    images = draw_images(tmp_path / "images", seed=0, n_images=40)
    for name, more in (("one", {}), ("three", {"workers": 3}), ("processes", {"workers": 2, "processes": True})):
        scatcache.extract(images, out=tmp_path / f"{name}.zarr", **{**SETTINGS, "angles": "mean", **more})
    for path in (tmp_path / "one.zarr").rglob("c.*"):
        for name in ("three", "processes"):
            other = tmp_path / f"{name}.zarr" / path.relative_to(tmp_path / "one.zarr")
            assert path.read_bytes() == other.read_bytes()


def test_no_readable_image_gives_no_steps(tmp_path):
    images = draw_images(tmp_path / "images", seed=0, n_images=4)
    for path in images.rglob("*.png"):
        # Whole up to the samples: their shape is known, they are not.
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(scatcache.SourceError, match="sample of 4 images, all of which are unreadable"):
        scatcache.extract(images, out=tmp_path / "a.zarr", **SETTINGS)
    assert not (tmp_path / "a.zarr").exists()


def test_channels_that_hardly_vary_have_steps_too():
    steps = find_steps(0.5, np.array([1.0, 1.0, 2.0]), np.array([2.0, 1.0, 4.0 + 1e-12]))
    assert steps.tolist() == [0.5, 0.0005, 0.0005]
    assert (find_steps(0.5, np.array([3.0, 0.0]), np.array([9.0, 0.0])) > 0).all()
    assert (find_steps(0.5, np.zeros(2), np.zeros(2)) > 0).all()


def test_recomputed_rows_are_compared_by_the_steps(tmp_path):
    images = draw_images(tmp_path / "images", seed=0, n_images=6)
    out = tmp_path / "a.zarr"
    scatcache.extract(images, out=out, **SETTINGS)
    assert scatcache.verify(out, recompute=1.0).ok
    draw_images(tmp_path / "images", seed=1, n_images=6)
    failures = scatcache.verify(out, recompute=1.0).failures
    assert len(failures) == 6 and all("steps of a channel, expected half a one" in entry.reason for entry in failures)
