import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import scatcache
from pipelines import heads
from pipelines.data import Wanted, divide, open_store
from pipelines.train import seed_everything, train
from pipelines.training import Training
from scatcache import ScatteringSpec
from tests.runs import kill_group, wait_for

ROOT = Path(__file__).resolve().parents[2]
TRAINING = Training(epochs=3, batch_size=10, lr=0.05, weight_decay=1e-3, drops=(2,))


@dataclass
class Interrupted:
    """Leaves batches as they are; like Ctrl-C when it has seen `after` of them. Its repr tells nothing of it."""

    after: int

    def __call__(self, S: torch.Tensor, *, spec: object, generator: torch.Generator) -> torch.Tensor:
        self.after -= 1
        if self.after < 0:
            raise KeyboardInterrupt
        return S

    def __repr__(self) -> str:
        return "Interrupted"


def train_head(photos, options, *, after: int = 1000, training: Training = TRAINING):
    seed_everything(0)
    model = heads.cifar_wrn(photos.spec.n_channels, 7, k=1, dropout=0.3)
    data = divide(options, photos, seed=0)
    run = train(model, data, training, seed=0, options=options, name="head", augment=Interrupted(after))
    return model, [{**record, "elapsed_s": 0} for record in run.epochs]


@pytest.mark.parametrize("steps", [5, 12], ids=str)
def test_interrupted_run_ends_in_the_same_weights(photos, options, steps):
    """48 rows in batches of 10 are 5 steps an epoch: within epochs, and at their ends."""
    options = replace(options, checkpoint_minutes=0)
    straight, records = train_head(photos, replace(options, results=options.results / "straight"))
    with pytest.raises(KeyboardInterrupt):
        train_head(photos, options, after=steps)
    assert (options.results / "head.checkpoint").exists()
    resumed, resumed_records = train_head(photos, options)
    assert resumed_records == records
    for key, value in straight.state_dict().items():
        assert torch.equal(resumed.state_dict()[key], value), key


def test_finished_run_is_not_trained_again_until_it_is_reported(photos, options):
    """As when a later seed is interrupted."""
    trained, records = train_head(photos, options)
    again, records_again = train_head(photos, options, after=0)
    assert records_again == records
    assert all(torch.equal(again.state_dict()[key], value) for key, value in trained.state_dict().items())


def test_checkpoint_of_another_run_is_refused(photos, options):
    options = replace(options, checkpoint_minutes=0)
    with pytest.raises(KeyboardInterrupt):
        train_head(photos, options, after=2)
    with pytest.raises(scatcache.SettingsDiffer, match="differs in training") as caught:
        train_head(photos, options, training=replace(TRAINING, lr=0.06))
    assert caught.value.fields == ("training",)


def test_checkpoint_of_other_first_weights_is_refused(photos, options):
    """As of another encoder, of the same layers."""
    data, training = divide(options, photos, seed=0), TRAINING
    for factor in (1.0, 2.0):
        seed_everything(0)
        model = heads.linear(photos.row_shape, 7)
        model[-1].weight.data += factor
        if factor == 1.0:
            train(model, data, training, seed=0, options=options, name="head")
        else:
            with pytest.raises(scatcache.SettingsDiffer, match="differs in model"):
                train(model, data, training, seed=0, options=options, name="head")


def test_checkpoint_of_another_store_is_refused(photos, options):
    for grid in ("kymatio", "centered"):
        cache = open_store(options, Wanted("cifar10", ScatteringSpec(J=2, grid=grid), size=32)).caches[0]
        model = heads.linear(photos.row_shape, 7)
        nn.init.zeros_(model[-1].bias)
        if grid == "kymatio":
            train(model, divide(options, cache, seed=0), TRAINING, seed=0, options=options, name="head")
        else:
            with pytest.raises(scatcache.SettingsDiffer, match="differs in rows, tested"):
                train(model, divide(options, cache, seed=0), TRAINING, seed=0, options=options, name="head")


