"""Each compiled core against Kymatio and the reference, bit by bit against itself, and what it refuses."""

import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scatcache
from scatcache import symmetry
from scatcache.scattering import filters
from scatcache.scattering.native import transform as transform_module
from scatcache.scattering.native.transform import NativeTransform
from scatcache.scattering.reference import scattering2d
from scatcache.spec import ScatteringSpec
from tests.scattering.grid import GRID, grid_name
from tests.scattering.native.cores import CORES_HERE, EACH_CORE, NEEDS_CORE, coefficients_of, noise, same_bits
from tests.scattering.oracle import kymatio_coefficients
from tests.scattering.tolerances import TOLERANCES, assert_orders_close, relative_error
from tests.test_symmetry import TURNS

ANGLES = (1, 3, 8, 12, 17)
# Padded sizes with the factors 37, 61 and 73, and one of 300.
LARGE = [
    (ScatteringSpec(J=1, L=3), (70, 119)),
    (ScatteringSpec(J=1, L=1), (142, 34)),
    (ScatteringSpec(J=2, L=3), (141, 158)),
    (ScatteringSpec(J=2, L=2, max_order=1), (300, 21)),
]


def draw_grid():
    """(spec, shape) for J to 5 and every L, max_order in turns; sizes from 20 to 300, smaller where Kymatio is slow."""
    rng = np.random.default_rng(20)
    for J in range(1, 6):
        for index, L in enumerate(ANGLES):
            spec = ScatteringSpec(J=J, L=L, max_order=(2, 1, 2, 0, 2)[(index + J) % 5])
            most = min(300, 2**J + max(8, 1200 // (J * J * L)))
            low = max(20, 2**J)
            yield spec, tuple(int(size) for size in rng.integers(low, max(most, low + 6), 2))


def centered(J, L=8, max_order=2):
    return ScatteringSpec(J=J, L=L, max_order=max_order, grid="centered")


CENTERED = [
    *[(centered(2), (32, 32)), (centered(2), (30, 44)), (centered(1), (8, 10)), (centered(2, L=4), (4, 10))],
    *[(centered(3, L=7), (30, 34)), (centered(3, L=3, max_order=1), (8, 8)), (centered(3, max_order=0), (36, 30))],
    *[(centered(4, L=2), (34, 48)), (centered(4, L=12), (20, 38)), (centered(5, L=1), (32, 70))],
]


@NEEDS_CORE
@pytest.mark.parametrize(("spec", "shape"), [*GRID, *LARGE, *draw_grid()], ids=grid_name)
def test_coefficients_are_kymatios(spec, shape):
    images = noise(2, 1, *shape)
    expected = kymatio_coefficients(images[:, 0].astype(np.float64), spec)
    for core in CORES_HERE:
        assert_orders_close(coefficients_of(NativeTransform(spec, shape, core=core), images), expected, spec)


@pytest.mark.parametrize("core", EACH_CORE)
@pytest.mark.parametrize(("spec", "shape"), CENTERED, ids=grid_name)
def test_coefficients_on_the_centered_grid_are_the_references(spec, shape, core):
    images = noise(2, 1, *shape)
    expected = scattering2d(images[:, 0], spec)
    assert_orders_close(coefficients_of(NativeTransform(spec, shape, core=core), images), expected, spec)


@pytest.mark.parametrize("core", EACH_CORE)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16], ids=["uint8", "uint16"])
def test_samples_are_divided_by_their_scale(core, dtype):
    spec, images = ScatteringSpec(J=2, L=4), noise(2, 3, 30, 35, dtype=dtype)
    transform = NativeTransform(spec, (30, 35), core=core)
    for out_dtype in (np.float16, np.float32):
        found = coefficients_of(transform, images, out_dtype).reshape(2, 3, spec.n_paths, 7, 8)
        assert_orders_close(found, scattering2d(images, spec), spec)
    out = np.empty((2, 3 * spec.n_paths, 7, 8), np.float32)
    for scale in (1.0, 4095.0, 0.3):
        transform(images, out, scale=scale)
        divided = images.astype(np.float32) / np.float32(scale)
        assert_orders_close(out.reshape(2, 3, -1, 7, 8), scattering2d(divided, spec), spec)


