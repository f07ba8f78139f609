import contextlib
import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

import scatcache
from scatcache.job.store_folder import StoreFolder
from scatcache.store.format.encodings import crc32c
from scatcache.store.format.row_arrays import encode_rows
from scatcache.store.reader import open_split
from tests.store.stores import (
    N_IMAGES,
    READ_ERRORS,
    SETTINGS,
    SIDE,
    UNREADABLE,
    copy_store,
    edit,
    flip,
    made_store,
    make_partial,
    read_everything,
    swap,
)

COEFFICIENTS = "all/coefficients"
SUMMARY = f"{COEFFICIENTS}/receipts/summary.json"
RECEIPT = f"{COEFFICIENTS}/receipts/00002.json"
SHARD = f"{COEFFICIENTS}/c.2.0.0.0"
INDEX = f"{COEFFICIENTS}/receipts/index.bin"


def paths_of(report):
    return {failure.path for failure in report.failures}


def test_sound_store_is_ok_with_its_unreadable_rows(encoded):
    report = scatcache.verify(encoded)
    assert report.to_dict() == {"ok": True, "checked": 5, "failures": []}


def test_every_split_is_checked(splits):
    shards = sum(split.shards for split in scatcache.info(splits).splits.values())
    report = scatcache.verify(splits)
    assert report.ok and report.checked == shards


# Damage is found at its place


