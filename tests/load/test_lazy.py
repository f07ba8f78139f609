import warnings

import numpy as np
import pytest

import scatcache
from tests.store.stores import N_IMAGES, SHARD_IMAGES, flip


@pytest.fixture(autouse=True)
def synchronous():
    """Blocks computed here, by nobody's cluster."""
    dask = pytest.importorskip("dask")
    with dask.config.set(scheduler="synchronous"):
        yield


def test_dask_array_is_the_stored_one_in_blocks_of_a_shard(encoded):
    xarray = pytest.importorskip("xarray")
    array = scatcache.open_cache(encoded).to_dask()
    stored = xarray.open_zarr(encoded, group="all").coefficients
    assert array.chunks[0] == (SHARD_IMAGES,) * 4 + (2,)
    assert (array.shape, array.dtype) == (stored.shape, stored.dtype)
    np.testing.assert_array_equal(array.compute(), stored.values)


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_dask_array_computes_in_threads_and_processes(sound, scheduler):
    array = scatcache.open_cache(sound).to_dask()
    assert float(np.nanmax(array[:13].max(axis=(1, 2, 3)).compute(scheduler=scheduler, num_workers=2))) > 0


def test_xarray_dataset_is_that_of_open_zarr(encoded):
    xarray = pytest.importorskip("xarray")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = scatcache.open_cache(encoded).to_xarray()
        xarray.testing.assert_identical(ours.compute(), xarray.open_zarr(encoded, group="all").compute())
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
