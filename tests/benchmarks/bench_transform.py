"""Images per second of the transform by each implementation, Kymatio's two among them, and what memory a call takes.

    make bench                                              the whole grid, up to half an hour on two cores
    make bench BENCH='--sizes 32,128 --J 2 --threads 1'     two cases, about a minute
    make bench BENCH='--out docs/benchmarks/transform.json' the whole grid, with its JSON
    make bench BENCH='--read docs/benchmarks/transform.json --markdown'

Float32 RGB images, other ones in each call. For each size, J and number of threads the best batch of each
implementation is looked for first; then rounds A B C D A B C D at those batches give the medians. Ratios are within a
round, since these machines' speed drifts. A batch whose one call would outlast --seconds twice is left out once a
smaller one has given a rate. Threads are torch's own; Kymatio in NumPy has none, so it is called from as many Python
threads with a share each. Memory is measured in a process of its own. Filters are built outside the clock.

Run it on an idle machine. Beside other busy processes the OpenMP threads of torch wait for each other spinning: on two
cores with 1.6 taken, Kymatio in torch fell from 61 to 1.3 images/s, ours from 244 to 29 (32 px, J=2, two threads), and
OMP_WAIT_POLICY=PASSIVE in the environment is what kept the higher figures. The table tells when others were busy.
"""

import argparse
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scatcache.errors import BackendUnavailable
from tests.benchmarks.call_memory import run_in_child
from tests.benchmarks.machine import count_others, describe_machine, read_clocks
from tests.benchmarks.transform_tables import count, show_report
from tests.benchmarks.transforms import BUILDERS, FIELD_SIZE, YARDSTICK, Call, Inputs, make_images
from tests.scattering.tolerances import relative_error

BATCHES = (1, 8, 32, 128)
N_POOL = 3 * max(BATCHES)
N_SEARCHES = 2
# A call may last so many times --seconds: at 256 px Kymatio's call of 8 images would else be left out by a hair.
MAX_CALL = 2
# Rounding alone leaves each 1.2e-7 from float64, over all channels: a wrong transform is far beyond.
MAX_ERROR = 1e-5


@dataclass(frozen=True)
class Settings:
    """seconds: of one measurement of a round; of a search for the best batch a quarter. sizes: pixels."""

    sizes: tuple[int, ...]
    J: tuple[int, ...]
    threads: tuple[int, ...]
    implementations: tuple[str, ...]
    rounds: int
    seconds: float
    memory: bool


def build_calls(names: Sequence[str], J: int, size: int) -> tuple[dict[str, Call], dict[str, str]]:
    """The calls by name, and why there is none."""
    calls: dict[str, Call] = {}
    refused: dict[str, str] = {}
    for name in names:
        try:
            calls[name] = BUILDERS[name](J, size)
        except BackendUnavailable as error:
            refused[name] = str(error)
    return calls, refused


def check_agreement(calls: dict[str, Call], inputs: Inputs, n_threads: int) -> None:
    """All must compute the same, or their speeds are no comparison."""
    images = inputs.take(2)
    found = {name: np.concatenate(call(images, n_threads)) for name, call in calls.items()}
    expected = found.get(YARDSTICK, next(iter(found.values())))
    for name, coefficients in found.items():
        error = relative_error(coefficients, expected)
        assert error <= MAX_ERROR, f"{name} differs by {error:.1e}: expected at most {MAX_ERROR:.0e}"


def time_calls(call: Call, inputs: Inputs, batch_images: int, n_threads: int, seconds: float) -> list[float]:
    """Seconds of each call, as many calls as fit into seconds, one at least."""
    calls_s: list[float] = []
    while not calls_s or sum(calls_s) * (1 + 1 / len(calls_s)) <= seconds:
        started = time.perf_counter()
        call(inputs.take(batch_images), n_threads)
        calls_s.append(time.perf_counter() - started)
    return calls_s


def count_rate(batch_images: int, calls_s: list[float]) -> float:
    """Images/s of calls of one batch."""
    return batch_images * len(calls_s) / sum(calls_s)


def search_batches(
    calls: dict[str, Call], inputs: Inputs, n_threads: int, seconds: float
) -> dict[str, dict[int, float]]:
    """Images/s by implementation and batch, the better of N_SEARCHES, of which the first also warms up."""
    rates: dict[str, dict[int, float]] = {name: {} for name in calls}
    image_s = dict.fromkeys(calls, 0.0)  # of the fastest call yet: one slow moment must not rule a batch out
    for batch in BATCHES:
        affordable = [name for name in calls if batch * image_s[name] <= MAX_CALL * seconds]
        for _ in range(N_SEARCHES):
            for name in affordable:
                calls_s = time_calls(calls[name], inputs, batch, n_threads, seconds / 4)
                rates[name][batch] = max(count_rate(batch, calls_s), rates[name].get(batch, 0.0))
                image_s[name] = min(min(calls_s) / batch, image_s[name] or math.inf)
    return rates


def run_rounds(
    calls: dict[str, Call], inputs: Inputs, batches: dict[str, int], n_threads: int, settings: Settings
) -> dict[str, list[float]]:
    """Images/s of each round by implementation, which take turns within a round."""
    rounds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(settings.rounds):
        for name, call in calls.items():
            calls_s = time_calls(call, inputs, batches[name], n_threads, settings.seconds)
            rounds[name].append(count_rate(batches[name], calls_s))
    return rounds


