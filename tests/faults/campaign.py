"""Kills a run at each of its file operations, and makes each of them fail: nothing wrong, nothing lost, all healed.

    python -m tests.faults.campaign [--scenario NAME]... [--sample N] [--seed 0] [--jobs 2] [--reads]

The operations are found by tracing a run of each scenario under the shim (shim.c), which needs a C compiler. Prints counts;
exit code 1 where anything failed.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from tests.faults.shim import Injection, NoCompiler, Step, build

ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    # It tidies up after the killed, and says so.
    "PYTHONWARNINGS": "ignore::UserWarning:multiprocessing.resource_tracker",
}
N_FAILURES_SHOWN = 40


@dataclass(frozen=True)
class Traced:
    """The steps that every run of a scenario takes, and the number of those that only some runs do."""

    steps: tuple[Step, ...]
    n_varying: int


_drill = None


def prepare(inputs: str, base: str) -> None:
    """Makes this process one that drills: everything imported, nothing started."""
    global _drill
    from tests.faults.children import warm
    from tests.faults.drill import Drill
    from tests.faults.scenarios import SCENARIOS, Inputs

    _drill = Drill(Inputs(Path(inputs)), Path(tempfile.mkdtemp(dir=base)))
    _drill.work.joinpath("warm").mkdir()
    warm(lambda: _drill.rehearse(SCENARIOS["fresh"]), _drill.work / "warm")


def trace(name: str) -> Traced:
    """Two runs of a scenario: what both did."""
    from tests.faults.scenarios import SCENARIOS

    first, second = (_drill.trace(SCENARIOS[name]) for _ in range(2))
    both = set(first) & set(second)
    return Traced(tuple(step for step in first if step in both), len(set(first) ^ set(second)))


def judge(name: str, injection: Injection):
    from tests.faults.scenarios import SCENARIOS

    return _drill.judge(SCENARIOS[name], injection)


def make(inputs: str) -> None:
    from tests.faults.scenarios import make_inputs

    make_inputs(Path(inputs))


@contextmanager
def open_drills(base: Path, n_jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Processes under the shim that drill. Raises NoCompiler."""
    library, inputs = build(base), base / "inputs"
    inputs.mkdir()
    kept = dict(os.environ)
    os.environ |= {**ENVIRONMENT, "LD_PRELOAD": str(library)}
    try:
        # Each starts what it forks from, so it must be without threads: spawned, not forked from here.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as maker:
            maker.submit(make, str(inputs)).result()
        pool = ProcessPoolExecutor(
            n_jobs, mp_context=get_context("spawn"), initializer=prepare, initargs=(str(inputs), str(base))
        )
        with pool:
            yield pool
    finally:
        os.environ.clear()
        os.environ |= kept


def list_injections(steps: tuple[Step, ...], *, reads: bool) -> list[Injection]:
    from tests.faults.drill import modes_of

    wanted = [step for step in steps if reads or step.operation not in ("read", "look")]
    return [Injection(step, mode, error) for step in wanted for mode, error in modes_of(step)]


@dataclass
class Counts:
    """What a campaign found."""

    steps: Counter
    injected: Counter
    survived: Counter
    faults: Counter
    failures: list[str]


def run_campaign(pool, scenarios, *, sample: int | None, seed: int, reads: bool) -> Counts:
    """Drills all injections, or `sample` of each scenario."""
    counts = Counts(Counter(), Counter(), Counter(), Counter(), [])
    dice = random.Random(seed)
    planned = []
    for name, traced in zip(scenarios, pool.map(trace_or_fail, scenarios), strict=True):
        if isinstance(traced, str):
            counts.faults["not traced"] += 1
            counts.failures.append(f"{name}: not traced: {traced}")
            continue
        injections = list_injections(traced.steps, reads=reads)
        steps = Counter(injection.step.operation for injection in {i.step: i for i in injections}.values())
        print(f"{name}: {sum(steps.values())} steps ({show(steps)}), {traced.n_varying} that vary", flush=True)
        counts.steps[name] = sum(steps.values())
        chosen = injections if sample is None else dice.sample(injections, min(sample, len(injections)))
        planned += [(name, injection) for injection in chosen]
    dice.shuffle(planned)
    started = time.monotonic()
    for done, verdict in enumerate(pool.map(judge, *zip(*planned, strict=True), chunksize=4), 1):
        take(counts, verdict)
        if done % 500 == 0:
            print(f"{done} of {len(planned)} after {time.monotonic() - started:.0f} s, {show(counts.faults)}", flush=True)
    return counts


def trace_or_fail(name: str) -> Traced | str:
    try:
        return trace(name)
    except RuntimeError as error:
        return str(error)


def take(counts: Counts, verdict) -> None:
    injection = verdict.injection
    kind = injection.mode if not injection.error else f"{os.strerror(injection.error)}, {injection.mode}"
    counts.injected[kind] += 1
    counts.survived[kind] += verdict.survived
    for fault in sorted({kind for kind, _ in verdict.faults}):
        counts.faults[fault] += 1
    counts.failures += [f"{verdict.scenario}: {injection}: {kind}: {text}" for kind, text in verdict.faults]


def show(counter: Counter) -> str:
    return ", ".join(f"{n} {name}" for name, n in sorted(counter.items())) or "no failure"


def choose_folder() -> str | None:
    """Memory where there is such a folder: a campaign writes the same few files again and again."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def parse_arguments() -> argparse.Namespace:
    from tests.faults.scenarios import SCENARIOS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenario", action="append", choices=list(SCENARIOS), help="one or more; default all")
    parser.add_argument("--sample", type=int, help="injections of each scenario; default all")
    parser.add_argument("--seed", type=int, default=0, help="of the sample and the order")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--reads", action="store_true", help="opening for reading and reading fail, too")
    parser.add_argument("--failures", type=Path, help="a file for all failures")
    return parser.parse_args()


def main() -> int:
    options = parse_arguments()
    from tests.faults.scenarios import SCENARIOS

    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults-", dir=choose_folder()) as base:
        try:
            with open_drills(Path(base), options.jobs) as pool:
                names = options.scenario or list(SCENARIOS)
                counts = run_campaign(
                    pool, names, sample=options.sample, seed=options.seed, reads=options.reads
                )
        except NoCompiler as error:
            print(f"faults: {error}", file=sys.stderr)
            return 1
    print(f"injected {sum(counts.injected.values())} at {sum(counts.steps.values())} steps: {show(counts.injected)}")
    print(f"went on to the whole store in spite of it: {show(counts.survived)}")
    for failure in counts.failures[:N_FAILURES_SHOWN]:
        print(f"FAILED: {failure}")
    if options.failures:
        options.failures.write_text("".join(f"{line!r}\n" for line in counts.failures))
    print(f"{show(counts.faults)}; {time.monotonic() - started:.0f} s")
    return 1 if counts.failures else 0


if __name__ == "__main__":
    sys.exit(main())
