import json

import pytest

from pipelines import table
from pipelines.cifar10_arms import ARMS


def make_report(recipe, results, *, seeds=(0, 1)):
    """A report as report.py writes it, results by seed."""
    figures = [{name: value + seed for name, value in results.items()} for seed in seeds]
    return {
        "recipe": recipe,
        "command": f"python -m pipelines.{recipe} --seed 0-1",
        "commit": "abc",
        "machine": {"cpu": "a processor", "gpu": None, "threads": 1, "usable_cores": 2},
        "data": [{"source": "cifar10", "store": "a.zarr", "bytes": 1_500_000_000}],
        "runs": [{"seed": seed, **found, "elapsed_s": 10.0} for seed, found in zip(seeds, figures, strict=True)],
        "summary": {name: {"mean": value + 0.5, "std": 0.7071, "n": 2} for name, value in results.items()},
    }


@pytest.fixture
def results(tmp_path):
    arms = {f"{name}_test_accuracy": 50.0 + place for place, name in enumerate(ARMS)}
    reports = {
        "cifar10_linear": make_report("cifar10_linear", {"test_accuracy": 71.0}),
        "cifar10_arms-1000": make_report("cifar10_arms", arms),
    }
    for name, content in reports.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return tmp_path


def test_readme_has_the_tables_that_the_reports_give():
    text = table.README.read_text()
    assert table.fill(text, table.find_tables(table.RESULTS)) == text, "run python -m pipelines.table --write"


def test_every_report_has_a_row():
    named = {row.report for row in table.ROWS} | {"cifar10_arms-1000"}
    assert {path.stem for path in table.RESULTS.glob("*.json")} <= named


def test_a_row_says_what_its_report_says(results):
    (line,) = [line for line in table.find_tables(results)["results"].splitlines() if "pipelines." in line]
    for words in ("--seed 0-1", "cifar10", "1.50 GB", "10 s a seed", "71.50 ± 0.71", "0, 1", "1 of 2 cores", "abc"):
        assert words in line


def test_arms_are_compared_with_pixels_seed_by_seed(results):
    lines = table.find_tables(results)["arms"].splitlines()
    (pixels,) = [line for line in lines if line.startswith("| pixels ")]
    (none,) = [line for line in lines if line.startswith("| none ")]
    assert pixels.endswith("| +0.00 |") and none.endswith(f"| {1 - len(ARMS):+.2f} |")


def test_a_place_that_is_gone_is_told(results):
    with pytest.raises(AssertionError, match="0 places for results"):
        table.fill("# Recipes\n", table.find_tables(results))
