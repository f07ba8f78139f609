"""Images from their cached coefficients, by gradients through the transform: python -m pipelines.invert --root DIR.

What a network behind the coefficients can still know of an image: pixels are moved, by Adam, until their coefficients
are those of a row of the store. Nothing is learnt, and the images themselves only serve to measure how near they came.
"""

import time
from collections.abc import Iterator
from dataclasses import replace

import click
import numpy as np
import torch

import scatcache
from pipelines.data import Wanted, open_store
from pipelines.invert_picture import draw_reconstructions
from pipelines.recipe import SMOKE_IMAGES, Options, recipe, say
from pipelines.report import report
from pipelines.train import Run
from scatcache import Cache, ScatteringSpec

NAME = "invert"
# By source: the side of its images in pixels, and the split.
SOURCES = {"cifar10": (32, "test"), "photos": (128, "all")}
ITERATIONS, SMOKE_ITERATIONS, SMOKE_INVERTED = 300, 20, 2
# float32 images in [0, 1] are compared down to this mean square, 100 dB.
LEAST_SQUARE = 1e-10
# Half a step of 8 bits.
LEAST_CONTRAST = 0.5 / 255
# Share of the iterations in which the learning rate rises: Adam's first steps move every pixel by all of it.
RISING = 0.1


@recipe
@click.option("--source", type=click.Choice(list(SOURCES)), default="cifar10", help="--smoke takes photos")
@click.option("--J", "J", type=click.IntRange(1, 4), default=2)
@click.option("--images", "n_images", type=click.IntRange(1), default=8, help="to invert, drawn by each seed")
@click.option("--start", type=click.Choice(["order-0", "noise"]), default="order-0", help="enlarged order 0, or noise")
@click.option("--lr", type=click.FloatRange(0, min_open=True), default=4.0, help="highest, in units of the contrast")
def main(options: Options, source: str, J: int, n_images: int, start: str, lr: float) -> None:
    """Invert the transform on rows of a store; --epochs is the number of iterations, 300 by default."""
    if options.permute_labels or options.validate:
        raise click.UsageError("invert uses no labels: leave --permute-labels and --validate out")
    iterations = options.epochs or ITERATIONS
    limit = options.limit
    if options.smoke:
        source, n_images, limit = "photos", min(n_images, SMOKE_INVERTED), SMOKE_IMAGES
        iterations = options.epochs or SMOKE_ITERATIONS
    size, split = SOURCES[source]
    wanted = Wanted(source, ScatteringSpec(J=J), size=size, splits=(split,))
    store = open_store(replace(options, smoke=False, limit=limit), wanted, keep=False)
    part = scatcache.open_source(source, root=options.root).splits[split]
    index = {row.key: i for i, row in enumerate(part.listing.rows)}
    name, runs = f"{NAME}-{source}-J{J}" + "-noise" * (start == "noise"), []
    for seed in options.seeds:
        cache = store.caches[0]
        rows = np.sort(np.random.default_rng(seed).permutation(cache.readable)[:n_images])
        if len(rows) < n_images:
            raise scatcache.ScatcacheError(f"split {split} has {len(rows)} images: give --images {len(rows)} or fewer")
        truth = np.stack([part.read(index[cache.keys[row]]) for row in rows])
        inversion = Inversion(cache, rows, start=start, seed=seed, device=options.device)
        run, stages = follow(inversion, truth, iterations, lr=lr, seed=seed)
        runs.append(run)
        options.results.mkdir(parents=True, exist_ok=True)
        path = options.results / f"{name}{options.suffix}-seed{seed}.png"
        draw_reconstructions(truth, stages, run.tables["psnr_by_iteration"], path)
    hyperparameters = {"source": source, "J": J, "images": n_images, "start": start, "lr": lr, "iterations": iterations}
    report(name, runs, options=options, data=[store.describe()], hyperparameters=hyperparameters)


