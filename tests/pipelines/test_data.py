import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import scatcache
from pipelines.data import Data, Part, Wanted, check_cache, divide, hold_out, name_store, open_store, permute
from scatcache import ScatteringSpec
from scatcache.load import preload


def test_names_of_stores_tell_their_settings():
    wanted = Wanted("cifar10", ScatteringSpec(J=2), size=32)
    assert name_store(wanted) == "cifar10-J2.zarr"
    wanted = Wanted("photographs/", ScatteringSpec(J=3, grid="centered"), size=224, crop=True, views=4, limit=9)
    assert name_store(wanted) == "photographs-J3-centered-224px-views4-limit9.zarr"


def test_held_out_images_go_with_all_their_views():
    image_index = np.repeat(np.arange(40), 3)
    rows = np.arange(3, 120)
    kept, held_out = hold_out(image_index, rows, 0.1, seed=0)
    assert sorted([*kept, *held_out]) == rows.tolist()
    assert set(image_index[kept]).isdisjoint(image_index[held_out]) and len(held_out) == 12
    assert not np.array_equal(held_out, hold_out(image_index, rows, 0.1, seed=1)[1])


def test_permuted_labels_are_one_for_all_views_of_an_image():
    image_index, labels = np.repeat(np.arange(40), 3), np.repeat(np.arange(40) % 5, 3)
    rows = np.arange(30, 120)
    permuted = permute(labels, image_index, rows, seed=0)
    assert np.array_equal(permuted[:30], labels[:30]) and not np.array_equal(permuted, labels)
    assert np.array_equal(permuted[::3], permuted[1::3]) and np.array_equal(permuted[::3], permuted[2::3])
    assert np.array_equal(np.bincount(permuted), np.bincount(labels))
    assert labels[30] == 0, "the labels given are left as they are"


def test_two_splits_are_training_and_test(photos, options):
    other = open_store(options, Wanted("photos", ScatteringSpec(J=2, grid="centered"), size=32)).caches[0]
    data = divide(replace(options, smoke=False), photos, other, seed=0, rows=np.arange(5))
    assert data.train.rows.tolist() == [0, 1, 2, 3, 4] and data.test.name == "test" and len(data.test) == 64


def test_images_both_trained_and_tested_on_are_refused(photos, options):
    with pytest.raises(scatcache.ScatcacheError, match="5 images are both trained and tested on"):
        divide(replace(options, smoke=False), photos, photos, seed=0, rows=np.arange(5))


@pytest.mark.parametrize(("rows", "found"), [([3], "1 rows of 1 labels"), ([0, 1], "2 rows of 1 labels")], ids=str)
def test_too_little_to_learn_from_is_refused(photos, rows, found):
    test = Part("test", photos, np.array([63]), photos.labels)
    with pytest.raises(scatcache.ScatcacheError, match=f"{found} to train on"):
        Data(Part("train", photos, np.array(rows), photos.labels), test)
    unlabelled = np.where(np.arange(64) == 0, -1, photos.labels)
    with pytest.raises(scatcache.ScatcacheError, match="none without"):
        Data(Part("train", photos, np.arange(40), unlabelled), test)


def test_unreadable_rows_are_told(options, tmp_path, capsys):
    folder = tmp_path / "images"
    for number in range(6):
        place = folder / f"class{number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (40 * number, 9, 9)).save(place / f"{number}.png")
    cut = folder / "class0" / "0.png"
    cut.write_bytes(cut.read_bytes()[:50])
    wanted = Wanted(str(folder), ScatteringSpec(J=2), size=32, splits=("all",))
    options = replace(options, smoke=False, stores=tmp_path / "stores")
    open_store(options, wanted)
    assert "1 of 6 rows are unreadable" in capsys.readouterr().err
    Image.new("RGB", (32, 32)).save(folder / "class1" / "9.png")
    with pytest.raises(scatcache.SettingsDiffer, match="has images sha256"):
        open_store(options, wanted)


