"""What a recipe reports: NAME.json and NAME.png in --results, and a table or the JSON on stdout."""

import functools
import itertools
import json
import math
import statistics
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import torch

import scatcache
from pipelines.curves import draw_curves
from pipelines.recipe import Options, say
from pipelines.train import Run

PACKAGES = ("scatcache", "python", "torch", "numpy", "zarr", "cupy-cuda12x", "cupy-cuda13x")


def find_commit() -> str | None:
    """The commit of this checkout, with -dirty where files differ from it; None outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


# Of the code that runs: the checkout may move on while it trains.
COMMIT = find_commit()


def report(
    name: str,
    runs: Sequence[Run],
    *,
    options: Options,
    data: dict[str, Any] | Sequence[dict[str, Any]],
    hyperparameters: dict[str, Any],
) -> dict[str, Any]:
    """Writes and prints what the runs of a recipe came to; returns it. A report of another command is kept beside it.

    data: Store.describe() of each store that was used. summary holds, of each figure that all runs have, the mean and
    the standard deviation (n - 1) over the runs, the latter None for a single one. No folder of this machine enters.
    The checkpoints of the runs go.
    """
    content = {
        "recipe": name,
        "command": options.command,
        "smoke": options.smoke,
        "permuted_labels": options.permute_labels,
        "validation": options.validate,
        "limit": options.limit,
        "commit": COMMIT,
        "machine": describe_machine(options.device),
        "data": data,
        "hyperparameters": hyperparameters,
        "runs": [describe_run(run) for run in runs],
        "summary": summarise(runs),
    }
    options.results.mkdir(parents=True, exist_ok=True)
    path = options.results / f"{name}{options.suffix}.json"
    keep_other(path, options.command)
    scatcache.durable.write_file(path, (json.dumps(content, indent=1) + "\n").encode())
    for run in runs:
        for checkpoint in run.checkpoints:
            checkpoint.unlink(missing_ok=True)
    if any(run.epochs for run in runs):
        draw_curves(runs, path.with_suffix(".png"), title=f"{name}{options.suffix}")
    say(f"the report is {path}")
    click.echo(json.dumps(content) if options.as_json else tabulate(content))
    return content


def describe_run(run: Run) -> dict[str, Any]:
    return {
        "seed": run.seed,
        **(run.facts or {}),
        **run.results,
        "elapsed_s": run.elapsed_s,
        "epochs": list(run.epochs),
        **(run.tables or {}),
    }


def summarise(runs: Sequence[Run]) -> dict[str, dict[str, float | int | None]]:
    """mean, std (n - 1) and n by the name of each figure that every run has."""
    names = [name for name in runs[0].results if all(name in run.results for run in runs)]
    summary: dict[str, dict[str, float | int | None]] = {}
    for name in names:
        values = [run.results[name] for run in runs]
        std = statistics.stdev(values) if len(values) > 1 else None
        summary[name] = {"mean": statistics.fmean(values), "std": std, "n": len(values)}
    return summary


def tabulate(content: dict[str, Any]) -> str:
    """A line for each run and one for each figure's mean; epochs and tables are in the JSON alone."""
    marks = [word.replace("_", " ") for word in ("smoke", "permuted_labels", "validation") if content[word]]
    marks += [f"limit {content['limit']}"] if content["limit"] else []
    lines = [" ".join([content["recipe"], *(f"({mark})" for mark in marks)])]
    for run in content["runs"]:
        told = {key: value for key, value in run.items() if key != "elapsed_s" and not isinstance(value, list | dict)}
        facts = [f"{key} {show(value)}" for key, value in told.items()]
        lines.append(f"  {', '.join(facts)}, {run['elapsed_s']:.1f} s")
    for name, of in content["summary"].items():
        spread = "" if of["std"] is None else f" +- {of['std']:.2f}"
        lines.append(f"  {name}: {show(of['mean'])}{spread} (runs: {of['n']})")
    return "\n".join(lines)


def show(value: Any) -> str:
    if not isinstance(value, float) or not math.isfinite(value):
        return str(value)
    return f"{value:.1e}" if 0 < abs(value) < 0.005 else f"{value:.2f}"


@functools.cache
def describe_machine(device: str) -> dict[str, Any]:
    """What scatcache.doctor says of this machine and a recipe depends on; gpu: None where it was not used."""
    found = scatcache.doctor()
    return {
        "cpu": found.cpu["model"],
        "usable_cores": found.cpu["usable_cores"],
        "threads": torch.get_num_threads(),
        "memory_bytes": found.cpu["memory_bytes"],
        "gpu": found.cuda["devices"][0]["name"] if device == "cuda" else None,
        "versions": {name: found.versions[name] for name in PACKAGES if found.versions[name]},
    }


def keep_other(path: Path, command: str) -> None:
    """Moves a report that another command left at path to NAME.1.json, or the first number that is free."""
    if not path.exists() or json.loads(path.read_text()).get("command") == command:
        return
    numbered = (path.with_suffix(f".{number}.json") for number in itertools.count(1))
    kept = next(other for other in numbered if not other.exists())
    path.rename(kept)
    say(f"{path.name} was another command's: it is {kept.name} now")
