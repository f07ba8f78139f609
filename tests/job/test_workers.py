import pytest
import torch

from scatcache.errors import BackendUnavailable, UsageError
from scatcache.images.catalogue import open_object
from scatcache.job.settings import RunOptions
from scatcache.job.workers import check_workers, choose_backend
from scatcache.scattering.backends import resolve_backend


def test_cuda_is_refused_where_there_is_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BackendUnavailable):
        choose_backend(RunOptions(device="cuda"))
    assert choose_backend(RunOptions()) == ("cpu", resolve_backend("auto"), "no CUDA device")


def test_the_reason_says_what_was_asked_for():
    options = RunOptions(device="cpu", backend="torch")
    assert choose_backend(options) == (
        "cpu",
        "torch",
        "cpu was asked for, torch was asked for",
    )


@pytest.mark.parametrize("options", [{"processes": True}, {"scheduler": "tcp://there:1"}])
def test_a_dataset_object_is_read_in_this_process_alone(options):
    source = open_object([(torch.zeros(4, 4, 3, dtype=torch.uint8).numpy(), 0)], name="mine")
    check_workers(source, RunOptions())
    with pytest.raises(UsageError, match="leave processes and scheduler out"):
        check_workers(source, RunOptions(**options))
