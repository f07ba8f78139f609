"""Coefficients turned by index are those of the turned image."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

import scatcache
from scatcache import symmetry
from scatcache.scattering import reference
from scatcache.scattering.paths import path_table
from scatcache.scattering.reference import scattering2d
from scatcache.scattering.scattering2d import Scattering2D
from scatcache.spec import Reduction, ScatteringSpec
from scatcache.symmetry import NAMES, compose, inverse

TOLERANCE = 1e-12
SMALL = ScatteringSpec(J=2, L=4, grid="centered")
FLIPS = ("identity", "hflip", "vflip", "rot180")
# What each name does to an image (..., y, x), written otherwise than in symmetry.py.
TURNS = {
    "identity": lambda x: x,
    "hflip": lambda x: x[..., ::-1],
    "vflip": lambda x: x[..., ::-1, :],
    "rot90": lambda x: np.rot90(x, 1, (-2, -1)),
    "rot180": lambda x: np.rot90(x, 2, (-2, -1)),
    "rot270": lambda x: np.rot90(x, 3, (-2, -1)),
    "transpose": lambda x: np.swapaxes(x, -2, -1),
    "antitranspose": lambda x: np.rot90(np.swapaxes(x, -2, -1), 2, (-2, -1)),
}


def noise(shape, seed=0):
    return np.random.default_rng(seed).random(shape)


def photograph(shape):
    """1 / f noise with an edge through it, in 0 to 1: the spectrum and the borders of a photograph."""
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(size) for size in shape], indexing="ij"))
    spectrum = np.fft.fft2(noise(shape, seed=1)) / np.maximum(frequency, 1 / max(shape))
    image = np.fft.ifft2(spectrum).real
    image[np.add.outer(np.arange(shape[0]), 2 * np.arange(shape[1])) > 1.2 * sum(shape)] += 2 * image.std()
    return (image - image.min()) / np.ptp(image)


def worst_error(found, expected, spec):
    """Of any order, relative to its norm."""
    order = path_table(spec)["order"]
    assert found.shape == expected.shape
    parts = [(found[..., order == m, :, :], expected[..., order == m, :, :]) for m in np.unique(order)]
    return max(np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in parts)


def test_names_are_the_eight_symmetries_of_the_square():
    assert set(NAMES) == set(TURNS) and len(NAMES) == 8


@pytest.mark.parametrize("convert", [np.asarray, torch.tensor], ids=["numpy", "torch"])
def test_turning_twice_is_turning_by_the_composed_name(convert):
    S = convert(noise((2, SMALL.n_channels, 3, 5)))
    x = np.arange(6).reshape(2, 3)
    for first, second in itertools.product(NAMES, NAMES):
        twice = symmetry.apply(symmetry.apply(S, first, SMALL), second, SMALL)
        at_once = symmetry.apply(S, compose(first, second), SMALL)
        assert np.array_equal(np.asarray(twice), np.asarray(at_once))
        assert np.array_equal(TURNS[second](TURNS[first](x)), TURNS[compose(first, second)](x))


def test_names_form_a_group():
    for a, b, c in itertools.product(NAMES, NAMES, NAMES):
        assert compose(compose(a, b), c) == compose(a, compose(b, c))
    for name in NAMES:
        assert compose(name, "identity") == compose("identity", name) == name
        assert compose(name, inverse(name)) == compose(inverse(name), name) == "identity"
        assert sorted(compose(name, other) for other in NAMES) == sorted(NAMES)


@pytest.mark.parametrize(
    ("settings", "image", "shape"),
    [((2, 8), photograph, (30, 44)), ((1, 16), noise, (2, 2)), ((3, 6), noise, (16, 10)), ((5, 4), noise, (64, 32))],
)
def test_coefficients_turn_with_the_image_on_the_centered_grid(settings, image, shape):
    """Borders included; on Kymatio's grid the same comparison fails for every name that reverses an axis."""
    x = image(shape)
    for grid in ("centered", "kymatio"):
        spec = ScatteringSpec(*settings, grid=grid)
        S = scattering2d(x, spec)
        for name in NAMES:
            error = worst_error(symmetry.apply(S, name, spec), scattering2d(TURNS[name](x), spec), spec)
            if grid == "centered":
                assert error <= TOLERANCE, (name, error)
            elif name not in ("identity", "transpose"):
                assert error > 1e-2, (name, error)


