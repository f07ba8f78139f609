"""Stores of several views of each image: extracted, resumed, verified, shown."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

import scatcache
from scatcache.images.kinds.folder import FolderPart
from scatcache.images.source import Listing, Location, Row
from scatcache.job import shard_images
from scatcache.job.planning import choose_folds
from scatcache.views import Views, draw_windows
from tests.job.test_extraction import Stop, stop_after
from tests.runs import call, find_differences, make_images

PLAIN = {"J": 1, "L": 4, "shard_images": 5}
SETTINGS = {**PLAIN, "views": 4, "view_padding": 2}
UNREADABLE = "class1/0003.png"


@pytest.fixture
def store(tmp_path, images):
    scatcache.extract(images, out=tmp_path / "views.zarr", **SETTINGS)
    return tmp_path / "views.zarr"


@pytest.fixture
def plain(tmp_path, images):
    scatcache.extract(images, out=tmp_path / "plain.zarr", **PLAIN)
    return tmp_path / "plain.zarr"


def read_table(store, split):
    return scatcache.open_cache(store, split=split).to_xarray()


def test_rows_of_one_image_are_neighbours_in_source_order(store):
    cache = scatcache.open_cache(store, split="train")
    keys = cache.keys[::4]
    assert len(keys) == 13 and keys == sorted(set(keys))
    assert cache.keys == [key for key in keys for _ in range(4)]
    assert cache.labels.tolist() == np.repeat(cache.labels[::4], 4).tolist()
    table = read_table(store, "train")
    assert table.view.values[np.argsort(table.source_index.values)].tolist() == list(range(4)) * 13


@pytest.mark.parametrize("split", ["train", "test"])
def test_on_disk_the_views_of_an_image_lie_together_where_the_plain_row_would(store, plain, split):
    one, several = read_table(plain, split), read_table(store, split)
    assert several.key.values.tolist() == np.repeat(one.key.values, 4).tolist()
    assert several.view.values.tolist() == list(range(4)) * one.sizes["image"]


def test_coefficients_are_those_of_the_reflect_padded_crops(store, images):
    cache = scatcache.open_cache(store, split="test")
    scat = scatcache.Scattering2D(J=1, L=4, shape=(16, 16), backend="torch")
    for row in range(len(cache)):
        image = np.asarray(Image.open(images / "test" / cache.keys[row]).convert("RGB"))
        top, left, mirrored = draw_windows(Views(4, 2), key=cache.keys[row], seed=0)[row % 4]
        padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="reflect")
        crop = padded[top : top + 16, left : left + 16]
        crop = crop[:, ::-1] if mirrored else crop
        expected = scat(torch.from_numpy(crop.transpose(2, 0, 1).copy())).flatten(0, 1)
        torch.testing.assert_close(cache[row][0], expected, rtol=1e-3, atol=1e-4)


def test_the_plain_view_is_the_row_of_a_store_without_views(store, plain):
    one, several = (scatcache.open_cache(path, split="test") for path in (plain, store))
    views = several.coefficients(np.arange(0, len(several), 4))
    np.testing.assert_array_equal(views, one.coefficients(slice(None)))


def test_one_view_is_a_store_without_views(tmp_path, images, plain):
    scatcache.extract(images, out=tmp_path / "one.zarr", views=1, **PLAIN)
    assert find_differences(plain, tmp_path / "one.zarr") == []


def test_all_views_are_stored_by_their_number(tmp_path, images):
    for name, views in (("all", "all"), ("number", 18)):
        scatcache.extract(images, out=tmp_path / name, split="test", views=views, view_padding=1, **PLAIN)
    assert find_differences(tmp_path / "all", tmp_path / "number") == []
    assert len(scatcache.open_cache(tmp_path / "all")) == 6 * 18


@pytest.mark.parametrize("options", [{"workers": 2}, {"workers": 3, "decode_threads": 5}], ids=str)
def test_the_store_does_not_depend_on_workers_and_threads(tmp_path, images, store, options):
    scatcache.extract(images, out=tmp_path / "other.zarr", **options, **SETTINGS)
    assert find_differences(store, tmp_path / "other.zarr") == []


def test_a_stopped_and_resumed_run_ends_in_the_same_store(tmp_path, images, store):
    stopped = tmp_path / "stopped.zarr"
    with pytest.raises(Stop):
        scatcache.extract(images, out=stopped, workers=1, on_event=stop_after(3), **SETTINGS)
    scatcache.resume(stopped)
    assert find_differences(store, stopped) == []


def test_an_unreadable_image_loses_all_its_views_and_is_told_once(tmp_path, images):
    report = scatcache.extract(images, out=tmp_path / "told.zarr", **SETTINGS)
    assert [entry["key"] for entry in report.unreadable] == [UNREADABLE]
    assert report.splits["train"].unreadable == 4
    cache = scatcache.open_cache(tmp_path / "told.zarr", split="train")
    assert {cache.keys[row] for row in set(range(len(cache))) - set(cache.readable.tolist())} == {UNREADABLE}


def test_a_limit_counts_images(tmp_path, images, plain):
    scatcache.extract(images, out=tmp_path / "some.zarr", limit=5, **SETTINGS)
    some = scatcache.open_cache(tmp_path / "some.zarr", split="test")
    assert len(some) == 20
    assert set(some.keys) == set(read_table(plain, "test").key.values[:5])


def test_verify_computes_views_again(store, images):
    report = scatcache.verify(store, recompute=1.0)
    assert report.ok and report.recomputed == 4 * (13 - 1 + 6)
    victim = images / "test" / scatcache.open_cache(store, split="test").keys[0]
    Image.fromarray(np.asarray(Image.open(victim))[::-1]).save(victim)
    report = scatcache.verify(store, recompute=1.0)
    assert {failure.split for failure in report.failures} == {"test"} and len(report.failures) == 4
    assert all(f"view {view}" in failure.reason for view, failure in enumerate(report.failures))


def test_each_image_is_read_and_decoded_once_a_shard(tmp_path, images, monkeypatch):
    seen, lock = Counter(), threading.Lock()
    decode = shard_images.decode_noted

    def count_decode(data, how):
        with lock:
            seen[bytes(data)] += 1
        return decode(data, how)

    monkeypatch.setattr(shard_images, "decode_noted", count_decode)
    settings = {**SETTINGS, "shard_images": 1000, "views": 40}
    scatcache.extract(images, out=tmp_path / "once.zarr", workers=2, decode_threads=4, **settings)
    assert len(seen) == 19 and set(seen.values()) == {1}


def test_images_inside_an_archive_are_read_once_for_all_views(tmp_path, images, monkeypatch):
    # Whatever lies in an archive is handed out once; see ShardReads.
    monkeypatch.setattr(FolderPart, "locate", lambda part, i: Location("a", int(part.listing.rows[i].key[-8:-4]), 1))
    scatcache.extract(images, out=tmp_path / "views.zarr", decode_threads=3, **SETTINGS)
    monkeypatch.undo()
    assert scatcache.verify(tmp_path / "views.zarr", recompute=1.0).ok


def test_folds_hold_every_view_of_their_images(tmp_path):
    rows = tuple(Row(f"{index}", 0, 1) for index in range(4))
    assert choose_folds(Listing(rows, folds=((3, 1),)), seed=0, limit=None, n_views=2) == ((6, 7, 2, 3),)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ({"views": 163}, "expected 1 to 162, which are all with view_padding 4"),
        ({"views": 3, "view_padding": 0}, "expected 1 to 2"),
        ({"views": 0}, "views is 0"),
        ({"view_padding": 2}, "give views too"),
        ({"views": 2, "view_padding": 40}, "cannot be padded by 40"),
    ],
)
def test_views_that_cannot_be_are_refused_before_any_work(tmp_path, typed, message):
    items = [(np.zeros((32, 32, 3), np.uint8), label) for label in (0, 1, 0)]
    with pytest.raises((ValueError, scatcache.SourceError), match=message):
        scatcache.extract(items, name="mine", out=tmp_path / "no.zarr", J=2, **typed)
    assert list(tmp_path.iterdir()) == []


def test_a_store_keeps_its_views_and_refuses_others(tmp_path, images, store):
    found = call("extract", images, "--out", store, "--views", 3)
    assert found.code == 5 and "views.n: the store has 4, you asked for 3" in found.err
    assert call("extract", images, "--out", store).code == 3
    assert "views=4, view_padding=2" in call("info", store).out.replace("\n          ", " ")


def test_plan_counts_views_and_images(tmp_path, images):
    found = call("plan", images, "--out", tmp_path / "x.zarr", "--J", 1, "--views", "all", "--split", "test", "--quick")
    assert found.code == 0 and "300 views (50 of each of 6 images)" in found.out.replace("\n       ", " ")


def test_show_draws_the_view_asked_for(tmp_path, store, monkeypatch):
    drawn = []
    monkeypatch.setattr("scatcache.inspect.show.render", lambda portrait: drawn.append(portrait) or b"")
    for row in (4, 5):
        scatcache.show(store, row, split="test", out=tmp_path / "row.png")
    plain, other = drawn
    assert plain.key.endswith("view 0 of 4") and other.key.endswith("view 1 of 4")
    assert plain.image.shape == other.image.shape and not np.array_equal(plain.image, other.image)


def test_a_failure_in_one_thread_is_everyones(tmp_path):
    class Reads:
        n = 0

        def read(self, i):
            Reads.n += 1
            raise scatcache.ScatcacheError("gone")

    job = type("Job", (), {"check_running": lambda self: None, "manifest": type("M", (), {"size": None})()})()
    task = type("Task", (), {"images": (0,) * 8, "keys": ("a",) * 8, "views": range(8), "split": "all"})()
    shared = shard_images.ShardImages(job, task, Reads())
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(shared.find, 0) for _ in range(8)]
    assert [str(future.exception()) for future in futures] == ["gone"] * 8 and Reads.n == 1


def test_a_loader_draws_one_view_of_each_image_in_each_epoch(store):
    cache = scatcache.open_cache(store, split="train")
    loader = cache.loader(4, shuffle=True, seed=1)
    assert len(loader) == 3  # twelve readable images
    drawn = [torch.cat([S for S, _ in loader]) for _ in range(2)]
    rows = torch.from_numpy(cache.coefficients(cache.readable)).float()
    found = [[int((rows == S).flatten(1).all(1).nonzero()[0]) for S in epoch] for epoch in drawn]
    for epoch in found:
        assert sorted(place // 4 for place in epoch) == list(range(12))
    assert {place % 4 for place in found[0]} != {0} and sorted(found[0]) != sorted(found[1])


def test_the_padding_does_not_depend_on_which_split_came_first(tmp_path):
    make_images(tmp_path / "images" / "train", 4, side=64)
    make_images(tmp_path / "images" / "test", 4, side=32)
    for name, order in (("one", [["train"], ["test"]]), ("both", [["train", "test"]])):
        for split in order:
            scatcache.extract(tmp_path / "images", out=tmp_path / name, J=2, views=3, split=split)
    assert find_differences(tmp_path / "one", tmp_path / "both") == []
    assert scatcache.open_cache(tmp_path / "one", split="test").manifest.views == Views(3, 4)


def test_the_command_tells_views_from_images(tmp_path, images):
    found = call("extract", images, "--out", tmp_path / "x.zarr", "--J", 1, "--views", 3, "--split", "test")
    assert "test: 18 views (3 of each of 6 images), 0 unreadable" in found.out
    assert found.err.startswith("18 views (3 of each of 6 images) -> ")
