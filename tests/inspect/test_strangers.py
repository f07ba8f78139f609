"""What verify says of files and metadata that no run of ours wrote, and what a resume makes of them."""

import contextlib
import json
import os
import shutil
import socket
import warnings
from pathlib import Path

import numpy as np
import pytest

import scatcache
from scatcache.durable import temporary_beside
from tests.runs import call, find_differences
from tests.store.stores import draw_images, edit, read_everything

COEFFICIENTS = "all/coefficients"
SUMMARY = f"{COEFFICIENTS}/receipts/summary.json"


@pytest.fixture
def zarr():
    module = pytest.importorskip("zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield module


def read_json(path: Path):
    return json.loads(path.read_bytes())


def consolidate(zarr, store):
    zarr.consolidate_metadata(store)


def add_attributes(zarr, store):
    root = zarr.open_group(store, mode="a")
    root.attrs["note"] = "mine"
    root["all/label"].attrs["unit"] = float("nan")


def add_arrays(zarr, store):
    root = zarr.open_group(store, mode="a")
    root["all"].create_array("prediction", shape=(50,), dtype="f4")[:] = 1
    root.create_group("mine/deep").create_array("x", shape=(3,), dtype="i4")
    zarr.consolidate_metadata(store)


def reformat(zarr, store):
    for name in ("zarr.json", "all/zarr.json", "all/key/zarr.json"):
        (store / name).write_text(json.dumps(read_json(store / name)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (consolidate, ["another program rewrote zarr.json", "scatcache resume"]),
        (add_attributes, ["attributes of another program, kept: unit of all/label, note of the root"]),
        (add_arrays, ["another program, kept and not checked: all/prediction, mine, mine/deep, mine/deep/x"]),
        (reformat, ["another program rewrote zarr.json, all/zarr.json, all/key/zarr.json"]),
    ],
)
def test_what_other_programs_add_is_a_note_and_no_failure(zarr, sound, store, change, said):
    change(zarr, store)
    verified = call("verify", store)
    assert (verified.code, verified.out) == (0, "5 shards checked: ok\n"), verified.out
    assert all(text in verified.err for text in said), verified.err
    assert read_everything(store) == read_everything(sound)


@pytest.mark.parametrize("change", [consolidate, reformat])
def test_resume_writes_our_metadata_in_our_own_manner_again(zarr, sound, store, change):
    change(zarr, store)
    scatcache.resume(store)
    assert find_differences(sound, store) == []


def test_foreign_members_and_attributes_survive_a_resume(zarr, sound, store):
    add_attributes(zarr, store)
    add_arrays(zarr, store)
    scatcache.resume(store)
    before = {path: path.read_bytes() for path in store.rglob("zarr.json")}
    root = zarr.open_group(store, mode="r")
    assert root.attrs["note"] == "mine" and np.isnan(root["all/label"].attrs["unit"])
    np.testing.assert_array_equal(root["all/prediction"][:], np.ones(50, "f4"))
    assert root["mine/deep/x"].shape == (3,)
    verified = call("verify", store)
    assert verified.code == 0 and "rewrote" not in verified.err and "all/prediction" in verified.err
    scatcache.resume(store)
    assert {path: path.read_bytes() for path in store.rglob("zarr.json")} == before
    # Without them the store is what it was, byte for byte.
    for added in ("mine", "all/prediction"):
        shutil.rmtree(store / added)
    for name in ("zarr.json", "all/label/zarr.json"):
        (store / name).write_bytes((sound / name).read_bytes())
    scatcache.resume(store)
    assert find_differences(sound, store) == []


def test_what_xarray_takes_away_is_a_failure_that_resume_mends(zarr, sound, store):
    xarray = pytest.importorskip("xarray")
    xarray.Dataset({"prediction": ("image", np.zeros(50))}).to_zarr(store, group="all", mode="a")
    verified = call("verify", store)
    assert verified.code == 4
    assert "attribute coordinates" in verified.out and "`scatcache resume` puts it back" in verified.out
    assert "all/prediction" in verified.err and read_everything(store) == read_everything(sound)
    scatcache.resume(store)
    assert call("verify", store).code == 0
    np.testing.assert_array_equal(zarr.open_group(store, mode="r")["all/prediction"][:], np.zeros(50))


def test_a_member_that_is_listed_and_gone_is_dropped_and_told(zarr, sound, store):
    add_arrays(zarr, store)
    shutil.rmtree(store / "mine")
    verified = call("verify", store)
    assert verified.code == 0 and "lists what is not there: mine, mine/deep, mine/deep/x" in verified.err
    scatcache.resume(store)
    assert "mine" not in read_json(store / "zarr.json")["consolidated_metadata"]["metadata"]


@pytest.mark.parametrize("name", ["zarr.json", "all/zarr.json"])
def test_emptied_consolidated_metadata_are_a_failure(sound, store, name):
    document = read_json(store / name)
    document["consolidated_metadata"]["metadata"] = {}
    (store / name).write_text(json.dumps(document))
    (failure,) = scatcache.verify(store).failures
    assert failure.path == name and "consolidated metadata of" in failure.reason
    scatcache.resume(store)
    assert find_differences(sound, store) == []


@pytest.mark.parametrize("name", ["zarr.json", "all/zarr.json"])
def test_damaged_names_of_our_attributes_are_not_taken_for_another_programs(sound, store, name):
    edit(
        store / name,
        lambda data: data.replace(b'"scatcache"', b'"scatcathe"').replace(b'"coordinates"', b'"coordinatez"'),
    )
    assert not scatcache.verify(store).ok
    scatcache.resume(store)
    assert find_differences(sound, store) == []


def test_another_document_in_place_of_ours_leaves_no_attributes(sound, store):
    shutil.copy(store / "all/zarr.json", store / "all/status/zarr.json")
    assert not scatcache.verify(store).ok
    scatcache.resume(store)
    assert find_differences(sound, store) == []


def test_attributes_that_are_none_are_a_failure(sound, store):
    edit(store / "all/order/zarr.json", lambda data: data.replace(b'"attributes": {}', b'"attributes": 7'))
    assert not scatcache.verify(store).ok
    scatcache.resume(store)
    assert find_differences(sound, store) == []


@pytest.mark.parametrize(
    "name",
    [
        f"{COEFFICIENTS}/c.99.0.0.0",
        f"{COEFFICIENTS}/c.1.0.0.1",
        f"{COEFFICIENTS}/receipts/notes.txt",
        f"{COEFFICIENTS}/receipts/00005.json",
        f"{COEFFICIENTS}/receipts/2.json",
        f"{COEFFICIENTS}/receipts/sub/00001.json",
        "all/label/c.1",
        "all/status/c.5",
        "all/status/c.\u0661",
    ],
)
def test_a_stray_file_among_ours_is_a_failure(store, name):
    (store / name).parent.mkdir(exist_ok=True)
    (store / name).write_bytes(b"stray")
    (failure,) = scatcache.verify(store).failures
    assert (failure.path, failure.reason) == (name, "no file of this store: delete it")
    (store / name).unlink()
    assert scatcache.verify(store).ok


@pytest.mark.parametrize("name", ["zarr.json", "all", "all/zarr.json", "all/label/c.0", f"{COEFFICIENTS}/c.1.0.0.0"])
def test_what_a_killed_run_left_is_a_failure_that_resume_mends(sound, store, name):
    left = temporary_beside(store / name)
    left.mkdir() if name == "all" else left.write_bytes(b"torn")
    (left / "zarr.json" if left.is_dir() else left).write_bytes(b"torn")
    (failure,) = scatcache.verify(store).failures
    assert failure.path.startswith(str(left.relative_to(store))) and "resume` removes it" in failure.reason
    scatcache.resume(store)
    assert find_differences(sound, store) == []


def test_what_a_killed_run_left_in_a_split_goes_with_a_run_of_another(splits, tmp_path):
    store = shutil.copytree(splits, tmp_path / "a.zarr")
    shutil.copytree(f"{splits}.job", f"{store}.job")
    for folder in ("", "train", "train/j1", "train/key", "train/status", "train/coefficients/receipts", "test/view"):
        temporary_beside(store / folder / "c.0").write_bytes(b"torn")
    scatcache.resume(store, split="test")
    assert find_differences(splits, store) == []


def test_other_files_beside_ours_are_a_note(store):
    (store / "notes.txt").write_text("mine")
    (store / "all" / ".DS_Store").write_text("theirs")
    verified = call("verify", store)
    assert verified.code == 0 and "no part of the store: all/.DS_Store, notes.txt" in verified.err


# What is no regular file


def make_folder(path):
    path.mkdir()


def make_socket(path):
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as server:
        before = os.getcwd()
        # A socket's path may have some hundred bytes at most.
        os.chdir(path.parent)
        try:
            server.bind(path.name)
        finally:
            os.chdir(before)


def make_dangling(path):
    path.symlink_to("nowhere")


def make_loop(path):
    path.symlink_to(path.name)


def make_device(path):
    path.symlink_to("/dev/zero")


KINDS = {
    "folder": make_folder,
    "fifo": os.mkfifo,
    "socket": make_socket,
    "dangling": make_dangling,
    "loop": make_loop,
    "device": make_device,
}
NAMES = (
    *(
        "zarr.json",
        "all/zarr.json",
        "all/label/zarr.json",
        "all/key/c.0",
        "all/j1/c.0",
        "all/status/c.0",
        "all/coefficients/receipts/index.bin",
    ),
    *(f"{COEFFICIENTS}/c.2.0.0.0", f"{COEFFICIENTS}/receipts/00002.json", SUMMARY),
)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_regular_file_is_a_failure_and_never_waited_for(sound, store, kind):
    for name in NAMES:
        path = store / name
        path.unlink()
        KINDS[kind](path)
        report = scatcache.verify(store)
        assert {failure.path for failure in report.failures} == {name}, name
        with contextlib.suppress(scatcache.StoreDamaged, scatcache.NotAStore, scatcache.StoreIncomplete):
            read_everything(store)
        path.rmdir() if kind == "folder" else None
        assert scatcache.resume(store).state == "complete"
        assert find_differences(sound, store) == [], name


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read whatever its mode")
def test_a_file_that_may_not_be_read_is_a_failure(store):
    for name in NAMES:
        (store / name).chmod(0)
        (failure,) = scatcache.verify(store).failures
        assert failure.path == name and "permission denied" in failure.reason
        (store / name).chmod(0o644)


def test_a_split_whose_making_was_cut_off_is_named_and_finished_by_the_advice(tmp_path):
    for split in ("train", "test"):
        draw_images(tmp_path / "images" / split, seed=3, n_images=6)
    store = tmp_path / "a.zarr"
    scatcache.extract(tmp_path / "images", out=store, J=1, L=2, split="train", workers=1)
    scatcache.extract(tmp_path / "images", out=tmp_path / "whole.zarr", J=1, L=2, workers=1)
    for name in ("coefficients/zarr.json", "key/c.0"):
        (store / "test" / name).parent.mkdir(parents=True)
        (store / "test" / name).write_bytes((tmp_path / "whole.zarr/test" / name).read_bytes())
    (failure,) = scatcache.verify(store).failures
    assert failure.split == "test" and f"give `scatcache resume {store} --split test`" in failure.reason
    scatcache.resume(store, split="test")
    assert scatcache.verify(store).ok and find_differences(store, tmp_path / "whole.zarr") == []