def find_ratio(ours: list[float], theirs: list[float] | None) -> float | None:
    if theirs is None:
        return None
    return statistics.median(our / their for our, their in zip(ours, theirs, strict=True))


def measure_speed(calls: dict[str, Call], inputs: Inputs, n_threads: int, settings: Settings) -> list[dict[str, Any]]:
    """A result for each implementation: its best batch, and the rates of each round at it."""
    torch.set_num_threads(n_threads)
    check_agreement(calls, inputs, n_threads)
    searched = search_batches(calls, inputs, n_threads, settings.seconds)
    best = {name: max(known, key=lambda batch: known[batch]) for name, known in searched.items()}
    clocks = read_clocks()
    rounds = run_rounds(calls, inputs, best, n_threads, settings)
    n_others = count_others(clocks)
    return [
        {
            "n_threads": n_threads,
            "implementation": name,
            "batch_images": best[name],
            "images_per_s": statistics.median(rates),
            "ratio": find_ratio(rates, rounds.get(YARDSTICK)),
            "spread": (max(rates) - min(rates)) / statistics.median(rates),
            "peak_bytes": None,
            "n_cores_of_others": n_others,
            "rounds_images_per_s": rates,
            "search_images_per_s": searched[name],
        }
        for name, rates in rounds.items()
    ]


def measure_memory(results: list[dict[str, Any]], J: int, size: int) -> None:
    """Puts the peak of one call at the best batch into each result; one child per implementation."""
    for name in dict.fromkeys(result["implementation"] for result in results):
        own = [result for result in results if result["implementation"] == name]
        cases = [(result["n_threads"], result["batch_images"]) for result in own]
        for result, peak_bytes in zip(own, run_in_child(name, J, size, cases), strict=True):
            result["peak_bytes"] = peak_bytes


def measure(settings: Settings) -> Iterator[tuple[list[dict[str, Any]], dict[str, str]]]:
    """The results of each size and J, and which implementations refused it, why."""
    n_threads_before = torch.get_num_threads()
    try:
        for size in settings.sizes:
            inputs = Inputs(make_images(N_POOL, size))
            for J in settings.J:
                calls, refused = build_calls(settings.implementations, J, size)
                results = [
                    {"size": size, "J": J, **result}
                    for n_threads in settings.threads
                    for result in measure_speed(calls, inputs, n_threads, settings)
                ]
                if settings.memory:
                    measure_memory(results, J, size)
                yield results, refused
    finally:
        torch.set_num_threads(n_threads_before)


def run(settings: Settings, out: Path | None) -> dict[str, Any]:
    """The report, written to out anew after each size and J: a long run that is broken off leaves what it has."""
    started = time.monotonic()
    report: dict[str, Any] = {
        "machine": describe_machine(),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "settings": asdict(settings),
        "refused": {},
        "results": [],
    }
    for results, refused in measure(settings):
        for name, reason in refused.items():
            if name not in report["refused"]:
                print(f"without {name}: {reason}", file=sys.stderr)
        report["refused"] |= refused
        report["results"] += results
        report["elapsed_s"] = time.monotonic() - started
        if out:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(json.dumps(report, indent=1) + "\n")
        for result in results:
            place = f"{result['size']} px, J={result['J']}, {count(result['n_threads'], 'thread')}"
            print(f"  {place}: {result['implementation']} {result['images_per_s']:.1f} images/s", file=sys.stderr)
    return report


def parse_numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


def parse_names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    unknown = [name for name in names if name not in BUILDERS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(BUILDERS)}")
    return names


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=parse_numbers, default=(32, 64, 96, 128, 224, 256), help="pixels: 32,64")
    parser.add_argument("--J", type=parse_numbers, default=(2, 3, 4))
    parser.add_argument("--threads", type=parse_numbers, default=(1, 2))
    parser.add_argument("--implementations", type=parse_names, default=tuple(BUILDERS), help=",".join(BUILDERS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--seconds", type=float, default=1.0, help="of one measurement; few leave out large batches, Kymatio's first"
    )
    parser.add_argument("--no-memory", action="store_true", help="measure speed alone")
    parser.add_argument("--out", type=Path, help="where to write the JSON")
    parser.add_argument("--read", type=Path, help="measure nothing, show the report in this JSON")
    parser.add_argument("--markdown", action="store_true", help="print the tables in Markdown")
    options = parser.parse_args(arguments)
    if min(options.sizes) < 2 ** max(options.J) or max(options.sizes) >= FIELD_SIZE:
        parser.error(f"--sizes must lie between 2^J and {FIELD_SIZE - 1} pixels")
    if options.rounds < 1 or min(options.threads) < 1 or options.seconds <= 0:
        parser.error("--rounds, --threads and --seconds must be positive")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_arguments(arguments)
    if options.read:
        report = json.loads(options.read.read_text())
    else:
        settings = Settings(options.sizes, options.J, options.threads, options.implementations, options.rounds,
                            options.seconds, not options.no_memory)  # fmt: skip
        report = run(settings, options.out)
    print(show_report(report, markdown=options.markdown))


if __name__ == "__main__":
    main()
