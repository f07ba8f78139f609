"""Which angular frequencies the first layer on scattering coefficients uses: python -m pipelines.f1_fourier --root DIR.

The poster's analysis of F1, on CIFAR-10 in place of ImageNet: a shared local encoder is trained, the weights of its
first 1x1 layer are taken to the Fourier domain along the angles, the smallest coefficients are zeroed, and the network
is tested as it then is, without more training. On the poster 80% cost 2 points.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import click
import torch

import scatcache
from pipelines import angular, heads
from pipelines.data import Data, Wanted, divide, open_store
from pipelines.f1_picture import draw_angles
from pipelines.metrics import accuracy
from pipelines.recipe import Options, recipe
from pipelines.report import report
from pipelines.train import Run, score, seed_everything, train
from pipelines.training import Training
from scatcache import ScatteringSpec

NAME = "f1_fourier"
PERCENTAGES = (0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95)
POSTER = 80
START = 0.1
# What is zeroed: the smallest Fourier coefficients, as many of them at random, as many of the weights themselves.
WAYS = ("fourier", "random", "weights")


@recipe
@click.option("--width", type=click.IntRange(1), default=128, help="of the three 1x1 layers")
@click.option("--hidden", type=click.IntRange(1), default=256, help="width of the two layers behind them")
@click.option("--weight-decay", type=click.FloatRange(0), default=1e-3, help="of all weights")
@click.option("--start", type=click.FloatRange(0, min_open=True), default=START, help="times F1's usual first weights")
def main(options: Options, width: int, hidden: int, weight_decay: float, start: float) -> None:
    """Zero the smallest angular Fourier coefficients of a trained first layer, and test what is left.

    The percentage is one of the coefficients of orders 1 and 2, each filter and each order normalised for the ranking;
    order 0, one channel of a colour, has no angle and stays. Two controls zero as many Fourier coefficients at random,
    and the smallest of the weights themselves.

    F1 starts a tenth as large as usual, for random weights are spread over all frequencies, and would still be there at
    the end at those that training has no use for; batch normalisation makes a filter's size of no other consequence.
    The poster says nothing of that. The start and the decay were chosen by --validate.
    """
    store = open_store(options, Wanted("cifar10", ScatteringSpec(J=2, grid="centered"), size=32))
    training = Training(epochs=8, batch_size=128, lr=0.1, weight_decay=weight_decay).asked(options)
    channels = store.caches[0].to_xarray()
    blocks = angular.list_blocks({name: channels[name].values for name in angular.FIELDS})
    flip = scatcache.RandomFlip()
    recipe_name = NAME if start == START else f"{NAME}-start{start:g}"
    runs = []
    for seed in options.seeds:
        seed_everything(seed)
        data = divide(options, *store.caches, seed=seed)
        n_channels, height, columns = data.train.cache.row_shape
        model = heads.SLE(n_channels, height * columns, data.n_classes, width=width, hidden=hidden)
        model.local[1].weight.data.mul_(start)
        name = f"{recipe_name}{options.suffix}-seed{seed}"
        run = train(model, data, training, seed=seed, options=options, name=name, augment=flip)
        runs.append(analyse(run, model, data, blocks, device=options.device))
    hyperparameters = {**asdict(training), "width": width, "hidden": hidden, "start": start, "augment": repr(flip)}
    report(recipe_name, runs, options=options, data=[store.describe()], hyperparameters=hyperparameters)
    draw_angles(runs, options.results / f"{recipe_name}{options.suffix}-angles.png", percentages=PERCENTAGES)


def analyse(run: Run, model: heads.SLE, data: Data, blocks: Sequence[angular.Block], *, device: str) -> Run:
    """The run with what it costs to zero: accuracies and points lost at 80%, and as tables the curves and spectra."""
    F1 = model.local[1].weight.detach()[:, :, 0, 0].cpu()
    whole, labels = score(model, data.test, device=device)
    curves = {way: [] for way in WAYS}
    for percentage in PERCENTAGES:
        for way, weights in zero(F1, blocks, percentage, seed=run.seed).items():
            scores = score_with(model, weights, data, device=device)
            # The same layer to the last bit; a GPU may add up otherwise at each call.
            assert percentage or torch.equal(weights, F1), f"{way}: other weights with nothing zeroed"
            assert percentage or device != "cpu" or torch.equal(scores, whole), f"{way}: other scores"
            curves[way].append(accuracy(scores, labels)["accuracy"])
    results, name = dict(run.results), f"{data.test.name}_accuracy"
    for way in WAYS:
        results[f"{name}_{way}_{POSTER}"] = curves[way][PERCENTAGES.index(POSTER)]
        results[f"points_lost_{way}_{POSTER}"] = curves[way][0] - curves[way][PERCENTAGES.index(POSTER)]
    results["round_trip_error"] = angular.measure_round_trip(F1, blocks)
    return replace(run, results=results, tables=describe(F1, blocks, curves))


def zero(F1: torch.Tensor, blocks: Sequence[angular.Block], percentage: int, *, seed: int) -> dict[str, torch.Tensor]:
    """By way, F1 (width, n_channels) with that percentage zeroed."""
    fraction = percentage / 100
    sparse = (
        angular.zero_fourier(F1, blocks, fraction),
        angular.zero_at_random(F1, blocks, fraction, seed=seed),
        angular.zero_weights(F1, blocks, fraction),
    )
    return dict(zip(WAYS, sparse, strict=True))


def score_with(model: heads.SLE, F1: torch.Tensor, data: Data, *, device: str) -> torch.Tensor:
    """Scores of the test part by the model with F1 in place of its own first layer, which it gets back."""
    weight = model.local[1].weight.data
    trained = weight.clone()
    weight[:, :, 0, 0] = F1.to(weight.device)
    scores, _ = score(model, data.test, device=device)
    weight.copy_(trained)
    return scores


def describe(
    F1: torch.Tensor, blocks: Sequence[angular.Block], curves: dict[str, list[float]]
) -> dict[str, dict[str, Any]]:
    """For the report: accuracies by percentage, and the mean energy of a filter by order and angular frequency."""
    by_way = {way: dict(zip(map(str, PERCENTAGES), values, strict=True)) for way, values in curves.items()}
    spectra = {f"order_{block.order}": angular.measure_energy(F1, block).tolist() for block in blocks}
    return {"accuracy_by_percentage": by_way, "energy_by_frequency": spectra}


if __name__ == "__main__":
    main()
