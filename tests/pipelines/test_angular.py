import numpy as np
import pytest
import torch

from pipelines import angular
from scatcache import ScatteringSpec
from scatcache.scattering.paths import channel_table

SPECS = [ScatteringSpec(J=2), ScatteringSpec(J=3, L=6), ScatteringSpec(J=2, L=5), ScatteringSpec(J=1, L=4)]
SPEC_IDS = ["J2-L8", "J3-L6", "J2-L5", "J1-L4"]
N_FILTERS = 6


@pytest.fixture(params=SPECS, ids=SPEC_IDS)
def spec(request):
    return request.param


@pytest.fixture
def blocks(spec):
    return angular.list_blocks(channel_table(spec))


@pytest.fixture
def weights(spec):
    return torch.randn(N_FILTERS, spec.n_channels, generator=torch.Generator().manual_seed(0))


def every_way(weights, blocks, fraction):
    return {
        "fourier": angular.zero_fourier(weights, blocks, fraction),
        "random": angular.zero_at_random(weights, blocks, fraction, seed=0),
        "weights": angular.zero_weights(weights, blocks, fraction),
    }


def transform_by_sums(values, order):
    """The unitary DFT by its definition, NumPy, along the last `order` axes."""
    n_angles = values.shape[-1]
    matrix = np.exp(-2j * np.pi * np.outer(range(n_angles), range(n_angles)) / n_angles) / np.sqrt(n_angles)
    values = values @ matrix
    return values if order == 1 else np.einsum("...ab,ka->...kb", values, matrix)


def test_blocks_hold_each_channel_with_an_angle_once_at_its_angles(spec, blocks):
    table = channel_table(spec)
    members = torch.cat([block.channels.flatten() for block in blocks])
    assert sorted(members.tolist()) == np.flatnonzero(table["order"] > 0).tolist()
    for block in blocks:
        channels = block.channels.numpy()
        assert (table["order"][channels] == block.order).all()
        for axis, angle in zip(block.axes, ("theta1", "theta2"), strict=False):
            expected = np.arange(spec.L).reshape([-1 if i == axis else 1 for i in range(-channels.ndim, 0)])
            assert (table[angle][channels] == expected).all()
        for name in ("colour", "j1", "j2"):
            assert (np.ptp(table[name][channels], axis=block.axes) == 0).all()


def test_transform_is_the_dft_and_undone_by_its_inverse(blocks, weights):
    for block in blocks:
        values = block.read(weights)
        np.testing.assert_allclose(block.transform(weights), transform_by_sums(values.numpy(), block.order), atol=1e-12)
        np.testing.assert_allclose(block.invert(block.transform(weights)), values, atol=1e-14)
    assert angular.measure_round_trip(weights, blocks) < 1e-14


def test_nothing_zeroed_leaves_every_bit(blocks, weights):
    for way, same in every_way(weights, blocks, 0).items():
        assert torch.equal(same, weights), way
        assert same.dtype == torch.float32


def test_order_0_stays(spec, blocks, weights):
    unchanged = torch.from_numpy(channel_table(spec)["order"] == 0)
    for way, sparse in every_way(weights, blocks, 0.95).items():
        assert torch.equal(sparse[:, unchanged], weights[:, unchanged]), way
        assert not torch.equal(sparse, weights), way


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.8, 0.95])
def test_as_many_are_zeroed_as_were_asked(blocks, weights, fraction):
    n_all = sum(N_FILTERS * block.channels.numel() for block in blocks)
    for way, sparse in every_way(weights, blocks, fraction).items():
        read = [(block.read if way == "weights" else block.transform)(sparse).abs() for block in blocks]
        n_zero = sum(int((values < 1e-6).sum()) for values in read)
        assert int(fraction * n_all) <= n_zero <= fraction * n_all + 1, way


def test_what_stays_is_the_inverse_transform_of_the_largest_coefficients(blocks, weights):
    sparse = angular.zero_fourier(weights, blocks, 0.8)
    coefficients = [transform_by_sums(block.read(weights).numpy(), block.order) for block in blocks]
    ranks = []
    for values in coefficients:
        power = (np.abs(values) ** 2).reshape(N_FILTERS, -1).mean(1)
        ranks.append(np.abs(values) / np.sqrt(power).reshape(-1, *[1] * (values.ndim - 1)))
    flat = np.sort(np.concatenate([rank.ravel() for rank in ranks]))
    limit = flat[int(0.8 * flat.size) - 1] * (1 + 1e-9)
    for block, values, rank in zip(blocks, coefficients, ranks, strict=True):
        kept = np.fft.ifftn(np.where(rank > limit, values, 0), axes=block.axes, norm="ortho")
        assert np.abs(kept.imag).max() < 1e-12, "conjugate pairs stay together"
        np.testing.assert_allclose(block.read(sparse), kept.real, atol=1e-6)


def test_random_coefficients_go_in_conjugate_pairs(blocks, weights):
    sparse = angular.zero_at_random(weights, blocks, 0.5, seed=1)
    for block in blocks:
        gone = block.transform(sparse).abs() < 1e-6
        assert torch.equal(gone, block.pair(gone)) and 0.3 < gone.double().mean() < 0.7
        kept = torch.where(gone, 0, block.transform(weights))
        np.testing.assert_allclose(block.transform(sparse), kept, atol=1e-6)


def test_other_seeds_zero_other_coefficients(blocks, weights):
    first, again, other = (angular.zero_at_random(weights, blocks, 0.5, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_sizes_of_filters_and_orders_do_not_count(spec, blocks, weights):
    factors = torch.tensor([1.0, 4, 0.25, 16, 2, 0.5])[:, None].repeat(1, spec.n_channels)
    factors[:, torch.from_numpy(channel_table(spec)["order"] == 2)] *= 8
    for way, sparse in every_way(weights, blocks, 0.8).items():
        scaled = every_way(weights * factors, blocks, 0.8)[way]
        np.testing.assert_allclose(scaled, sparse * factors, atol=2e-5, err_msg=way)


def test_a_wave_over_the_angles_survives_only_in_the_fourier_domain():
    spec = ScatteringSpec(J=2)
    table = channel_table(spec)
    wave = np.cos(np.pi / 4 * table["theta1"] + 0.3) + np.where(
        table["order"] == 2, np.cos(np.pi / 2 * table["theta2"]), 0
    )
    weights, blocks = torch.from_numpy(wave).float()[None], angular.list_blocks(table)
    ways = every_way(weights, blocks, 0.7)
    np.testing.assert_allclose(ways["fourier"], weights, atol=1e-6)
    assert (ways["weights"] - weights).abs().max() > 0.3 and (ways["random"] - weights).abs().max() > 0.3


def test_energies_are_shares_and_lie_where_the_wave_is(blocks, weights):
    for block in blocks:
        energy = angular.measure_energy(weights, block)
        assert energy.sum() == pytest.approx(1) and energy.shape == block.channels.shape[1:]
    channels = blocks[0].channels
    wave = torch.zeros_like(weights)
    wave[:, channels] = torch.cos(2 * torch.pi * torch.arange(channels.shape[1]) / channels.shape[1])
    expected = np.zeros(channels.shape[1])
    expected[[1, -1]] = 0.5
    np.testing.assert_allclose(angular.measure_energy(wave, blocks[0]), expected, atol=1e-6)


def test_a_filter_of_zeros_stays_one(blocks, weights):
    weights[2] = 0
    for way, sparse in every_way(weights, blocks, 0.5).items():
        assert (sparse[2] == 0).all() and sparse.isfinite().all(), way
