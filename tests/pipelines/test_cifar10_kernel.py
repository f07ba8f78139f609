from dataclasses import replace

import numpy as np
import torch

import scatcache
from pipelines import cifar10_kernel
from pipelines.cifar10_kernel import gaussian, solve, square_distances
from pipelines.samples import draw_sample


def test_distances_are_those_of_all_pairs():
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(5, 30)), generator.normal(size=(7, 30))
    expected = ((a[:, None] - b[None]) ** 2).sum(2)
    np.testing.assert_allclose(square_distances(torch.from_numpy(a), torch.from_numpy(b)), expected)


def test_ridge_regression_is_the_linear_system(photos):
    """Against NumPy, from the coefficients on, on two thirds of the photographs."""
    train, test = np.arange(0, 64)[np.arange(64) % 3 > 0], np.arange(0, 64, 3)
    S = np.sqrt(np.maximum(photos.coefficients(slice(None)).astype(np.float64), 0))
    S = (S - S[train].mean((0, 2, 3), keepdims=True)) / S[train].std((0, 2, 3), keepdims=True, ddof=1)
    x = S.reshape(64, -1)
    squares = ((x[:, None, ::16] - x[None, :, ::16]) ** 2).sum(2)
    among, to_train = squares[np.ix_(train, train)], squares[np.ix_(test, train)]
    targets = np.eye(7)[photos.labels[train]]
    expected = np.exp(-to_train / among.mean()) @ np.linalg.solve(
        np.exp(-among / among.mean()) + 1e-2 * np.eye(len(train)), targets - 1 / 7
    )
    x = torch.from_numpy(x[:, ::16])
    distances = square_distances(x[train], x[train])
    weights = solve(gaussian(distances, distances.mean()), torch.from_numpy(targets), ridge=1e-2)
    scores = gaussian(square_distances(x[test], x[train]), distances.mean()) @ weights
    np.testing.assert_allclose(scores, expected, rtol=1e-8, atol=1e-10)


def test_smoke_run_beats_the_commonest_photograph(run, photos):
    ended = run("cifar10_kernel", "--smoke", "--seed", "0-2")
    assert ended.code == 0, ended.err
    commonest = 100 * np.bincount(photos.labels).max() / len(photos)
    assert ended.report["summary"]["test_accuracy_64"]["mean"] > commonest + 20
    assert [path.name for path in ended.folder.iterdir()] == ["cifar10_kernel-smoke.json"]
    assert {store["splits"]["all"]["rows"] for store in ended.report["data"]} == {64, 256}


def test_sample_of_cifar10_is_classified_and_permuted_labels_leave_chance(run, cifar10_root, tmp_path):
    arguments = ("--n", 100, "--root", cifar10_root, "--limit", 2000, "--stores", tmp_path)
    straight = run("cifar10_kernel", *arguments)
    permuted = run("cifar10_kernel", *arguments, "--permute-labels", results="permuted")
    assert straight.code == permuted.code == 0, straight.err + permuted.err
    (found,), (chance,) = (list(ended.report["summary"].values()) for ended in (straight, permuted))
    assert found["mean"] > 38 and 4 < chance["mean"] < 20
    assert straight.report["hyperparameters"]["views"] == {"100": 20}


def test_validation_is_on_training_images_outside_the_sample(options, cifar10_root):
    source = scatcache.open_source("cifar10", root=cifar10_root)
    labels = np.array([row.label for row in source.find("train").listing.rows])

    class Whole:
        """The training split as far as dividing looks at it."""

        def __init__(self):
            self.labels, self.readable, self.views = labels, np.arange(50_000), np.zeros(50_000, np.uint16)
            self.image_index = np.arange(50_000)

    options = replace(options, smoke=False, validate=True)
    sampled = draw_sample(labels, 500, seed=3)
    part = cifar10_kernel.divide_sample(options, Whole(), Whole(), 500, seed=3).test
    assert part.name == "held_out" and len(part) == 5000 == len(np.unique(part.rows))
    assert not np.isin(part.rows, sampled).any()


def test_validation_compares_widths_and_ridges(run):
    ended = run("cifar10_kernel", "--smoke", "--validate")
    assert len(ended.report["summary"]) == 9
    assert all(name.startswith("held_out_accuracy_64_width_") for name in ended.report["summary"])


def test_width_that_is_none_is_refused(run):
    assert run("cifar10_kernel", "--smoke", "--width", 0).code == 2
