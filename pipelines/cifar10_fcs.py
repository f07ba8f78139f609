"""Scattering and fully connected layers on CIFAR-10, the poster's 84.7%: python -m pipelines.cifar10_fcs --root DIR."""

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

NAME = "cifar10_fcs"
SMOKE_WIDTH = 64


@recipe
@click.option("--width", type=click.IntRange(1), default=11_000, help="of each hidden layer")
@click.option("--layers", "n_layers", type=click.IntRange(1), default=3, help="hidden ones")
def main(options: Options, width: int, n_layers: int) -> None:
    """Train three hidden layers of 1.1e4 on CIFAR-10, J=2.

    SGD with Nesterov's momentum for 200 epochs. Augmentation: mirror images, exact on the centered grid, in place of
    the authors' crops and mirror images. Batch normalisation and the depth are recalled, not read in their code.
    """
    store = open_store(options, Wanted("cifar10", ScatteringSpec(J=2, grid="centered"), size=32))
    training = Training(
        epochs=200, batch_size=128, lr=0.1, weight_decay=5e-4, drops=(60, 120, 160), drop_factor=0.2
    ).asked(options)
    width = min(width, SMOKE_WIDTH) if options.smoke else width
    flip = scatcache.RandomFlip()
    runs = []
    for seed in options.seeds:
        seed_everything(seed)
        data = divide(options, *store.caches, seed=seed)
        model = heads.fully_connected(data.train.cache.row_shape, data.n_classes, width=width, n_layers=n_layers)
        name = f"{NAME}{options.suffix}-seed{seed}"
        runs.append(train(model, data, training, seed=seed, options=options, name=name, augment=flip))
    hyperparameters = {**asdict(training), "width": width, "n_layers": n_layers, "augment": repr(flip)}
    report(NAME, runs, options=options, data=[store.describe()], hyperparameters=hyperparameters)


if __name__ == "__main__":
    main()
