"""Recipes on the datasets they are for, or on samples of them: a few images each, for the mechanics alone."""

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest


def unpack(archive: Path, folder: Path, *, wanted: tuple[str, ...] = ("",)) -> Path:
    """The folder in an archive, or of it what begins with one of wanted."""
    with tarfile.open(archive) as tar:
        members = [member for member in tar if member.name.partition("/")[2].startswith(wanted)]
        tar.extractall(folder, members=members, filter="data")
    return next(folder.iterdir())


def test_cifar10(run, cifar10_root, tmp_path):
    arguments = ("--k", 1, "--limit", 64, "--epochs", 2)
    ended = run("cifar10_wrn", *arguments, "--root", cifar10_root, "--stores", tmp_path)
    assert ended.code == 0, ended.err
    report = ended.report
    assert report["limit"] == 64 and not report["smoke"] and len(report["runs"][0]["epochs"]) == 2
    assert report["data"][0]["splits"]["test"] == {"rows": 64, "readable": 64}
    assert report["data"][0]["row_shape"] == [243, 8, 8]
    assert "(limit 64)" in ended.out


def test_limited_labels_train_on_the_sample_and_test_on_the_test_split(run, cifar10_root, tmp_path):
    arguments = ("--n", 100, "--k", 1, "--views", 2, "--epochs", 1, "--limit", 64)
    ended = run("cifar10_limited", *arguments, "--seed", "0-1", "--root", cifar10_root, "--stores", tmp_path)
    names = [store["store"] for store in ended.report["data"]]
    assert names == [
        "cifar10-J2-limit64.zarr",
        "cifar10-100-seed0-J2-views2.zarr",
        "cifar10-100-seed1-J2-views2.zarr",
    ]
    assert [store["splits"] for store in ended.report["data"]][1] == {"all": {"rows": 200, "readable": 200}}
    assert ended.report["hyperparameters"]["mul"] == 100


def test_stl10_trains_on_each_fold(run, needs_data, tmp_path):
    script = needs_data("make_stl10_standin.py")
    photographs = unpack(needs_data("imagenette160-mini.tar"), tmp_path / "photographs")
    program = [sys.executable, script, photographs, tmp_path / "root", "6", "2"]
    subprocess.run(program, check=True, capture_output=True)
    folds = np.random.default_rng(0).permutation(60).reshape(10, 6)
    lines = [" ".join(map(str, fold)) for fold in folds.tolist()]
    (tmp_path / "root" / "stl10_binary" / "fold_indices.txt").write_text("\n".join(lines) + "\n")
    arguments = ("--root", tmp_path / "root", "--stores", tmp_path, "--epochs", 1, "--k", 1)
    ended = run("stl10_wrn", *arguments, "--fold", "0,7")
    assert ended.code == 0, ended.err
    assert [one["fold"] for one in ended.report["runs"]] == [0, 7]
    assert ended.report["data"][0]["row_shape"] == [243, 24, 24] and "--fold 0,7" in ended.report["command"]
    assert ended.report["summary"]["test_accuracy"]["n"] == 2
    refused = run("stl10_wrn", *arguments, "--fold", "10", results="refused")
    assert refused.code == 1 and "there is no fold 10: expected 0 to 9" in refused.err


@pytest.mark.slow
def test_imagenet_from_a_folder(run, needs_data, tmp_path):
    folder = unpack(needs_data("imagenette160-mini.tar"), tmp_path / "photographs")
    ended = run("imagenet", "--source", folder, "--limit", 6, "--epochs", 1, "--stores", tmp_path)
    assert ended.code == 0, ended.err
    assert ended.report["data"][0]["row_shape"] == [651, 28, 28]
    # 10 classes in place of 1000: 990 rows of 512 weights and a bias fewer.
    assert ended.report["hyperparameters"]["n_parameters"] == 12_768_744 - 990 * 513
    assert set(ended.report["summary"]) == {"test_accuracy", "test_top5_accuracy"}
    assert "--source SOURCE" in ended.report["command"] and str(tmp_path) not in json.dumps(ended.report)


def test_caltech101_from_a_folder(run, needs_data, tmp_path):
    wanted = ("Leopards", "yin_yang", "Faces/")
    folder = unpack(needs_data("caltech101-20.tar"), tmp_path / "photographs", wanted=wanted)
    arguments = ("--source", folder, "--stores", tmp_path, "--epochs", 4)
    ended = run("caltech101_transfer", *arguments, "--train-images", 12)
    assert ended.code == 0, ended.err
    assert ended.report["data"][0]["row_shape"] == [1251, 14, 14]
    assert ended.report["summary"]["test_class_accuracy"]["mean"] > 70, "faces, leopards and yin-yangs"
    refused = run("caltech101_transfer", *arguments, "--train-images", 20, results="refused")
    assert refused.code == 1 and "has 20 images: expected more than the 20" in refused.err
