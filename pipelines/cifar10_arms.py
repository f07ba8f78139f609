"""What augmentation of cached coefficients is worth beside that of pixels: python -m pipelines.cifar10_arms."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

import scatcache
from pipelines import heads
from pipelines.data import Data, Part, Store, Wanted, divide, open_store
from pipelines.pixels import PixelRows, RandomCrops
from pipelines.recipe import Options, recipe
from pipelines.report import report
from pipelines.samples import Sample, open_sample
from pipelines.train import Run, seed_everything, train
from pipelines.training import Training
from scatcache import ScatteringSpec

NAME = "cifar10_arms"
PADDING = 4
SMOKE_VIEWS = 4


@dataclass(frozen=True)
class Arm:
    """One way to augment.

    grid: of the coefficients; augment: in the loader; views: whether several stored crops of each image are drawn from;
    pixels: whether the loader has the images themselves, which augment crops and transforms.
    """

    grid: str = "kymatio"
    augment: Any = None
    views: bool = False
    pixels: bool = False

    @property
    def spec(self) -> ScatteringSpec:
        return ScatteringSpec(J=2, grid=self.grid)


FLIP = scatcache.RandomFlip()
ARMS = {
    "none": Arm(),
    "none_centered": Arm("centered"),
    "flips": Arm(augment=FLIP),
    "flips_centered": Arm("centered", augment=FLIP),
    "flips_shifts_centered": Arm("centered", augment=scatcache.Compose([scatcache.GridCrop(1), FLIP])),
    "views": Arm(views=True),
    "pixels": Arm(augment=RandomCrops(PADDING), pixels=True),
}


@recipe
@click.option("--n", type=click.Choice(["100", "500", "1000"]), default="1000", help="labelled images")
@click.option("--k", type=click.IntRange(1), default=8, help="width of the network")
@click.option("--views", type=click.IntRange(2), default=20, help="stored views of each image in the arm of that name")
@click.option("--arm", "names", type=click.Choice(list(ARMS)), multiple=True, default=list(ARMS))
def main(options: Options, n: str, k: int, views: int, names: Sequence[str]) -> None:
    """Train one network on a small sample of CIFAR-10 under each augmentation, for equally many epochs.

    none: the stored coefficients as they are; flips: mirrored by exchanging channels, exact on the centered grid, on
    Kymatio's moved by three pixels; flips_shifts: moved by whole cells too; views: one of several stored crops and
    mirror images a step; pixels: fresh crops and mirror images of the images, transformed at each step, which no cache
    serves. All arms of a seed share the sample, the first weights and the order of the images. The training is the
    authors' for all of CIFAR-10, in fewer epochs, and was tuned for none of the arms.
    """
    training = Training(
        epochs=60, batch_size=128, lr=0.1, weight_decay=5e-4, drops=(18, 36, 48), drop_factor=0.2, n_evaluations=6
    ).asked(options)
    k, views = (1, SMOKE_VIEWS) if options.smoke else (k, views)
    runs, stores = [], {}
    for seed in options.seeds:
        by_arm: dict[str, Run] = {}
        for name in names:
            arm = ARMS[name]
            data, used = open_arm(options, arm, int(n), views=views, seed=seed)
            stores |= {store.path.name: store.describe() for store in used}
            seed_everything(seed)
            model = heads.cifar_wrn(arm.spec.n_channels, len(data.test.cache.classes), k=k)
            file = f"{NAME}-{n}-{name}{options.suffix}-seed{seed}"
            by_arm[name] = train(model, data, training, seed=seed, options=options, name=file, augment=arm.augment)
        runs.append(join_runs(by_arm, seed=seed))
    hyperparameters = {**asdict(training), "n": int(n), "k": k, "views": views, "padding": PADDING}
    report(f"{NAME}-{n}", runs, options=options, data=list(stores.values()), hyperparameters=hyperparameters)
    draw_arms(runs, options.results / f"{NAME}-{n}{options.suffix}.png")


def join_runs(by_arm: dict[str, Run], *, seed: int) -> Run:
    """The runs of one seed as one, each figure and the epochs by arm."""
    results = {f"{arm}_{figure}": value for arm, run in by_arm.items() for figure, value in run.results.items()}
    elapsed_s = sum(run.elapsed_s for run in by_arm.values())
    tables = {"arms": {arm: run.epochs for arm, run in by_arm.items()}}
    checkpoints = tuple(path for run in by_arm.values() for path in run.checkpoints)
    return Run(seed, results, elapsed_s, tables=tables, checkpoints=checkpoints)


def open_arm(options: Options, arm: Arm, n_images: int, *, views: int, seed: int) -> tuple[Data, tuple[Store, Store]]:
    """What one run of an arm is trained and tested on, and the stores that it comes from."""
    test = open_store(options, Wanted("cifar10", arm.spec, size=32, splits=("test",)))
    sample = open_sample(options, n_images, seed=seed, spec=arm.spec, views=views if arm.views else None)
    data = divide(options, sample.caches[0], test.caches[0], seed=seed)
    if arm.pixels:
        images = read_images(options, sample.caches[0], n_images, seed=seed)
        pixels = PixelRows(images, data.train.labels, arm.spec)
        data = Data(Part(data.train.name, pixels, data.train.rows, data.train.labels), data.test)
    return data, (sample, test)


def read_images(options: Options, cache: scatcache.Cache, n_images: int, *, seed: int) -> np.ndarray:
    """uint8 (len(cache), 32, 32, 3): what the rows of a sample's store were computed from."""
    if options.smoke:
        part = scatcache.open_source("photos").splits["all"]
        index = {row.key: i for i, row in enumerate(part.listing.rows)}
        read = [scatcache.decode(part.read(index[key]), size=cache.manifest.settings.size) for key in cache.keys]
        return np.stack(read)
    sample = Sample(options.root, n_images, seed=seed)
    if sample.targets != cache.labels.tolist():
        raise scatcache.SourceError("the images under --root are not those of the stored sample: give another --root")
    return np.stack([image for image, _ in sample])


def draw_arms(runs: Sequence[Run], path: Path) -> None:
    """Writes a PNG: the accuracy of each arm, a point for each seed and a line at their mean."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 0.5 * len(runs[0].results) + 1), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for y, name in enumerate(runs[0].results):
        values = [run.results[name] for run in runs]
        axes.plot(values, [y] * len(values), "o", color="tab:blue", alpha=0.6)
        axes.plot([np.mean(values)] * 2, [y - 0.3, y + 0.3], color="tab:blue")
    axes.set_yticks(range(len(runs[0].results)), [name.rpartition("_test_")[0] or name for name in runs[0].results])
    axes.invert_yaxis()
    axes.set_xlabel("accuracy in percent: points are seeds, lines their means")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
