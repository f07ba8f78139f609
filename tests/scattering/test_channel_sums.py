"""The sums that go into receipts: the native core's against NumPy's."""

import numpy as np
import pytest

from scatcache.scattering import channel_sums
from scatcache.scattering.channel_sums import add_by_numpy, find_adder
from scatcache.scattering.native.library import Choice, choose_core


def rows_of(dtype, shape):
    rng = np.random.default_rng(0)
    values = rng.standard_normal(shape) * 10.0 ** rng.integers(-8, 3, shape)
    return values.astype(dtype)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("shape", [(3, 1, 1), (5, 7, 1), (2, 8, 8), (243, 3, 5), (4, 33, 31)], ids=str)
def test_sums_are_numpys(dtype, shape):
    row, n_channels = rows_of(dtype, shape), shape[0]
    found, expected = np.full((2, n_channels), 0.5), np.full((2, n_channels), 0.5)
    find_adder()(row, found[0], found[1])
    add_by_numpy(row, expected[0], expected[1])
    scale = np.abs(row.astype(np.float64)).sum(axis=(1, 2)) + 0.5
    assert (np.abs(found[0] - expected[0]) <= 1e-14 * scale).all()
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-13)
    assert np.isfinite(row).all() and row.any()


def test_every_float16_counts_with_its_value():
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    sums, squares = np.zeros((2, 1 << 16))
    find_adder()(halves.reshape(-1, 1, 1), sums, squares)
    assert np.array_equal(sums, halves.astype(np.float64), equal_nan=True)


def test_a_row_is_added_to_what_is_there():
    row, add = rows_of(np.float16, (4, 3, 3)), find_adder()
    once, twice = np.zeros((2, 4)), np.zeros((2, 4))
    add(row, *once)
    for _ in range(2):
        add(row, *twice)
    assert np.array_equal(twice, once + once) and once.any()


def test_numpy_adds_where_no_core_is(monkeypatch):
    monkeypatch.setattr(channel_sums, "choose_core", lambda: Choice(None, "none"))
    assert find_adder() is add_by_numpy
    monkeypatch.undo()
    if choose_core().core is not None:
        assert find_adder() is not add_by_numpy
