"""Runs without Hypothesis and Kymatio, where a GPU's interpreter has neither."""

import numpy as np
import pytest
import torch

from scatcache.scattering import open_transform
from scatcache.scattering.native.library import choose_core
from scatcache.scattering.paths import channel_table, path_table
from scatcache.scattering.reduction import angle_groups, reduce_maps
from scatcache.scattering.reference import scattering2d
from scatcache.scattering.scattering2d import Scattering2D
from scatcache.spec import WHOLE, Reduction, ScatteringSpec
from tests.scattering.tolerances import assert_orders_close

REDUCTIONS = [Reduction(1), Reduction(3), Reduction(None, "mean"), Reduction(1, "mean"), Reduction(2, "mean")]
# Shapes whose maps no grid of three cells divides, numbers of angles that fill no register, every order.
CASES = [
    (ScatteringSpec(2), (32, 32)),
    (ScatteringSpec(3, L=5), (40, 56)),
    (ScatteringSpec(2, L=6, grid="centered"), (20, 34)),
    (ScatteringSpec(1, L=3, max_order=1), (9, 7)),
    (ScatteringSpec(2, max_order=0), (17, 21)),
]
NEEDS_NATIVE = pytest.mark.skipif(choose_core().core is None, reason="needs a native core")
PLACES = [
    pytest.param("native", "cpu", marks=NEEDS_NATIVE, id="native"),
    pytest.param("torch", "cpu", id="torch"),
    pytest.param("auto", "cuda", marks=pytest.mark.gpu, id="cuda"),
]


def reduced(spec, reduction):
    return ScatteringSpec(spec.J, spec.L, spec.max_order, spec.grid, spec.colours, reduction)


def images_of(n, shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape, 3), dtype=np.uint8)


def compute(transform, images, dtype=np.float32):
    """What the transform writes, into a buffer of NaN."""
    out = np.full((len(images), *transform.output_shape), np.nan, dtype)
    transform(images, out)
    assert np.isfinite(out).all()
    return out


def average_by_hand(S, spec):
    """The mean over angles of whole maps (n_paths, h, w), path by path from the definition."""
    table, sums, counts = path_table(spec.whole), {}, {}
    for path, S_path in enumerate(S):
        order, j1, theta1, j2, theta2 = (int(table[field][path]) for field in table)
        place = (order, j1, j2, (theta2 - theta1) % spec.L if order == 2 else -1)
        sums[place] = sums.get(place, 0) + S_path
        counts[place] = counts.get(place, 0) + 1
    kept = path_table(spec)
    places = zip(*(kept[name].tolist() for name in ("order", "j1", "j2", "dtheta")), strict=True)
    return np.stack([sums[place] / counts[place] for place in places])


@pytest.mark.parametrize("as_tensor", [False, True], ids=["numpy", "torch"])
@pytest.mark.parametrize("reduction", REDUCTIONS, ids=str)
@pytest.mark.parametrize(("spec", "shape"), CASES, ids=str)
def test_what_is_kept_is_the_mean_over_cells_and_angles(spec, shape, reduction, as_tensor):
    spec = reduced(spec, reduction)
    if reduction.pool is not None and reduction.pool > min(spec.map_shape(*shape)):
        pytest.skip("maps have fewer cells")
    S = np.random.default_rng(1).random((spec.whole.n_paths, *spec.map_shape(*shape)))
    expected = torch.from_numpy(S if reduction.angles == "all" else average_by_hand(S, spec))
    if reduction.pool is not None:
        expected = torch.nn.AdaptiveAvgPool2d(reduction.pool)(expected)
    found = reduce_maps(torch.from_numpy(S) if as_tensor else S, spec)
    assert tuple(found.shape) == (spec.n_paths, *spec.output_shape(*shape)[1:])
    np.testing.assert_allclose(np.asarray(found), expected.numpy(), rtol=1e-12)


