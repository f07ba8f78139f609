"""The fused kernels, thread by thread on the CPU, against reference.py; and what CUDA makes of them."""

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from scatcache.scattering.fused_plan import NoFusedPlan, plan_fused
from scatcache.scattering.radices import list_radices
from scatcache.scattering.reference import scattering2d
from scatcache.spec import ScatteringSpec
from tests.scattering.fused.simulation import (
    ASCENDING,
    DESCENDING,
    H200_BYTES,
    SHUFFLED,
    compile_source,
    plan_whole,
    simulate,
)
from tests.scattering.tolerances import TOLERANCES, assert_orders_close, relative_error

# (spec, shape, bytes of shared memory of a block): whole maps, and tiles where these bytes force them.
CASES = [
    pytest.param(ScatteringSpec(J=2), (32, 32), H200_BYTES, id="J2-32"),
    pytest.param(ScatteringSpec(J=3, L=6), (32, 40), H200_BYTES, id="J3-L6-32x40"),
    pytest.param(ScatteringSpec(J=2, L=4), (21, 61), H200_BYTES, id="J2-L4-21x61-primes-7-17"),
    pytest.param(ScatteringSpec(J=2, grid="centered"), (20, 36), H200_BYTES, id="J2-centered-20x36-primes-7-11"),
    pytest.param(ScatteringSpec(J=3, L=4, grid="centered"), (24, 32), 24000, id="J3-centered-tiled-24x32"),
    pytest.param(ScatteringSpec(J=2, L=3), (44, 69), 60000, id="J2-L3-tiled-44x69-primes-13-19"),
    pytest.param(ScatteringSpec(J=2, L=4, max_order=1), (24, 24), H200_BYTES, id="order-1"),
    pytest.param(ScatteringSpec(J=2, L=4, max_order=1), (24, 56), 16000, id="order-1-tiled"),
    pytest.param(ScatteringSpec(J=2, L=4, max_order=0), (24, 24), H200_BYTES, id="order-0"),
    pytest.param(ScatteringSpec(J=2, L=4, max_order=0, grid="centered"), (20, 52), 11000, id="order-0-tiled"),
]
TINY = ScatteringSpec(J=2, L=2)
TINY_SHAPE = (12, 16)
BARRIER = "threads.sync();"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("simulation")


def draw_images(shape: tuple[int, int], n_images: int = 1) -> NDArray[np.uint8]:
    """uint8 (n, 3, H, W), colours last in memory, as extraction has them."""
    noise = np.random.default_rng(0).integers(0, 256, (n_images, *shape, 3), dtype=np.uint8)
    return noise.transpose(0, 3, 1, 2)


def expected_of(images: NDArray[np.generic], spec: ScatteringSpec) -> NDArray[np.float64]:
    coefficients = scattering2d(images, spec)
    return coefficients.reshape(len(images), -1, *coefficients.shape[-2:])


def by_paths(coefficients: NDArray[np.floating], spec: ScatteringSpec) -> NDArray[np.floating]:
    return coefficients.reshape(-1, spec.n_paths, *coefficients.shape[-2:])


@pytest.mark.parametrize(("spec", "shape", "shared_bytes"), CASES)
def test_kernels_compute_what_the_reference_computes(
    spec: ScatteringSpec, shape: tuple[int, int], shared_bytes: int, folder: Path
) -> None:
    images = draw_images(shape)
    plan = plan_fused(spec, shape, shared_bytes=shared_bytes)
    assert any(launch.name == "first_rows" or launch.name == "image_rows" for launch in plan.launches) == (
        shared_bytes != H200_BYTES
    )
    found = [simulate(plan, spec, images, folder, order=order) for order in (ASCENDING, DESCENDING, SHUFFLED)]
    assert_orders_close(by_paths(found[0], spec), by_paths(expected_of(images, spec), spec), spec)
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])


def test_samples_of_every_type_and_float16_coefficients(folder: Path) -> None:
    images = draw_images(TINY_SHAPE, n_images=2)
    plan = plan_whole(TINY, TINY_SHAPE)
    whole = simulate(plan, TINY, images, folder)
    floats = (images / np.float32(255)).astype(np.float32)
    assert np.array_equal(simulate(plan, TINY, floats, folder), whole)
    assert np.array_equal(simulate(plan, TINY, images.astype(np.float32), folder, scale=255), whole)
    assert np.array_equal(simulate(plan, TINY, images.astype(np.uint16), folder, scale=255), whole)
    assert np.array_equal(simulate(plan, TINY, images.astype(np.uint16) * 257, folder), whole)
    half = simulate(plan, TINY, images, folder, dtype=np.float16)
    assert half.dtype == np.float16 and np.array_equal(half, whole.astype(np.float16))


def test_offsets_and_negative_samples_are_computed_as_the_reference_computes_them(folder: Path) -> None:
    noise = np.random.default_rng(1).random((1, 2, *TINY_SHAPE))
    for low, high, scale in ((-20, 40, 1), (1e6, 1e6 + 100, 1), (1e-3, 2e-3, 1e-3)):
        images = (low + (high - low) * noise).astype(np.float32)
        found = simulate(plan_whole(TINY, TINY_SHAPE), TINY, images, folder, scale=scale)
        expected = expected_of(images.astype(np.float64) / scale, TINY)
        assert relative_error(found, expected) <= TOLERANCES["float32"]


def test_a_plane_is_computed_alone(folder: Path) -> None:
    images = draw_images(TINY_SHAPE, n_images=3)
    plan = plan_whole(TINY, TINY_SHAPE)
    together = simulate(plan, TINY, images, folder)
    assert np.array_equal(simulate(plan, TINY, images[2:], folder), together[2:])