class Inversion:
    """Rows of a cache under inversion.

    Pixels move in units of an image's contrast, the root mean square over colours and positions of the norm of orders
    1 and 2, so that one learning rate suits all images.
    """

    def __init__(self, cache: Cache, rows: np.ndarray, *, start: str, seed: int, device: str):
        spec, (height, width) = cache.spec, cache.layout.image_shape
        self._transform = scatcache.Scattering2D(
            J=spec.J, shape=(height, width), L=spec.L, max_order=spec.max_order, grid=spec.grid
        ).to(device)
        stored = torch.from_numpy(cache.coefficients(rows)).float().to(device)
        self._target = stored.unflatten(1, (-1, spec.n_paths))
        order = torch.from_numpy(cache.to_xarray()["order"].values[: spec.n_paths]).to(device)
        self._orders = [torch.nonzero(order == m).flatten() for m in range(spec.max_order + 1)]
        if start == "noise":
            noise = torch.rand((len(rows), 3, height, width), generator=torch.Generator().manual_seed(seed))
            begin = noise.to(device)
        else:
            begin = torch.nn.functional.interpolate(self._target[:, :, 0], size=(height, width), mode="bicubic")
        self._begin = begin
        details = self._target[:, :, order > 0].square().sum(2).mean((1, 2, 3))
        self._contrast = details.sqrt().clamp(min=LEAST_CONTRAST)[:, None, None, None]
        self._moved = torch.zeros_like(begin, requires_grad=True)

    @property
    def images(self) -> torch.Tensor:
        """float32 (n, 3, H, W), in 0 to 1 where they are right."""
        return self._begin + self._contrast * self._moved

    def descend(self, iterations: int, *, lr: float) -> Iterator[int]:
        """Yields 0 and then the number of iterations done after each."""
        optimizer = torch.optim.Adam([self._moved], lr=lr)
        rising = max(RISING, 2 / (iterations + 1))  # the scheduler divides by the steps before the highest rate
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=iterations + 1, pct_start=rising)
        yield 0
        for iteration in range(1, iterations + 1):
            optimizer.zero_grad()
            self._measure_loss().backward()
            optimizer.step()
            schedule.step()
            yield iteration

    def _measure_loss(self) -> torch.Tensor:
        """Summed over images and orders: the square of an order's error over its norm.

        Half way between squares, in which order 2 is hardly heard, and relative squares, in which order 0 is not.
        """
        error, size = self._measure_squares()
        return (error / size.sqrt()).sum()

    def _measure_squares(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(n_orders, n) each: squared norms of the coefficients' errors, and of the stored coefficients."""
        difference = self._transform(self.images) - self._target
        error, size = (
            torch.stack([S[:, :, paths].square().sum((1, 2, 3, 4)) for paths in self._orders])
            for S in (difference, self._target)
        )
        return error, size.clamp(min=LEAST_SQUARE)

    @torch.no_grad()
    def measure_errors(self) -> list[float]:
        """By order, the norm of the coefficients' error relative to that of the stored ones, mean over the images."""
        error, size = self._measure_squares()
        return (error / size).sqrt().mean(1).tolist()


def follow(
    inversion: Inversion, truth: np.ndarray, iterations: int, *, lr: float, seed: int
) -> tuple[Run, dict[int, np.ndarray]]:
    """Inverts, and looks at 0, 1, 2, 5, 10, 20, 50 ... and the last iteration.

    truth: uint8 (n, H, W, 3). Returns the run and, by iteration, the images as float32 (n, H, W, 3), 0 to 1.
    """
    stages, psnr, started_s = {}, {}, time.monotonic()
    for iteration in inversion.descend(iterations, lr=lr):
        if is_looked_at(iteration) or iteration == iterations:
            images = inversion.images.detach().clamp(0, 1).cpu().numpy().transpose(0, 2, 3, 1)
            stages[iteration] = images
            psnr[iteration] = measure_psnr(images, truth).tolist()
            say(f"seed {seed}: iteration {iteration} of {iterations}: {np.median(psnr[iteration]):.2f} dB")
    # Medians: an image of one colour is right from the start, and would carry a mean.
    results = {"psnr_start": float(np.median(psnr[0]))}
    results |= {"psnr": float(np.median(psnr[iterations])), "psnr_worst": min(psnr[iterations])}
    results |= {f"error_order_{m}": error for m, error in enumerate(inversion.measure_errors())}
    return Run(seed, results, time.monotonic() - started_s, tables={"psnr_by_iteration": psnr}), stages


def is_looked_at(iteration: int) -> bool:
    """0, 1, 2, 5, 10, 20, 50 ..."""
    return str(iteration).rstrip("0") in ("", "1", "2", "5")


def measure_psnr(images: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(n,) dB: peak signal-to-noise ratio of images (n, H, W, 3), 0 to 1, to uint8 ones; at most 100."""
    squares = np.square(images - truth.astype(np.float64) / 255).mean((1, 2, 3))
    return -10 * np.log10(np.maximum(squares, LEAST_SQUARE))


if __name__ == "__main__":
    main()
