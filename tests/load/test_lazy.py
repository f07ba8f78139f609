import warnings

import numpy as np
import pytest

import scatcache
from scatcache.store.format.row_arrays import OK
from tests.store.stores import N_IMAGES, SHARD_IMAGES, flip


@pytest.fixture(autouse=True)
def synchronous():
    """Blocks computed here, by nobody's cluster."""
    dask = pytest.importorskip("dask")
    with dask.config.set(scheduler="synchronous"):
        yield


def values_of(dataset):
    """The coefficients of a split that xarray opened: where they are quantised, one multiplication."""
    if "step" not in dataset.coords:
        return dataset.coefficients
    values = (dataset.coefficients * dataset.step).where(dataset.status == OK)
    return values.transpose(*dataset.coefficients.dims)


def test_dask_array_is_the_stored_one_in_blocks_of_a_shard(encoded):
    xarray = pytest.importorskip("xarray")
    cache = scatcache.open_cache(encoded)
    array = cache.to_dask(cache.dtype)
    stored = values_of(xarray.open_zarr(encoded, group="all"))
    assert array.chunks[0] == (SHARD_IMAGES,) * 4 + (2,)
    assert (array.shape, array.dtype) == (stored.shape, stored.dtype)
    np.testing.assert_array_equal(array.compute(), stored.values)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A store of more values a channel than float16 counts, 65504."""
    images = np.random.default_rng(0).integers(0, 256, (70, 64, 64, 3), dtype=np.uint8)
    out = tmp_path_factory.mktemp("large") / "large.zarr"
    scatcache.extract([(image, 0) for image in images], name="large", out=out, J=1, max_order=0, shard_images=40)
    return scatcache.open_cache(out)


@pytest.mark.parametrize("kind", ["dask", "xarray"])
def test_reductions_of_what_is_stored_in_float16_are_right(large, kind):
    array = large.to_dask() if kind == "dask" else large.to_xarray().coefficients
    assert large.dtype == np.float16 and array.dtype == np.float32 and array[:, 0].size > 65504
    axes = (0, 2, 3) if kind == "dask" else ("image", "y", "x")
    n_values = array[:, 0].size
    found = [np.asarray(reduce(axes).compute()) for reduce in (array.mean, array.std, array.sum)]
    np.testing.assert_allclose(found[0], large.channel_mean, rtol=1e-5)
    np.testing.assert_allclose(found[1], large.channel_std, rtol=1e-3)
    np.testing.assert_allclose(found[2], large.channel_mean * n_values, rtol=1e-5)
    assert np.isclose(float(array.mean().compute()), large.channel_mean.mean(), rtol=1e-5)


@pytest.mark.parametrize(("dtype", "expected"), [(None, "f4"), ("float16", "f2"), (np.float64, "f8"), ("f4", "f4")])
def test_lazy_arrays_have_the_dtype_asked_for(sound, dtype, expected):
    cache = scatcache.open_cache(sound)
    array, dataset = cache.to_dask(dtype=dtype), cache.to_xarray(dtype=dtype)
    assert array.dtype == dataset.coefficients.dtype == array[:3].compute().dtype == np.dtype(expected)
    np.testing.assert_array_equal(array.compute(), cache.to_dask(cache.dtype).compute().astype(expected))


@pytest.mark.parametrize("dtype", [np.int16, bool, np.uint8])
def test_dtype_that_does_not_hold_what_is_stored_is_refused(sound, dtype):
    with pytest.raises(ValueError, match="expected one that holds every float16, as is stored"):
        scatcache.open_cache(sound).to_xarray(dtype)


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_dask_array_computes_in_threads_and_processes(sound, scheduler):
    array = scatcache.open_cache(sound).to_dask()
    assert float(np.nanmax(array[:13].max(axis=(1, 2, 3)).compute(scheduler=scheduler, num_workers=2))) > 0


def test_xarray_dataset_is_that_of_open_zarr(encoded):
    xarray = pytest.importorskip("xarray")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cache = scatcache.open_cache(encoded)
        ours = cache.to_xarray(dtype=cache.dtype)
        theirs = xarray.open_zarr(encoded, group="all").compute()
        theirs = theirs.assign(coefficients=values_of(theirs)).drop_vars("step", errors="ignore")
        xarray.testing.assert_identical(ours.compute(), theirs)
    assert ours.sizes["image"] == N_IMAGES


def test_lazy_reading_checks_every_byte(store):
    cache = scatcache.open_cache(store)
    flip(store / "all/coefficients/c.1.0.0.0", 50)
    array = cache.to_dask()
    array[:SHARD_IMAGES].compute()
    with pytest.raises(scatcache.StoreDamaged, match="split all, shard 1"):
        array.compute()
    with pytest.raises(scatcache.StoreDamaged, match="split all, shard 1"):
        cache.to_xarray().coefficients.mean().compute()