def test_store_of_another_source_is_refused(photos, options):
    store = open_store(options, Wanted("cifar10", ScatteringSpec(J=2), size=32))
    wanted = Wanted("cifar10", ScatteringSpec(J=2), size=32, splits=("all",), limit=64)
    with pytest.raises(scatcache.SettingsDiffer, match="has source photos, this recipe needs cifar10"):
        check_cache(store.caches[0], wanted, name="photos.zarr")
    wanted = replace(wanted, source="photos", encoding="float32")
    with pytest.raises(scatcache.SettingsDiffer, match="has encoding float16, this recipe needs float32"):
        check_cache(store.caches[0], wanted, name="photos.zarr")


def test_all_views_are_all_that_there_are(options):
    cache = open_store(options, Wanted("cifar10", ScatteringSpec(J=2), size=32, views=4)).caches[0]
    wanted = Wanted("photos", ScatteringSpec(J=2), size=32, splits=("all",), limit=64, views="all")
    with pytest.raises(scatcache.SettingsDiffer, match="has views 4, this recipe needs 162"):
        check_cache(cache, wanted, name="photos.zarr")


def test_validation_holds_out_of_the_training_rows(photos, options):
    data = divide(replace(options, smoke=False, validate=True), photos, photos, seed=0, rows=np.arange(20))
    assert data.test.name == "held_out" and len(data.test) == 2
    assert sorted([*data.train.rows, *data.test.rows]) == list(range(20))


def test_only_plain_views_are_tested(options):
    cache = open_store(options, Wanted("cifar10", ScatteringSpec(J=2), size=32, views=4)).caches[0]
    data = divide(options, cache, seed=0)
    assert len(data.test) == 16 and (cache.views[data.test.rows] == 0).all()
    assert len(data.train) == 4 * 48
    assert set(cache.image_index[data.test.rows]).isdisjoint(cache.image_index[data.train.rows])


@pytest.mark.parametrize(
    ("changed", "field"),
    [({"size": 40}, "row_shape"), ({"spec": ScatteringSpec(J=2, grid="centered")}, "spec")],
    ids=["size", "grid"],
)
def test_store_made_with_other_settings_is_refused(photos, options, tmp_path, changed, field):
    wanted = Wanted("cifar10", ScatteringSpec(J=2), size=32)
    options = replace(options, stores=tmp_path)
    made = open_store(options, wanted).path
    other = replace(wanted, **changed)
    made.rename(tmp_path / name_store(replace(other, source="photos", crop=True, limit=64)))
    with pytest.raises(scatcache.SettingsDiffer, match=re.escape(made.name.split("-")[0])) as caught:
        open_store(options, other)
    assert caught.value.fields == (field,)


def test_splits_that_fit_are_kept_in_memory_unless_the_recipe_refuses(options, monkeypatch):
    wanted = Wanted("cifar10", ScatteringSpec(J=2), size=32)
    assert open_store(options, wanted).caches[0].in_memory
    assert not open_store(options, wanted, keep=False).caches[0].in_memory
    monkeypatch.setattr(preload, "FITTING_SHARE", 0)
    assert not open_store(options, wanted).caches[0].in_memory


def test_training_does_not_depend_on_whether_the_store_fits_into_memory(run, gratings, tmp_path, monkeypatch):
    weights = []
    for name, share in (("kept", preload.FITTING_SHARE), ("read", 0)):
        monkeypatch.setattr(preload, "FITTING_SHARE", share)
        arguments = ("--root", gratings, "--stores", tmp_path, "--epochs", 2, "--save-model")
        ended = run("cifar10_linear", *arguments, results=name)
        weights.append(torch.load(*ended.folder.glob("*.pt"), weights_only=True))
    assert all(torch.equal(weights[1][key], value) for key, value in weights[0].items())


def test_damage_met_in_training_stops_the_recipe(run, gratings, tmp_path, monkeypatch):
    monkeypatch.setattr(preload, "FITTING_SHARE", 0)
    arguments = ("--root", gratings, "--stores", tmp_path, "--epochs", 1)
    assert run("cifar10_linear", *arguments, results="sound").code == 0
    shard = tmp_path / "cifar10-J2.zarr" / "train" / "coefficients" / "c.5.0.0.0"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    ended = run("cifar10_linear", *arguments)
    assert ended.code == 1 and "shard 5" in ended.err and not ended.folder.exists()
