import json
from dataclasses import replace

import pytest

from scatcache.errors import SettingsDiffer, SourceError, UsageError
from scatcache.images.catalogue import open_source
from scatcache.job.preparation import choose_splits, prepare
from scatcache.job.settings import RunOptions, Settings
from scatcache.job.store_folder import StoreFolder
from scatcache.job.stored_source import open_stored_source, recall, remember
from scatcache.scattering.backends import resolve_backend
from scatcache.scattering.paths import channel_table
from scatcache.spec import ScatteringSpec
from scatcache.store.places.local import LocalPlace
from tests.runs import list_files, make_images


@pytest.fixture
def folder(tmp_path):
    return StoreFolder(tmp_path / "store.zarr")


def prepare_folder(images, folder, *, stored=None, splits=None, **typed):
    source = open_source(str(images))
    settings = Settings(**({"J": 2} if stored is None else {}) | typed)
    return prepare(source, folder, settings=settings, stored=stored, splits=splits, options=RunOptions(device="cpu"))


def test_preparing_writes_nothing(tmp_path, folder):
    images = make_images(tmp_path / "images", 4)
    before = list_files(tmp_path)
    job = prepare_folder(images, folder)
    assert list_files(tmp_path) == before
    plan = job.plan
    assert (list(plan.splits), plan.state, plan.device) == (["all"], "new", "cpu")
    assert plan.backend == resolve_backend("auto", "cpu")
    assert job.rows["all"].digest(range(4)).startswith("sha256:")


def test_splits_come_in_the_sources_order(tmp_path):
    for split in ("train", "test", "unlabeled"):
        make_images(tmp_path / "images" / split, 2)
    source = open_source(str(tmp_path / "images"))
    assert choose_splits(source, None) == ("train", "test")
    assert choose_splits(source, ("unlabeled", "test", "train")) == ("train", "test", "unlabeled")
    with pytest.raises(SourceError, match=r"'val'.*train, test, unlabeled"):
        choose_splits(source, ("train", "val"))


def test_what_is_not_typed_is_taken_from_the_store(tmp_path, folder):
    images = make_images(tmp_path / "images", 9)
    typed = {"J": 1, "L": 3, "max_order": 1, "size": 8, "limit": 7, "encoding": "float32", "shard_images": 2, "seed": 5}
    first = prepare_folder(images, folder, grid="centered", **typed)
    again = prepare_folder(images, folder, stored=first.manifest)
    assert again.manifest == first.manifest
    assert (again.plan.is_new, again.manifest.seed, again.manifest.settings.limit) == (False, 5, 7)
    assert again.manifest.spec.grid == "centered"


def test_typing_the_stored_settings_again_changes_nothing(tmp_path, folder):
    images = make_images(tmp_path / "images", 9)
    first = prepare_folder(images, folder, limit=7)
    again = prepare_folder(images, folder, stored=first.manifest, J=2, L=8, max_order=2, limit=7, encoding="float16")
    assert again.manifest == first.manifest


@pytest.mark.parametrize(
    ("typed", "field"),
    [
        ({"J": 1}, "spec.J"),
        ({"L": 4}, "spec.L"),
        ({"max_order": 1}, "spec.max_order"),
        ({"grid": "centered"}, "spec.grid"),
        ({"size": 8}, "preprocessing.size"),
        ({"limit": 3}, "limit"),
        ({"encoding": "float32"}, "encoding"),
        ({"shard_images": 3}, "shard_images"),
        ({"seed": 1}, "seed"),
    ],
)
def test_a_changed_setting_is_named(tmp_path, folder, typed, field):
    images = make_images(tmp_path / "images", 5)
    stored = prepare_folder(images, folder).manifest
    with pytest.raises(
        SettingsDiffer, match=f"(?s){field}: the store has .*choose another --out, or --overwrite"
    ) as caught:
        prepare_folder(images, folder, stored=stored, **typed)
    assert field in caught.value.fields


def rename_image(images):
    (images / "class0" / "0000.png").rename(images / "class0" / "9999.png")


def move_image(images):
    (images / "class0" / "0000.png").rename(images / "class1" / "0000.png")


def grow_image(images):
    with open(images / "class0" / "0000.png", "ab") as file:
        file.write(b"x")


def remove_image(images):
    (images / "class0" / "0000.png").unlink()


@pytest.mark.parametrize("change", [rename_image, move_image, grow_image, remove_image])
def test_a_changed_listing_is_named(tmp_path, folder, change):
    images = make_images(tmp_path / "images", 5)
    prepared = prepare_folder(images, folder)
    stored, channels = prepared.manifest, channel_table(prepared.manifest.spec)
    folder.writer.create(stored)
    folder.writer.add_split(stored, "all", prepared.layouts["all"], rows=prepared.rows["all"], channels=channels)
    change(images)
    with pytest.raises(SettingsDiffer, match=r"splits.all.listing: .*5 rows then, [45] now") as caught:
        prepare_folder(images, folder, stored=stored)
    assert "splits.all.listing" in caught.value.fields


