"""A linear classifier on the cached coefficients of all of CIFAR-10: python -m pipelines.cifar10_linear --root DIR."""

from dataclasses import asdict

from pipelines import heads
from pipelines.data import Wanted, divide, open_store
from pipelines.recipe import Options, recipe
from pipelines.report import report
from pipelines.train import seed_everything, train
from pipelines.training import Training
from scatcache import ScatteringSpec

NAME = "cifar10_linear"


@recipe
def main(options: Options) -> None:
    """Train a linear classifier on the square roots of all of CIFAR-10's coefficients, J=2: AdamW, eight epochs.

    The square root, the rate, the decay and the number of epochs were chosen by --validate."""
    store = open_store(options, Wanted("cifar10", ScatteringSpec(J=2), size=32))
    training = Training(epochs=8, batch_size=128, lr=4e-4, optimizer="adam", weight_decay=1.0).asked(options)
    runs = []
    for seed in options.seeds:
        seed_everything(seed)
        data = divide(options, *store.caches, seed=seed)
        model = heads.linear(data.train.cache.row_shape, data.n_classes)
        name = f"{NAME}{options.suffix}-seed{seed}"
        runs.append(train(model, data, training, seed=seed, options=options, name=name))
    report(NAME, runs, options=options, data=[store.describe()], hyperparameters=asdict(training))


if __name__ == "__main__":
    main()
