"""The tables of pipelines/README.md, written from the reports alone: python -m pipelines.table [--results DIR]."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from pipelines.cifar10_arms import ARMS

RESULTS = Path(__file__).parent.parent / "docs" / "results"
README = Path(__file__).parent / "README.md"
HEADER = ("recipe", "data", "cache", "time", "the poster", "ours", "seeds", "hardware", "commit")


@dataclass(frozen=True)
class Row:
    """One line of the table. report: NAME.json; figures: of its summary, by the words that stand before them, "" for
    none; poster: what the poster has for it."""

    report: str
    figures: dict[str, str]
    poster: str


ROWS = (
    Row("cifar10_linear", {"": "test_accuracy"}, "-"),
    Row("cifar10_linear-permuted", {"labels permuted:": "test_accuracy"}, "10 by chance"),
    Row("grey_linear-mnist", {"": "test_accuracy"}, "-"),
    Row("grey_linear-fashion-mnist", {"": "test_accuracy"}, "-"),
    Row(
        "cifar10_kernel",
        {f"{n}:": f"test_accuracy_{n}" for n in (100, 500, 1000)},
        "100: 38.9 ± 1.2; 500: 54.7 ± 0.6; 1000: 62.0 ± 1.1, with its network",
    ),
    Row(
        "cifar10_kernel-permuted",
        {f"labels permuted, {n}:": f"test_accuracy_{n}" for n in (100, 500, 1000)},
        "10 by chance",
    ),
    Row(
        "f1_fourier",
        {
            "as trained:": "test_accuracy",
            "points lost, smallest 80% zeroed:": "points_lost_fourier_80",
            "80% at random:": "points_lost_random_80",
            "smallest 80% of the weights:": "points_lost_weights_80",
        },
        "2 points lost, on ImageNet",
    ),
    Row(
        "f1_fourier-start1",
        {
            "F1 begun at its usual size, as trained:": "test_accuracy",
            "points lost, smallest 80% zeroed:": "points_lost_fourier_80",
            "80% at random:": "points_lost_random_80",
            "smallest 80% of the weights:": "points_lost_weights_80",
        },
        "2 points lost, on ImageNet",
    ),
    *(
        Row(
            "encoding_accuracy",
            {f"{name}, float32:": f"{name}_float32"}
            | {f"points lost, step {step:g}:": f"{name}_step_{step:g}_lost" for step in (0.4, 0.45, 0.5)},
            "-",
        )
        for name in ("linear", "kernel", "convolutional")
    ),
    Row("invert-cifar10-J2", {"PSNR in dB:": "psnr", "at the start:": "psnr_start"}, "-"),
)


def find_tables(results: Path) -> dict[str, str]:
    """The tables by the names that README.md has for their places."""
    return {"results": "\n".join(make_results(results)), "arms": "\n".join(make_arms(results))}


def make_results(results: Path) -> Iterator[str]:
    """A line for each of ROWS whose report is there."""
    yield from make_head(HEADER)
    for row in ROWS:
        content = read_report(results, row.report)
        if content is not None:
            yield join(describe(row, content))


def describe(row: Row, content: dict[str, Any]) -> list[str]:
    machine, summary = content["machine"], content["summary"]
    seconds = [run["elapsed_s"] for run in content["runs"]]
    ours = "; ".join(f"{words} {show_figure(summary[name])}".strip() for words, name in row.figures.items())
    return [
        f"`{content['command']}`",
        ", ".join(sorted({re.sub(r"-seed\d+$", " labels", store["source"]) for store in content["data"]})),
        show_bytes(content["data"]),
        f"{sum(seconds) / len(seconds):,.0f} s a seed",
        row.poster,
        ours,
        ", ".join(str(run["seed"]) for run in content["runs"]),
        machine["gpu"] or f"{machine['cpu']}, {machine['threads']} of {machine['usable_cores']} cores",
        f"{content['commit']}",
    ]


def make_arms(results: Path) -> Iterator[str]:
    """A line for each arm, from the report of cifar10_arms."""
    content = read_report(results, "cifar10_arms-1000")
    if content is None:
        return
    yield f"`{content['command']}`, seeds {', '.join(str(run['seed']) for run in content['runs'])}:\n"
    yield from make_head(("arm", "test accuracy", "against pixels, on the same sample"))
    for name in [name for name in ARMS if f"{name}_test_accuracy" in content["summary"]]:
        found, pixels = ([run[f"{arm}_test_accuracy"] for run in content["runs"]] for arm in (name, "pixels"))
        gains = [ours - theirs for ours, theirs in zip(found, pixels, strict=True)]
        mean = sum(gains) / len(gains)
        yield join([name, show_figure(content["summary"][f"{name}_test_accuracy"]), f"{mean:+.2f}"])


def make_head(names: tuple[str, ...]) -> Iterator[str]:
    yield join(list(names))
    yield join(["---"] * len(names))


def join(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def show_figure(figure: dict[str, Any]) -> str:
    """mean ± standard deviation over the seeds."""
    return f"{figure['mean']:.2f}" + ("" if figure["std"] is None else f" ± {figure['std']:.2f}")


def show_bytes(stores: list[dict[str, Any]]) -> str:
    total = f"{sum(store['bytes'] for store in stores) / 1e9:.2f} GB"
    return total if len(stores) == 1 else f"{total} in {len(stores)} stores"


def read_report(results: Path, name: str) -> dict[str, Any] | None:
    path = results / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def fill(text: str, tables: dict[str, str]) -> str:
    """text with each table between its marks, `<!-- NAME -->` and `<!-- end -->`."""
    for name, table in tables.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        text, n = re.subn(pattern, lambda found, table=table: f"{found[1]}{table}\n{found[2]}", text, flags=re.DOTALL)
        assert n == 1, f"README.md has {n} places for {name}"
    return text


@click.command()
@click.option("--results", type=click.Path(exists=True, file_okay=False, path_type=Path), default=RESULTS)
@click.option("--write", is_flag=True, help="into README.md, beside this file")
def main(results: Path, write: bool) -> None:
    """Print the tables that the reports in --results give."""
    tables = find_tables(results)
    for table in tables.values():
        click.echo(f"{table}\n")
    if write:
        README.write_text(fill(README.read_text(), tables))


if __name__ == "__main__":
    main()
