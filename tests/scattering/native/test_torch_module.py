"""Where Scattering2D computes natively, and that whatever the core cannot follow is left to torch, or refused."""

import copy
import io
import pickle
import warnings

import pytest
import torch
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx

from scatcache.errors import BackendUnavailable
from scatcache.scattering import Scattering2D
from scatcache.scattering.native.torch_module import NativeScattering
from scatcache.scattering.reference import scattering2d
from scatcache.spec import ScatteringSpec
from tests.scattering.grid import GRID, grid_name
from tests.scattering.native.cores import NEEDS_CORE
from tests.scattering.tolerances import assert_orders_close

pytestmark = NEEDS_CORE
SPEC, SHAPE = ScatteringSpec(J=2, L=4), (16, 18)


def native_part(scattering):
    return getattr(scattering.transform, "on_cpu", scattering.transform)


def scattering_of(backend="auto"):
    return Scattering2D(SPEC.J, SHAPE, SPEC.L, backend=backend)


def images_of(n=2, dtype=torch.float32):
    return torch.rand(n, *SHAPE, dtype=dtype, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def calls(monkeypatch):
    """The shapes of what the core was called with."""
    shapes, call = [], NativeScattering.forward.__globals__["NativeTransform"].__call__

    def record(self, images, out, *, n_threads=1):
        shapes.append(images.shape)
        return call(self, images, out, n_threads=n_threads)

    monkeypatch.setattr("scatcache.scattering.native.transform.NativeTransform.__call__", record)
    return shapes


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32], ids=str)
@pytest.mark.parametrize(("spec", "shape"), GRID, ids=grid_name)
def test_coefficients_are_the_references(spec, shape, dtype):
    images = (torch.rand(3, *shape, generator=torch.Generator().manual_seed(0)) * 255).to(dtype)
    found = NativeScattering(spec, shape, alone=True)(images)
    assert found.dtype == torch.float32
    assert_orders_close(found, scattering2d(images.numpy(), spec), spec)


@pytest.mark.parametrize("backend", ["auto", "native"])
def test_plain_images_are_computed_natively_with_torchs_threads(calls, backend):
    scattering, images = scattering_of(backend), images_of(12).reshape(3, 4, *SHAPE)
    expected = scattering(images)
    assert scattering.backend == "native" and calls == [(12, 1, *SHAPE)]
    try:
        for n_threads in (2, 3):
            torch.set_num_threads(n_threads)
            assert torch.equal(scattering(images), expected)
    finally:
        torch.set_num_threads(1)
    for other in (torch.no_grad, torch.inference_mode):
        with other():
            assert torch.equal(scattering(images.clone()), expected)
    wanted = images.clone().requires_grad_()
    with torch.no_grad():
        assert torch.equal(scattering(wanted), expected)
    assert torch.equal(scattering(torch.nn.Parameter(images, requires_grad=False)), expected)
    assert torch.equal(scattering(images.transpose(0, 1)).transpose(0, 1), expected)
    assert torch.equal(scattering(images[:1, :1].expand(3, 4, *SHAPE))[2, 3], expected[0, 0])
    assert len(calls) == 9 and native_part(scattering).otherwise.built is None


