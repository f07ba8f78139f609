"""How near plan's estimate comes to what then happens.

    python -m tests.benchmarks.bench_plan --cifar10 ROOT --imagenet FOLDER [--rounds 3] [--out JSON]

Each round plans, extracts and reads one epoch back, case after case; ratios of what was foretold to what was measured
are medians over the rounds.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import scatcache
from scatcache.inspect.sample import BATCH_ROWS
from tests.benchmarks.bench_extract import empty_folder
from tests.benchmarks.machine import describe_machine

WITHIN = 0.3


def main() -> None:
    options = parse()
    cifar10 = ["cifar10", "--root", str(options.cifar10), "--J", "2"]
    imagenet = [str(options.imagenet), "--J", "2", "--size", "224"]
    cases = {
        "cifar10": cifar10,
        "imagenet": imagenet,
        "imagenet quantised": [*imagenet, "--encoding", "quantised"],
        "imagenet pool 1": [*imagenet, "--pool", "1"],
    }
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in cases}
    for _ in range(options.rounds):
        for name, arguments in cases.items():
            rounds[name].append(measure(arguments))
            print(name, json.dumps(rounds[name][-1]), flush=True)
    names = ("extract_s", "bytes", "epoch_s")
    ratios = {
        name: {what: statistics.median(r[f"planned_{what}"] / r[what] for r in found) for what in names}
        for name, found in rounds.items()
    }
    for name, found in ratios.items():
        told = ", ".join(
            f"{what} {value:.2f}{'' if abs(value - 1) <= WITHIN else ' (!)'}" for what, value in found.items()
        )
        print(f"{name}: planned / measured: {told}")
    if options.out is not None:
        report = {"machine": describe_machine(), "rounds": rounds, "planned_over_measured": ratios}
        options.out.write_text(json.dumps(report, indent=1) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", type=Path, required=True, help="folder of the CIFAR-10 archives")
    parser.add_argument("--imagenet", type=Path, required=True, help="class folders of photographs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def measure(arguments: list[str]) -> dict[str, float]:
    """Seconds of the job, bytes and seconds of an epoch, as planned and as they then are."""
    with empty_folder() as folder:
        out = folder / "store.zarr"
        started = time.monotonic()
        planned = run("plan", *arguments, "--out", str(out))["estimate"]
        plan_s = time.monotonic() - started
        done = run("extract", *arguments, "--out", str(out))
        split = max(done["splits"], key=lambda name: done["splits"][name]["rows"])
        cache = scatcache.open_cache(out, split)
        loader = cache.loader(BATCH_ROWS, shuffle=True)
        for _ in range(2):
            # The first epoch of a process also opens and imports.
            started = time.monotonic()
            assert sum(len(labels) for _, labels in loader) == len(cache)
        return {
            "plan_s": plan_s,
            "planned_extract_s": planned["extract_s"],
            "extract_s": done["elapsed_s"],
            "planned_bytes": planned["store_bytes"],
            "bytes": done["bytes"],
            "planned_epoch_s": planned["cached_epoch_s"],
            "epoch_s": time.monotonic() - started,
        }


def run(command: str, *arguments: str) -> dict[str, Any]:
    words = [sys.executable, "-m", "scatcache.commands", command, *arguments, "--json", "-q"]
    found: dict[str, Any] = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    return found


if __name__ == "__main__":
    main()
