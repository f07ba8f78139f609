import pytest
import torch

from scatcache.errors import BackendUnavailable
from scatcache.scattering.backends import build_backend, resolve_backend, resolve_device
from scatcache.spec import ScatteringSpec


def test_auto_is_a_backend_that_runs_here():
    assert resolve_backend("auto") == resolve_backend("torch") == "torch"


@pytest.mark.parametrize("name", ["", "numpy", "Torch"])
def test_unknown_backends_are_refused_by_a_list_of_names(name):
    with pytest.raises(ValueError, match="expected one of auto, torch"):
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
