"""Opening and shuffled reading of a store of very many shards, this checkout against another.

    python -m tests.benchmarks.bench_open --other CHECKOUT [--shards 10000] [--rows 5000] [--rounds 3] [--out JSON]

Each checkout makes a store of its own, of tiny images with one a shard, so that only what a shard costs is measured,
and reads it in processes of its own, by turns. CPU time is that of the whole process, its threads too. Shards are read
in an order drawn at random, BATCH at a time: with 256 kept open nearly every row opens one.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[2]
BATCH, SIDE = 128, 8


def main() -> int:
    options = parse()
    if options.child:
        print(json.dumps(make(options) if options.child == "make" else measure(options)))
        return 0
    from tests.benchmarks.machine import describe_machine

    checkouts = {"other": options.other.resolve(), "this": HERE}
    rounds = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        stores = {name: Path(folder) / f"{name}.zarr" for name in checkouts}
        for name, checkout in checkouts.items():
            run_child(checkout, "make", stores[name], options)
        for _ in range(options.rounds):
            rounds.append({name: run_child(path, "read", stores[name], options) for name, path in checkouts.items()})
            print(json.dumps(rounds[-1]), file=sys.stderr, flush=True)
    report = {
        "machine": describe_machine(),
        "shards": options.shards,
        "rows": options.rows,
        "batch": BATCH,
        "summary": summarise(rounds),
        "rounds": rounds,
    }
    if options.out is not None:
        options.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report["summary"], indent=1))
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--other", type=Path, help="a checkout of another version, compiled")
    parser.add_argument("--shards", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the stores are made; by default the temporary folder")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", choices=("make", "read"), help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def run_child(checkout: Path, task: str, store: Path, options: argparse.Namespace) -> dict[str, float]:
    """What this file, run with another checkout's scatcache, prints."""
    command = [sys.executable, __file__, "--child", task, "--store", store, "--shards", options.shards]
    command += ["--rows", options.rows]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(list(map(str, command)), env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


class Noise:
    """A dataset object of tiny images."""

    def __init__(self, n_images: int):
        self.targets = [image % 10 for image in range(n_images)]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, image: int) -> tuple[Any, int]:
        import numpy as np
        from PIL import Image

        pixels = np.random.default_rng(image).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        return Image.fromarray(pixels), self.targets[image]


def make(options: argparse.Namespace) -> dict[str, float]:
    import scatcache

    start = time.perf_counter()
    settings: dict[str, Any] = {"J": 2, "shard_images": 1, "workers": 2}
    scatcache.extract(Noise(options.shards), name="noise", out=options.store, **settings)
    return {"s": time.perf_counter() - start}


def measure(options: argparse.Namespace) -> dict[str, float]:
    import numpy as np

    import scatcache
    import scatcache.load.cache
    import scatcache.store.reader

    start, cpu_start = time.perf_counter(), time.process_time()
    cache = scatcache.open_cache(options.store)
    # What a reader knows only when it first reads belongs to opening.
    cache.coefficients([0])
    opened, cpu_opened = time.perf_counter(), time.process_time()
    order = np.random.default_rng(0).permutation(len(cache))[: options.rows]
    for at in range(0, len(order), BATCH):
        cache.coefficients(order[at : at + BATCH])
    n_us = 1e6 / len(order)
    return {
        "open_s": opened - start,
        "open_cpu_s": cpu_opened - cpu_start,
        "row_us": (time.perf_counter() - opened) * n_us,
        "row_cpu_us": (time.process_time() - cpu_opened) * n_us,
    }


def summarise(rounds: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Medians of each checkout, and how many times as fast this one is, by the ratio within a round."""
    names = list(rounds[0]["this"])
    summary: dict[str, dict[str, float]] = {
        checkout: {name: round(statistics.median(one[checkout][name] for one in rounds), 4) for name in names}
        for checkout in ("other", "this")
    }
    ratios = {name: statistics.median(one["other"][name] / one["this"][name] for one in rounds) for name in names}
    return {**summary, "times as fast": {name: round(ratio, 1) for name, ratio in ratios.items()}}


if __name__ == "__main__":
    raise SystemExit(main())