@pytest.mark.parametrize("backend", ["auto", "native"])
def test_process_wide_defaults_do_not_reach_the_core(backend):
    images = images_of()
    expected = scattering_of(backend)(images)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(scattering_of(backend)(images), expected)
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.device("meta"):
        scattering = scattering_of(backend)
        assert torch.equal(scattering(images), expected)
    assert torch.equal(scattering(images), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(scattering(images), expected)


def test_views_that_negate_lazily_are_computed():
    images = images_of()
    negated = torch.complex(images, images).conj().imag
    assert negated.is_neg() and torch.equal(scattering_of()(negated), scattering_of()(-images))


def gradient(scattering, images):
    leaf = images.clone().requires_grad_()
    scattering(leaf).square().sum().backward()
    return leaf.grad


def forward_gradient(scattering, images):
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(images, images.flip(0))
        return forward_ad.unpack_dual(scattering(dual)).tangent


class Marked(torch.Tensor):
    """A subclass that sees every operation on it."""


def through_a_subclass(scattering, images):
    found = scattering(images.as_subclass(Marked))
    assert type(found) is Marked
    return found.as_subclass(torch.Tensor)


def with_dynamo(scattering, images):
    torch.compiler.reset()
    return torch.compile(scattering, backend="eager")(images)


def traced(scattering, images):
    scattering(images.double())  # torch's part is made on first use, which must not be while the trace is taken
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.trace(scattering, images.flip(0))(images)


FOLLOWED = {
    "a gradient": gradient,
    "a parameter": lambda scattering, images: scattering(torch.nn.Parameter(images)).detach(),
    "forward mode": forward_gradient,
    "func.grad": lambda scattering, images: torch.func.grad(lambda x: scattering(x).square().sum())(images),
    "func.jvp": lambda scattering, images: torch.func.jvp(scattering, (images,), (images.flip(0),))[1],
    "func.jacrev": lambda scattering, images: torch.func.jacrev(lambda x: scattering(x).mean((0, -1, -2)))(images),
    "vmap": lambda scattering, images: torch.func.vmap(scattering)(images),
    "a subclass": through_a_subclass,
    "a graph": with_dynamo,
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore:There is a performance drop")
@pytest.mark.parametrize("follow", FOLLOWED.values(), ids=FOLLOWED)
def test_what_the_core_cannot_follow_is_left_to_torch(calls, follow):
    images = images_of()
    found, expected = follow(scattering_of(), images), follow(scattering_of("torch"), images)
    assert calls == [] and torch.equal(found, expected) and found.abs().max() > 0
    with pytest.raises((ValueError, torch._dynamo.exc.TorchDynamoException), match='choose backend="torch" or "auto"'):
        follow(scattering_of("native"), images)
    assert calls == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_filters_are_not_made_inside_a_graph():
    n_nodes = []
    for is_made in (True, False):
        scattering, images = scattering_of(), images_of()
        if is_made:
            scattering(images.double())
        graphs = []

        def record(graph, inputs, graphs=graphs):
            graphs.append(len(graph.graph.nodes))
            return graph.forward

        torch.compiler.reset()
        torch.compile(scattering, backend=record)(images)
        n_nodes.append(graphs)
    assert n_nodes[0] == n_nodes[1] != []


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore:There is a performance drop")
def test_traces_are_torchs():
    images = images_of()
    assert torch.equal(traced(scattering_of(), images), traced(scattering_of("torch"), images))


def test_nothing_is_native_while_compiling(calls, monkeypatch):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    images = images_of()
    assert torch.equal(scattering_of()(images), scattering_of("torch")(images)) and calls == []
    with pytest.raises(ValueError, match="a gradient or a trace"):
        scattering_of("native")(images)


def test_float64_is_computed_by_torch_and_refused_by_native(calls):
    images = images_of(dtype=torch.float64)
    assert torch.equal(scattering_of()(images), scattering_of("torch")(images)) and calls == []
    with pytest.raises(
        TypeError, match=r'float64, the native backend takes torch.uint8 and torch.float32: choose backend="torch"'
    ):
        scattering_of("native")(images)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.bool], ids=str)
def test_other_dtypes_are_refused(dtype):
    for backend in ("auto", "native"):
        with pytest.raises(TypeError, match="float32"):
            scattering_of(backend)(torch.zeros(SHAPE, dtype=dtype))


def test_other_devices_are_refused_by_native():
    with pytest.raises(BackendUnavailable, match="images are on meta, the native backend runs on the CPU"):
        scattering_of("native").to("meta")(images_of().to("meta"))


@pytest.mark.gpu
def test_auto_moves_to_a_gpu_and_back():
    scattering, images = scattering_of(), images_of()
    expected = scattering(images)
    torch.testing.assert_close(scattering.to("cuda")(images.cuda()).cpu(), expected)
    assert torch.equal(scattering.to("cpu")(images), expected)


@pytest.mark.parametrize("backend", ["auto", "native"])
@pytest.mark.parametrize("used", [False, True], ids=["fresh", "used"])
def test_copies_and_casts_compute_the_same_bits(backend, used):
    scattering, images = scattering_of(backend), images_of()
    if used and backend == "auto":
        scattering(images.double())
    expected, saved = scattering(images), io.BytesIO()
    torch.save(scattering, saved)
    saved.seek(0)
    copies = [copy.deepcopy(scattering), pickle.loads(pickle.dumps(scattering)), torch.load(saved, weights_only=False)]
    copies += [copy.deepcopy(scattering).half(), copy.deepcopy(scattering).double(), scattering.to(torch.bfloat16)]
    for other in copies:
        assert torch.equal(other(images), expected)
        assert other.backend == "native" and native_part(other).alone == (backend == "native")
        assert other.state_dict() == {} and list(other.parameters()) == []


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32], ids=str)
def test_leading_dimensions_are_kept_even_empty_ones(dtype):
    scattering = scattering_of("native")
    images = (255 * images_of(6)).to(dtype)
    expected = scattering(images)
    assert torch.equal(scattering(images[5]), expected[5])
    assert torch.equal(scattering(images.reshape(3, 1, 2, *SHAPE)), expected.reshape(3, 1, 2, *expected.shape[1:]))
    for leading in ((0,), (0, 3), (3, 0, 2)):
        assert scattering(torch.zeros(*leading, *SHAPE, dtype=dtype)).shape == (*leading, SPEC.n_paths, 4, 4)


@NEEDS_CORE
def test_what_records_operations_finds_torchs():
    scattering, images = scattering_of("auto"), images_of()
    expected = scattering_of("torch")(images)
    scattering(images.double())  # as for a trace: torch's part is made before
    recorded = make_fx(scattering)(images.flip(0))
    torch.testing.assert_close(recorded(images), expected, rtol=0, atol=0)
    with pytest.raises(ValueError, match="need a gradient or a trace"):
        make_fx(scattering_of("native"))(images)