@pytest.mark.parametrize(("backend", "device"), PLACES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("reduction", REDUCTIONS, ids=str)
@pytest.mark.parametrize(("spec", "shape"), CASES[:3], ids=str)
def test_every_backend_keeps_what_the_reference_keeps(spec, shape, reduction, dtype, backend, device):
    spec, images = reduced(spec, reduction), images_of(2, shape)
    found = compute(open_transform(spec, shape, device=device, backend=backend), images, dtype)
    by_colour = found.reshape(2, 3, spec.n_paths, *found.shape[-2:])
    assert_orders_close(by_colour, scattering2d(images.transpose(0, 3, 1, 2), spec), spec)


@pytest.mark.parametrize(("backend", "device"), PLACES)
@pytest.mark.parametrize("reduction", REDUCTIONS, ids=str)
def test_reduced_bits_depend_on_no_neighbour(reduction, backend, device):
    transform = open_transform(reduced(ScatteringSpec(2), reduction), (32, 32), device=device, backend=backend)
    images = images_of(7, (32, 32))
    together = compute(transform, images)
    alone = [compute(transform, images[i : i + 1])[0] for i in (0, 3, 6)]
    assert all(np.array_equal(together[i], row) for i, row in zip((0, 3, 6), alone, strict=True))


@NEEDS_NATIVE
@pytest.mark.parametrize("shape", [(32, 32), (224, 224)])
def test_pooled_vectors_are_the_float64_means_of_whole_maps(shape):
    images = images_of(2, shape)
    images[1] //= 16  # a dark one
    whole = compute(open_transform(ScatteringSpec(2), shape), images).astype(np.float64)
    pooled = compute(open_transform(ScatteringSpec(2, reduction=Reduction(1)), shape), images)
    np.testing.assert_allclose(pooled[..., 0, 0], whole.mean((-2, -1)), rtol=1e-6)


def test_averaged_paths_of_J2_are_one_two_and_eight():
    spec = ScatteringSpec(2, reduction=Reduction(angles="mean"))
    table = channel_table(spec)
    assert spec.n_paths == 11 and spec.n_channels == 33 and table["dtheta"].shape == (33,)
    assert table["order"][:11].tolist() == [0, 1, 1] + [2] * 8
    assert (table["theta1"] == -1).all() and (table["theta2"] == -1).all()
    assert table["dtheta"][:11].tolist() == [-1, -1, -1, *range(8)]
    assert angle_groups(spec)[3].tolist() == [17 + 9 * theta1 for theta1 in range(8)]


@pytest.mark.parametrize("backend", [pytest.param("native", marks=NEEDS_NATIVE), "torch", "auto"])
def test_scattering2d_keeps_what_it_is_told(backend):
    S = Scattering2D(2, (32, 32), backend=backend, pool=2, angles="mean")
    images = torch.rand(3, 2, 32, 32)
    assert S(images).shape == (3, 2, 11, 2, 2) and "pool=2, angles='mean'" in repr(S)
    whole = Scattering2D(2, (32, 32), backend=backend)(images)
    torch.testing.assert_close(S(images), reduce_maps(whole, S.spec))
    assert S(torch.empty(0, 32, 32)).shape == (0, 11, 2, 2)


def test_reduced_coefficients_have_gradients():
    S = Scattering2D(2, (16, 16), pool=1, angles="mean")
    images = torch.rand(1, 16, 16, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(S, (images,), fast_mode=True)


@pytest.mark.parametrize(("pool", "angles"), [(0, "all"), (-1, "all"), (1, "some")])
def test_reductions_that_are_none_are_refused(pool, angles):
    with pytest.raises(ValueError, match="expected"):
        Reduction(pool, angles)


@pytest.mark.parametrize("pool", [True, 1.0, "1"])
def test_a_pool_is_an_integer(pool):
    with pytest.raises(TypeError, match="expected an integer"):
        Reduction(pool)


def test_more_cells_than_a_map_has_are_refused():
    with pytest.raises(ValueError, match="pool is 9, the maps of 32x40 images are 8x10: expected 1 to 8"):
        ScatteringSpec(2, reduction=Reduction(9)).output_shape(32, 40)


def test_a_spec_without_reduction_is_whole():
    spec = ScatteringSpec(2)
    assert spec.whole is spec and spec.reduction == WHOLE and "reduction" not in repr(spec)
    assert ScatteringSpec(2, reduction=Reduction(1)).whole == spec
