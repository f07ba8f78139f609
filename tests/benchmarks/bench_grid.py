"""Whether the grid changes what a classifier reaches on CIFAR-10, with and without mirrored copies.

    python -m tests.benchmarks.bench_grid --root ROOT [--out docs/benchmarks/grid.json]

Kernel ridge regression (Gaussian kernel) on square roots of J=2 coefficients, each channel standardised; the mirrored
copies of the training images are coefficients turned by symmetry.apply, which on Kymatio's grid are those of images
moved by three pixels besides. Every seed draws other training and test images, the same for both grids.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

from scatcache import symmetry
from scatcache.images.catalogue import open_source
from scatcache.scattering import open_transform
from scatcache.spec import GRIDS, ScatteringSpec
from tests.benchmarks.machine import describe_machine
from tests.images.parts import read_key

N_CLASSES = 10
RIDGE = 1e-3


def main() -> int:
    options = parse()
    torch.set_num_threads(options.threads)
    machine, started = describe_machine(), time.monotonic()
    runs = [run for seed in range(options.seeds) for run in run_seed(options, seed)]
    summary = summarise(runs)
    settings = {name: getattr(options, name) for name in ("n_train", "n_test", "seeds", "threads")}
    report = {"machine": machine, **settings, "ridge": RIDGE, "summary": summary, "runs": runs}
    report |= {"elapsed_s": round(time.monotonic() - started, 1), "cpu_s": round(time.process_time(), 1)}
    show(report)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="where cifar-10-batches-bin lies")
    parser.add_argument("--n-train", type=int, default=2000)
    parser.add_argument("--n-test", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def run_seed(options: argparse.Namespace, seed: int) -> list[dict[str, object]]:
    """Test accuracies in percent of each grid without and with mirrored copies."""
    rng = np.random.default_rng(seed)
    train_images, train_labels = read_images(options.root, "train", options.n_train, rng)
    test_images, test_labels = read_images(options.root, "test", options.n_test, rng)
    runs = []
    for grid in GRIDS:
        spec = ScatteringSpec(J=2, grid=grid)
        train, test = compute(train_images, spec), compute(test_images, spec)
        for flips in (False, True):
            seen = np.concatenate([train, symmetry.apply(train, "hflip", spec)]) if flips else train
            right = classify(*standardise(seen, test), np.tile(train_labels, 1 + flips)) == test_labels
            runs.append({"seed": seed, "grid": grid, "flips": flips, "accuracy": round(100 * float(right.mean()), 3)})
            print(runs[-1], file=sys.stderr, flush=True)
    return runs


def read_images(root: Path, split: str, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(uint8 (n, 32, 32, 3), int64 (n,)) drawn from a split without replacement."""
    source = open_source("cifar10", root=root)
    rows = source.find(split).listing.rows
    chosen = [rows[index] for index in rng.choice(len(rows), n, replace=False)]
    return np.stack([read_key(source, split, row.key) for row in chosen]), np.array([row.label for row in chosen])


def compute(images: np.ndarray, spec: ScatteringSpec) -> np.ndarray:
    """float32 (n, n_channels, h, w)."""
    transform = open_transform(spec, images.shape[1:3])
    S = np.empty((len(images), *transform.output_shape), np.float32)
    for start in range(0, len(images), transform.batch_images):
        part = slice(start, start + transform.batch_images)
        transform(images[part], S[part])
    return S


def standardise(train: np.ndarray, test: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Square roots, of mean 0 and deviation 1 over the training images and positions of each channel; flat."""
    roots = [torch.from_numpy(S).clamp(min=0).sqrt() for S in (train, test)]
    deviation, mean = torch.std_mean(roots[0], (0, 2, 3), keepdim=True)
    return tuple(((S - mean) / deviation).flatten(1) for S in roots)


def classify(train: torch.Tensor, test: torch.Tensor, labels: np.ndarray) -> np.ndarray:
    """Classes of test by kernel ridge regression; the kernel's width is the mean squared distance."""
    squares = square_distances(train, train)
    width = squares.mean()
    kernel = (-squares / width).exp().double()
    kernel.diagonal().add_(RIDGE)
    targets = torch.nn.functional.one_hot(torch.from_numpy(labels), N_CLASSES).double() - 1 / N_CLASSES
    weights = torch.cholesky_solve(targets, torch.linalg.cholesky(kernel))
    scores = (-square_distances(test, train) / width).exp() @ weights.float()
    return scores.argmax(1).numpy()


def square_distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T).clamp(min=0)


def summarise(runs: list[dict[str, object]]) -> list[dict[str, object]]:
    """Mean and standard deviation over seeds, and of the difference to Kymatio's grid on the same images."""
    summary = []
    for flips in (False, True):
        by_grid = {
            grid: [run["accuracy"] for run in runs if (run["grid"], run["flips"]) == (grid, flips)] for grid in GRIDS
        }
        for grid, accuracies in by_grid.items():
            gains = [found - other for found, other in zip(accuracies, by_grid[GRIDS[0]], strict=True)]
            entry = {"grid": grid, "flips": flips}
            for name, values in (("accuracy", accuracies), ("gain", gains)):
                entry |= {f"{name}_mean": statistics.mean(values), f"{name}_std": statistics.pstdev(values)}
                if len(values) > 1:
                    entry[f"{name}_std"] = statistics.stdev(values)
            summary.append(
                {name: round(value, 3) if isinstance(value, float) else value for name, value in entry.items()}
            )
    return summary


def show(report: dict[str, object]) -> None:
    print(f"{report['n_train']} training images, {report['n_test']} test images, {report['seeds']} seeds")
    print(f"{report['elapsed_s']} s, {report['cpu_s']} s of CPU; accuracy in percent, mean ± deviation over seeds")
    print("| grid | mirrored copies | accuracy | against kymatio on the same images |\n|---|---|---|---|")
    for entry in report["summary"]:
        accuracy = f"{entry['accuracy_mean']:.2f} ± {entry['accuracy_std']:.2f}"
        gain = f"{entry['gain_mean']:+.2f} ± {entry['gain_std']:.2f}" if entry["grid"] != GRIDS[0] else "-"
        print(f"| {entry['grid']} | {'yes' if entry['flips'] else 'no'} | {accuracy} | {gain} |")


if __name__ == "__main__":
    sys.exit(main())
