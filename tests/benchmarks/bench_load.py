"""How close the loader comes to reading and decoding the same shards one after the other, and what preloading gives.

    python -m tests.benchmarks.bench_load STORE [--split train] [--images N] [--batch 128] [--rounds N] [--out JSON]

Each round measures every way once, over the same number of images; ratios are within a round, since machines' speed
drifts. The store's shards are read once before, so that they come from the page cache where memory holds them.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import scatcache
from tests.benchmarks.machine import count_others, describe_machine, read_clocks

# Rows read at once in storage order.
PIECE_IMAGES = 1024
SEQUENTIAL, CONVERTED = "sequential read and decode", "the same, converted to float32"
IN_ORDER, SHUFFLED, PRELOADED = "loader in source order", "loader shuffled", "preloaded loader shuffled"
BOUND = "index_select and float() alone"


def main() -> int:
    options = parse()
    cache = scatcache.open_cache(options.store, options.split)
    machine, ways = describe_machine(), list_ways(cache, options)
    drain(ways[SEQUENTIAL](), len(cache.readable))
    rounds = []
    for _ in range(options.rounds):
        before = read_clocks()
        rates = {name: time_way(start, options.images) for name, start in ways.items()}
        rounds.append({"images_per_s": rates, "others_cores": round(count_others(before), 2)})
        print(json.dumps(rounds[-1]), file=sys.stderr, flush=True)
    report = {
        "machine": machine,
        "threads": torch.get_num_threads(),
        "row_shape": cache.row_shape,
        "encoding": cache.manifest.encoding,
        **{name: getattr(options, name) for name in ("images", "batch")},
        "summary": summarise([one["images_per_s"] for one in rounds]),
        "rounds": rounds,
    }
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=1) + "\n")
    show(report)
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("--split", help="needed where there are several")
    parser.add_argument("--images", type=int, default=12800, help="delivered by each way in each round")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def list_ways(cache: scatcache.Cache, options: argparse.Namespace) -> dict[str, Callable[[], Iterable[Any]]]:
    """What starts to deliver batches, by name."""
    kept = cache.preload()
    loaders = {
        IN_ORDER: cache.loader(options.batch),
        SHUFFLED: cache.loader(options.batch, shuffle=True),
        PRELOADED: kept.loader(options.batch, shuffle=True),
    }
    tensor = kept.fetch(kept.readable, None)
    return {
        SEQUENTIAL: lambda: read_sequentially(cache),
        CONVERTED: lambda: map(torch.Tensor.float, map(torch.from_numpy, read_sequentially(cache))),
        **{name: lambda loader=loader: iter(loader) for name, loader in loaders.items()},
        BOUND: lambda: select(tensor, options.batch),
    }


def read_sequentially(cache: scatcache.Cache) -> Iterable[np.ndarray]:
    """Every readable row in storage order, in the stored dtype."""
    stored = cache.to_xarray().source_index.values
    stored = stored[np.isin(stored, cache.readable)]
    return (cache.coefficients(stored[start : start + PIECE_IMAGES]) for start in range(0, len(stored), PIECE_IMAGES))


def select(tensor: torch.Tensor, batch: int) -> Iterable[torch.Tensor]:
    order = torch.randperm(len(tensor))
    return (tensor.index_select(0, order[start : start + batch]).float() for start in range(0, len(order), batch))


def drain(batches: Iterable[Any], n_images: int) -> int:
    """Takes at least n_images images where there are as many; returns how many it took."""
    taken = 0
    for batch in batches:
        taken += len(batch[0] if isinstance(batch, tuple) else batch)
        if taken >= n_images:
            break
    return taken


def time_way(start: Callable[[], Iterable[Any]], n_images: int) -> float:
    """Images/s, from starting an epoch on."""
    batches = start()
    started = time.perf_counter()
    taken = drain(batches, n_images)
    return taken / (time.perf_counter() - started)


def summarise(rounds: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Medians: images/s, and the ratio to the sequential read of the same round."""
    return {
        name: {
            "images_per_s": statistics.median(rates[name] for rates in rounds),
            "to_sequential": statistics.median(rates[name] / rates[SEQUENTIAL] for rates in rounds),
        }
        for name in rounds[0]
    }


def show(report: dict[str, Any]) -> None:
    row_bytes = np.prod(report["row_shape"]) * (4 if report["encoding"] == "float32" else 2)
    for name, figures in report["summary"].items():
        rate = figures["images_per_s"]
        print(f"{name:32} {rate:9.0f} images/s {rate * row_bytes / 1e9:6.2f} GB/s {figures['to_sequential']:6.2f}")
    print(f"medians of {len(report['rounds'])} rounds; GB of the stored dtype decoded; last: to the first line's rate")


if __name__ == "__main__":
    raise SystemExit(main())
