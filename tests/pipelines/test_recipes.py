"""Every recipe runs from its options to its report, without data."""

import json
import re
import shutil

import numpy as np
import pytest
import torch

import scatcache

RECIPES = ("cifar10_linear", "cifar10_fcs", "cifar10_wrn", "cifar10_limited", "stl10_wrn", "imagenet")
RECIPES += ("caltech101_transfer", "grey_linear")
PNG = b"\x89PNG"


@pytest.mark.parametrize("name", RECIPES)
def test_help_tells_of_the_common_options_and_the_recipe(run, name):
    ended = run(name, "--help")
    assert ended.code == 0
    assert all(flag in ended.out for flag in ("--smoke", "--permute-labels", "--validate", "--seed"))
    assert len(ended.out.partition("Options:")[0].split()) > 10


@pytest.mark.parametrize(
    "arguments",
    [(name,) for name in RECIPES] + [("imagenet", "--system", "sle"), ("cifar10_wrn", "--views", 3)],
    ids=lambda arguments: "-".join(map(str, arguments)),
)
def test_smoke_run_reports_what_it_did(run, arguments):
    ended = run(*arguments, "--smoke", "--json", "--epochs", 1)
    report = ended.report
    assert ended.code == 0 and json.loads(ended.out) == report
    assert report["smoke"] and report["command"].startswith(f"python -m pipelines.{arguments[0]} ")
    assert report["machine"]["versions"]["scatcache"] == scatcache.__version__
    assert report["hyperparameters"]["epochs"] == 1
    assert sum(store["splits"]["all"]["rows"] for store in report["data"]) >= 64
    assert all(store["source"] == "photos" and store["bytes"] > 0 for store in report["data"])
    (run_report,) = report["runs"]
    (record,) = run_report["epochs"]
    assert record["loss"] > 0 and 0 <= record["train_accuracy"] <= 100 and record["elapsed_s"] > 0
    assert run_report["test_accuracy"] == record["test_accuracy"] == report["summary"]["test_accuracy"]["mean"]
    assert [path.name for path in sorted(ended.folder.iterdir())] == [
        f"{report['recipe']}-smoke.json",
        f"{report['recipe']}-smoke.png",
    ]
    assert next(ended.folder.glob("*.png")).read_bytes().startswith(PNG)


def test_report_names_no_folder_of_this_machine(run, stores):
    ended = run("cifar10_linear", "--smoke", "--json")
    assert str(stores) not in ended.out and str(ended.folder) not in ended.out
    assert "--stores STORES" in ended.report["command"]


def test_accuracy_reported_is_that_of_the_weights_kept(run, stores):
    ended = run("cifar10_linear", "--smoke", "--save-model", "--seed", "3")
    weights = {key: value.numpy() for key, value in torch.load(*ended.folder.glob("*.pt"), weights_only=True).items()}
    cache = scatcache.open_cache(stores / "photos-J2-32px-limit64.zarr")
    tested = np.random.default_rng(3).permutation(64)[48:]
    S = np.sqrt(np.maximum(cache.coefficients(tested).astype(np.float32), 0))
    mean, var = (weights[f"1.running_{name}"][:, None, None] for name in ("mean", "var"))
    scores = ((S - mean) / np.sqrt(var + 1e-5)).reshape(16, -1) @ weights["3.weight"].T + weights["3.bias"]
    right = (scores.argmax(1) == cache.labels[tested]).sum()
    assert ended.report["runs"][0]["test_accuracy"] == 100 * right / 16


def test_runs_of_several_seeds_are_summarised(run):
    ended = run("cifar10_linear", "--smoke", "--seed", "0-2")
    values = [one["test_accuracy"] for one in ended.report["runs"]]
    assert [one["seed"] for one in ended.report["runs"]] == [0, 1, 2]
    expected = {"mean": pytest.approx(np.mean(values)), "std": pytest.approx(np.std(values, ddof=1)), "n": 3}
    assert ended.report["summary"]["test_accuracy"] == expected
    assert f"{np.mean(values):.2f} +- {np.std(values, ddof=1):.2f} (runs: 3)" in ended.out


def test_same_command_gives_the_same_figures(run):
    records = []
    for results in ("first", "second"):
        run_report = run("cifar10_wrn", "--smoke", results=results).report["runs"][0]
        records.append([{**record, "elapsed_s": 0} for record in run_report["epochs"]])
    assert records[0] == records[1]


