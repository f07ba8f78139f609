"""What one colour costs beside three: the whole command on the same grey PNGs, --pixels rgb and grey in turns.

    python -m tests.benchmarks.bench_colours [--sides 28,96,224] [--rounds 3] [--out docs/benchmarks/colours.json]

The images are photographs of scikit-image, cut out at random, in grey. CPU seconds are of the command and its children,
once whole, and once less those of a store of one image, which stand for what every run takes to begin.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from scatcache.images.catalogue import open_source
from scatcache.resources import folder_bytes
from tests.benchmarks.machine import describe_machine

KINDS = ("rgb", "grey")
# Enough images for some seconds of work.
N_IMAGES = {28: 20_000, 96: 4_000, 224: 1_000}


def main() -> int:
    options = parse()
    report = {"machine": describe_machine(), "rounds": options.rounds, "sides": []}
    for side in map(int, options.sides.split(",")):
        with tempfile.TemporaryDirectory(prefix="scatcache-colours-") as folder:
            report["sides"].append(measure(Path(folder), side, N_IMAGES.get(side, 1_000), options.rounds))
        print(json.dumps(report["sides"][-1]), flush=True)
    if options.out is not None:
        options.out.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", default="28,96,224")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def measure(folder: Path, side: int, n_images: int, rounds: int) -> dict[str, object]:
    """Ratios of grey to rgb, the medians of rounds, each of which runs both."""
    write_images(folder / "images", side, n_images)
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    alone: dict[str, list[float]] = {kind: [] for kind in KINDS}
    n_bytes = {}
    for _ in range(rounds):
        for kind in KINDS:
            seconds[kind].append(extract(folder, kind))
            n_bytes[kind] = folder_bytes(folder / f"{kind}.zarr")
            alone[kind].append(extract(folder, kind, "--limit", "1"))
    found: dict[str, object] = {"side": side, "images": n_images, "bytes": n_bytes}
    found["cpu_s"] = {kind: [round(value, 2) for value in values] for kind, values in seconds.items()}
    found["cpu_ratio"] = round(statistics.median(seconds["grey"]) / statistics.median(seconds["rgb"]), 3)
    net = {kind: statistics.median(seconds[kind]) - statistics.median(alone[kind]) for kind in KINDS}
    found["cpu_ratio_without_start"] = round(net["grey"] / net["rgb"], 3)
    found["bytes_ratio"] = round(n_bytes["grey"] / n_bytes["rgb"], 3)
    return found


def write_images(folder: Path, side: int, n_images: int) -> None:
    """Grey PNGs, each another piece of a photograph, scaled from 128 px."""
    folder.mkdir()
    part = open_source("photos").find("all")
    crops = [Image.fromarray(part.read(i)).convert("L") for i in range(len(part.listing.rows))]
    rng = np.random.default_rng(0)
    for i in range(n_images):
        left, top = rng.integers(0, 64, 2).tolist()
        piece = crops[int(rng.integers(len(crops)))].crop((left, top, left + 64, top + 64))
        piece.resize((side, side), Image.Resampling.BICUBIC).save(folder / f"{i:06d}.png")


def extract(folder: Path, kind: str, *more: str) -> float:
    """CPU seconds of one extraction by the command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "scatcache.commands", "extract", str(folder / "images"), "--J", "2", "--overwrite"]
    command += ["--pixels", kind, "--out", str(folder / f"{kind}.zarr"), "-q", *more]
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    sys.exit(main())