def test_flat_images_have_no_wavelet_coefficients(folder: Path) -> None:
    images = np.full((1, 1, *TINY_SHAPE), 0.75, np.float32)
    found = simulate(plan_whole(TINY, TINY_SHAPE), TINY, images, folder)
    expected = expected_of(images, TINY)
    assert np.abs(found[:, 0] - expected[:, 0]).max() < 1e-6 and np.abs(found[:, 1:]).max() < 1e-6


def plans_of_both_kinds() -> list:
    tiled = plan_fused(TINY, TINY_SHAPE, shared_bytes=4400)
    assert any(launch.name == "second" for launch in tiled.launches)
    return [plan_whole(TINY, TINY_SHAPE), tiled]


def make_droppable(source: str) -> str:
    """A source of which the barrier that `dropped_barrier` counts does nothing, none where that is -1."""
    first, *rest = source.split(BARRIER)
    barriers = "".join(f"if (dropped_barrier != {i}) {BARRIER}{piece}" for i, piece in enumerate(rest))
    return f'extern "C" {{ int dropped_barrier = -1; }}\n{first}{barriers}'


def test_a_dropped_barrier_shows(folder: Path) -> None:
    images, plans = draw_images(TINY_SHAPE), plans_of_both_kinds()
    sources = [make_droppable(plan.source) for plan in plans]
    droppers = [ctypes.c_int.in_dll(compile_source(source, folder), "dropped_barrier") for source in sources]

    def compute(which: int, barrier: int, order: int) -> NDArray[np.floating]:
        droppers[which].value = barrier
        return simulate(plans[which], TINY, images, folder, order=order, source=sources[which])

    correct = [compute(which, -1, ASCENDING) for which in range(len(plans))]
    for which, expected in enumerate(correct):  # else everything below would look like a dropped barrier
        assert np.array_equal(compute(which, -1, DESCENDING), expected)

    def shows(which: int, barrier: int, order: int) -> bool:
        try:
            return not np.array_equal(compute(which, barrier, order), correct[which])
        except AssertionError:
            return True

    for barrier in range(plans[0].source.count(BARRIER)):
        found = [shows(which, barrier, order) for which in range(len(plans)) for order in (ASCENDING, DESCENDING)]
        line = plans[0].source.split(BARRIER)[barrier].splitlines()[-2:]
        assert any(found), f"nothing changes without barrier {barrier}, which stands after {line}"


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        pytest.param("z[j] * roots[p", "z[j] * conjugate(roots[p", id="forward"),
        pytest.param("y * roots[p", "y * conjugate(roots[p", id="inverse"),
        pytest.param("return {z.im, -z.re};", "return {-z.im, z.re};", id="butterflies"),
        pytest.param("return conjugate(data[", "return (data[", id="half-spectrum"),
    ],
)
def test_a_wrong_sign_shows(right: str, wrong: str, folder: Path) -> None:
    images = draw_images((32, 32))
    spec = ScatteringSpec(J=2, L=2)
    plan = plan_whole(spec, (32, 32))
    assert plan.source.count(right) == 1
    mutated = plan.source.replace(right, wrong)
    if wrong.count("(") > right.count("("):
        start = mutated.index(wrong)
        end = mutated.index(";", start)
        mutated = mutated[:end] + ")" + mutated[end:]
    found = simulate(plan, spec, images, folder, source=mutated)
    with pytest.raises(AssertionError):
        assert_orders_close(by_paths(found, spec), by_paths(expected_of(images, spec), spec), spec)


@pytest.mark.parametrize(
    ("spec", "shape", "reason"),
    [
        (ScatteringSpec(J=4), (32, 32), "not J=4"),
        (ScatteringSpec(J=2), (140, 32), "prime factor 37"),
        (ScatteringSpec(J=2), (2040, 2040), "bytes of shared memory"),
    ],
)
def test_what_has_no_plan_says_why(spec: ScatteringSpec, shape: tuple[int, int], reason: str) -> None:
    with pytest.raises(NoFusedPlan, match=reason):
        plan_whole(spec, shape)


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize(("J", "size"), [(2, 32), (2, 128), (2, 224), (3, 32), (3, 224)])
def test_cuda_compiles_them_within_their_budgets(architecture: str, J: int, size: int, tmp_path: Path) -> None:
    """Registers as scattering.cu says, none of them spilled, and few enough for a block of all its threads to start."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("needs nvcc")
    shared_bytes = {"sm_80": 163 << 10, "sm_90": H200_BYTES}[architecture]
    plan = plan_fused(ScatteringSpec(J=J), (size, size), shared_bytes=shared_bytes)
    source = tmp_path / "scattering.cu"
    source.write_text(plan.source)
    command = [nvcc, "-std=c++17", f"-arch={architecture}", "-cubin", "-Xptxas", "-v", str(source), "-o"]
    done = subprocess.run([*command, str(tmp_path / "scattering.cubin")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    registers = [int(n) for n in re.findall(r"Used (\d+) registers", done.stderr)]
    spills = [int(n) for n in re.findall(r"(\d+) bytes spill", done.stderr)]
    assert len(registers) == len(plan.launches), done.stderr
    largest_radix = max(max(list_radices(padded)) for padded in ScatteringSpec(J=J).padded_shape(size, size))
    assert max(registers) <= (64 if largest_radix <= 17 else 128) and max(registers) * plan.n_threads <= 65536
    assert sum(spills) == 0, done.stderr
