"""Targets: numbers stored beside the labels, checked and mended as these are."""

import warnings

import numpy as np
import pytest

import scatcache
from scatcache.errors import SettingsDiffer, StoreDamaged
from scatcache.job.store_folder import StoreFolder
from scatcache.store.format.row_arrays import decode_rows, encode_rows
from scatcache.store.reader import open_split
from tests.runs import list_files
from tests.store.golden import TARGET as GOLDEN_TARGET
from tests.store.golden import TARGETS, make_by_hand
from tests.store.stores import N_MEASURED, N_TARGETS, SETTINGS, Measured, copy_store, edit, flip

FILE = "train/target/c.0.0"
EXPECTED = Measured().splits["train"].listing.targets


@pytest.fixture
def store(measured, tmp_path):
    """A copy of measured, to damage."""
    return copy_store(measured, tmp_path)


def extract(out, shift=0.0, **others):
    return scatcache.extract(Measured(shift), out=out, workers=1, **{**SETTINGS, "shard_images": 4}, **others)


def read_files(store):
    return {path: (store / path).read_bytes() for path in list_files(store) if (store / path).is_file()}


def test_targets_are_stored_bit_for_bit_in_storage_order(measured):
    rows = open_split(measured, "train").records.rows
    assert rows.target.dtype == np.float32 and rows.target.shape == (N_MEASURED, N_TARGETS)
    assert rows.target.tobytes() == EXPECTED[rows.source_index].tobytes() and np.isnan(rows.target).any()
    assert open_split(measured, "test").records.rows.target is None
    assert not (measured / "test/target").exists()


def test_every_view_has_its_image_s_targets(tmp_path):
    extract(tmp_path / "a.zarr", views=3)
    cache = scatcache.open_cache(tmp_path / "a.zarr", "train")
    assert cache.targets.tobytes() == np.repeat(EXPECTED, 3, axis=0).tobytes()


def test_a_limit_keeps_the_targets_of_the_rows_that_it_keeps(tmp_path):
    extract(tmp_path / "a.zarr", limit=7)
    cache = scatcache.open_cache(tmp_path / "a.zarr", "train")
    assert cache.targets.tobytes() == EXPECTED[[int(key) for key in cache.keys]].tobytes() and len(cache) == 7


def test_a_split_with_targets_is_sound_and_described(measured):
    assert scatcache.verify(measured).to_dict() == {"ok": True, "checked": 10, "failures": []}
    assert {name: split.targets for name, split in scatcache.info(measured).splits.items()} == {"test": 0, "train": 3}


def test_stores_without_targets_say_nothing_of_them(measured, sound):
    for path in (measured / "test/zarr.json", sound / "zarr.json", sound / "all/zarr.json"):
        assert b"target" not in path.read_bytes()


# Damage


@pytest.mark.parametrize("offset", [0, 9, -1])
def test_a_flipped_byte_is_found_by_reading_and_by_verify(store, offset):
    flip(store / FILE, offset % (store / FILE).stat().st_size)
    with pytest.raises(StoreDamaged, match=r"split train, array target \(c\.0\.0\): its bytes do not match"):
        scatcache.open_cache(store, "train")
    assert [(found.split, found.path) for found in scatcache.verify(store).failures] == [("train", FILE)]
    assert scatcache.open_cache(store, "test").targets is None


@pytest.mark.parametrize("partial", [False, True])
def test_another_number_with_a_mended_crc_is_found(store, partial):
    values = open_split(store, "train").records.rows.target.copy()
    values[1, 2] += 1
    (store / FILE).write_bytes(encode_rows("target", values)["c.0.0"])
    if partial:
        for name in ("status/c.0", "coefficients/receipts/index.bin", "coefficients/receipts/summary.json"):
            (store / "train" / name).unlink()
    with pytest.raises(StoreDamaged, match="split train, shard 0" if partial else "split train, array target "):
        _ = scatcache.open_cache(store, "train", allow_partial=partial).readable
    assert not scatcache.verify(store).ok


@pytest.mark.parametrize(
    ("name", "change"),
    [
        (FILE, None),
        (FILE, lambda data: data[:-1]),
        ("train/target", None),
        ("train/target/zarr.json", None),
        ("train/target/zarr.json", lambda data: data.replace(b"65536", b"65535")),
        ("train/zarr.json", None),
        ("train/zarr.json", lambda data: data.replace(b'"n_targets": 3', b'"n_targets": 2')),
        ("train/zarr.json", lambda data: data.replace(b"status target", b"status")),
        ("zarr.json", None),
    ],
)
def test_what_is_lost_or_edited_is_mended_by_the_same_command(measured, store, name, change):
    if change is None:
        StoreFolder(store).writer.place.delete(name)
    else:
        edit(store / name, change)
    assert not scatcache.verify(store).ok if name != "zarr.json" else not (store / name).exists()
    report = extract(store)
    assert sum(split.shards_computed for split in report.splits.values()) == 0
    assert read_files(store) == read_files(measured)