@pytest.mark.parametrize("core", EACH_CORE)
def test_perturbed_norm_breaks_parity(monkeypatch, core):
    spec, images = ScatteringSpec(J=2), noise(1, 1, 32, 32)
    expected = kymatio_coefficients(images[:, 0].astype(np.float64), spec)
    monkeypatch.setattr(filters, "NORM_PI", np.pi)
    found = coefficients_of(NativeTransform(spec, (32, 32), core=core), images)
    assert relative_error(found, expected) > 10 * TOLERANCES["float32"]
    with pytest.raises(AssertionError, match="order 0"):
        assert_orders_close(found, expected, spec)


@pytest.mark.parametrize("core", EACH_CORE)
@pytest.mark.parametrize(("j", "res", "order"), [(0, 0, 1), (1, 0, 1), (2, 0, 1), (1, 1, None), (2, 1, 2)])
def test_one_perturbed_wavelet_breaks_parity_where_it_is_used(monkeypatch, core, j, res, order):
    spec, images = ScatteringSpec(J=3, L=5), noise(1, 1, 40, 44)
    expected = scattering2d(images[:, 0], spec)
    bank = filters.filter_bank(spec, spec.padded_shape(40, 44))
    psi = [[level.copy() for level in levels] for levels in bank.psi]
    psi[j][res][3] *= 1.001
    monkeypatch.setattr(transform_module, "filter_bank", lambda *_: filters.FilterBank(phi=bank.phi, psi=psi))
    found = coefficients_of(NativeTransform(spec, (40, 44), core=core), images)
    if order is None:
        assert_orders_close(found, expected, spec)
    else:
        with pytest.raises(AssertionError, match=f"order {order}"):
            assert_orders_close(found, expected, spec)


@pytest.mark.parametrize("core", EACH_CORE)
@pytest.mark.parametrize(("direction", "theta"), [((1, 0), 3), ((0, 1), 7), ((1, 1), 1), ((1, -1), 5)])
def test_gratings_excite_the_angle_they_have(core, direction, theta):
    rows, columns = np.mgrid[:64, :64]
    unit = np.array(direction) / np.hypot(*direction)
    grating = np.cos(3 * np.pi / 4 * (unit[0] * rows + unit[1] * columns)).astype(np.float32)
    found = coefficients_of(NativeTransform(ScatteringSpec(J=2), (64, 64), core=core), grating[None, None])
    assert found[0, 1:9].mean((1, 2)).argmax() == theta


@pytest.mark.parametrize("core", EACH_CORE)
@pytest.mark.parametrize("shape", [(32, 32), (33, 47), (4, 4), (61, 70)], ids=str)
def test_flat_images_have_only_order_zero(core, shape):
    flat = np.ones((4, 1, *shape), np.float32) * np.array([1, 0.3, 0.7, 0], np.float32)[:, None, None, None]
    transform = NativeTransform(ScatteringSpec(J=2), shape, core=core)
    for images in (flat, np.round(255 * flat).astype(np.uint8)):
        found, values = (
            coefficients_of(transform, images),
            images[:, 0, 0, 0] / (255 if images.dtype == np.uint8 else 1),
        )
        zeroth = np.broadcast_to(1.0000294 * values[:, None, None], found[:, 0].shape)
        np.testing.assert_allclose(found[:, 0], zeroth, atol=3e-7)
        assert np.abs(found[:, 1:]).max() < 1e-7
        assert not found[3].any()


@pytest.mark.parametrize("core", EACH_CORE)
@pytest.mark.parametrize("factor", [255, -3, 1e-6, 1e6])
def test_coefficients_scale_with_the_image(core, factor):
    spec, images = ScatteringSpec(J=2), noise(2, 1, 31, 29)
    transform = NativeTransform(spec, (31, 29), core=core)
    scaled = coefficients_of(transform, (factor * images).astype(np.float32)).astype(np.float64)
    expected = (
        coefficients_of(transform, images) * np.where(np.arange(spec.n_paths) == 0, factor, abs(factor))[:, None, None]
    )
    assert_orders_close(scaled.astype(np.float32), expected, spec)


