"""A linear classifier on one-colour coefficients: python -m pipelines.grey_linear --source fashion-mnist --root DIR."""

from dataclasses import asdict

import click

from pipelines import heads
from pipelines.data import Wanted, divide, open_store
from pipelines.recipe import Options, recipe
from pipelines.report import report
from pipelines.train import seed_everything, train
from pipelines.training import Training
from scatcache import ScatteringSpec

SOURCES = ("mnist", "fashion-mnist")


@recipe
@click.option("--source", type=click.Choice(SOURCES), default="mnist", help="which dataset of grey images")
def main(options: Options, source: str) -> None:
    """Train a linear classifier on the square roots of all coefficients of MNIST or Fashion-MNIST, J=2.

    Rate, decay and batch size are those of cifar10_linear; nothing was chosen here."""
    store = open_store(options, Wanted(source, ScatteringSpec(J=2, colours=1), size=28))
    training = Training(epochs=8, batch_size=128, lr=4e-4, optimizer="adam", weight_decay=1.0).asked(options)
    name, runs = f"grey_linear-{source}", []
    for seed in options.seeds:
        seed_everything(seed)
        data = divide(options, *store.caches, seed=seed)
        model = heads.linear(data.train.cache.row_shape, data.n_classes)
        run = f"{name}{options.suffix}-seed{seed}"
        runs.append(train(model, data, training, seed=seed, options=options, name=run))
    report(name, runs, options=options, data=[store.describe()], hyperparameters=asdict(training))


if __name__ == "__main__":
    main()
