import numpy as np
import pytest
import torch
from kymatio.scattering2d.frontend.torch_frontend import ScatteringTorch2D

from scatcache.scattering.paths import PATH_FIELDS, channel_table, path_table
from scatcache.spec import ScatteringSpec

SPECS = [ScatteringSpec(J=J, L=L, max_order=m) for J, L, m in [(1, 8, 2), (2, 8, 2), (3, 5, 2), (4, 3, 1), (2, 8, 0)]]


@pytest.mark.parametrize("spec", SPECS)
def test_tables_have_one_int8_row_per_path_and_channel(spec):
    paths, channels = path_table(spec), channel_table(spec)
    assert tuple(paths) == PATH_FIELDS and tuple(channels) == (*PATH_FIELDS, "colour")
    assert all(column.dtype == np.int8 and column.shape == (spec.n_paths,) for column in paths.values())
    assert all(column.dtype == np.int8 and column.shape == (spec.n_channels,) for column in channels.values())


def test_J2_L8_indices_are_the_documented_formulas():
    table = path_table(ScatteringSpec(J=2))
    for j in range(2):
        for theta in range(8):
            path = 1 + 8 * j + theta
            assert [table[field][path] for field in PATH_FIELDS] == [1, j, theta, -1, -1]
    for theta1 in range(8):
        for theta2 in range(8):
            path = 17 + 8 * theta1 + theta2
            assert [table[field][path] for field in PATH_FIELDS] == [2, 0, theta1, 1, theta2]


@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec.max_order > 0])
def test_order_of_paths_is_kymatios(spec):
    shape = (2**spec.J, 2**spec.J)
    module = ScatteringTorch2D(spec.J, shape, L=spec.L, max_order=spec.max_order, out_type="list")
    table = path_table(spec)
    found = list(zip(*(table[field].tolist() for field in PATH_FIELDS), strict=True))
    expected = []
    for path in module(torch.zeros(shape)):
        j, theta = (path["j"] + (-1, -1))[:2], (path["theta"] + (-1, -1))[:2]
        expected.append((len(path["j"]), j[0], theta[0], j[1], theta[1]))
    assert found == expected


def test_channel_is_colour_times_n_paths_plus_path():
    spec = ScatteringSpec(J=3, L=3)
    paths, channels = path_table(spec), channel_table(spec)
    for colour in range(3):
        block = slice(colour * spec.n_paths, (colour + 1) * spec.n_paths)
        assert (channels["colour"][block] == colour).all()
        assert all((channels[field][block] == paths[field]).all() for field in PATH_FIELDS)


def test_table_of_the_largest_spec_does_not_overflow():
    table = path_table(ScatteringSpec(J=8, L=127))
    assert table["theta2"].max() == 126 and table["j2"].max() == 7 and table["theta1"].min() == -1
