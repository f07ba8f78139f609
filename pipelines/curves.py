"""The picture of a training: loss and accuracy by epoch, a line for each run."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.train import Run

COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple")


def draw_curves(runs: "Sequence[Run]", path: Path, *, title: str) -> None:
    """Writes a PNG: the loss on the left, on the right the accuracy in training (dashed) and on the tested part."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    figure.suptitle(title)
    for index, run in enumerate(runs):
        colour = COLOURS[index % len(COLOURS)]
        left.plot(*read_curve(run, "loss"), color=colour, label=name_run(run))
        right.plot(*read_curve(run, "train_accuracy"), color=colour, linestyle="--", alpha=0.6)
        for name in run.results:
            if name in ("test_accuracy", "held_out_accuracy"):
                right.plot(*read_curve(run, name), color=colour, marker=".")
                right.set_ylabel(f"{name.replace('_', ' ')}, % (dashed: training)")
    left.set_ylabel("loss in training")
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
    if len(runs) <= len(COLOURS):
        left.legend()
    figure.savefig(path, dpi=110)


def name_run(run: "Run") -> str:
    """seed 0, fold 3: what tells a run from the others."""
    return ", ".join(f"{key} {value}" for key, value in {"seed": run.seed, **(run.facts or {})}.items())


def read_curve(run: "Run", name: str) -> tuple[list[int], list[float]]:
    """(epochs counted from 1, values) of the epochs whose record has this name."""
    records = [record for record in run.epochs if name in record]
    return [record["epoch"] + 1 for record in records], [record[name] for record in records]