@pytest.mark.parametrize(
    "name", [SHARD, RECEIPT, SUMMARY, "all/label/c.0", "all/key/c.0", "all/status/c.0", INDEX, "all/j1/c.0"]
)
@pytest.mark.parametrize("how", ["flip", "cut", "empty", "delete"])
def test_damaged_file_is_named(store, name, how):
    path = store / name
    if how == "flip":
        flip(path, path.stat().st_size // 3)
    elif how == "cut":
        edit(path, lambda data: data[:-1])
    elif how == "empty":
        edit(path, lambda data: b"")
    else:
        path.unlink()
    report = scatcache.verify(store)
    assert not report.ok and paths_of(report) == {name}
    assert all(failure.split == "all" and "\n" not in failure.reason for failure in report.failures)


@pytest.mark.parametrize(
    "name", ["all/zarr.json", "all/coefficients/zarr.json", "all/label/zarr.json", "all/order/zarr.json"]
)
def test_edited_or_missing_metadata_is_named(store, name):
    edit(store / name, lambda data: data.replace(b"attributes", b"attribute5"))
    assert paths_of(scatcache.verify(store)) == {name}
    (store / name).unlink()
    assert paths_of(scatcache.verify(store)) == {name}


def test_damaged_root_is_named(store):
    edit(store / "zarr.json", lambda data: data.replace(b"all/order", b"all/0rder"))
    assert paths_of(scatcache.verify(store)) == {"zarr.json"}
    edit(store / "zarr.json", lambda data: data[:-9])
    report = scatcache.verify(store)
    assert not report.ok and paths_of(report) == {"zarr.json"} and report.checked == 0
    (store / "zarr.json").unlink()
    assert paths_of(scatcache.verify(store)) == {"zarr.json"}


def test_missing_split_is_named(splits, tmp_path):
    store = copy_store(splits, tmp_path)
    shutil.rmtree(store / "train")
    assert paths_of(scatcache.verify(store)) == {"train/zarr.json"}


def test_damaged_row_is_named_with_its_shard(store):
    flip(store / SHARD, 100)
    (failure,) = scatcache.verify(store).failures
    assert (failure.split, failure.shard, failure.path) == ("all", 2, SHARD)
    assert "row 24: its bytes do not match their crc32c" in failure.reason


def test_every_failure_is_reported(store):
    for shard in (0, 3):
        flip(store / f"{COEFFICIENTS}/c.{shard}.0.0.0", 5)
    (store / "all/status/c.0").unlink()
    flip(store / RECEIPT, 77)
    flip(store / INDEX, 7)
    found = [(failure.shard, failure.path) for failure in scatcache.verify(store).failures]
    shards = [(0, f"{COEFFICIENTS}/c.0.0.0.0"), (2, RECEIPT), (3, f"{COEFFICIENTS}/c.3.0.0.0")]
    assert found == [(None, "all/status/c.0"), (None, INDEX), *shards]


@pytest.mark.parametrize("kinds", [(0,), (1,), (0, 1)])
def test_exchanged_shards_are_found(store, kinds):
    names = [(f"{COEFFICIENTS}/c.{n}.0.0.0", f"{COEFFICIENTS}/receipts/0000{n}.json") for n in (0, 3)]
    for kind in kinds:
        swap(store / names[0][kind], store / names[1][kind])
    report = scatcache.verify(store)
    assert {failure.shard for failure in report.failures} == {0, 3}
    # A finished split is read without its receipts.
    with contextlib.nullcontext() if kinds == (1,) else pytest.raises(READ_ERRORS):
        read_everything(store)


@pytest.mark.parametrize("kinds", [(0,), (0, 1)])
def test_shard_of_another_store_is_found(store, tmp_path_factory, kinds):
    other = made_store(tmp_path_factory.getbasetemp(), seed=1)
    for kind in kinds:
        name = (SHARD, RECEIPT)[kind]
        shutil.copy(other / name, store / name)
    assert paths_of(scatcache.verify(store)) == {RECEIPT if 1 in kinds else SHARD}
    with pytest.raises(scatcache.StoreDamaged, match="shard 2"):
        read_everything(store)


def test_edited_labels_with_a_mended_crc_are_found(store):
    labels = open_split(store).records.rows.label.copy()
    labels[3] += 1
    (store / "all/label/c.0").write_bytes(encode_rows("label", labels)["c.0"])
    (failure,) = scatcache.verify(store).failures
    assert (
        failure.path == "all"
        and "array label (c.0): its values are not those that the summary recorded" in failure.reason
    )


def test_edited_summary_with_a_mended_crc_is_found(store):
    fields = json.loads((store / SUMMARY).read_bytes())
    del fields["crc32c"]
    fields["n_ok"] -= 1
    fields["unreadable"].append({"row": 0, "key": "x", "reason": "forged"})

    def text(value):
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode() + b"\n"

    (store / SUMMARY).write_bytes(text({**fields, "crc32c": crc32c(text(fields))}))
    (failure,) = scatcache.verify(store).failures
    assert (failure.path, failure.reason) == (SUMMARY, "it is not the sum of the receipts")


def test_edited_manifest_is_found(store):
    edit(store / "zarr.json", lambda data: data.replace(b'"seed": 0', b'"seed": 1'))
    (failure,) = scatcache.verify(store).failures
    assert failure.path == "zarr.json" and "no receipt was made under the settings" in failure.reason


def test_unfinished_split_is_a_failure(store):
    make_partial(store)
    report = scatcache.verify(store)
    (failure,) = report.failures
    assert (report.ok, report.checked, failure.path) == (False, 3, SUMMARY)
    assert "the split is incomplete: 3 of 5 shards are done" in failure.reason
    flip(store / SHARD, 5)
    assert paths_of(scatcache.verify(store)) == {SUMMARY, SHARD}


def test_split_without_its_summary_is_a_failure(store):
    (store / SUMMARY).unlink()
    assert paths_of(scatcache.verify(store)) == {SUMMARY}


def test_store_without_a_split_is_a_failure(store, tmp_path):
    other = StoreFolder(tmp_path / "other.zarr")
    other.writer.create(StoreFolder(store).records.read_manifest())
    (failure,) = scatcache.verify(other.path).failures
    assert failure.reason == "it holds no split yet"


def test_store_that_zarr_reads_otherwise_is_a_failure(sound, monkeypatch):
    zarr = pytest.importorskip("zarr")
    read = zarr.Array.__getitem__
    monkeypatch.setattr(zarr.Array, "__getitem__", lambda array, row: read(array, row) * 2)
    report = scatcache.verify(sound)
    assert {failure.reason for failure in report.failures} == {
        f"zarr-python reads other values in row {row} than scatcache" for row in (0, N_IMAGES - 1)
    }


# No byte of a store can change unseen


def sample_offsets(path, n):
    rng = np.random.default_rng(path.stat().st_size)
    return rng.integers(0, path.stat().st_size, min(n, path.stat().st_size)).tolist()


FILES = {
    "shard": (f"{COEFFICIENTS}/c.*.0.0.0", 4),
    "receipt": (f"{COEFFICIENTS}/receipts/0*.json", 4),
    "summary": (SUMMARY, 20),
    "rows": ("all/[fklsv]*/c.0", 3),
    "index": (INDEX, 20),
    "channels": ("all/[cjot]*/c.0", 1),
    "root": ("zarr.json", 60),
    "metadata": ("all/**/zarr.json", 1),
}


@pytest.mark.parametrize(("pattern", "n_flips"), FILES.values(), ids=FILES)
def test_no_flipped_byte_goes_unseen(sound, store, pattern, n_flips):
    expected = read_everything(sound)
    paths = sorted(path for path in store.glob(pattern) if path.is_file())
    assert paths
    for path in paths:
        data = path.read_bytes()
        for place, offset in enumerate(sample_offsets(path, n_flips)):
            flip(path, offset, 1 << place % 8)
            # Either an error of ours, or what is there: what reading does not need is for verify to find.
            try:
                assert read_everything(store) == expected, (path, offset)
            except READ_ERRORS as error:
                assert str(store) in str(error)
            try:
                report = scatcache.verify(store)
                assert not report.ok and report.failures, (path, offset)
            except scatcache.NotAStore:
                assert path.parent == store
            path.write_bytes(data)
    assert scatcache.verify(store).ok


def test_pattern_of_files_covers_the_store(sound):
    covered = {path for pattern, _ in FILES.values() for path in sound.glob(pattern) if path.is_file()}
    assert covered == {path for path in sound.rglob("*") if path.is_file()}


@pytest.mark.parametrize("field", ["shard_images", "J", "L", "encoding", "classes", "pixels"])
@pytest.mark.parametrize("value", [None, 0, 1, 7, -3, 2.5, "x", [], {}, [2, 2], True])
def test_no_edited_setting_goes_unseen(sound, store, field, value):
    document = json.loads((store / "zarr.json").read_bytes())
    manifest = document["attributes"]["scatcache"]
    for place in (manifest, manifest["spec"]):
        if field in place:
            assert place[field] != value
            place[field] = value
    (store / "zarr.json").write_text(json.dumps(document))
    with pytest.raises((scatcache.StoreDamaged, scatcache.NotAStore)):
        read_everything(store)
    assert not scatcache.verify(store).ok


@pytest.mark.parametrize("field", ["n_rows", "shard_images", "chunk_images", "image_shape", "generations"])
@pytest.mark.parametrize("value", [None, 0, 1, 7, -3, 2.5, "x", [], {}, [2, 2], True])
def test_no_edited_record_of_a_split_goes_unseen(store, field, value):
    document = json.loads((store / "all/zarr.json").read_bytes())
    record = document["attributes"]["scatcache"]
    (record["generations"][0] if field == "n_rows" else record)[field] = value
    (store / "all/zarr.json").write_text(json.dumps(document))
    with pytest.raises(scatcache.StoreDamaged):
        read_everything(store)
    assert not scatcache.verify(store).ok


# Recomputing


@pytest.mark.parametrize("fraction", [0.01, 0.3, 1.0])
def test_sound_store_equals_its_images(encoded, images, fraction):
    report = scatcache.verify(encoded, recompute=fraction)
    assert report.ok and 1 <= report.recomputed <= N_IMAGES - len(UNREADABLE)
    assert fraction < 1 or report.recomputed == N_IMAGES - len(UNREADABLE)
    assert scatcache.verify(encoded, recompute=0.1, root=images).ok


@pytest.fixture
def own_images(images, tmp_path):
    """The images of `store`, to be changed."""
    return shutil.copytree(images, tmp_path / "images")


def test_image_replaced_by_one_of_equal_size_is_found(store, own_images):
    path = own_images / "b/007.png"
    n_bytes = path.stat().st_size
    pixels = np.random.default_rng(99).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, compress_level=0)
    assert path.stat().st_size == n_bytes
    report = scatcache.verify(store, recompute=1.0, root=own_images)
    (failure,) = report.failures
    row = open_split(store).records.rows.key.tolist().index("b/007.png")
    assert (failure.split, failure.shard) == ("all", row // SETTINGS["shard_images"])
    assert f"row {row} (b/007.png): recomputed from its image it differs by" in failure.reason
    assert scatcache.verify(store, root=own_images).ok


@pytest.mark.parametrize("how", ["delete", "break", "grow"])
def test_image_that_is_no_longer_the_same_is_found(store, own_images, how):
    path = own_images / "a/003.png"
    if how == "delete":
        path.unlink()
    elif how == "break":
        os.truncate(path, 60)
    else:
        Image.new("RGB", (SIDE + 1, SIDE)).save(path)
    (failure,) = scatcache.verify(store, recompute=1.0, root=own_images).failures
    assert "(a/003.png): its image " in failure.reason


def test_damaged_split_is_not_recomputed(store):
    flip(store / SHARD, 5)
    assert scatcache.verify(store, recompute=1.0).recomputed == 0


def test_images_that_are_nowhere_are_a_source_error(store, tmp_path):
    with pytest.raises(scatcache.SourceError):
        scatcache.verify(store, recompute=0.1, root=tmp_path / "nowhere")
    shutil.rmtree(f"{store}.job")
    with pytest.raises(scatcache.SourceError, match="--root"):
        scatcache.verify(store, recompute=0.1)


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_fraction_out_of_range_is_refused(sound, fraction):
    with pytest.raises(ValueError, match="a fraction from 0 to 1"):
        scatcache.verify(sound, recompute=fraction)
