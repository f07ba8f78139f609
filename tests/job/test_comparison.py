from dataclasses import dataclass

import pytest

import scatcache
from scatcache.errors import SettingsDiffer
from scatcache.images.source import ListedRows, Listing, Row
from scatcache.job.comparison import find_changes
from scatcache.job.planning import order_rows, sort_key
from tests.runs import make_images

CLASSES = ("cat", "dog")
ROWS = tuple(Row(f"{number:03d}", number % 2, 100 + number) for number in range(40))


@dataclass
class Stored:
    """What find_changes asks of a manifest."""

    classes: tuple[str, ...] = CLASSES
    seed: int = 7


def compare_rows(rows, *, limit=None, n_views=1, classes=CLASSES):
    table = order_rows(ListedRows(ROWS), seed=Stored().seed, limit=limit, n_views=n_views)
    listing = Listing(tuple(sorted(rows)))
    return find_changes(table, listing, stored=Stored(), classes=classes, is_sample=limit is not None)


@pytest.mark.parametrize("n_views", [1, 3])
def test_each_kind_of_change_is_counted_and_named(n_views):
    rows = [row for row in ROWS if row.key not in ("003", "005")]
    rows[0], rows[1] = rows[0]._replace(size=9), rows[1]._replace(label=0)
    changes = compare_rows([*rows, *(Row(f"new{number}", 0, 1) for number in range(5))], n_views=n_views)
    assert changes.describe() == (
        "5 added: new0, new1, new2, ...; 2 removed: 003, 005; 1 changed in size: 000 (100 bytes then, 9 now); "
        "1 relabelled: 001 (dog then, cat now)"
    )
    assert compare_rows(ROWS, n_views=n_views).describe() == ""


def test_labels_are_compared_by_the_names_of_their_classes():
    renumbered = [row._replace(label=row.label + 1) for row in ROWS]
    assert compare_rows(renumbered, classes=("ant", *CLASSES)).describe() == ""
    assert len(compare_rows(ROWS, classes=("ant", "cat")).relabelled) == 40


def test_of_a_sample_only_what_lies_in_it_is_told():
    """Of each image that was added or is gone it must be certain."""
    places = sorted(ROWS, key=lambda row: sort_key(row.key, seed=Stored().seed))
    inside, outside = places[3], places[20]
    rows = [row for row in ROWS if row not in (inside, outside)]
    rows += [Row(f"new{number:02d}", 0, 1) for number in range(40)]
    changes = compare_rows(rows, limit=10)
    last = sort_key(places[9].key, seed=Stored().seed)
    before = [row.key for row in rows if row.key.startswith("new") and sort_key(row.key, seed=Stored().seed) < last]
    assert (changes.removed, changes.added) == ([inside.key], before) and 0 < len(before) < 40


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(images, a store of them, one of a sample of four)."""
    folder = tmp_path_factory.mktemp("made")
    images = make_images(folder / "images", 8)
    for path in sorted(images.rglob("*.png"))[:1]:
        path.write_bytes(path.read_bytes()[:60])
    scatcache.extract(images, out=folder / "all.zarr", J=1, L=2, size=8, workers=1)
    scatcache.extract(images, out=folder / "some.zarr", J=1, L=2, size=8, workers=1, limit=4)
    return images, folder / "all.zarr", folder / "some.zarr"


def test_a_store_tells_which_images_are_others_now(made):
    images, whole, sample = made
    changed = images / "class0" / "0000.png"
    cut = changed.read_bytes()
    changed.write_bytes(cut + b"longer")
    try:
        with pytest.raises(SettingsDiffer, match=r": 1 changed in size: class0/0000.png \(60 bytes then, 66 now\)\n"):
            scatcache.extract(images, out=whole)
        with pytest.raises(SettingsDiffer, match=r"now\): .*of the 4 images that the store holds"):
            scatcache.extract(images, out=sample)
        with pytest.raises(SettingsDiffer, match=r"class0/0000\.png"):
            scatcache.resume(whole)
        (whole / "all" / "file_bytes" / "c.0").rename(whole / "moved")
        with pytest.raises(SettingsDiffer, match="no sound rows of it: which images they are cannot be told"):
            scatcache.extract(images, out=whole)
        (whole / "moved").rename(whole / "all" / "file_bytes" / "c.0")
    finally:
        changed.write_bytes(cut)
    scatcache.extract(images, out=whole)


def test_a_class_more_that_renumbers_the_labels_of_another_split_is_told(tmp_path):
    images = tmp_path / "images"
    for split in ("train", "val"):
        make_images(images / split, 2)
    scatcache.extract(images, out=tmp_path / "a.zarr", J=1, L=2, split="val", workers=1)
    (images / "train" / "class0").rename(images / "train" / "another")
    (images / "train" / "class00").mkdir()
    (images / "train" / "another" / "0000.png").rename(images / "train" / "class00" / "0000.png")
    (images / "train" / "another").rmdir()
    with pytest.raises(SettingsDiffer) as caught:
        scatcache.extract(images, out=tmp_path / "a.zarr")
    lines = str(caught.value).splitlines()
    assert "split val are not those" in lines[1] and "numbered anew, because there are other classes" in lines[1]


def test_splits_are_independent(tmp_path):
    """What has become of a split that nobody asks for neither stops nor changes another."""
    images = tmp_path / "images"
    for split in ("train", "val"):
        make_images(images / split, 3)
    scatcache.extract(images, out=tmp_path / "a.zarr", J=1, L=2, workers=1)
    before = (tmp_path / "a.zarr/val/zarr.json").read_bytes()
    with open(images / "val/class0/0000.png", "ab") as file:
        file.write(b"x")
    report = scatcache.extract(images, out=tmp_path / "a.zarr", split="train")
    assert report.state == "complete" and report.splits["train"].shards_computed == 0
    assert (tmp_path / "a.zarr/val/zarr.json").read_bytes() == before
    with pytest.raises(SettingsDiffer, match=r"splits\.val\.listing: .*1 changed in size"):
        scatcache.extract(images, out=tmp_path / "a.zarr")
