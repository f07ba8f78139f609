import pytest
import torch

from scatcache.errors import BackendUnavailable
from scatcache.scattering import backends, fused
from scatcache.scattering.backends import build_backend, resolve_backend, resolve_device
from scatcache.scattering.native.library import Choice
from scatcache.scattering.native.torch_module import NativeScattering
from scatcache.scattering.torch_fft import TorchScattering
from scatcache.spec import ScatteringSpec


def test_auto_is_native_where_there_is_a_core_and_torch_elsewhere(monkeypatch):
    for core, expected in (("portable", "native"), (None, "torch")):
        monkeypatch.setattr(backends, "choose_core", lambda core=core: Choice(core, "a reason"))
        assert resolve_backend("auto") == resolve_backend(expected) == expected


def test_auto_is_fused_on_cuda_where_cupy_runs_and_torch_elsewhere(monkeypatch):
    for obstacle, expected in (("", "fused"), ("it rains", "torch")):
        monkeypatch.setattr(backends, "fused_obstacle", lambda obstacle=obstacle: obstacle)
        assert resolve_backend("auto", "cuda") == resolve_backend(expected, "cuda") == expected


def test_auto_is_a_backend_that_runs_here():
    spec = ScatteringSpec(J=2, L=2)
    modules = {"native": NativeScattering, "torch": TorchScattering}
    auto = build_backend("auto", spec, (8, 8))
    assert type(auto.on_cpu) is modules[resolve_backend("auto")]
    assert type(build_backend("torch", spec, (8, 8))) is TorchScattering


def test_fused_is_refused_where_it_does_not_run(monkeypatch):
    monkeypatch.setattr(backends, "fused_obstacle", lambda: "it rains")
    with pytest.raises(BackendUnavailable, match="does not run here: it rains; choose the backend torch instead"):
        build_backend("fused", ScatteringSpec(J=2), (32, 32))
    monkeypatch.setattr(backends, "fused_obstacle", lambda: "")
    with pytest.raises(BackendUnavailable, match="runs on CUDA devices, not on cpu: choose the backend auto"):
        resolve_backend("fused", "cpu")


def test_without_cuda_fused_says_so(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    fused.fused_obstacle.cache_clear()
    try:
        assert fused.fused_obstacle() == f"torch {torch.__version__} sees no CUDA device"
    finally:
        fused.fused_obstacle.cache_clear()


def test_native_is_refused_where_it_does_not_run(monkeypatch):
    monkeypatch.setattr(backends, "choose_core", lambda: Choice(None, "it rains"))
    with pytest.raises(BackendUnavailable, match="does not run here: it rains; choose the backend torch instead"):
        build_backend("native", ScatteringSpec(J=2), (32, 32))
    with pytest.raises(BackendUnavailable, match="runs on the CPU, not on cuda:1: choose the backend torch"):
        resolve_backend("native", "cuda:1")


@pytest.mark.parametrize("name", ["", "numpy", "Torch"])
def test_unknown_backends_are_refused_by_a_list_of_names(name):
    with pytest.raises(ValueError, match="expected one of auto, fused, native, torch"):
        build_backend(name, ScatteringSpec(J=2), (32, 32))


def test_absent_devices_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for device in ("cuda", "cuda:3", torch.device("cuda")):
        with pytest.raises(BackendUnavailable, match="sees 0 CUDA devices"):
            resolve_device(device)
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("device", ["gpu", "meta", "cuda:x", ""])
def test_other_devices_are_refused(device):
    with pytest.raises(ValueError, match="expected cpu, cuda or cuda:N"):
        resolve_device(device)
