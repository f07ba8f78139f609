"""Scattering and a wide residual network on CIFAR-10 (the poster's 93.1%): python -m pipelines.cifar10_wrn."""

from dataclasses import asdict

import click

import scatcache
from pipelines import heads
from pipelines.data import Wanted, divide, open_store
from pipelines.recipe import Options, recipe
from pipelines.report import report
from pipelines.train import seed_everything, train
from pipelines.training import Training
from scatcache import ScatteringSpec

NAME = "cifar10_wrn"


@recipe
@click.option("--k", type=click.IntRange(1), default=8, help="width of the network; the poster's figure is of 32")
@click.option("--dropout", type=click.FloatRange(0, 1, max_open=True), default=0.0, help="between convolutions")
@click.option("--views", type=click.IntRange(2), help="stored crops of each training image, drawn from in each epoch")
def main(options: Options, k: int, dropout: float, views: int | None) -> None:
    """Train a wide residual network on CIFAR-10, J=2, by the authors' schedule: SGD, 200 epochs.

    The authors mirror images, and crop them after a reflected padding of 4. Here images are mirrored, exactly, on the
    centered grid, from one stored copy (1.5 GB); --views 20 adds crops, as twenty stored views of each training image
    (20 times the space of the training split), one of which is drawn in each epoch.

    The poster's figure used k=32, dropout 0.2 and 1x1 convolutions, as far as recalled; these have 3x3.
    """
    spec = ScatteringSpec(J=2, grid="centered")
    training = Training(
        epochs=200, batch_size=128, lr=0.1, weight_decay=5e-4, drops=(60, 120, 160), drop_factor=0.2
    ).asked(options)
    k = 1 if options.smoke else k
    splits = ("train", "test") if views is None else ("test",)
    stores = [open_store(options, Wanted("cifar10", spec, size=32, splits=splits))]
    if views is not None:
        stores.append(open_store(options, Wanted("cifar10", spec, size=32, splits=("train",), views=views)))
    train_cache, test_cache = stores[-1].caches[0], stores[0].caches[-1]
    flip = scatcache.RandomFlip()
    runs = []
    for seed in options.seeds:
        seed_everything(seed)
        data = divide(options, train_cache, test_cache, seed=seed)
        model = heads.cifar_wrn(spec.n_channels, data.n_classes, k=k, dropout=dropout)
        name = f"{NAME}{options.suffix}-seed{seed}"
        runs.append(train(model, data, training, seed=seed, options=options, name=name, augment=flip))
    hyperparameters = {**asdict(training), "k": k, "dropout": dropout, "views": views, "augment": repr(flip)}
    report(NAME, runs, options=options, data=[s.describe() for s in stores], hyperparameters=hyperparameters)


if __name__ == "__main__":
    main()
