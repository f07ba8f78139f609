import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kymatio.scattering2d.filter_bank import filter_bank as kymatio_filter_bank

from scatcache.scattering import filters
from scatcache.scattering.filters import filter_bank, filter_bank_hash, lowpass_matrix, reflect_indices
from scatcache.spec import ScatteringSpec
from tests.scattering.grid import GRID, grid_name

# Of the largest value of a filter; float32 rounding of sums in Fourier space is 2.3e-7 at most where measured.
FILTER_TOLERANCE = 5e-7


def worst_filter_error(spec, padded_shape):
    bank, expected = filter_bank(spec, padded_shape), kymatio_filter_bank(*padded_shape, spec.J, spec.L)
    pairs = list(zip(bank.phi, expected["phi"]["levels"], strict=True))
    for psi in expected["psi"]:
        levels = [level[psi["theta"]] for level in bank.psi[psi["j"]]]
        pairs += zip(levels, psi["levels"], strict=True)
    assert all(found.dtype == level.dtype == np.float32 and found.shape == level.shape for found, level in pairs)
    return max(np.abs(found - level).max() / np.abs(level).max() for found, level in pairs)


@pytest.mark.parametrize(("spec", "shape"), GRID, ids=grid_name)
def test_filters_are_kymatios_to_float32_rounding(spec, shape):
    assert worst_filter_error(spec, spec.padded_shape(*shape)) <= FILTER_TOLERANCE


def test_true_pi_in_the_norm_is_detected(monkeypatch):
    monkeypatch.setattr(filters, "NORM_PI", np.pi)
    assert worst_filter_error(ScatteringSpec(J=2), (40, 40)) > 10 * FILTER_TOLERANCE


def test_wavelets_have_zero_mean_and_the_lowpass_the_gain_of_kymatios_norm():
    bank = filter_bank(ScatteringSpec(J=3), (48, 40))
    assert all(np.abs(level[:, 0, 0]).max() < 1e-7 for levels in bank.psi for level in levels)
    assert all(level[0, 0] == pytest.approx(1.0000294, abs=3e-7) for level in bank.phi)


def test_wavelets_and_lowpass_cover_all_but_the_highest_frequencies():
    bank = filter_bank(ScatteringSpec(J=3), (80, 80))
    energy = bank.phi[0] ** 2 + 0.5 * sum(
        (level[0] ** 2 + np.roll(level[0][:, ::-1, ::-1], 1, (1, 2)) ** 2).sum(0) for level in bank.psi
    )
    low = np.hypot(*np.meshgrid(*[np.fft.fftfreq(80)] * 2)) < 0.375
    assert energy[low].min() > 0.2 and energy.max() < 1.5


@pytest.mark.parametrize("J", [1, 2, 4])
def test_lowpass_matrices_equal_the_product_with_phi_in_fourier_space(J):
    spec, (rows, columns) = ScatteringSpec(J=J), (6 << J, 5 << J)
    bank = filter_bank(spec, (rows, columns))
    for j in range(J):
        maps = np.random.default_rng(j).random((rows >> j, columns >> j))
        smooth = np.fft.ifft2(np.fft.fft2(maps) * bank.phi[j]).real
        expected = smooth[:: 1 << (J - j), :: 1 << (J - j)][1:-1, 1:-1]
        found = lowpass_matrix(spec, rows, j) @ maps @ lowpass_matrix(spec, columns, j).T
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@given(st.integers(1, 5), st.integers(0, 200))
def test_reflection_equals_numpys(J, extra):
    size = 2**J + extra
    padded, _ = ScatteringSpec(J=J).padded_shape(size, size)
    before = (padded - size) // 2
    expected = np.pad(np.arange(size), (before, padded - size - before), mode="reflect")
    np.testing.assert_array_equal(reflect_indices(size, padded), expected)


def test_banks_are_read_only_and_shared():
    bank = filter_bank(ScatteringSpec(J=2), (40, 40))
    assert filter_bank(ScatteringSpec(J=2, max_order=1), (40, 40)) is bank
    arrays = [*bank.phi, *(level for levels in bank.psi for level in levels), lowpass_matrix(ScatteringSpec(2), 40, 1)]
    assert not any(array.flags.writeable for array in arrays)


def test_imagenet_bank_is_built_within_a_second_of_cpu_time():
    spec = ScatteringSpec(J=4, L=8)
    filters._build_bank.cache_clear()
    start = time.process_time()
    filter_bank(spec, spec.padded_shape(224, 224))
    assert time.process_time() - start < 1.0


def test_hash_is_pinned():
    """A new value here is a change of format: it makes every older store refuse to resume."""
    assert (
        filter_bank_hash(ScatteringSpec(J=2))
        == "sha256:0b16258d16bb493a1cfcda550bd3b26356d066e818cb85a8c20aaf69f157bdc9"
    )


@pytest.mark.parametrize(
    ("name", "value"), [("NORM_PI", np.pi), ("N_PERIODS", 3), ("FILTERS_VERSION", 99), ("PADDING_RULE", "zeros")]
)
def test_changed_constant_changes_the_hash(monkeypatch, name, value):
    before = filter_bank_hash(ScatteringSpec(J=2))
    monkeypatch.setattr(filters, name, value)
    assert filter_bank_hash(ScatteringSpec(J=2)) != before


def test_hash_tells_J_and_L_apart_and_ignores_the_last_bits():
    specs = [ScatteringSpec(J=J, L=L) for J in (1, 2, 3) for L in (1, 7, 8)]
    assert len({filter_bank_hash(spec) for spec in specs}) == len(specs)
    assert filters._round_floats(0.1 + 0.2) == filters._round_floats(0.3)