@pytest.mark.parametrize("angles", ["all", "mean"])
@pytest.mark.parametrize("pool", [None, 1, 2, 3])
@pytest.mark.parametrize(("settings", "shape"), [((2, 8), (28, 44)), ((1, 6), (10, 10))])
def test_reduced_coefficients_turn_with_the_image(settings, shape, pool, angles):
    """In float64, by the reference and by torch, where cells divide no map too."""
    spec, x = ScatteringSpec(*settings, grid="centered", reduction=Reduction(pool, angles)), photograph(shape)
    compute = Scattering2D(*settings[:1], shape, settings[1], grid="centered", pool=pool, angles=angles)
    turned_shape = Scattering2D(*settings[:1], shape[::-1], settings[1], grid="centered", pool=pool, angles=angles)
    S, S_torch = scattering2d(x, spec), compute(torch.from_numpy(x)).numpy()
    for name in NAMES:
        turned = np.ascontiguousarray(TURNS[name](x))
        error = worst_error(symmetry.apply(S, name, spec), scattering2d(turned, spec), spec)
        again = compute if turned.shape == shape else turned_shape
        in_torch = worst_error(symmetry.apply(S_torch, name, spec), again(torch.from_numpy(turned)).numpy(), spec)
        assert max(error, in_torch) <= TOLERANCE, (name, error, in_torch)


@pytest.mark.parametrize("L", [4, 6, 8])
def test_a_pooled_vector_of_averaged_angles_does_not_change_under_quarter_turns(L):
    spec, x = ScatteringSpec(2, L, grid="centered", reduction=Reduction(1, "mean")), photograph((32, 32))
    S = scattering2d(x, spec)
    for name in symmetry.QUARTER_TURNS:
        assert np.array_equal(symmetry.permute_channels(name, spec), np.arange(spec.n_paths))
        assert worst_error(scattering2d(TURNS[name](x), spec), S, spec) <= TOLERANCE
    # A mirror image bends the other way.
    assert worst_error(scattering2d(TURNS["hflip"](x), spec), S, spec) > 1e-3


@pytest.mark.parametrize("L", [1, 5])
def test_odd_numbers_of_angles_have_flips(L):
    for J, shape in ((2, (18, 26)), (3, (24, 24))):
        spec, x = ScatteringSpec(J=J, L=L, grid="centered"), noise(shape)
        S = scattering2d(x, spec)
        for name in FLIPS:
            assert worst_error(symmetry.apply(S, name, spec), scattering2d(TURNS[name](x), spec), spec) <= TOLERANCE
        for name in set(NAMES) - set(FLIPS):
            with pytest.raises(ValueError, match=f"{name} turns wavelets to angles that L={L} has not"):
                symmetry.apply(S, name, spec)


def test_largest_J_turns_too():
    for J, shape in ((7, (128, 130)), (8, (256, 256))):
        spec = ScatteringSpec(J=J, L=2, max_order=1, grid="centered")
        x = noise(shape)
        S = scattering2d(x, spec)
        for name in ("hflip", "rot90"):
            assert worst_error(symmetry.apply(S, name, spec), scattering2d(TURNS[name](x), spec), spec) <= TOLERANCE


def test_angles_go_where_eight_of_them_are_documented_to_go():
    spec = ScatteringSpec(J=2)
    goes = {"hflip": lambda t: 6 - t, "vflip": lambda t: 6 - t, "rot90": lambda t: t + 4, "transpose": lambda t: 2 - t}
    for name, move in goes.items():
        index = symmetry.permute_channels(name, spec)
        for t1, t2 in itertools.product(range(8), range(8)):
            assert index[1 + move(t1) % 8] == 1 + t1
            assert index[17 + 8 * (move(t1) % 8) + move(t2) % 8] == 17 + 8 * t1 + t2
    assert np.array_equal(symmetry.permute_channels("rot180", spec), np.arange(spec.n_paths))


