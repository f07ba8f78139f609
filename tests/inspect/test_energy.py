import itertools
from dataclasses import replace

import numpy as np
import pytest

from scatcache.inspect.energy import energy_map, energy_of_orders, energy_of_paths, show_shares
from scatcache.scattering.paths import channel_table
from scatcache.spec import ScatteringSpec
from tests.scattering.grid import GRID, grid_name

SPECS = [replace(spec, colours=colours) for (spec, _), colours in zip(GRID, itertools.cycle((3, 1, 5)))]


@pytest.mark.parametrize("spec", SPECS, ids=grid_name)
def test_orders_add_up_the_energies_of_their_channels(spec):
    mean_squares = np.random.default_rng(0).random(spec.n_channels)
    order = channel_table(spec)["order"]
    expected = [mean_squares[order == which].sum() / spec.colours for which in range(spec.max_order + 1)]
    np.testing.assert_allclose(energy_of_orders(spec, mean_squares), expected, rtol=1e-12)
    assert energy_of_paths(spec, mean_squares).shape == (spec.n_paths,)
    assert energy_of_paths(spec, mean_squares).sum() == pytest.approx(sum(expected))


def test_map_averages_to_the_order():
    spec = ScatteringSpec(J=2, L=3)
    coefficients = np.random.default_rng(0).random((spec.n_channels, 4, 6)).astype(np.float16)
    energies = energy_of_orders(spec, np.square(coefficients.astype(float)).mean(axis=(1, 2)))
    for order in range(3):
        assert energy_map(spec, coefficients, order).shape == (4, 6)
        assert energy_map(spec, coefficients, order).mean() == pytest.approx(energies[order])


def test_shares_are_percentages_of_the_whole():
    assert show_shares((0.961, 0.0385, 0.0005)) == ("96.1%", "3.9%", "0.05%")
    assert show_shares((0.0, 0.0)) == ("0%", "0%")
