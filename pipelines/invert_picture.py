"""The picture of an inversion: the images, what they were at several iterations, and how near they came."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

MOST_IMAGES, STAGES = 6, 5


def draw_reconstructions(
    truth: np.ndarray, stages: Mapping[int, np.ndarray], psnr: Mapping[int, Sequence[float]], path: Path
) -> None:
    """Writes a PNG.

    truth: uint8 (n, H, W, 3), of which the first six are drawn; stages: by iteration, float (n, H, W, 3), 0 to 1;
    psnr: by iteration, dB of each image.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    n_drawn = min(len(truth), MOST_IMAGES)
    shown = choose_stages(list(stages))
    figure = Figure(figsize=(1.5 * (len(shown) + 1) + 5, 1.5 * n_drawn + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subfigures(1, 2, width_ratios=(1.5 * (len(shown) + 1), 5))
    grid = left.subplots(n_drawn, len(shown) + 1, squeeze=False)
    for row, line in enumerate(grid):
        line[0].imshow(truth[row])
        for axes, iteration in zip(line[1:], shown, strict=True):
            axes.imshow(stages[iteration][row])
            axes.set_xlabel(f"{psnr[iteration][row]:.1f} dB", fontsize=8)
        for axes in line:
            axes.set(xticks=[], yticks=[])
    for axes, title in zip(grid[0], ["image", *(f"iteration {i}" if i else "start" for i in shown)], strict=True):
        axes.set_title(title, fontsize=9)
    axes = right.subplots()
    axes.plot(list(psnr), list(psnr.values()), color="tab:grey", alpha=0.5)
    axes.plot(list(psnr), np.median(list(psnr.values()), axis=1), color="tab:blue", linewidth=2, label="median")
    axes.set_xscale("symlog", linthresh=1)
    axes.set(xlabel="iteration", ylabel="PSNR, dB", xlim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)


def choose_stages(iterations: Sequence[int]) -> list[int]:
    """The first, the last, and the latest between them, five in all."""
    return [*iterations[:1], *iterations[1:][-(STAGES - 1) :]]
