import math

import numpy as np
import pytest

from scatcache.inspect.disks import find_colour_limits, find_paths, find_ring_edges, list_rings
from scatcache.inspect.energy import energy_of_paths
from scatcache.scattering.filters import filter_parameters
from scatcache.scattering.paths import path_table
from scatcache.scattering.reference import scattering2d
from scatcache.spec import ScatteringSpec
from tests.scattering.grid import GRID, grid_name

SPECS = [spec for spec, _ in GRID]


def measure(image, spec):
    """(n_paths,) energies of a grey image."""
    mean_squares = np.square(scattering2d(image, spec)).mean(axis=(1, 2))
    return energy_of_paths(spec, np.tile(mean_squares, spec.colours))


def grating(rows, columns, frequency):
    y, x = np.mgrid[:64, :64]
    return 0.5 + 0.4 * np.cos(frequency * (rows * y + columns * x) / math.hypot(rows, columns))


def path_at(spec, order, x, y):
    return int(find_paths(spec, order, np.array([x]), np.array([y]))[0])


def brightest_places(energies, spec, order):
    """The points (x, y) of a fine grid on which the brightest cell of a disk is drawn."""
    x, y = np.meshgrid(np.linspace(-1, 1, 401), np.linspace(-1, 1, 401))
    paths = find_paths(spec, order, x, y)
    brightest = paths == np.where(path_table(spec)["order"] == order, energies, -1).argmax()
    return x[brightest], y[brightest]


@pytest.mark.parametrize("direction", [(1, 0), (0, 1), (1, 1), (1, -1)])
@pytest.mark.parametrize("L", [8, 16, 4])
@pytest.mark.parametrize(("j", "frequency"), [(0, 3 * np.pi / 4), (2, 3 * np.pi / 16)])
def test_a_grating_lights_up_where_its_frequency_is(direction, L, j, frequency):
    rows, columns = direction
    spec = ScatteringSpec(J=3, L=L, max_order=1)
    x, y = brightest_places(measure(grating(rows, columns, frequency), spec), spec, 1)
    along = (columns * x + rows * y) / math.hypot(rows, columns) / np.hypot(x, y)
    # The sector and its opposite are centred on the direction, and half of pi / L wide on each side.
    assert np.abs(along).min() >= math.cos(math.pi / L / 2) - 1e-9
    assert along.min() < 0 < along.max() and abs(along.mean()) < 1e-9
    inner, outer = find_ring_edges(3)[[2 - j, 3 - j]]
    assert inner <= np.hypot(x, y).min() and np.hypot(x, y).max() <= outer


@pytest.mark.parametrize(
    ("stripes", "x", "y"), [((0, 1), 1, 0), ((1, 0), 0, 1), ((1, 1), 0.7, 0.7), ((1, -1), 0.7, -0.7)]
)
def test_the_figure_says_it_right(stripes, x, y):
    """Vertical stripes left and right, horizontal ones top and bottom, / in the lower right, \\ in the upper right."""
    spec = ScatteringSpec(J=2)
    energies = measure(grating(*stripes, 3 * np.pi / 4), spec)
    assert path_at(spec, 1, 0.95 * x, 0.95 * y) == path_at(spec, 1, -0.95 * x, -0.95 * y) == 1 + energies[1:17].argmax()


@pytest.mark.parametrize("spec", [s for s in SPECS if s.max_order], ids=grid_name)
def test_every_path_has_a_cell_around_its_frequency(spec):
    psi, L = filter_parameters(spec).psi, spec.L
    table, edges = path_table(spec), find_ring_edges(spec.J)
    for path in np.flatnonzero(table["order"] == 1):
        j1, theta1 = int(table["j1"][path]), int(table["theta1"][path])
        radius, angle = edges[spec.J - 1 - j1 : spec.J + 1 - j1].mean(), psi[j1 * L + theta1].angle
        for turn in (0, math.pi):
            for aside in (-0.49, 0, 0.49):
                towards = angle + turn + aside * math.pi / L
                # Angles are from the row axis: rows take the cosine.
                assert path_at(spec, 1, radius * math.sin(towards), radius * math.cos(towards)) == path


