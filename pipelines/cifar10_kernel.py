"""CIFAR-10 from 100, 500 and 1000 labels by kernel ridge regression: python -m pipelines.cifar10_kernel --root DIR.

Nothing is trained by gradients. The features are square roots of the coefficients of stored views of the sample; the
classifier is one linear system.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import click
import numpy as np
import torch

from pipelines.data import Data, Part, Wanted, divide, open_store
from pipelines.metrics import accuracy
from pipelines.recipe import Options, recipe, say
from pipelines.report import report
from pipelines.samples import draw_sample, open_sample
from pipelines.train import Run
from scatcache import Cache, ScatteringSpec

NAME = "cifar10_kernel"
# Of each image, by how many are labelled.
VIEWS = {100: 20, 500: 10, 1000: 6}
SIZES, SMOKE_VIEWS = tuple(map(str, VIEWS)), 4
WIDTH, RIDGE = 1.0, 1e-2
# What --validate compares, on so many of the training images outside the sample.
WIDTHS, RIDGES, N_HELD_OUT = (0.5, 1.0, 2.0), (1e-3, 1e-2, 1e-1), 5000
BLOCK = 1000


@recipe
@click.option("--width", type=click.FloatRange(0, min_open=True), default=WIDTH, help="in mean square distances")
@click.option("--ridge", type=click.FloatRange(0, min_open=True), default=RIDGE, help="added to the diagonal")
@click.option("--n", "sizes", type=click.Choice(SIZES), multiple=True, default=SIZES, help="labels; may repeat")
def main(options: Options, width: float, ridge: float, sizes: tuple[str, ...]) -> None:
    """Classify CIFAR-10 from small samples, J=2: a Gaussian kernel on square roots of coefficients.

    Each seed draws its samples as the authors of the poster do. The first of the stored views of an image (20, 10 and 6
    with 100, 500 and 1000 labels) is plain, the others are their crops and mirror images; the test is on plain images,
    all of the test split. --validate compares widths and ridges on 5000 other training images.
    """
    spec = ScatteringSpec(J=2)
    split = "train" if options.validate else "test"
    tested = open_store(options, Wanted("cifar10", spec, size=32, splits=(split,)), keep=False)
    settings = list(product(WIDTHS, RIDGES)) if options.validate else [(width, ridge)]
    views_by_size = {64: SMOKE_VIEWS} if options.smoke else {int(n): VIEWS[int(n)] for n in sizes}
    runs, stores = [], [tested.describe()]
    for seed in options.seeds:
        results, started_s = {}, time.monotonic()
        for n_labels, views in views_by_size.items():
            sample = open_sample(options, n_labels, seed=seed, spec=spec, views=views)
            data = divide_sample(options, sample.caches[0], tested.caches[0], n_labels, seed=seed)
            results |= classify(data, settings, n_labels, device=options.device)
            stores.append(sample.describe())
            say(f"seed {seed}, {n_labels} labels: {results}")
        runs.append(Run(seed, results, time.monotonic() - started_s))
    hyperparameters = {"widths_and_ridges": settings, "views": views_by_size}
    report(NAME, runs, options=options, data=stores, hyperparameters=hyperparameters)


def divide_sample(options: Options, sample: Cache, tested: Cache, n_labels: int, *, seed: int) -> Data:
    """The sample and the test split; with --validate, where tested is the training split, images outside the sample."""
    if options.smoke or not options.validate:
        return divide(options, sample, tested, seed=seed)
    data = divide(replace(options, validate=False), sample, tested, seed=seed)
    others = np.setdiff1d(tested.readable, draw_sample(tested.labels, n_labels, seed=seed))
    rows = np.sort(np.random.default_rng(seed).permutation(others)[:N_HELD_OUT])
    return replace(data, test=Part("held_out", tested, rows, tested.labels))


def classify(data: Data, settings: Sequence[tuple[float, float]], n_labels: int, *, device: str) -> dict[str, float]:
    """Accuracies on the test part, one for each (width, ridge)."""
    roots = read_roots(data.train, data.train.rows)
    std, mean = torch.std_mean(roots, (0, 2, 3), keepdim=True)
    std.clamp_(min=1e-12)
    train = ((roots - mean) / std).flatten(1).to(device)
    blocks = [data.test.rows[start : start + BLOCK] for start in range(0, len(data.test), BLOCK)]
    tests = (((read_roots(data.test, rows) - mean) / std).flatten(1).to(device) for rows in blocks)
    to_train = torch.cat([square_distances(test, train) for test in tests])
    among = square_distances(train, train)
    targets = torch.nn.functional.one_hot(torch.from_numpy(data.train.labels[data.train.rows]), data.n_classes)
    labels, results = torch.from_numpy(data.test.labels[data.test.rows]), {}
    for width, ridge in settings:
        weights = solve(gaussian(among, width * among.mean()), targets.to(device), ridge=ridge)
        scores = gaussian(to_train, width * among.mean()) @ weights.float()
        name = f"{data.test.name}_accuracy_{n_labels}" + (f"_width_{width:g}_ridge_{ridge:g}" * (len(settings) > 1))
        results[name] = accuracy(scores.cpu(), labels)["accuracy"]
    return results


def read_roots(part: Part, rows: np.ndarray) -> torch.Tensor:
    """Square roots of coefficients, float32 (n, n_channels, h, w); rounding leaves some below 0, which become 0."""
    return torch.from_numpy(part.cache.coefficients(rows)).float().clamp_(min=0).sqrt_()


def square_distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(n, m) between the rows of a (n, d) and b (m, d)."""
    return (a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T).clamp_(min=0)


def gaussian(squares: torch.Tensor, scale: torch.Tensor | float) -> torch.Tensor:
    """The kernel exp(-|x - y|^2 / scale); scale: width times the mean square distance within the training set."""
    return (-squares / scale).exp_()


def solve(kernel: torch.Tensor, targets: torch.Tensor, *, ridge: float) -> torch.Tensor:
    """float64 (n, n_classes): weights a of (K + ridge I) a = y, y being the one-hot targets less 1/n_classes."""
    system = kernel.double()
    system.diagonal().add_(ridge)
    return torch.cholesky_solve(targets.double() - 1 / targets.shape[1], torch.linalg.cholesky(system))


if __name__ == "__main__":
    main()