def test_permuted_labels_leave_chance(run, gratings, tmp_path):
    arguments = ("--root", gratings, "--stores", tmp_path, "--seed", "0-4")
    straight = run("cifar10_linear", *arguments)
    permuted = run("cifar10_linear", *arguments, "--permute-labels", results="permuted")
    assert permuted.report["permuted_labels"] and not straight.report["permuted_labels"]
    assert next(permuted.folder.glob("*.json")).name == "cifar10_linear-permuted.json"
    assert permuted.report["runs"][0]["epochs"][-1]["train_accuracy"] > 90, "they are learnt by heart"
    means = [ended.report["summary"]["test_accuracy"]["mean"] for ended in (straight, permuted)]
    assert means[0] > 95 and 4 < means[1] < 20


def test_images_are_not_needed_once_there_is_a_store(run, gratings, tmp_path):
    root = shutil.copytree(gratings, tmp_path / "root")
    before = run("cifar10_linear", "--root", root, "--stores", tmp_path, results="before")
    shutil.rmtree(root)
    after = run("cifar10_linear", "--root", root, "--stores", tmp_path, results="after")
    assert "extracting" in before.err and "extracting" not in after.err
    records = [
        [{**record, "elapsed_s": 0} for record in ended.report["runs"][0]["epochs"]] for ended in (before, after)
    ]
    assert before.code == after.code == 0 and records[0] == records[1]


def test_missing_images_are_told_of(run, tmp_path):
    ended = run("cifar10_linear", "--root", tmp_path / "nowhere", "--stores", tmp_path)
    assert ended.code == 1 and "nowhere" in ended.err and not ended.folder.exists()


def test_damaged_shard_stops_the_recipe(run, gratings, tmp_path):
    arguments = ("--root", gratings, "--stores", tmp_path)
    assert run("cifar10_linear", *arguments, "--epochs", 1, results="sound").code == 0
    # Of test first: while training reads none of it, it must not go unseen.
    for split in ("test", "train"):
        shard = tmp_path / "cifar10-J2.zarr" / split / "coefficients" / "c.3.0.0.0"
        content = bytearray(shard.read_bytes())
        content[len(content) // 2] ^= 1
        shard.write_bytes(content)
        ended = run("cifar10_linear", *arguments)
        assert ended.code == 1 and not ended.folder.exists()
        assert re.search(rf"Error: .*{split}.*shard 3", ended.err) and "Traceback" not in ended.err


def test_validation_does_not_depend_on_the_test_split(run, gratings, tmp_path):
    root = shutil.copytree(gratings, tmp_path / "root")
    batch = root / "cifar-10-batches-bin" / "test_batch.bin"
    records = np.frombuffer(batch.read_bytes(), np.uint8)[::-1].reshape(40, 3073).copy()
    records[:, 0] = 3
    batch.write_bytes(records.tobytes())
    accuracies = []
    for name, place in (("one", gratings), ("other", root)):
        ended = run("cifar10_linear", "--root", place, "--stores", tmp_path / name, "--validate", results=f"{name}-r")
        assert ended.report["validation"] and set(ended.report["summary"]) == {"held_out_accuracy"}
        accuracies.append([record["held_out_accuracy"] for record in ended.report["runs"][0]["epochs"]])
    assert accuracies[0] == accuracies[1]


def test_encoder_of_one_recipe_serves_the_other(run):
    trained = run("imagenet", "--system", "sle", "--smoke", "--save-model", results="imagenet")
    (encoder,) = trained.folder.glob("*.pt")
    ended = run("caltech101_transfer", "--smoke", "--encoder", encoder)
    assert ended.code == 0
    assert ended.report["hyperparameters"]["encoder"] == "imagenet-sle-smoke-seed0.pt"
    assert "test_class_accuracy" in ended.report["summary"]


def test_other_weights_are_no_encoder(run):
    trained = run("cifar10_linear", "--smoke", "--save-model", results="linear")
    (encoder,) = trained.folder.glob("*.pt")
    ended = run("caltech101_transfer", "--smoke", "--encoder", encoder)
    assert ended.code == 1 and "expected the weights of a shared local encoder" in ended.err
