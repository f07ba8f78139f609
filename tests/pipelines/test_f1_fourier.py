import itertools

import numpy as np
import pytest
import torch

from pipelines import angular, f1_fourier, heads
from pipelines.data import divide
from pipelines.train import score

# Enough to tell photographs apart.
TRAINED = ("--epochs", 40, "--seed", "0-4", "--width", 32, "--hidden", 64)
WAYS = ("fourier", "random", "weights")


def test_smoke_run_draws_and_tells_of_every_way_to_zero(run):
    ended = run("f1_fourier", "--smoke")
    assert ended.code == 0, ended.err
    names = sorted(path.name for path in ended.folder.iterdir())
    assert names == ["f1_fourier-smoke-angles.png", "f1_fourier-smoke.json", "f1_fourier-smoke.png"]
    (one,) = ended.report["runs"]
    for way in WAYS:
        curve = one["accuracy_by_percentage"][way]
        assert list(map(int, curve)) == [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95]
        assert curve["0"] == one["test_accuracy"] and curve["80"] == one[f"test_accuracy_{way}_80"]
        assert one[f"points_lost_{way}_80"] == pytest.approx(curve["0"] - curve["80"])
    assert one["round_trip_error"] < 1e-14
    assert "accuracy_by_percentage" not in ended.out and "points_lost_fourier_80" in ended.out


def test_fourier_coefficients_go_at_less_cost_than_random_ones(run):
    ended = run("f1_fourier", "--smoke", *TRAINED)
    mean = {name: of["mean"] for name, of in ended.report["summary"].items()}
    assert mean["test_accuracy"] > 65
    assert mean["points_lost_fourier_80"] < 6 < 15 < mean["points_lost_random_80"]
    for one in ended.report["runs"]:
        energy = one["energy_by_frequency"]
        assert sum(energy["order_1"]) == pytest.approx(1) and max(energy["order_1"]) == energy["order_1"][0]
        assert energy["order_2"][0][0] == max(max(line) for line in energy["order_2"])


def test_permuted_labels_leave_what_the_commonest_photograph_gives(run, photos):
    ended = run("f1_fourier", "--smoke", "--permute-labels", *TRAINED)
    assert ended.report["summary"]["test_accuracy"]["mean"] < 100 * np.bincount(photos.labels).max() / len(photos) + 5


def test_the_network_gets_its_own_layer_back(options, photos):
    data = divide(options, photos, seed=0)
    torch.manual_seed(0)
    model = heads.SLE(243, 64, data.n_classes, width=8, hidden=8)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    scores, _ = score(model, data.test, device="cpu")
    own = model.local[1].weight.detach()[:, :, 0, 0].clone()
    other = f1_fourier.score_with(model, torch.zeros_like(own), data, device="cpu")
    assert not torch.equal(other, scores)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert torch.equal(f1_fourier.score_with(model, own, data, device="cpu"), scores)


def test_accuracy_by_percentage_is_that_of_the_zeroed_layer(options, photos):
    data = divide(options, photos, seed=0)
    model = heads.SLE(243, 64, data.n_classes, width=8, hidden=8)
    table = photos.to_xarray()
    blocks = angular.list_blocks({name: table[name].values for name in angular.FIELDS})
    F1 = model.local[1].weight.detach()[:, :, 0, 0].clone()
    zeroed = [f1_fourier.zero(F1, blocks, percentage, seed=0) for percentage in (0, 80)]
    assert list(zeroed[0]) == list(WAYS) and all(torch.equal(weights, F1) for weights in zeroed[0].values())
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(zeroed[1].values(), 2))
    assert torch.equal(zeroed[1]["fourier"], angular.zero_fourier(F1, blocks, 0.8))
    assert torch.equal(zeroed[1]["random"], angular.zero_at_random(F1, blocks, 0.8, seed=0))
    assert torch.equal(zeroed[1]["weights"], angular.zero_weights(F1, blocks, 0.8))