@pytest.mark.parametrize("spec", [s for s in SPECS if s.max_order == 2 and s.J > 1], ids=grid_name)
def test_every_cell_of_order_2_lies_in_its_sector_by_the_angle_between(spec):
    L, table = spec.L, path_table(spec)
    angles = [wave.angle for wave in filter_parameters(spec).psi[:L]]
    rings = list_rings(spec, 2)
    edges = find_ring_edges(len(rings))
    for path in np.flatnonzero(table["order"] == 2):
        j1, theta1, j2, theta2 = (int(table[field][path]) for field in ("j1", "theta1", "j2", "theta2"))
        ring = rings.index((j1, j2))
        between = (angles[theta2] - angles[theta1] + math.pi / 2) % math.pi - math.pi / 2
        # 0.9: the perpendicular cell is cut in two at the edges of the sector.
        towards = angles[theta1] + 0.9 * between / L
        for turn in (0, math.pi):
            radius = edges[ring : ring + 2].mean()
            assert path_at(spec, 2, radius * math.sin(towards + turn), radius * math.cos(towards + turn)) == path


@pytest.mark.parametrize("J", range(1, 6))
def test_rings_go_from_coarse_inside_to_fine_at_the_rim(J):
    assert list_rings(ScatteringSpec(J=J), 1) == [(j1, -1) for j1 in reversed(range(J))]
    rings = list_rings(ScatteringSpec(J=J), 2)
    assert len(rings) == J * (J - 1) // 2 and rings == sorted(rings, reverse=True)
    assert all(j1 < j2 < J for j1, j2 in rings)


@pytest.mark.parametrize("spec", SPECS, ids=grid_name)
def test_a_disk_shows_its_order_whole_and_nothing_else(spec):
    x, y = np.meshgrid(np.linspace(-1, 1, 700), np.linspace(-1, 1, 700))
    radius = np.hypot(x, y)
    for order in (1, 2):
        found = find_paths(spec, order, x, y)
        assert set(np.unique(found)) - {-1} == set(np.flatnonzero(path_table(spec)["order"] == order))
        assert (found[(radius > 1) | (radius < find_ring_edges(1)[0])] == -1).all()
        assert (found == found[::-1, ::-1]).mean() > 0.999  # but for points on a line between two sectors


@pytest.mark.parametrize("L", [8, 6, 5])
def test_a_line_is_bright_in_the_middle_of_its_sector(L):
    spec, image = ScatteringSpec(J=3, L=L), np.full((64, 64), 0.2)
    image[31:33] = 0.9  # rows: frequencies lie along y
    x, y = brightest_places(measure(image, spec), spec, 2)
    assert np.abs(np.arctan2(x, np.abs(y))).max() <= math.pi / L / L / 2 + 1e-9


def test_broken_lines_are_bright_at_the_edges_too():
    spec, line = ScatteringSpec(J=3), np.full((64, 64), 0.2)
    line[31:33] = 0.9
    broken = np.where(np.arange(64) % 16 < 8, line, 0.2)
    edge = path_at(spec, 2, 0.9 * math.sin(0.99 * math.pi / 16), 0.9 * math.cos(0.99 * math.pi / 16))
    middle = path_at(spec, 2, 0, 0.9)
    shares = [measure(image, spec)[edge] / measure(image, spec)[middle] for image in (line, broken)]
    assert shares[1] > 0.01 > 100 * shares[0]


@pytest.mark.parametrize(
    "energies", [[0.0, 0.0], [], [3.0, 3.0], [1e-15, 0], [1.0, 1e-12], [1.0] * 500 + [0.5, 0.0]], ids=str
)
def test_colours_span_one_to_five_decades_whatever_the_energies(energies):
    low, high = find_colour_limits(np.array(energies))
    assert low > 0 and 10 * (1 - 1e-9) <= high / low <= 1e5 * (1 + 1e-9)
    assert high == max([1e-9, *energies])
    # Samples of any size are no reason to draw nothing.
    assert find_colour_limits(1e-30 * np.array(energies), faint=1e-39)[1] == max([1e-39, *(1e-30 * np.array(energies))])
