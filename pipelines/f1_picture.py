"""The picture of the angular analysis: energies by angular frequency, and accuracy by how much is zeroed."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines.train import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LABELS = {
    "fourier": "smallest Fourier coefficients",
    "random": "random Fourier coefficients",
    "weights": "smallest weights, no Fourier",
}


def draw_angles(runs: Sequence[Run], path: Path, *, percentages: Sequence[int]) -> None:
    """Writes a PNG of the means over the runs; shading is one standard deviation to each side."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4), layout="constrained")
    FigureCanvasAgg(figure)
    circle, torus, curves = figure.subplots(1, 3, width_ratios=(1, 1.15, 1.4))
    draw_circle(circle, average(runs, "order_1"))
    draw_torus(torus, average(runs, "order_2"))
    draw_accuracies(curves, runs, percentages)
    figure.savefig(path, dpi=110)


def average(runs: Sequence[Run], order: str) -> np.ndarray:
    return np.mean([run.tables["energy_by_frequency"][order] for run in runs], axis=0)


def draw_circle(axes: "Axes", energy: np.ndarray) -> None:
    """Bars of the mean energy at k and -k, and where they would be if no frequency were preferred."""
    n_angles = len(energy)
    frequencies = range(n_angles // 2 + 1)
    axes.bar(frequencies, [(energy[k] + energy[-k % n_angles]) / 2 for k in frequencies], color="tab:blue")
    axes.axhline(1 / n_angles, color="black", linestyle=":", label="no frequency preferred")
    axes.set_title(r"order 1: energy of $F_1$ at $|k|$")
    axes.set_xlabel(r"angular frequency $|k|$ along $\theta_1$")
    axes.set_ylabel("share of a filter's energy, each frequency")
    axes.legend()


def draw_torus(axes: "Axes", energy: np.ndarray) -> None:
    """A map of the energy over both frequencies, 0 in the middle; 1 everywhere if none were preferred."""
    half = len(energy) // 2
    extent = (-half - 0.5, len(energy) - half - 0.5) * 2
    image = axes.imshow(np.fft.fftshift(energy) * energy.size, origin="lower", extent=extent, cmap="magma", vmin=0)
    axes.figure.colorbar(image, ax=axes, label="energy, 1: none preferred")
    axes.set_title(r"order 2: energy of $F_1$ at $(k_1, k_2)$")
    axes.set_xlabel(r"$k_2$ along $\theta_2$")
    axes.set_ylabel(r"$k_1$ along $\theta_1$")


def draw_accuracies(axes: "Axes", runs: Sequence[Run], percentages: Sequence[int]) -> None:
    for way, label in LABELS.items():
        values = np.array([list(run.tables["accuracy_by_percentage"][way].values()) for run in runs])
        mean, spread = values.mean(0), values.std(0, ddof=1) if len(runs) > 1 else 0
        (line,) = axes.plot(percentages, mean, marker=".", label=label)
        axes.fill_between(percentages, mean - spread, mean + spread, color=line.get_color(), alpha=0.2)
    axes.set_title("no training after zeroing")
    axes.set_xlabel("% zeroed of orders 1 and 2")
    axes.set_ylabel("accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend()
