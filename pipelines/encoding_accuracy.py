"""What quantised coefficients cost classifiers of CIFAR-10: python -m pipelines.encoding_accuracy --root DIR.

Each is trained and tested on float32 coefficients and on the same rounded to steps; what is reported is the difference
on the same images, from the same start and in the same order.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import click
import numpy as np
import torch
from torch import nn

from pipelines.cifar10_kernel import RIDGE, WIDTH, gaussian, solve, square_distances
from pipelines.data import Data, Part, Wanted, divide, open_store
from pipelines.metrics import accuracy
from pipelines.recipe import Options, recipe, say
from pipelines.report import report
from pipelines.train import Run, seed_everything
from scatcache import ScatteringSpec

NAME = "encoding_accuracy"
# In standard deviations of a channel: the default of the encoding and its neighbours.
STEPS = ("0.4", "0.45", "0.5")
# Images of each split, of which the linear and the kernel classifier are trained on a part.
N_IMAGES, N_SAMPLE = 10_000, 2_000
EPOCHS, BATCH, LR, WIDTHS = 8, 100, 0.1, 64
# Of the mean square of a row.
LINEAR_RIDGE = 1.0
BLOCK = 1000

Coarsen = Callable[[torch.Tensor], torch.Tensor]


@recipe
@click.option(
    "--step", "steps", type=click.FloatRange(0, min_open=True), multiple=True, default=STEPS, help="may repeat"
)
def main(options: Options, steps: tuple[float, ...]) -> None:
    """Compare classifiers on coefficients rounded to steps with the same on float32, J=2.

    A linear one and a Gaussian kernel on square roots of the coefficients of 2000 images, and two convolutions on those
    of 10000; all are tested on 10000. NAME_step_0.5_lost is in points of accuracy, below 0 where rounding helped.
    """
    limited = options if options.smoke else replace(options, limit=options.limit or N_IMAGES)
    store = open_store(limited, Wanted("cifar10", ScatteringSpec(J=2), size=32, encoding="float32"))
    runs = []
    for seed in options.seeds:
        started_s = time.monotonic()
        data = divide(limited, *store.caches, seed=seed)
        deviation = torch.from_numpy(store.caches[0].channel_std).float()[:, None, None]
        exact = compare(data, seed=seed, coarsen=lambda S: S, options=options)
        results = {f"{name}_float32": value for name, value in exact.items()}
        for step in steps:
            found = compare(data, seed=seed, coarsen=partial(round_to, steps=step * deviation), options=options)
            results |= {f"{name}_step_{step:g}_lost": exact[name] - value for name, value in found.items()}
            say(f"seed {seed}, step {step:g}: {found}, float32: {exact}")
        runs.append(Run(seed, results, time.monotonic() - started_s))
    hyperparameters = {"steps": steps, "sample": N_SAMPLE, "width": WIDTH, "ridge": RIDGE, "linear_ridge": LINEAR_RIDGE}
    hyperparameters |= {"epochs": options.epochs or EPOCHS, "batch": BATCH, "lr": LR, "channels": WIDTHS}
    report(NAME, runs, options=options, data=[store.describe()], hyperparameters=hyperparameters)


def round_to(S: torch.Tensor, *, steps: torch.Tensor) -> torch.Tensor:
    """S as a reader gets it from integers."""
    return torch.round(S / steps) * steps


def compare(data: Data, *, seed: int, coarsen: Coarsen, options: Options) -> dict[str, float]:
    """Accuracies on the test part of each classifier."""
    sample = replace(data.train, rows=draw_rows(data.train, N_SAMPLE, seed=seed))
    found = classify(sample, data.test, coarsen, n_classes=data.n_classes)
    return {**found, "convolutional": train_network(data, coarsen, seed=seed, options=options)}


def draw_rows(part: Part, n_rows: int, *, seed: int) -> np.ndarray:
    """As many rows of each class, n_rows in all where there are so many; increasing."""
    dice, labels = np.random.default_rng(seed), part.labels[part.rows]
    classes = np.unique(labels)
    drawn = [dice.permutation(part.rows[labels == label])[: n_rows // len(classes)] for label in classes]
    return np.sort(np.concatenate(drawn))


def read(part: Part, rows: np.ndarray, coarsen: Coarsen) -> torch.Tensor:
    """(n, n_channels, h, w) float32."""
    return coarsen(torch.from_numpy(part.cache.coefficients(rows)).float())


def classify(train: Part, test: Part, coarsen: Coarsen, *, n_classes: int) -> dict[str, float]:
    """A linear and a kernel classifier, by one linear system each, on standardised square roots."""
    roots = read(train, train.rows, coarsen).clamp_(min=0).sqrt_()
    std, mean = torch.std_mean(roots, (0, 2, 3), keepdim=True)
    std.clamp_(min=1e-12)
    x = ((roots - mean) / std).flatten(1)
    among, products, to_train, to_products = square_distances(x, x), x @ x.T, [], []
    for start in range(0, len(test), BLOCK):
        rows = test.rows[start : start + BLOCK]
        z = ((read(test, rows, coarsen).clamp_(min=0).sqrt_() - mean) / std).flatten(1)
        to_train.append(square_distances(z, x))
        to_products.append(z @ x.T)
    targets = torch.nn.functional.one_hot(torch.from_numpy(train.labels[train.rows]), n_classes)
    labels = torch.from_numpy(test.labels[test.rows])
    scale = WIDTH * among.mean()
    weights = solve(gaussian(among, scale), targets, ridge=RIDGE)
    kernel = gaussian(torch.cat(to_train), scale) @ weights.float()
    weights = solve(products, targets, ridge=LINEAR_RIDGE * float(products.diagonal().mean()))
    linear = torch.cat(to_products) @ weights.float()
    return {"linear": accuracy(linear, labels)["accuracy"], "kernel": accuracy(kernel, labels)["accuracy"]}


def make_network(n_channels: int, n_classes: int) -> nn.Sequential:
    """Two convolutions, means over a grid of 2 x 2, and a linear layer."""
    layers: list[nn.Module] = [nn.BatchNorm2d(n_channels)]
    for n_inputs in (n_channels, WIDTHS):
        layers += [nn.Conv2d(n_inputs, WIDTHS, 3, padding=1, bias=False), nn.BatchNorm2d(WIDTHS), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * WIDTHS, n_classes))


def train_network(data: Data, coarsen: Coarsen, *, seed: int, options: Options) -> float:
    """Accuracy of the network, of which seed decides start and order."""
    seed_everything(seed)
    order = torch.Generator().manual_seed(seed)
    network = make_network(data.train.cache.row_shape[0], data.n_classes)
    epochs, n_batches = options.epochs or EPOCHS, -(-len(data.train) // BATCH)
    S, labels = read(data.train, data.train.rows, coarsen), torch.from_numpy(data.train.labels[data.train.rows])
    optimizer = torch.optim.SGD(network.parameters(), lr=LR, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=epochs * n_batches)
    for _ in range(epochs):
        for places in torch.randperm(len(S), generator=order).split(BATCH):
            loss = nn.functional.cross_entropy(network(S[places]), labels[places], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    network.eval()
    with torch.inference_mode():
        blocks = [data.test.rows[start : start + BLOCK] for start in range(0, len(data.test), BLOCK)]
        scores = torch.cat([network(read(data.test, rows, coarsen)) for rows in blocks])
    return accuracy(scores, torch.from_numpy(data.test.labels[data.test.rows]))["accuracy"]


if __name__ == "__main__":
    main()
