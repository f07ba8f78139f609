"""Runs without Hypothesis and Kymatio, where a GPU's interpreter has neither."""

import numpy as np
import pytest

from scatcache.scattering.native import library
from scatcache.scattering.native.library import OFF, VARIABLE, choose_core, find_core, runs_here
from scatcache.scattering.quantisation import find_quantiser, quantise_by_numpy, restore

CORES = [OFF, *(name for name in library.CORES if find_core(name) and runs_here(name))]
# Channels and cells that fill no block of the core, and that fill several.
SHAPES = [(1, 1, 1), (3, 2, 5), (16, 8, 8), (33, 9, 7), (50, 12, 13), (243, 1, 1)]


@pytest.fixture(params=CORES)
def core(request, monkeypatch):
    monkeypatch.setenv(VARIABLE, request.param)
    assert (choose_core().core or OFF) == request.param
    return request.param


def room(shape, dtype, *, channels_last=True):
    n_channels, height, width = shape
    if not channels_last:
        return np.full(shape, 99, dtype)
    return np.full((height, width, n_channels), 99, dtype).transpose(2, 0, 1)


def draw(shape, dtype, seed=0):
    """(row, steps): a row that reaches the largest integers of a dtype, with halves between two of them."""
    rng = np.random.default_rng(seed)
    steps = rng.uniform(0.01, 3, shape[0]).astype(np.float32)
    most = min(np.iinfo(dtype).max, 2000)
    whole = rng.integers(-2 * most, 2 * most + 1, shape) / 2
    row = (whole * steps[:, None, None]).astype(np.float32)
    return np.where(rng.random(shape) < 0.5, row, row * rng.random(shape)).astype(np.float32), steps


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("dtype", [np.int8, np.int16])
@pytest.mark.parametrize("shape", SHAPES)
def test_integers_are_the_nearest_and_their_sums_exact(core, shape, dtype, channels_last):
    row, steps = draw(shape, dtype)
    out, sums, squares = room(shape, dtype, channels_last=channels_last), np.ones(shape[0]), np.full(shape[0], 2.0)
    assert find_quantiser()(row, steps, out, sums, squares)
    step = steps.astype(np.float64)[:, None, None]
    # Half a step, and the last bit of the quotient.
    assert (np.abs(out * step - row) <= step * (0.5 + 1e-6 * np.abs(out))).all()
    whole = out.reshape(shape[0], -1).astype(np.int64)
    np.testing.assert_array_equal(sums, 1 + steps.astype(np.float64) * whole.sum(axis=1))
    np.testing.assert_array_equal(squares, 2 + steps.astype(np.float64) ** 2 * (whole**2).sum(axis=1))


@pytest.mark.parametrize("dtype", [np.int8, np.int16])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_core_gives_numpys_bits(core, shape, dtype):
    row, steps = draw(shape, dtype, seed=1)
    found, expected = room(shape, dtype), room(shape, dtype)
    sums = np.zeros((4, shape[0]))
    assert find_quantiser()(row, steps, found, sums[0], sums[1])
    assert quantise_by_numpy(row, steps, expected, sums[2], sums[3])
    assert np.array_equal(found, expected) and np.array_equal(sums[:2], sums[2:])
    values = restore(found[None], steps)
    assert values.dtype == np.float32 and values.flags.c_contiguous
    assert values.tobytes() == (found * steps[:, None, None]).astype(np.float32).tobytes()
    assert restore(np.ascontiguousarray(found)[None], steps).tobytes() == values.tobytes()


@pytest.mark.parametrize("dtype", [np.int8, np.int16])
@pytest.mark.parametrize("value", [1.0, -1.0, np.nan, np.inf, -np.inf, 1e30])
def test_what_no_integer_holds_is_told_and_not_counted(core, dtype, value):
    row, steps = np.zeros((5, 3, 7), np.float32), np.full(5, 0.5, np.float32)
    most = np.iinfo(dtype).max
    row[4, 2, 6] = value * (0.5 * (most + 0.6)) if abs(value) == 1 else value
    sums = np.zeros((2, 5))
    assert not find_quantiser()(row, steps, room(row.shape, dtype), *sums)
    assert not sums.any()
    row[4, 2, 6] = 0.5 * (most + 0.4)
    out = room(row.shape, dtype)
    assert find_quantiser()(row, steps, out, *sums) and out[4, 2, 6] == most


def test_no_rows_restore_to_none(core):
    empty = np.empty((0, 4, 4, 3), np.int8).transpose(0, 3, 1, 2)
    assert restore(empty, np.ones(3, np.float32)).shape == (0, 3, 4, 4)