@pytest.mark.parametrize("core", EACH_CORE)
@pytest.mark.parametrize("J", [1, 2, 3])
def test_turned_images_have_turned_coefficients_on_the_centered_grid_alone(core, J):
    for shape in ((32, 32), (30, 44), (48, 34)):
        images = noise(1, 3, *shape)
        for name, turn in TURNS.items():
            turned = turn(images)
            errors = {}
            for spec in (centered(J), ScatteringSpec(J=J)):
                here = coefficients_of(NativeTransform(spec, shape, core=core), images)
                there = coefficients_of(NativeTransform(spec, turned.shape[-2:], core=core), turned)
                errors[spec.grid] = relative_error(symmetry.apply(here, name, centered(J)), there)
            assert errors["centered"] <= 1e-6, (shape, name, errors)
            # The transposition leaves the corner where Kymatio's grid begins.
            assert name in ("identity", "transpose") or errors["kymatio"] > 1e-2, (shape, name, errors)


def layouts_of(images):
    """The same pixels (B, C, H, W), otherwise in memory."""
    yield "(B, H, W, C)", np.ascontiguousarray(images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    yield "(W, H, C, B)", np.asfortranarray(images)
    yield "backwards", images[::-1, ::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1, ::-1]
    wide = np.full((*images.shape[:2], 2 * images.shape[2], 3 * images.shape[3] + 1), 77, images.dtype)
    wide[:, :, 1::2, 1::3] = images
    yield "every third column", wide[:, :, 1::2, 1::3]
    read_only = images.copy()
    read_only.setflags(write=False)
    yield "read-only", read_only
    yield (
        "from the second element on",
        np.frombuffer(b"\0\0\0\0" + images.tobytes(), images.dtype, offset=4).reshape(images.shape),
    )


@pytest.mark.parametrize("core", EACH_CORE)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32], ids=["uint8", "uint16", "float32"])
@pytest.mark.parametrize("shape", [(32, 32), (33, 47)], ids=str)
def test_bits_do_not_depend_on_memory(core, dtype, shape):
    transform, images = NativeTransform(ScatteringSpec(J=2, L=6), shape, core=core), noise(3, 3, *shape, dtype=dtype)
    expected = coefficients_of(transform, images)
    for name, view in layouts_of(images):
        assert np.array_equal(view, images)
        assert same_bits(coefficients_of(transform, view), expected), name
    repeated = coefficients_of(transform, np.broadcast_to(images[:1, :1], images.shape))
    assert same_bits(repeated, np.tile(expected[:1, : transform.spec.n_paths], (3, 3, 1, 1)))
    rows = np.broadcast_to(images[:, :, :1], images.shape)
    assert same_bits(coefficients_of(transform, rows), coefficients_of(transform, rows.copy()))


def check_bits(transform, images, dtype, rng):
    """Coefficients as of each plane alone, whatever the colours, threads, batch and neighbours."""
    spec, n, planes = transform.spec, len(images), images.reshape(-1, 1, 1, *transform.shape)
    alone = np.concatenate([coefficients_of(transform, plane, dtype) for plane in planes])
    for n_colours in (1, images.shape[1], len(planes)):
        regrouped = images.reshape(-1, n_colours, *transform.shape)
        for n_threads in (1, 2, 3, 7):
            found = coefficients_of(transform, regrouped, dtype, n_threads=n_threads)
            assert same_bits(found.reshape(alone.shape), alone), (n_colours, n_threads)
    by_image = alone.reshape(n, images.shape[1] * spec.n_paths, *alone.shape[-2:])
    for _ in range(3):
        rows = rng.permutation(n)[: rng.integers(1, n + 1)]
        found = coefficients_of(transform, images[rows], dtype, n_threads=int(rng.integers(1, 4)))
        assert same_bits(found, by_image[rows])


@pytest.mark.parametrize("core", EACH_CORE)
@pytest.mark.parametrize(
    ("spec", "shape"), [*GRID[:5], *GRID[8:], *CENTERED[:2], (centered(4, L=2), (18, 34))], ids=grid_name
)
def test_bits_do_not_depend_on_batch_threads_neighbours_or_colours(core, spec, shape):
    images = noise(7, 3, *shape, dtype=np.uint8)
    check_bits(NativeTransform(spec, shape, core=core), images, np.float32, np.random.default_rng(1))