def test_killed_recipe_ends_in_the_same_weights(stores, run, tmp_path):
    arguments = ["--smoke", "--epochs", "4", "--save-model", "--checkpoint-minutes", "0"]
    straight = run("cifar10_wrn", *arguments, results="straight")
    killed = tmp_path / "killed"
    command = [sys.executable, "-m", "pipelines.cifar10_wrn", *arguments, "--stores", stores, "--results", killed]
    process = subprocess.Popen(
        list(map(str, command)),
        cwd=ROOT,
        text=True,
        start_new_session=True,
        env={"OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
        stderr=subprocess.DEVNULL,
    )
    wait_for(lambda: list(killed.glob("*.checkpoint")))
    kill_group(process)
    assert not list(killed.glob("*.json"))
    resumed = run("cifar10_wrn", *arguments, results="killed")
    assert not list(killed.glob("*.checkpoint"))
    assert "goes on from its checkpoint" in resumed.err
    expected, found = (torch.load(*ended.folder.glob("*.pt"), weights_only=True) for ended in (straight, resumed))
    assert all(torch.equal(found[key], value) for key, value in expected.items())


def test_loss_that_is_not_finite_stops_the_run(photos, options):
    with pytest.raises(scatcache.ScatcacheError, match=r"the loss is (nan|inf) in epoch 1"):
        train_head(photos, options, training=replace(TRAINING, lr=float("inf")))


def test_last_epoch_is_reported_and_not_the_best(photos, options):
    seed_everything(0)
    model = heads.linear(photos.row_shape, 7)
    data = divide(options, photos, seed=0)
    training = Training(epochs=3, batch_size=16, lr=1e-3, optimizer="adam")
    # Worse by each look at it, whatever the model.
    looks = iter((90.0, 50.0, 10.0))
    run = train(
        model,
        data,
        training,
        seed=0,
        options=options,
        name="n",
        measure=lambda scores, labels: {"accuracy": next(looks)},
    )
    assert [record["test_accuracy"] for record in run.epochs] == [90.0, 50.0, 10.0]
    assert run.results == {"test_accuracy": 10.0}


def test_losses_and_accuracies_are_those_of_the_rows(photos, options):
    """With a learning rate of 0 every batch sees the first weights, which a plain loop can see too."""
    data = divide(options, photos, seed=0)
    seed_everything(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(243 * 64, 7))
    run = train(model, data, Training(epochs=1, batch_size=10, lr=0.0), seed=0, options=options, name="n")
    for part, name in ((data.train, "train"), (data.test, "test")):
        S = torch.from_numpy(photos.coefficients(part.rows).astype(np.float32))
        scores, y = model(S).detach(), torch.from_numpy(photos.labels[part.rows])
        assert run.epochs[0][f"{name}_accuracy"] == pytest.approx(100 * (scores.argmax(1) == y).float().mean().item())
        if name == "train":
            assert run.epochs[0]["loss"] == pytest.approx(nn.functional.cross_entropy(scores, y).item(), rel=1e-5)


def test_ctrl_c_keeps_a_checkpoint_and_the_same_command_goes_on(stores, run, tmp_path):
    arguments = ["--smoke", "--epochs", "20", "--save-model"]
    straight = run("cifar10_wrn", *arguments, results="straight")
    stopped = tmp_path / "stopped"
    command = [sys.executable, "-m", "pipelines.cifar10_wrn", *arguments, "--stores", stores, "--results", stopped]
    process = subprocess.Popen(
        list(map(str, command)),
        cwd=ROOT,
        text=True,
        env={"OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
        stderr=subprocess.PIPE,
    )
    assert "epoch 1 of 20" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and err.endswith("interrupted: give the same command again\n")
    resumed = run("cifar10_wrn", *arguments, results="stopped")
    assert "goes on from its checkpoint" in resumed.err
    expected, found = (torch.load(*ended.folder.glob("*.pt"), weights_only=True) for ended in (straight, resumed))
    assert all(torch.equal(found[key], value) for key, value in expected.items())
