"""Scattering and a wide residual network on STL-10, the poster's 76.0%: python -m pipelines.stl10_wrn --root DIR."""

from collections.abc import Sequence
from dataclasses import asdict

import click
import numpy as np

import scatcache
from pipelines import heads
from pipelines.data import Wanted, divide, open_store
from pipelines.recipe import Options, parse_numbers, recipe
from pipelines.report import report
from pipelines.train import seed_everything, train
from pipelines.training import Training
from scatcache import ScatteringSpec

NAME = "stl10_wrn"
N_FOLDS = 10


@recipe
@click.option("--fold", "folds", default="0-9", callback=parse_numbers, help="train on these of the 10 folds, in turn")
@click.option("--k", type=click.IntRange(1), default=8, help="width of the network")
@click.option("--views", type=click.IntRange(2), help="stored crops of each training image, drawn from in each epoch")
def main(options: Options, folds: tuple[int, ...], k: int, views: int | None) -> None:
    """Train a wide residual network on the folds of STL-10, J=2: SGD, 5000 epochs of 1000 images, for each fold.

    The authors crop images padded by 8 reflected pixels and mirror them, after a local contrast normalisation over 7x7
    pixels. Neither is done here by default: pixels enter as they are, and images are mirrored on the centered grid,
    exactly. --views 20 adds crops, as twenty stored views.
    """
    spec = ScatteringSpec(J=2, grid="centered")
    drops = (1500, 2000, 3000, 4000)
    training = Training(epochs=5000, batch_size=32, lr=0.1, weight_decay=5e-4, drops=drops, drop_factor=0.2).asked(
        options
    )
    k = 1 if options.smoke else k
    splits = ("train", "test") if views is None else ("test",)
    stores = [open_store(options, Wanted("stl10", spec, size=96, splits=splits))]
    if views is not None:
        stores.append(open_store(options, Wanted("stl10", spec, size=96, splits=("train",), views=views)))
    train_cache, test_cache = stores[-1].caches[0], stores[0].caches[-1]
    flip = scatcache.RandomFlip()
    runs = []
    for fold, rows in choose_folds(options, train_cache, folds):
        for seed in options.seeds:
            seed_everything(seed)
            data = divide(options, train_cache, test_cache, seed=seed, rows=rows)
            model = heads.stl_wrn(spec.n_channels, data.n_classes, k=k)
            name, facts = f"{NAME}{options.suffix}-fold{fold}-seed{seed}", {"fold": fold}
            run = train(model, data, training, seed=seed, options=options, name=name, augment=flip, facts=facts)
            runs.append(run)
    hyperparameters = {**asdict(training), "k": k, "views": views, "augment": repr(flip)}
    report(NAME, runs, options=options, data=[s.describe() for s in stores], hyperparameters=hyperparameters)


def choose_folds(
    options: Options, train: scatcache.Cache, folds: tuple[int, ...]
) -> Sequence[tuple[int, np.ndarray | None]]:
    """(number, source rows) of each fold; rows None, all there are, with --smoke. Raises ScatcacheError for no rows."""
    if max(folds) >= N_FOLDS:
        raise scatcache.ScatcacheError(f"there is no fold {max(folds)}: expected 0 to {N_FOLDS - 1}")
    if options.smoke:
        return [(folds[0], None)]
    known = train.folds or []
    chosen = [(fold, known[fold]) for fold in folds if fold < len(known) and len(known[fold])]
    if len(chosen) < len(folds):
        raise scatcache.ScatcacheError(
            f"the training split has {len(known)} folds, {', '.join(map(str, folds))} are asked for: expected those of "
            f"the archive's fold_indices.txt, and with --limit enough images that each fold keeps one; give --fold"
        )
    return chosen


if __name__ == "__main__":
    main()
