import numpy as np
import torch

from pipelines.encoding_accuracy import draw_rows, round_to


def test_smoke_run_compares_every_classifier_at_every_step(run):
    ended = run("encoding_accuracy", "--smoke", "--step", 0.5, "--step", 8, "--epochs", 2)
    assert ended.code == 0, ended.err
    summary = ended.report["summary"]
    names = [f"{name}_{what}" for what in ("float32", "step_0.5_lost", "step_8_lost") for name in
             ("linear", "kernel", "convolutional")]  # fmt: skip
    assert list(summary) == names
    # Half a deviation costs little; at eight little is left.
    assert all(abs(summary[f"{name}_step_0.5_lost"]["mean"]) < 30 for name in ("linear", "kernel"))
    assert summary["kernel_float32"]["mean"] > 50 and summary["kernel_step_8_lost"]["mean"] > 5
    assert ended.report["data"][0]["settings"].count("encoding=float32") == 1


def test_rounding_is_to_the_nearest_multiple():
    S, steps = torch.rand(4, 3, 5, 5), torch.tensor([0.1, 0.03, 0.5])[:, None, None]
    found = round_to(S, steps=steps)
    assert ((found - S).abs() <= 0.5001 * steps).all()
    np.testing.assert_allclose((found / steps).round(), found / steps, atol=1e-4)


def test_a_sample_has_as_many_of_each_class(photos):
    class Part:
        rows, labels = np.arange(60), np.arange(60) % 3

    drawn = draw_rows(Part, 30, seed=0)
    assert np.bincount(Part.labels[drawn]).tolist() == [10, 10, 10] and (np.diff(drawn) > 0).all()
    assert drawn.tolist() != draw_rows(Part, 30, seed=1).tolist()
