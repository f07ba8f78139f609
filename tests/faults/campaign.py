"""Kills a run at each of its file operations, and makes each of them fail: nothing wrong, nothing lost, all healed.

    python -m tests.faults.campaign [--scenario NAME]... [--sample N] [--seed 0] [--jobs 2] [--reads] [--log FILE]

The operations are found by tracing a run of each scenario under the shim (shim.c), which needs a C compiler. Prints
counts; exit code 1 where anything failed.
"""

import argparse
import errno
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.pool import Findings, open_folder, open_pool, prepare_inputs, show
from tests.faults.shim import Injection, NoCompiler, Step, build

N_OF_MAIN = 60


@dataclass(frozen=True)
class Traced:
    """What every run of a scenario does: its steps in their order, and whether a worker process takes each; n_varying:
    steps that only some runs take."""

    steps: dict[Step, bool]
    n_varying: int


_drill = None


def prepare(base: Path) -> None:
    """Makes this process one that drills: everything imported, nothing started."""
    global _drill
    from tests.faults.drill import Drill
    from tests.faults.scenarios import SCENARIOS, Inputs, make_inputs

    inputs = Inputs(base / "inputs")
    work = prepare_inputs(
        base, make=make_inputs, rehearse=lambda work: Drill(inputs, work).rehearse(SCENARIOS["fresh"])
    )
    _drill = Drill(inputs, work)


def trace(name: str) -> Traced:
    """Two runs of a scenario: what both did."""
    from tests.faults.scenarios import SCENARIOS

    first, second = (_drill.trace(SCENARIOS[name]) for _ in range(2))
    return Traced({step: worker for step, worker in first.items() if step in second}, len(first.keys() ^ second.keys()))


def judge(name: str, injection: Injection):
    from tests.faults.scenarios import SCENARIOS

    return _drill.judge(SCENARIOS[name], injection)


def list_injections(name: str, traced: Traced, *, reads: bool, dice: random.Random) -> list[Injection]:
    """All that may happen at all steps.

    Where workers are processes, N_OF_MAIN of what may happen in the command's own: a run takes seconds, and there it is
    as in another scenario.
    """
    from tests.faults.drill import modes_of
    from tests.faults.scenarios import SCENARIOS

    def inject(steps: list[Step]) -> list[Injection]:
        return [Injection(step, mode, error) for step in steps for mode, error in modes_of(step)]

    wanted = [step for step in traced.steps if reads or step.operation not in ("read", "look")]
    if not SCENARIOS[name].processes:
        return inject(wanted)
    of_main = inject([step for step in wanted if not traced.steps[step]])
    return inject([step for step in wanted if traced.steps[step]]) + dice.sample(of_main, min(N_OF_MAIN, len(of_main)))


@dataclass
class Counts:
    """What a campaign did."""

    findings: Findings
    n_steps: int = 0
    injected: Counter[str] = field(default_factory=Counter)
    survived: Counter[str] = field(default_factory=Counter)

    def take(self, verdict) -> None:
        kind = verdict.injection.mode
        if verdict.injection.error:
            kind = f"{errno.errorcode[verdict.injection.error]} {kind}"
            self.survived[kind] += verdict.survived
        self.injected[kind] += 1
        for fault, text in verdict.faults:
            self.findings.add(fault, f"{verdict.scenario}: {verdict.injection}: {fault}: {text}")


def run_campaign(pool, scenarios, counts: Counts, *, sample: int | None, seed: int, reads: bool) -> None:
    """Drills all injections, or `sample` of each scenario."""
    dice = random.Random(seed)
    planned = []
    for name, traced in zip(scenarios, pool.map(trace_or_fail, scenarios), strict=True):
        if isinstance(traced, str):
            counts.findings.add("not traced", f"{name}: not traced: {traced}")
            continue
        injections = list_injections(name, traced, reads=reads, dice=dice)
        operations = Counter(step.operation for step in {injection.step for injection in injections})
        n_steps = sum(operations.values())
        varying = f", {traced.n_varying} more that vary" if traced.n_varying else ""
        print(f"{name}: {len(traced.steps)} steps{varying}; fails at {n_steps} ({show(operations)})", flush=True)
        counts.n_steps += n_steps
        chosen = injections if sample is None else dice.sample(injections, min(sample, len(injections)))
        planned += [(name, injection) for injection in chosen]
    dice.shuffle(planned)
    started = time.monotonic()
    names, injections = zip(*planned, strict=True) if planned else ((), ())
    for done, verdict in enumerate(pool.map(judge, names, injections, chunksize=4), 1):
        counts.take(verdict)
        if done % 500 == 0:
            spent_s = time.monotonic() - started
            print(f"{done} of {len(planned)} after {spent_s:.0f} s: {show(counts.findings.kinds)}", flush=True)


def trace_or_fail(name: str) -> Traced | str:
    try:
        return trace(name)
    except RuntimeError as error:
        return str(error)


def parse_arguments() -> argparse.Namespace:
    from tests.faults.scenarios import SCENARIOS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenario", action="append", choices=list(SCENARIOS), help="one or more; default all")
    parser.add_argument("--sample", type=int, help="injections of each scenario; default all")
    parser.add_argument("--seed", type=int, default=0, help="of the sample and the order")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--reads", action="store_true", help="opening for reading and reading fail, too")
    parser.add_argument("--log", type=Path, help="a file that failures are added to as they come")
    return parser.parse_args()


def main() -> int:
    options = parse_arguments()
    from tests.faults.scenarios import SCENARIOS

    counts = Counts(Findings(options.log))
    started = time.monotonic()
    with open_folder() as base:
        try:
            library = build(base)
        except NoCompiler as error:
            print(f"faults: {error}", file=sys.stderr)
            return 1
        preload = {"LD_PRELOAD": str(library)}
        with open_pool(prepare, base, n_jobs=options.jobs, environment=preload) as pool:
            names = options.scenario or list(SCENARIOS)
            run_campaign(pool, names, counts, sample=options.sample, seed=options.seed, reads=options.reads)
    print(f"{sum(counts.injected.values())} faults at {counts.n_steps} steps: {show(counts.injected)}")
    print(f"of these the run went on to the whole store after {show(counts.survived)}")
    return counts.findings.tell(time.monotonic() - started)


if __name__ == "__main__":
    sys.exit(main())