@NEEDS_CORE
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_bits_depend_on_nothing_but_the_plane(data):
    draw = data.draw
    grid = draw(st.sampled_from(["kymatio", "centered"]))
    spec = ScatteringSpec(
        J=draw(st.integers(1, 3)), L=draw(st.integers(1, 9)), max_order=draw(st.integers(0, 2)), grid=grid
    )
    extra = st.integers(0, 9) if grid == "kymatio" else st.integers(0, 4).map(lambda half: 2 * half)
    shape = (2**spec.J + draw(extra), 2**spec.J + draw(extra))
    images = noise(
        draw(st.integers(1, 6)),
        draw(st.integers(1, 4)),
        *shape,
        dtype=draw(st.sampled_from([np.uint8, np.uint16, np.float32])),
    )
    transform = NativeTransform(spec, shape, core=draw(st.sampled_from(CORES_HERE)))
    out_dtype = draw(st.sampled_from([np.float16, np.float32]))
    check_bits(transform, images, out_dtype, np.random.default_rng(draw(st.integers(0, 99))))
    for _, view in layouts_of(images):
        assert same_bits(coefficients_of(transform, view, out_dtype), coefficients_of(transform, images, out_dtype))


@pytest.mark.parametrize("core", EACH_CORE)
@pytest.mark.parametrize("dtype", [np.float16, np.float32], ids=["float16", "float32"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
def test_what_is_not_finite_stays_in_its_plane(core, dtype, bad):
    transform, images = NativeTransform(ScatteringSpec(J=2), (32, 33), core=core), noise(4, 5, 32, 33)
    expected = coefficients_of(transform, images, dtype)
    for image, colour in ((0, 0), (1, 3), (3, 4)):
        spoilt = images.copy()
        spoilt[image, colour, 5, 7] = bad
        found = coefficients_of(transform, spoilt, dtype, n_threads=2)
        planes = found.reshape(20, -1)
        good = np.arange(20) != 5 * image + colour
        assert same_bits(planes[good], expected.reshape(20, -1)[good])
        assert not np.isfinite(planes[~good]).all()
        assert np.isfinite(bad) or np.isnan(planes[~good]).any()
    assert same_bits(coefficients_of(transform, images, dtype), expected)


@NEEDS_CORE
def test_other_threads_run_meanwhile():
    """The interpreter's lock is free: this thread goes on in the middle of a long call of another."""
    spec, images = ScatteringSpec(J=2), noise(12, 3, 96, 96)
    transform, span = NativeTransform(spec, (96, 96)), []

    def call():
        span.append(time.perf_counter())
        coefficients_of(transform, images)
        span.append(time.perf_counter())

    for _ in range(20):  # a loaded machine may leave this thread waiting through a whole call
        span.clear()
        ticks, thread = [], threading.Thread(target=call)
        thread.start()
        while thread.is_alive():
            ticks.append(time.perf_counter())
            time.sleep(0.001)
        thread.join()
        start, end = span
        if any(start + 0.3 * (end - start) < tick < start + 0.7 * (end - start) for tick in ticks):
            return
    pytest.fail("no other thread ran in the middle of twenty calls")


@pytest.mark.parametrize("core", EACH_CORE)
@pytest.mark.parametrize("n_threads", [1, 2])
def test_threads_share_a_transform(core, n_threads):
    transform = NativeTransform(ScatteringSpec(J=2), (40, 33), core=core)
    batches = [noise(6, 3, 40, 33, seed=seed) for seed in range(4)]
    expected = [coefficients_of(transform, batch) for batch in batches]
    start, found = threading.Barrier(4), [[] for _ in batches]

    def call(index):
        start.wait()
        for _ in range(5):
            found[index].append(coefficients_of(transform, batches[index], n_threads=n_threads))

    threads = [threading.Thread(target=call, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for results, wanted in zip(found, expected, strict=True):
        assert len(results) == 5 and all(same_bits(result, wanted) for result in results)


@NEEDS_CORE
def test_wrong_arrays_are_refused_and_left_alone():
    transform = NativeTransform(ScatteringSpec(J=2, L=2), (12, 16))
    images, out = noise(2, 3, 12, 16), np.zeros((2, 27, 3, 4), np.float32)
    for dtype in (np.float64, np.int8, np.float16, ">f4", ">u2", bool):
        with pytest.raises(TypeError, match=r"images are .*, out float32: expected uint8, uint16 or float32"):
            transform(images.astype(dtype), out)
    for dtype in (np.float64, np.int16, np.uint16, ">f4", ">f2"):
        with pytest.raises(TypeError, match="expected uint8, uint16 or float32, and float16 or float32"):
            transform(images, out.astype(dtype))
    for shape in ((2, 3, 16, 12), (2, 12, 16, 3), (6, 12, 16), (12, 16), (2, 3, 12, 15)):
        with pytest.raises(ValueError, match=r"expected \(B, C, 12, 16\)"):
            transform(np.zeros(shape, np.float32), out)
    read_only = out.copy()
    read_only.setflags(write=False)
    wide = np.zeros((2, 27, 3, 8), np.float32)
    others = [
        out[:1],
        out[:, :26],
        out.reshape(2, 27, 4, 3),
        out.reshape(54, 3, 4),
        wide[..., ::2],
        out[::-1],
        read_only,
    ]
    for other in others:
        with pytest.raises(ValueError, match=r"expected \(2, 27, 3, 4\), C-contiguous, aligned and writeable"):
            transform(images, other)
    packed = np.zeros((2, 3, 12, 16), [("pixel", np.float32), ("flag", np.uint8)])
    with pytest.raises(ValueError, match="whole elements of 4 bytes"):
        transform(packed["pixel"], out)
    astray = np.zeros(out.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(out.shape)
    with pytest.raises(ValueError, match="aligned"):
        transform(images, astray)
    with pytest.raises(ValueError, match="whole elements of 4 bytes, aligned"):
        transform(np.zeros(images.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(images.shape), out)
    assert not out.any() and not astray.any() and not wide.any() and not read_only.any()


@NEEDS_CORE
def test_no_images_give_no_coefficients():
    transform = NativeTransform(ScatteringSpec(J=2), (32, 30))
    for n, n_colours in ((0, 3), (3, 0), (0, 0)):
        assert coefficients_of(transform, np.zeros((n, n_colours, 32, 30), np.uint8), n_threads=3).size == 0


@NEEDS_CORE
def test_shapes_that_the_spec_refuses_are_refused():
    with pytest.raises(ValueError, match="too small for J=3"):
        NativeTransform(ScatteringSpec(J=3), (7, 32))
    with pytest.raises(ValueError, match="odd side"):
        NativeTransform(centered(2), (33, 32))


@NEEDS_CORE
def test_pickled_transforms_compute_the_same_bits():
    transform, images = NativeTransform(ScatteringSpec(J=2, L=3), (20, 18)), noise(2, 3, 20, 18)
    copy = pickle.loads(pickle.dumps(transform))
    assert (copy.spec, copy.shape, copy.core) == (transform.spec, transform.shape, transform.core)
    assert same_bits(coefficients_of(copy, images), coefficients_of(transform, images))


@pytest.mark.parametrize("core", EACH_CORE)
def test_where_threads_find_no_room_fewer_do_the_work(core):
    program = (
        "import re, resource, numpy as np\n"
        "from pathlib import Path\n"
        "from scatcache.scattering.native.transform import NativeTransform\n"
        "from scatcache.spec import ScatteringSpec\n"
        f"transform = NativeTransform(ScatteringSpec(J=2, L=8), (32, 32), core={core!r})\n"
        "images, out = np.zeros((1000, 1, 32, 32), np.float32), np.zeros((1000, 81, 8, 8), np.float32)\n"
        "transform(images, out)\n"
        "in_use = 1024 * int(re.search(r'VmSize:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])\n"
        "resource.setrlimit(resource.RLIMIT_AS, (in_use + (60 << 20),) * 2)\n"
        "out[...] = np.nan\n"
        "transform(images, out, n_threads=60)\n"
        "assert np.isfinite(out).all()\n"
        "print('alive')\n"
    )
    root = Path(scatcache.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr
