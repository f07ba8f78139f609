import os

import pytest
import torch

import scatcache
from pipelines.checkpoint import Checkpoint

CPU = torch.device("cpu")


def test_state_is_read_as_it_was_written(tmp_path):
    state = {"weights": torch.arange(3.0), "records": [{"epoch": 0, "loss": 0.5}]}
    Checkpoint(tmp_path / "new" / "a.checkpoint", {"seed": 1}, 0).write(state)
    read = Checkpoint(tmp_path / "new" / "a.checkpoint", {"seed": 1}, 0).read(CPU)
    assert torch.equal(read["weights"], state["weights"]) and read["records"] == state["records"]


def test_nothing_is_read_where_there_is_none(tmp_path):
    assert Checkpoint(tmp_path / "a.checkpoint", {}, 0).read(CPU) is None


def test_state_of_another_run_is_refused(tmp_path):
    Checkpoint(tmp_path / "a.checkpoint", {"seed": 1, "k": 8}, 0).write({})
    with pytest.raises(scatcache.SettingsDiffer, match=r"a\.checkpoint .* differs in seed") as caught:
        Checkpoint(tmp_path / "a.checkpoint", {"seed": 2, "k": 8}, 0).read(CPU)
    assert caught.value.fields == ("seed",)


def test_failed_writing_leaves_the_earlier_file(tmp_path):
    checkpoint = Checkpoint(tmp_path / "a.checkpoint", {}, 0)
    checkpoint.write({"step": 1})
    with pytest.raises((AttributeError, TypeError, RuntimeError)):
        checkpoint.write({"step": (number for number in range(2))})
    assert os.listdir(tmp_path) == ["a.checkpoint"] and checkpoint.read(CPU) == {"step": 1}


def test_damaged_file_is_told(tmp_path):
    (tmp_path / "a.checkpoint").write_text("text")
    with pytest.raises(scatcache.ScatcacheError, match=r"a\.checkpoint does not hold what torch\.save writes"):
        Checkpoint(tmp_path / "a.checkpoint", {}, 0).read(CPU)


def test_disk_that_refuses_stops_nothing(tmp_path, monkeypatch, capsys):
    checkpoint = Checkpoint(tmp_path / "a.checkpoint", {}, 0)
    checkpoint.write({"step": 1})

    def refuse(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    checkpoint.write({"step": 2})
    assert "could not be written" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["a.checkpoint"] and checkpoint.read(CPU) == {"step": 1}


def test_it_is_written_once_an_interval(tmp_path):
    seldom, often = (Checkpoint(tmp_path / f"{s}.checkpoint", {}, s) for s in (3600, 0))
    for checkpoint in (seldom, often):
        checkpoint.write_when_due(lambda: {"step": 1})
    assert os.listdir(tmp_path) == ["0.checkpoint"]
