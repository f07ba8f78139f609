"""The centered grid: what it samples, that every implementation agrees, and that mirror images are exact."""

import numpy as np
import pytest
import torch
from kymatio.scattering2d.filter_bank import filter_bank as kymatio_filter_bank

from scatcache.scattering import Scattering2D, filters
from scatcache.scattering.filters import centering_ramp, filter_bank, filter_bank_hash, first_angle, lowpass_matrix
from scatcache.scattering.paths import path_table
from scatcache.scattering.reference import scattering2d
from scatcache.scattering.torch_fft import TorchScattering
from scatcache.spec import ScatteringSpec
from tests.scattering.grid import GRID, grid_name
from tests.scattering.test_filters import FILTER_TOLERANCE
from tests.scattering.tolerances import TOLERANCES, assert_orders_close, relative_error


def centered(J, L=8, max_order=2):
    return ScatteringSpec(J=J, L=L, max_order=max_order, grid="centered")


# Even sizes alone: 2^J == M, around multiples of 2^J, non-square, on both sides of torch_fft's REAL_FFT_PIXELS.
CENTERED_GRID = [
    (centered(2), (32, 32)),
    (centered(2), (30, 44)),
    (centered(2, max_order=1), (28, 30)),
    (centered(2), (66, 70)),
    (centered(1), (8, 10)),
    (centered(2, L=4), (4, 10)),
    (centered(3, L=7), (30, 34)),
    (centered(3, L=3, max_order=1), (8, 8)),
    (centered(3, max_order=0), (36, 30)),
    (centered(4, L=2), (34, 48)),
    (centered(5, L=1), (32, 70)),
]


