import numpy as np
import psutil
import pytest

import scatcache
from scatcache.load import features as module


@pytest.fixture
def cache(encoded, monkeypatch):
    """Of every encoding, read in pieces of a few rows."""
    monkeypatch.setattr(module, "PIECE_BYTES", 100_000)
    return scatcache.open_cache(encoded)


def test_features_are_the_coefficients_of_each_row_in_one_line(cache):
    X = cache.features()
    assert X.dtype == np.float32 and X.flags.c_contiguous and X.shape == (47, np.prod(cache.row_shape))
    np.testing.assert_array_equal(X, cache.coefficients(cache.readable).astype(np.float32).reshape(47, -1))
    rows, channels = [30, 2, 2, -1], [5, 0, -1]
    expected = cache.coefficients(rows)[:, channels].astype(np.float32)
    np.testing.assert_array_equal(cache.features(rows, channels=channels), expected.reshape(4, -1))
    assert cache.features([]).shape == (0, X.shape[1])


def test_statistics_are_those_of_the_rows_that_are_named(cache):
    rows = cache.readable[::3]
    for channels in (None, [4, 0, 4]):
        found = cache.statistics(rows, channels=channels)
        values = cache.coefficients(rows).astype(np.float64)[:, slice(None) if channels is None else channels]
        np.testing.assert_allclose(found.mean, values.mean(axis=(0, 2, 3)), rtol=1e-7)
        np.testing.assert_allclose(found.std, values.std(axis=(0, 2, 3)), rtol=1e-6)
        assert found.n_rows == len(rows) and found.mean.dtype == found.std.dtype == np.float64


def test_statistics_of_all_rows_are_the_stores_own(cache):
    whole, read = cache.statistics(), cache.statistics(cache.readable)
    np.testing.assert_array_equal(whole.mean, cache.channel_mean)
    np.testing.assert_array_equal(whole.std, cache.channel_std)
    np.testing.assert_allclose(read.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(read.std, whole.std, rtol=1e-9)
    assert read.n_rows == whole.n_rows == 47


@pytest.mark.parametrize("method", ["features", "statistics"])
def test_unreadable_rows_and_rows_out_of_range_are_refused(cache, method):
    unreadable = np.setdiff1d(np.arange(len(cache)), cache.readable)
    with pytest.raises(scatcache.UnreadableImage, match=f"row {unreadable[1]} "):
        getattr(cache, method)([0, unreadable[1]])
    with pytest.raises(IndexError):
        getattr(cache, method)([50])


def test_features_that_do_not_fit_are_refused_before_any_is_read(sound, monkeypatch):
    cache = scatcache.open_cache(sound)
    few = psutil.virtual_memory()._replace(available=1000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: few)
    with pytest.raises(scatcache.ScatcacheError, match=r"47 rows of 2700 features .* --pool 1"):
        cache.features()