def test_touched_files_are_the_same_listing(tmp_path, folder):
    images = make_images(tmp_path / "images", 5)
    stored = prepare_folder(images, folder).manifest
    for path in images.rglob("*.png"):
        path.touch()
    assert prepare_folder(images, folder, stored=stored).manifest == stored


def test_a_split_nobody_asked_for_may_be_unfit(tmp_path, folder):
    make_images(tmp_path / "images" / "train", 4, side=16)
    make_images(tmp_path / "images" / "test", 4, side=2)
    make_images(tmp_path / "images" / "val", 2, side=8)
    make_images(tmp_path / "images" / "val" / "more", 2, side=16)
    prepared = prepare_folder(tmp_path / "images", folder, splits=("train",))
    assert {name: layout.image_shape for name, layout in prepared.layouts.items()} == {"train": (16, 16)}


def test_images_too_small_for_J_are_refused(tmp_path, folder):
    images = make_images(tmp_path / "images", 4, side=4)
    with pytest.raises(UsageError, match="split all: images of 4x4 are too small for J=3"):
        prepare_folder(images, folder, J=3)


def test_odd_images_are_refused_on_the_centered_grid_alone(tmp_path, folder):
    images = make_images(tmp_path / "images", 4, side=15)
    with pytest.raises(UsageError, match="split all: images of 15x15 have an odd side"):
        prepare_folder(images, folder, grid="centered")
    with pytest.raises(UsageError, match="split all: images of 13x13 have an odd side"):
        prepare_folder(images, folder, size=13, grid="centered")
    for typed in ({}, {"size": 14, "grid": "centered"}):
        assert prepare_folder(images, folder, **typed).manifest.spec.grid == typed.get("grid", "kymatio")


def test_a_split_nobody_asked_for_may_be_odd(tmp_path, folder):
    make_images(tmp_path / "images" / "train", 4, side=16)
    make_images(tmp_path / "images" / "test", 4, side=15)
    prepared = prepare_folder(tmp_path / "images", folder, splits=("train",), grid="centered")
    assert {name: layout.image_shape for name, layout in prepared.layouts.items()} == {"train": (16, 16)}


def test_mixed_sizes_are_refused_with_what_to_type(tmp_path, folder):
    images = make_images(tmp_path / "images", 2, side=8)
    make_images(images / "more", 2, side=16)
    with pytest.raises(SourceError, match="--size N"):
        prepare_folder(images, folder)
    assert prepare_folder(images, folder, size=8).layouts["all"].image_shape == (8, 8)


def test_the_typed_spec_goes_before_the_stored_one(tmp_path, folder):
    stored = prepare_folder(make_images(tmp_path / "images", 2), folder, J=2, L=6).manifest
    merged = Settings(J=1).merge(stored.settings)
    assert ScatteringSpec(**merged.within("spec")) == ScatteringSpec(J=1, L=6)


def test_what_is_remembered_is_recalled(folder):
    assert recall(folder) == {}
    remember(folder, root="/data", host="a")
    remember(folder, host="b")
    assert recall(folder) == {"root": "/data", "host": "b"}


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", "null", "\x00", "[" * 10**5, '{"root": ["a"]}', '{"root": "a\\u0000"}']
)
def test_a_memory_that_is_not_readable_is_no_memory(folder, text):
    folder.job.mkdir()
    (folder.job / "job.json").write_text(text)
    assert recall(folder) == {}


def test_remembering_is_whole_or_not_at_all(folder, monkeypatch):
    remember(folder, root="/data")

    def fail(place, name, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(LocalPlace, "put", fail)
    with pytest.raises(OSError, match="No space"):
        remember(folder, root="/other")
    assert json.loads((folder.job / "job.json").read_text()) == {"root": "/data"}


def test_a_stored_folder_is_found_where_the_last_run_found_it(tmp_path, folder):
    images = make_images(tmp_path / "images", 4)
    manifest = prepare_folder(images, folder).manifest
    with pytest.raises(SourceError, match="--root"):
        open_stored_source(folder, manifest, root=None)
    remember(folder, root=str(images))
    assert open_stored_source(folder, manifest, root=None).root == images
    moved = images.rename(tmp_path / "moved")
    assert open_stored_source(folder, manifest, root=moved).root == moved


def test_a_folder_named_like_a_source_is_read_as_a_folder(tmp_path, folder, monkeypatch):
    monkeypatch.chdir(tmp_path)
    manifest = prepare_folder(make_images(tmp_path / "photos", 4), folder).manifest
    assert manifest.source == "folder"
    remember(folder, root="photos")
    assert open_stored_source(folder, manifest, root=None).name == "folder"


def test_a_named_source_is_opened_by_its_name(folder):
    photos = open_source("photos")
    settings = Settings(J=2)
    job = prepare(photos, folder, settings=settings, stored=None, splits=None, options=RunOptions(device="cpu"))
    assert open_stored_source(folder, job.manifest, root=None) == photos
    assert replace(job.manifest, source="folder").to_dict() != job.manifest.to_dict()