@pytest.mark.parametrize(("J", "tolerance"), [(2, 1e-6), (3, 3e-4)])
def test_kymatios_grid_moves_the_reversed_axes_by_one_pixel_less_than_a_cell(J, tolerance):
    """On the padded image, exactly but for its filters: they are mirrored to float32 rounding only, and from J=3 the
    cropped spectra have lost one of the two Nyquist frequencies."""
    spec, x = ScatteringSpec(J=J), noise((32, 44))
    S, pad = scattering2d(x, spec), reference.pad_images
    for name in NAMES:
        corner = TURNS[name](np.arange(6).reshape(2, 3))
        along_y, along_x = (np.diff(corner, axis=axis).ravel()[0] < 0 for axis in (0, 1))
        move = (-(2**J - 1) * along_y, -(2**J - 1) * along_x)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(reference, "pad_images", lambda *image, move=move: np.roll(pad(*image), move, (-2, -1)))
            moved = scattering2d(TURNS[name](x), spec)
        assert worst_error(symmetry.apply(S, name, spec), moved, spec) <= tolerance, name


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8"])
@pytest.mark.parametrize(("colours", "n"), [(3, "n_paths"), (3, "n_channels"), (1, "n_channels"), (5, "n_channels")])
def test_kind_and_dtype_are_kept_and_colours_turn_alike(dtype, colours, n):
    spec = replace(SMALL, colours=colours)
    values = np.random.default_rng(0).integers(0, 100, (3, getattr(spec, n), 4, 6)).astype(dtype)
    for name in NAMES:
        found = symmetry.apply(values, name, spec)
        as_torch = symmetry.apply(torch.tensor(values), name, spec)
        assert found.dtype == dtype and str(as_torch.dtype) == f"torch.{dtype}" and found.flags.c_contiguous
        assert np.array_equal(found, as_torch.numpy()) and as_torch.is_contiguous()
        assert not np.shares_memory(found, values)
        parts = [symmetry.apply(part, name, SMALL) for part in np.split(values, values.shape[1] // SMALL.n_paths, 1)]
        assert np.array_equal(found, np.concatenate(parts, 1))
        assert np.array_equal(symmetry.apply(values[0], name, spec), found[0])
        assert np.array_equal(symmetry.apply(values[None], name, spec)[0], found)


@pytest.mark.parametrize("convert", [np.asarray, torch.tensor], ids=["numpy", "torch"])
def test_a_list_turns_each_sample_by_its_name(convert):
    values = convert(noise((40, SMALL.n_channels, 4, 4)).astype(np.float32))
    names = np.random.default_rng(1).choice(NAMES, 40).tolist()
    kept = np.asarray(values).copy()
    found = symmetry.apply(values, names, SMALL)
    assert type(found) is type(values) and found.dtype == values.dtype
    for sample, name in enumerate(names):
        assert np.array_equal(np.asarray(found[sample]), np.asarray(symmetry.apply(values[sample], name, SMALL)))
    assert np.array_equal(np.asarray(values), kept)
    assert len(symmetry.apply(values[:0], [], SMALL)) == 0


def test_flips_of_single_samples_need_no_square():
    S = noise((3, SMALL.n_paths, 4, 6))
    found = symmetry.apply(S, ("hflip", "identity", "rot180"), SMALL)
    assert np.array_equal(found[0], symmetry.apply(S[0], "hflip", SMALL)) and np.array_equal(found[1], S[1])
    with pytest.raises(ValueError, match=r"rot90 turns coefficients of 4x6 into 6x4.*expected square ones"):
        symmetry.apply(S, ["hflip", "rot90", "identity"], SMALL)


def test_gradients_pass():
    S = torch.tensor(noise((4, SMALL.n_paths, 3, 3)), requires_grad=True)
    for name in ("rot90", ["hflip", "identity", "rot270", "hflip"]):
        weights = torch.tensor(noise((4, SMALL.n_paths, 3, 3), seed=2))
        (gradient,) = torch.autograd.grad((symmetry.apply(S, name, SMALL) * weights).sum(), S)
        back = inverse(name) if isinstance(name, str) else [inverse(one) for one in name]
        assert torch.equal(gradient, symmetry.apply(weights, back, SMALL))


def test_wrong_arguments_are_refused_with_found_and_expected():
    S = noise((2, SMALL.n_channels, 4, 4))
    with pytest.raises(ValueError, match="the symmetry is 'flip': expected one of identity, hflip"):
        symmetry.apply(S, "flip", SMALL)
    with pytest.raises(ValueError, match="the symmetry is 'flip'"):
        symmetry.apply(S, ["hflip", "flip"], SMALL)
    with pytest.raises(ValueError, match=rf"C being the {SMALL.n_channels} channels or the {SMALL.n_paths} paths"):
        symmetry.apply(S[:, 1:], "hflip", SMALL)
    with pytest.raises(ValueError, match="expected"):
        symmetry.apply(S[0, 0], "hflip", SMALL)
    with pytest.raises(ValueError, match="there are 3 names"):
        symmetry.apply(S, ["hflip"] * 3, SMALL)
    with pytest.raises(ValueError, match=r"there are 2 names: expected \(B, C, h, w\)"):
        symmetry.apply(S[None], ["hflip"] * 2, SMALL)
    with pytest.raises(TypeError, match="S is a list: expected a NumPy array or a torch"):
        symmetry.apply(S.tolist(), "hflip", SMALL)


def test_module_is_there_after_importing_scatcache():
    assert scatcache.symmetry is symmetry and "symmetry" in dir(scatcache)


@pytest.mark.gpu
def test_turns_on_a_gpu_are_the_cpus():
    S = torch.rand(8, SMALL.n_channels, 6, 6)
    for name in (*NAMES, list(NAMES)):
        assert torch.equal(symmetry.apply(S.to("cuda"), name, SMALL).cpu(), symmetry.apply(S, name, SMALL))
