"""From ImageNet's shared local encoder to Caltech-101: python -m pipelines.caltech101_transfer --encoder FILE."""

from dataclasses import asdict
from pathlib import Path

import click
import numpy as np
from torch import nn

import scatcache
from pipelines import heads
from pipelines.data import Data, Part, Wanted, divide, open_store, permute
from pipelines.metrics import class_accuracy
from pipelines.recipe import Options, recipe
from pipelines.report import report
from pipelines.train import seed_everything, train
from pipelines.training import Training
from scatcache import ScatteringSpec

NAME = "caltech101_transfer"
SMOKE_TRAIN = 2


@recipe
@click.option(
    "--encoder",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="weights of imagenet --system sle --save-model  [default: the coefficients themselves]",
)
@click.option("--train-images", type=click.IntRange(1), default=30, help="of each class; the others are the test")
@click.option("--source", default="caltech101", help="or a folder of class folders")
def main(options: Options, encoder: Path | None, train_images: int, source: str) -> None:
    """Train a linear classifier on features of Caltech-101, 30 images of each class, and test on the others.

    The features are what the encoder's last hidden layer gives, or without one the square roots of coefficients, J=4.
    The figure is class_accuracy, the mean over the classes; BACKGROUND_Google is no class. The poster's own figure was
    not found, nor from which layer its features were taken.
    """
    spec = ScatteringSpec(J=4, grid="centered")
    is_folder = source not in scatcache.sources()
    store = open_store(options, Wanted(source, spec, size=224, splits=("all",), crop=is_folder))
    lr = 1e-3 if encoder else 1e-4
    training = Training(epochs=30, batch_size=64, lr=lr, optimizer="adam", weight_decay=1e-2).asked(options)
    train_images = SMOKE_TRAIN if options.smoke else train_images
    runs = []
    for seed in options.seeds:
        seed_everything(seed)
        data = draw_split(options, store.caches[0], train_images, seed=seed)
        model = build(data, encoder)
        name = f"{NAME}{options.suffix}-seed{seed}"
        runs.append(train(model, data, training, seed=seed, options=options, name=name, measure=class_accuracy))
    hyperparameters = {**asdict(training), "train_images": train_images, "encoder": encoder and encoder.name}
    report(NAME, runs, options=options, data=[store.describe()], hyperparameters=hyperparameters)


def draw_split(options: Options, cache: scatcache.Cache, n_train: int, *, seed: int) -> Data:
    """n_train images of each class, drawn from seed, to train on, and all others to test on.

    With --validate a tenth of the training images takes the test's place. Raises ScatcacheError where a class has no
    image left to test on.
    """
    generator, chosen = np.random.default_rng(seed), []
    for label, name in enumerate(cache.classes):
        rows = cache.readable[cache.labels[cache.readable] == label]
        if len(rows) <= n_train and not options.smoke:
            raise scatcache.ScatcacheError(
                f"class {name} has {len(rows)} images: expected more than the {n_train} to train on; give a smaller "
                f"--train-images"
            )
        chosen.append(generator.permutation(rows)[:n_train])
    rows = np.sort(np.concatenate(chosen))
    if options.validate:
        return divide(options, cache, seed=seed, rows=rows)
    labels = permute(cache.labels, cache.image_index, rows, seed=seed) if options.permute_labels else cache.labels
    others = np.setdiff1d(cache.readable, rows)
    return Data(Part("train", cache, rows, labels), Part("test", cache, others, cache.labels))


def build(data: Data, encoder: Path | None) -> nn.Module:
    """The linear classifier on the encoder's features, or on the coefficients.

    Raises ScatcacheError where the encoder is made for other coefficients.
    """
    if encoder is None:
        return heads.linear(data.train.cache.row_shape, data.n_classes)
    sle = heads.load_sle(encoder)
    channels, height, width = data.train.cache.row_shape
    if (sle.n_channels, sle.n_positions) != (channels, height * width):
        raise scatcache.ScatcacheError(
            f"{encoder.name} takes {sle.n_channels} channels at {sle.n_positions} positions, the store has {channels} "
            f"at {height * width}: train the encoder on images of 224 pixels"
        )
    n_features = sle.classifier.in_features
    normalise = nn.BatchNorm1d(n_features, affine=False)
    return nn.Sequential(heads.Features(sle), normalise, nn.Linear(n_features, data.n_classes))


if __name__ == "__main__":
    main()
