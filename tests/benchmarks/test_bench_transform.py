"""The benchmark of the transform measures what it says, in the least time it can."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest

from scatcache.errors import BackendUnavailable
from tests.benchmarks import bench_transform, call_memory
from tests.benchmarks.transform_tables import show_report
from tests.benchmarks.transforms import BUILDERS, YARDSTICK, Inputs, make_images

TINY = ["--sizes", "16", "--J", "1,2", "--threads", "1", "--rounds", "1", "--seconds", "0.02", "--no-memory"]


def refuse(J: int, size: int) -> None:
    raise BackendUnavailable("no such luck")


def test_every_implementation_has_a_rate_in_the_json_and_a_row_in_the_table(tmp_path, capsys):
    out = tmp_path / "transform.json"
    bench_transform.main([*TINY, "--out", str(out)])
    report, printed = json.loads(out.read_text()), capsys.readouterr().out
    for J in (1, 2):
        results = [result for result in report["results"] if result["J"] == J]
        names = [result["implementation"] for result in results]
        assert {*names} | report["refused"].keys() == {*BUILDERS} and {*names} >= {*BUILDERS} - {"native"}
        for result in results:
            assert math.isfinite(result["images_per_s"]) and result["images_per_s"] > 0
            row = ["16", str(J), "1", result["implementation"], str(result["batch_images"])]
            assert any(line.split()[:5] == row for line in printed.splitlines())
    assert {*report} >= {"machine", "settings"} and "poster's CPU" in printed
    bench_transform.main(["--read", str(out), "--markdown"])
    tables = capsys.readouterr().out
    assert f" {YARDSTICK} |" in tables and "| 16 | 2 | 1 | " in tables and "| 16 | 1 | 1 | " in tables


def test_two_threads_compute_what_one_does():
    images = make_images(3, 16)
    for name in ("torch", YARDSTICK, "kymatio-numpy"):
        call = BUILDERS[name](2, 16)
        halves = call(images, 2)
        assert len(halves) == (2 if name == "kymatio-numpy" else 1)
        np.testing.assert_allclose(np.concatenate(halves), call(images, 1)[0], rtol=1e-5, atol=1e-6)


def test_refused_implementation_is_left_out_with_its_reason(monkeypatch, capsys):
    monkeypatch.setitem(BUILDERS, "native", refuse)
    bench_transform.main([*TINY, "--implementations", "native,torch"])
    streams = capsys.readouterr()
    assert "without native: no such luck" in streams.out
    assert streams.err.count("without native: no such luck") == 1


def test_implementation_that_computes_something_else_is_found(monkeypatch):
    right = BUILDERS["torch"]
    monkeypatch.setitem(
        BUILDERS, "torch", lambda J, size: lambda images, n: [1.0001 * x for x in right(J, size)(images, n)]
    )
    with pytest.raises(AssertionError, match=r"torch differs by 1\.0e-04"):
        bench_transform.main(TINY)


def test_no_call_sees_the_images_of_the_call_before():
    images = make_images(12, 16)
    assert len(np.unique(images.reshape(12, -1), axis=0)) == 12 and images.min() >= 0 and images.max() <= 1
    inputs = Inputs(images)
    batches = [inputs.take(n_images) for n_images in (3, 3, 3, 4, 4, 1)]
    for before, after in pairwise(batches):
        assert not np.shares_memory(before, after)


def test_memory_of_a_call_covers_its_coefficients():
    n_images, size = 64, 64
    (few, many) = call_memory.run_in_child("torch", 2, size, [(1, 8), (1, n_images)])
    (coefficients,) = BUILDERS["torch"](2, size)(make_images(n_images, size), 1)
    assert coefficients.nbytes <= many < 20 * coefficients.nbytes
    assert few < many


@pytest.mark.parametrize(("n_cores_of_others", "told"), [(0.1, False), (1.0, True)])
def test_other_busy_processes_are_told_of(tmp_path, n_cores_of_others, told):
    out = tmp_path / "transform.json"
    bench_transform.main([*TINY, "--implementations", "torch", "--out", str(out)])
    report = json.loads(out.read_text())
    report["machine"]["cpu"]["usable_cores"] = 1
    for result in report["results"]:
        result["n_cores_of_others"] = n_cores_of_others
    assert ("NOT TO BE PUBLISHED: 2 rows" in show_report(report)) == told