def kymatio_oracle(images, spec):
    """Kymatio's filters and cascade; before each decimation maps are moved to the centres of cells, in full size."""
    height, width = images.shape[-2:]
    padded_shape = spec.padded_shape(height, width)
    before = [(padded - size) // 2 for padded, size in zip(padded_shape, (height, width), strict=True)]
    padded = np.pad(images, [(0, 0), *((b, b) for b in before)], mode="reflect")
    bank = kymatio_filter_bank(*padded_shape, spec.J, spec.L)
    psi = {(wave["j"], wave["theta"]): wave["levels"] for wave in bank["psi"]}

    def sample(spectrum, log2_stride):
        for axis in (-2, -1):
            size, shift = spectrum.shape[axis], (2**log2_stride - 1) / 2
            k = np.arange(size) - size * (np.arange(size) > size // 2)
            ramp = np.exp(2j * np.pi * k * shift / size)
            ramp[size // 2] = ramp[size // 2].real
            spectrum = spectrum * (ramp[:, None] if axis == -2 else ramp)
        return np.fft.ifft2(spectrum)[..., :: 2**log2_stride, :: 2**log2_stride]

    def lowpass(maps, j):
        smooth = sample(np.fft.fft2(maps) * bank["phi"]["levels"][j].astype(np.float64), spec.J - j)
        return smooth.real[..., 1:-1, 1:-1]

    coefficients = [lowpass(padded, 0)]
    u1 = {(j, t): np.abs(sample(np.fft.fft2(padded) * levels[0], j)) for (j, t), levels in sorted(psi.items())}
    coefficients += [lowpass(maps, j) for (j, _), maps in u1.items()] if spec.max_order >= 1 else []
    for (j1, _), maps in u1.items() if spec.max_order == 2 else ():
        spectrum = np.fft.fft2(maps)
        for (j2, _), levels in sorted(psi.items()):
            if j2 > j1:
                coefficients.append(lowpass(np.abs(sample(spectrum * levels[j1], j2 - j1)), j2))
    return np.stack(coefficients, axis=-3)


@pytest.mark.parametrize(("spec", "shape"), CENTERED_GRID, ids=grid_name)
def test_reference_is_kymatios_filters_moved_to_the_centres(spec, shape):
    images = np.random.default_rng(0).random((2, *shape))
    assert_orders_close(scattering2d(images, spec), kymatio_oracle(images, spec), spec)


def test_perturbed_norm_breaks_parity(monkeypatch):
    images = np.random.default_rng(0).random((1, 32, 32))
    expected = kymatio_oracle(images, centered(2))
    monkeypatch.setattr(filters, "NORM_PI", np.pi)
    assert relative_error(scattering2d(images, centered(2)), expected) > 10 * TOLERANCES["float32"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("spec", "shape"), CENTERED_GRID, ids=grid_name)
def test_torch_is_the_reference(spec, shape, dtype):
    planes = torch.rand(2, *shape, dtype=dtype, generator=torch.Generator().manual_seed(0))
    found = TorchScattering(spec, shape)(planes)
    assert found.dtype == dtype
    assert_orders_close(found, scattering2d(planes.numpy(), spec), spec)


@pytest.mark.gpu
@pytest.mark.parametrize(("spec", "shape"), CENTERED_GRID, ids=grid_name)
def test_torch_on_a_gpu_is_the_reference(spec, shape):
    planes = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    poison = torch.full((1 << 24,), torch.nan, device="cuda")
    del poison
    found = TorchScattering(spec, shape).to("cuda")(planes.to("cuda"))
    assert_orders_close(found.cpu(), scattering2d(planes.numpy(), spec), spec)


def test_gradient_is_the_numerical_one():
    module = TorchScattering(centered(2, L=3), (8, 10))
    planes = torch.rand(1, 8, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(module, planes.requires_grad_())


@pytest.mark.filterwarnings("error")
def test_cast_and_moved_modules_keep_their_ramps():
    scattering = Scattering2D(2, (16, 16), L=4, grid="centered")
    images = torch.rand(2, 16, 16, dtype=torch.float64)
    expected = scattering(images)
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        assert torch.equal(scattering.to(dtype)(images), expected)
    assert not scattering.state_dict() and "grid='centered'" in repr(scattering)


@pytest.mark.parametrize(("grid", "offset"), [("kymatio", 0), ("centered", 1.5)])
def test_order_zero_of_an_incline_tells_where_samples_lie(grid, offset):
    incline = np.tile(np.arange(64.0), (64, 1))
    zeroth = scattering2d(incline, ScatteringSpec(J=2, max_order=0, grid=grid))[0]
    inner = slice(4, -4)
    np.testing.assert_allclose(
        zeroth[inner, inner], 1.0000294 * np.tile(4 * np.arange(16) + offset, (16, 1))[inner, inner], atol=1e-4
    )


def test_constant_image_has_only_order_zero():
    coefficients = scattering2d(np.ones((32, 32)), centered(3))
    np.testing.assert_allclose(coefficients[0], 1.0000294, atol=3e-7)
    assert np.abs(coefficients[1:]).max() < 1e-7


@pytest.mark.parametrize("log2_stride", [0, 1, 2, 5])
def test_ramps_move_by_half_of_what_is_dropped_and_keep_real_maps_real(log2_stride):
    size, shift = 96, (2**log2_stride - 1) / 2
    ramp = centering_ramp(centered(2), size, log2_stride)
    assert ramp.dtype == np.complex128 and ramp.shape == (size,)
    position = np.arange(size)
    for k in (0, 1, 5, 47):
        wave = np.cos(2 * np.pi * k * position / size + 0.3)
        moved = np.fft.ifft(np.fft.fft(wave) * ramp)
        np.testing.assert_allclose(moved, np.cos(2 * np.pi * k * (position + shift) / size + 0.3), atol=1e-13)
    assert np.array_equal(ramp[1 : size // 2], ramp[: size // 2 : -1].conj())
    assert ramp[size // 2] == (log2_stride == 0)


def test_ramps_of_kymatios_grid_and_of_no_stride_are_ones():
    assert all((centering_ramp(ScatteringSpec(J=2), 40, f) == 1).all() for f in range(4))
    assert (centering_ramp(centered(2), 40, 0) == 1).all()


@pytest.mark.parametrize("J", [1, 2, 4])
def test_lowpass_matrices_equal_the_product_with_phi_in_fourier_space(J):
    spec, (rows, columns) = centered(J), (6 << J, 5 << J)
    bank = filter_bank(spec, (rows, columns))
    for j in range(J):
        maps = np.random.default_rng(j).random((rows >> j, columns >> j))
        ramps = np.outer(*(centering_ramp(spec, size, J - j) for size in maps.shape))
        smooth = np.fft.ifft2(np.fft.fft2(maps) * bank.phi[j] * ramps)
        expected = smooth[:: 1 << (J - j), :: 1 << (J - j)][1:-1, 1:-1]
        assert np.abs(expected.imag).max() < 1e-12
        found = lowpass_matrix(spec, rows, j) @ maps @ lowpass_matrix(spec, columns, j).T
        np.testing.assert_allclose(found, expected.real, rtol=0, atol=1e-6)


def at_minus_k(spectrum, *axes):
    return np.roll(np.flip(spectrum, axes), (1,) * len(axes), axes)


@pytest.mark.parametrize("shape", [(48, 48), (48, 64)])
@pytest.mark.parametrize(("J", "L"), [(1, 8), (3, 8), (3, 6), (2, 4), (2, 2), (3, 7), (4, 3), (2, 1)])
def test_mirror_images_of_wavelets_are_equal_to_the_last_bit(J, L, shape):
    """At full resolution; where spectra are cropped, the corner's mean of four values may round otherwise."""
    bank, transposed = filter_bank(centered(J, L), shape), filter_bank(centered(J, L), shape[::-1])
    a = first_angle(L)
    for res, phi in enumerate(bank.phi):
        assert np.array_equal(phi, at_minus_k(phi, 0)) and np.array_equal(phi, transposed.phi[res].T)
    for j in range(J):
        for res, level in enumerate(bank.psi[j]):
            atol = 1e-7 * np.abs(level).max() if res else 0
            for theta in range(L):
                mirrored = level[(2 * a - theta) % L]
                # The wavelet at -k is as good: its modulus is the same.
                candidates = [at_minus_k(level[theta], axis) for axis in (0, 1)]
                assert any(np.abs(mirrored - candidate).max() <= atol for candidate in candidates)
                assert np.abs(candidates[0] - at_minus_k(candidates[1], 0, 1)).max() <= atol
                if L % 2 == 0:
                    exchanged = transposed.psi[j][res][(2 * a - L // 2 - theta) % L].T
                    candidates = [level[theta], at_minus_k(level[theta], 0, 1)]
                    assert any(np.abs(exchanged - candidate).max() <= atol for candidate in candidates)


@pytest.mark.parametrize(("spec", "shape"), [pair for pair in GRID if pair[0].max_order == 2], ids=grid_name)
def test_filters_are_kymatios_but_at_the_nyquist_frequencies(spec, shape):
    padded_shape = spec.padded_shape(*shape)
    found = filter_bank(ScatteringSpec(spec.J, spec.L, grid="centered"), padded_shape)
    expected = filter_bank(spec, padded_shape)
    pairs = [(found.phi, expected.phi), *zip(found.psi, expected.psi, strict=True)]
    for levels, expected_levels in pairs:
        for res, (level, other) in enumerate(zip(levels, expected_levels, strict=True)):
            inner = np.ones(level.shape[-2:], bool)
            if res:
                inner[level.shape[-2] // 2], inner[:, level.shape[-1] // 2] = False, False
            assert level.dtype == np.float32 and level.shape == other.shape and not level.flags.writeable
            assert np.abs(level - other)[..., inner].max() <= FILTER_TOLERANCE * np.abs(other).max()


def test_grids_have_banks_and_hashes_of_their_own():
    spec = ScatteringSpec(J=3)
    assert filter_bank_hash(spec) != filter_bank_hash(centered(3))
    assert filter_bank(spec, (48, 40)) is not filter_bank(centered(3), (48, 40))
    assert filter_bank(centered(3, max_order=1), (48, 40)) is filter_bank(centered(3), (48, 40))
    assert not np.array_equal(lowpass_matrix(spec, 48, 0), lowpass_matrix(centered(3), 48, 0))


@pytest.mark.parametrize("J", range(1, 9))
def test_even_sizes_are_padded_by_as_many_pixels_on_both_sides(J):
    for size in range(2**J, 2**J + 40, 2):
        padded, _ = centered(J).padded_shape(size, size)
        assert (padded - size) % 2 == 0


@pytest.mark.parametrize("shape", [(33, 32), (32, 33), (31, 31)])
def test_odd_sizes_are_refused_with_the_reason(shape):
    for build in (centered(2).check_shape, centered(2).output_shape, centered(2).padded_shape):
        with pytest.raises(ValueError, match=f"{shape[0]}x{shape[1]} have an odd side.*choose the grid kymatio"):
            build(*shape)
    with pytest.raises(ValueError, match="odd side"):
        Scattering2D(2, shape, grid="centered")
    with pytest.raises(ValueError, match="odd side"):
        scattering2d(np.zeros(shape), centered(2))
    assert ScatteringSpec(J=2).output_shape(*shape)


def test_unknown_grids_are_refused_by_a_list_of_names():
    with pytest.raises(ValueError, match="grid is 'corner': expected one of kymatio, centered"):
        ScatteringSpec(J=2, grid="corner")


def test_paths_are_those_of_kymatios_grid():
    tables = [path_table(spec) for spec in (ScatteringSpec(J=3), centered(3))]
    assert all(np.array_equal(tables[0][field], tables[1][field]) for field in tables[0])