def test_a_killed_run_goes_on_to_the_same_bytes(measured, store):
    for name in ("status/c.0", "coefficients/receipts/index.bin", "coefficients/receipts/summary.json"):
        (store / "train" / name).unlink()
    for name in ("coefficients/receipts/00001.json", "coefficients/c.1.0.0.0", "target/c.0.0"):
        (store / "train" / name).unlink()
    (store / "train/target/.c.0.0.123.tmp").write_bytes(b"torn")
    report = extract(store)
    assert report.splits["train"].shards_computed == 1
    assert read_files(store) == read_files(measured)


def test_a_split_with_targets_is_known_for_ours_by_its_own_metadata_and_by_the_root_s(store):
    records = StoreFolder(store).records
    StoreFolder(store).writer.place.delete("train/coefficients")
    assert records.list_splits().keys() == {"train", "test"} == {*records.own_splits()}
    (store / "train/zarr.json").unlink()
    assert records.lost_splits() == ["train"]


def test_other_targets_are_another_listing(store):
    with pytest.raises(SettingsDiffer) as raised:
        extract(store, shift=1e-3)
    assert raised.value.fields == ("splits.train.generations", "splits.train.listing")
    extract(store, shift=1e-3, overwrite=True)
    found = scatcache.open_cache(store, "train").targets
    assert found.tobytes() == Measured(1e-3).splits["train"].listing.targets.tobytes() != EXPECTED.tobytes()


def test_a_stray_file_among_the_targets_is_named_and_a_folder_of_others_is_not_ours(store):
    (store / "train/target/c.1.0").write_bytes(b"x")
    (store / "test/target").mkdir()
    (store / "test/target/c.0.0").write_bytes(b"x")
    report = scatcache.verify(store)
    assert [found.path for found in report.failures] == ["train/target/c.1.0"]
    assert any("test/target/c.0.0" in note for note in report.notes)


# Other programs


@pytest.fixture
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_zarr_and_tensorstore_read_what_we_read(measured, no_warning):
    zarr, tensorstore = pytest.importorskip("zarr"), pytest.importorskip("tensorstore")
    ours = open_split(measured, "train").records.rows.target
    array = zarr.open_group(measured, mode="r")["train/target"]
    assert array.dtype == np.float32 and array[:].tobytes() == ours.tobytes() and np.isnan(array.fill_value)
    assert array.metadata.dimension_names == ("image", "k")
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(measured / "train/target")}}
    theirs = tensorstore.open(spec, read=True).result().read().result()
    assert np.asarray(theirs).tobytes() == ours.tobytes()


def test_xarray_opens_it_as_to_xarray_gives_it(measured, no_warning):
    xarray = pytest.importorskip("xarray")
    for split in ("train", "test"):
        cache = scatcache.open_cache(measured, split)
        theirs, ours = xarray.open_zarr(measured, group=split).compute(), cache.to_xarray(cache.dtype).compute()
        xarray.testing.assert_identical(theirs, ours)
        assert ("target" in theirs.coords) == (split == "train")
    assert scatcache.open_cache(measured, "train").to_xarray().target.dims == ("image", "k")


def test_zarr_reads_targets_of_several_chunks(tmp_path, no_warning):
    """As many numbers a row as make a chunk of few rows; and gaps between generations."""
    zarr = pytest.importorskip("zarr")
    target = np.random.default_rng(0).normal(size=(8, 4096)).astype(np.float32)
    target[5] = np.nan
    make_by_hand(tmp_path / "a.zarr", target=target)
    assert zarr.open_group(tmp_path / "a.zarr", mode="r")["all/target"][:].tobytes() == target.tobytes()
    assert scatcache.open_cache(tmp_path / "a.zarr").targets.shape == (7, 4096)
    assert (tmp_path / "a.zarr/all/target/c.0.0").stat().st_size < 200_000


def test_a_gap_between_generations_has_no_targets(tmp_path):
    make_by_hand(tmp_path / TARGETS, target=GOLDEN_TARGET)
    data = (tmp_path / TARGETS / "all/target/c.0.0").read_bytes()
    found = decode_rows("target", data, n_rows=8, row_shape=(2,))
    assert found.tobytes() == GOLDEN_TARGET.tobytes() and np.isnan(found[5]).all()
    assert scatcache.open_cache(tmp_path / TARGETS).targets[:, 1].tolist()[1:] == [0, -1, -4, -3, -6, -7]
