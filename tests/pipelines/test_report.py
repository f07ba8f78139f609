import json
from dataclasses import replace

import pytest

from pipelines.report import report, summarise
from pipelines.train import Run


def test_only_figures_of_all_runs_are_summarised():
    runs = [Run(0, {"a": 1.0, "b": 5.0}, 1.0), Run(1, {"a": 4.0}, 1.0)]
    assert summarise(runs) == {"a": {"mean": 2.5, "std": pytest.approx(4.5**0.5), "n": 2}}


def test_single_run_has_no_deviation():
    assert summarise([Run(0, {"a": 1.0}, 1.0)])["a"]["std"] is None


def test_report_of_another_command_is_kept(options):
    for command, accuracy in (("a", 1.0), ("a", 2.0), ("b", 3.0), ("c", 4.0)):
        runs = [Run(0, {"test_accuracy": accuracy}, 3.0)]
        report("kernel", runs, options=replace(options, command=command), data=[], hyperparameters={})
    means = {
        path.name: json.loads(path.read_text())["summary"]["test_accuracy"]["mean"]
        for path in options.results.iterdir()
    }
    assert means == {"kernel-smoke.json": 4.0, "kernel-smoke.1.json": 2.0, "kernel-smoke.2.json": 3.0}


def test_run_without_epochs_is_reported_without_curves(options, capsys):
    runs = [Run(2, {"test_accuracy": 12.5}, 3.0, facts={"fold": 7})]
    content = report("kernel", runs, options=options, data=[], hyperparameters={"gamma": 2})
    assert [path.name for path in options.results.iterdir()] == ["kernel-smoke.json"]
    assert json.loads((options.results / "kernel-smoke.json").read_text()) == content
    assert content["runs"] == [{"seed": 2, "fold": 7, "test_accuracy": 12.5, "elapsed_s": 3.0, "epochs": []}]
    assert capsys.readouterr().out.splitlines()[:2] == [
        "kernel (smoke)",
        "  seed 2, fold 7, test_accuracy 12.50, 3.0 s",
    ]
