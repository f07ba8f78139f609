import multiprocessing
import os
import pickle
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import scatcache
from scatcache.errors import NotAStore, StoreDamaged, StoreIncomplete
from scatcache.store import open_shards, split_records
from scatcache.store import reader as reader_module
from scatcache.store.format.encodings import crc32c
from scatcache.store.format.receipts import encode_record, parse_receipt
from scatcache.store.format.row_arrays import encode_rows
from scatcache.store.format.summaries import parse_summary
from scatcache.store.reader import SplitReader, open_split
from tests.store.stores import (
    N_IMAGES,
    SHARD_IMAGES,
    copy_store,
    edit,
    flip,
    made_many_shards,
    made_splits,
    made_store,
    make_partial,
    swap,
)

EVERY_ROW = np.arange(N_IMAGES)


@pytest.fixture(scope="session")
def values(encoded):
    """What zarr-python reads."""
    zarr = pytest.importorskip("zarr")
    return zarr.open_group(encoded, mode="r")["all/coefficients"][:]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.integers(0, N_IMAGES - 1), max_size=60))
def test_any_rows_in_any_order_with_repeats(encoded, values, rows):
    found = open_split(encoded).read(np.array(rows, np.int64))
    assert found.dtype == values.dtype and found.tobytes() == values[rows].tobytes()


def test_rows_go_straight_into_a_given_array(encoded, values):
    out = np.empty((3, *values.shape[1:]), values.dtype)
    assert open_split(encoded).read(np.array([49, 0, 49]), out) is out
    np.testing.assert_array_equal(out, values[[49, 0, 49]])


def test_few_bytes_per_read_change_nothing(encoded, values, monkeypatch):
    monkeypatch.setattr(reader_module, "MAX_READ_BYTES", 1)
    np.testing.assert_array_equal(open_split(encoded).read(EVERY_ROW), values)


def test_few_open_shards_change_nothing(encoded, values, monkeypatch):
    monkeypatch.setattr(open_shards, "MAX_OPEN_SHARDS", 1)
    reader = open_split(encoded)
    before = len(os.listdir("/proc/self/fd"))
    for row in (0, 49, 13, 1, 48, 25):
        np.testing.assert_array_equal(reader.read(np.array([row]))[0], values[row])
    assert len(os.listdir("/proc/self/fd")) <= before + 1


def test_all_readers_together_keep_to_the_descriptors_that_there_are(tmp_path_factory, monkeypatch):
    store = made_many_shards(tmp_path_factory.getbasetemp())
    expected = open_split(store).read(EVERY_ROW)
    limit, n_shards = 2 * (2 * open_shards.N_THREADS + 6), 6
    monkeypatch.setattr(open_shards.resource, "getrlimit", lambda kind: (limit, limit))
    readers = [open_split(store) for _ in range(3)]
    before = len(os.listdir("/proc/self/fd"))
    for start in range(0, N_IMAGES, 5):
        for reader in readers:
            rows = np.arange(start, start + 5)
            np.testing.assert_array_equal(reader.read(rows), expected[rows])
            assert len(os.listdir("/proc/self/fd")) <= before + limit // 2
    assert n_shards <= sum(len(reader._open_shards) for reader in readers) <= n_shards + open_shards.N_THREADS


@pytest.mark.parametrize("row", [-1, N_IMAGES, N_IMAGES + 1, 5 * SHARD_IMAGES, 10**12])
def test_row_out_of_range_is_refused(sound, row):
    with pytest.raises(IndexError, match="expected 0 to 49"):
        open_split(sound).read(np.array([3, row]))


def test_eight_threads_at_once_read_what_one_reads(encoded, values):
    reader, rng = open_split(encoded), np.random.default_rng(0)
    requests = [rng.integers(0, N_IMAGES, 20) for _ in range(64)]
    with ThreadPoolExecutor(8) as pool:
        for rows, found in zip(requests, pool.map(reader.read, requests), strict=True):
            assert found.tobytes() == values[rows].tobytes()


def test_closed_reader_leaves_no_descriptor(sound):
    before = len(os.listdir("/proc/self/fd"))
    reader = open_split(sound)
    reader.read(EVERY_ROW)
    assert len(os.listdir("/proc/self/fd")) == before + 5
    del reader
    assert len(os.listdir("/proc/self/fd")) == before


def test_pickled_reader_reads_on(sound):
    reader = open_split(sound)
    expected = reader.read(EVERY_ROW)
    again = pickle.loads(pickle.dumps(reader))
    np.testing.assert_array_equal(again.read(EVERY_ROW), expected)


def test_relative_path_survives_a_change_of_folder(sound, tmp_path, monkeypatch):
    monkeypatch.chdir(sound.parent)
    reader = open_split(sound.name)
    monkeypatch.chdir(tmp_path)
    assert reader.read(EVERY_ROW).shape[0] == N_IMAGES


def read_in_child(reader, queue):
    queue.put(reader.read(EVERY_ROW).tobytes())


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_process_reads_after_its_parent(sound):
    reader, context = open_split(sound), multiprocessing.get_context("fork")
    expected = reader.read(EVERY_ROW).tobytes()
    queue = context.Queue()
    process = context.Process(target=read_in_child, args=(reader, queue))
    process.start()
    assert queue.get(timeout=60) == expected
    process.join()
    assert reader.read(EVERY_ROW).tobytes() == expected


def test_reading_imports_no_torch(sound):
    program = (
        f"import sys, scatcache; c = scatcache.open_cache({str(sound)!r}); c.coefficients([0, 1]); c.channel_std\n"
        "heavy = {'torch', 'zarr', 'dask', 'xarray', 'distributed'} & sys.modules.keys(); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


# Damage


def read_all(store):
    return open_split(store).read(EVERY_ROW)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.unlink(), "the file is missing"),
        (lambda path: edit(path, lambda data: b""), "it has 0 bytes, its receipt says"),
        (lambda path: edit(path, lambda data: data[: len(data) // 2]), "bytes, its receipt says"),
        (lambda path: edit(path, lambda data: data + b"\0"), "bytes, its receipt says"),
        (lambda path: flip(path, 100), "row 24: its bytes do not match their crc32c"),
        (lambda path: edit(path, lambda data: bytes(len(data))), "row 24: its bytes do not match their crc32c"),
    ],
)
def test_damaged_shard_is_named_with_its_split(store, damage, reason):
    damage(store / "all/coefficients/c.2.0.0.0")
    with pytest.raises(StoreDamaged, match=rf"split all, shard 2 \(c\.2\.0\.0\.0\).*{reason}.*see `scatcache verify`"):
        read_all(store)


def test_every_flipped_byte_of_a_shard_is_found(encoded, tmp_path):
    store = copy_store(encoded, tmp_path)
    path = store / "all/coefficients/c.4.0.0.0"
    sound = path.read_bytes()
    reader = open_split(store)
    start_of_index = len(sound) - 16 * reader.layout.n_chunks - 4
    for offset in [*range(0, start_of_index, 97), *range(start_of_index - 200, start_of_index)]:
        flip(path, offset, 1 << offset % 8)
        with pytest.raises(StoreDamaged, match="split all, shard 4"):
            SplitReader(reader.records).read(np.arange(48, 50))
        path.write_bytes(sound)
    # The shard's own index is for other programs.
    for offset in range(start_of_index, len(sound), 7):
        flip(path, offset)
        assert [(failure.split, failure.shard) for failure in scatcache.verify(store).failures] == [("all", 4)]
        path.write_bytes(sound)
    np.testing.assert_array_equal(open_split(store).read(np.arange(48, 50)), reader.read(np.arange(48, 50)))


def test_shard_truncated_after_it_was_opened_is_found(store):
    reader = open_split(store)
    reader.read(np.array([24]))
    os.truncate(store / "all/coefficients/c.2.0.0.0", 100)
    with pytest.raises(StoreDamaged, match=r"shard 2 .*, row 2\d: its bytes do not match"):
        reader.read(np.arange(24, 36))


def files_of(store, shard):
    """(shard file, receipt)."""
    return store / f"all/coefficients/c.{shard}.0.0.0", store / f"all/coefficients/receipts/{shard:05d}.json"


@pytest.mark.parametrize("kinds", [(0,), (1,), (0, 1)])
@pytest.mark.parametrize("partial", [False, True])
def test_exchanged_shards_are_refused(encoded, tmp_path, kinds, partial):
    store = copy_store(encoded, tmp_path)
    for kind in kinds:
        swap(files_of(store, 0)[kind], files_of(store, 1)[kind])
    if partial:
        make_partial(store, missing=(4,))
    if partial or 0 in kinds:
        with pytest.raises(StoreDamaged, match=r"split all, shard [01]"):
            open_split(store, allow_partial=partial).read(np.arange(24))
    assert {failure.shard for failure in scatcache.verify(store).failures} >= {0, 1}
    if partial and 1 in kinds:
        with pytest.raises(StoreDamaged, match="it belongs to another shard or store"):
            scatcache.open_cache(store, allow_partial=True)


def test_exchanged_chunks_under_a_mended_index_are_refused(store):
    path, reader = store / "all/coefficients/c.0.0.0.0", open_split(store)
    data, n_chunks = path.read_bytes(), reader.layout.n_chunks
    n_bytes = 16 * n_chunks + 4
    index = np.frombuffer(data[-n_bytes:-4], "<u8").reshape(n_chunks, 2).copy()
    index[[0, 1]] = index[[1, 0]]
    path.write_bytes(data[:-n_bytes] + index.tobytes() + crc32c(index.tobytes()).to_bytes(4, "little"))
    # The chunks lie where they did: other programs alone would exchange them.
    assert not np.isnan(reader.read(np.arange(3)).astype(np.float32)).any()
    (failure,) = scatcache.verify(store).failures
    assert "its index is sound but not the one that the receipt recorded" in failure.reason


# An unfinished split cannot tell a shard of equal settings and listing that brings its receipt: nothing else knows it.
@pytest.mark.parametrize(("kinds", "partial"), [((0,), False), ((0, 1), False), ((0,), True)])
def test_shard_of_another_store_is_refused(store, tmp_path_factory, kinds, partial):
    # Its images have the same names, labels and sizes as those of this store.
    other = made_store(tmp_path_factory.getbasetemp(), seed=1)
    for kind in kinds:
        files_of(store, 0)[kind].write_bytes(files_of(other, 0)[kind].read_bytes())
    if partial:
        make_partial(store, missing=(4,))
    with pytest.raises(StoreDamaged, match="split all, shard 0"):
        open_split(store, allow_partial=partial).read(np.arange(12))


def test_receipts_of_another_manifest_are_refused(store, tmp_path_factory):
    other = made_store(tmp_path_factory.getbasetemp(), "float16raw")
    for path in store.glob("all/coefficients/receipts/*.json"):
        path.write_bytes((other / path.relative_to(store)).read_bytes())
    with pytest.raises(StoreDamaged, match=r"receipts/summary\.json: it belongs to another store"):
        open_split(store)


def test_receipt_that_knows_of_other_chunks_than_the_index_is_refused(store):
    make_partial(store, missing=())
    path = files_of(store, 0)[1]
    receipt = parse_receipt(path.read_bytes())
    lengths = (0, sum(receipt.chunk_bytes[:2]), *receipt.chunk_bytes[2:])
    path.write_bytes(encode_record(replace(receipt, chunk_bytes=lengths)))
    with pytest.raises(StoreDamaged, match=r"shard 0 .*: it lacks chunks of rows that have coefficients"):
        open_split(store, allow_partial=True).read(np.arange(12))


@pytest.mark.parametrize("change", [{"n_rows": 49}, {"receipts": ()}])
def test_summary_of_another_length_is_refused(store, change):
    path = store / "all/coefficients/receipts/summary.json"
    path.write_bytes(encode_record(replace(parse_summary(path.read_bytes()), **change)))
    with pytest.raises(StoreDamaged, match=r"it counts other rows or shards than all/zarr\.json"):
        open_split(store)


@pytest.mark.parametrize("name", ["label", "source_index", "view", "file_bytes", "key"])
@pytest.mark.parametrize("partial", [False, True])
def test_edited_row_array_with_a_mended_crc_is_refused(store, name, partial):
    if partial:
        make_partial(store)
    reader = open_split(store, allow_partial=partial)
    values = getattr(reader.records.rows, name).copy()
    values[[0, 30]] = values[[30, 0]] if name != "view" else 7
    if (values == getattr(reader.records.rows, name)).all():
        values[0] += 1
    (store / "all" / name / "c.0").write_bytes(encode_rows(name, values)["c.0"])
    with pytest.raises(StoreDamaged, match="split all, shard 0" if partial else f"split all, array {name} "):
        open_split(store, allow_partial=partial).records.status if partial else open_split(store)


def test_edited_manifest_is_refused(store):
    edit(store / "zarr.json", lambda data: data.replace(b'"seed": 0', b'"seed": 1'))
    with pytest.raises(StoreDamaged, match=r"zarr\.json was edited"):
        open_split(store)


@pytest.mark.parametrize(
    "name", ["coefficients/receipts/summary.json", "coefficients/receipts/index.bin", "status/c.0"]
)
@pytest.mark.parametrize("damage", [lambda path: flip(path, 20), lambda path: edit(path, lambda data: b"")])
def test_damaged_record_is_named(store, name, damage):
    damage(store / "all" / name)
    with pytest.raises(StoreDamaged, match=rf"split all, .*{'status' if 'status' in name else name.split('/', 1)[1]}"):
        read_all(store)


@pytest.mark.parametrize("name", ["status/c.0", "coefficients/receipts/index.bin"])
def test_missing_record_of_a_finished_split_is_damage(store, name):
    (store / "all" / name).unlink()
    with pytest.raises(StoreDamaged, match="it is missing"):
        read_all(store)


def test_foreign_record_of_a_finished_split_is_damage(store):
    """A row that is called readable, and a sound index of another store: both of the right size."""
    records, path = open_split(store).records, store / "all/status/c.0"
    status, data = records.status, records.index.copy()
    path.write_bytes(encode_rows("status", np.ones(N_IMAGES, np.uint8))["c.0"])
    with pytest.raises(StoreDamaged, match=r"array status .*: its values are not those that the summary recorded"):
        read_all(store)
    path.write_bytes(encode_rows("status", status)["c.0"])
    data["crc32c"][0, 0] ^= 1
    text = data.tobytes()
    (store / "all/coefficients/receipts/index.bin").write_bytes(text + crc32c(text).to_bytes(4, "little"))
    with pytest.raises(StoreDamaged, match="not the index that the summary recorded"):
        read_all(store)


def test_a_finished_split_is_read_without_receipts_and_shard_indices(store, monkeypatch):
    """Ten thousand receipts would take longer than the rows of an epoch."""
    expected, n_bytes = read_all(store), 16 * open_split(store).layout.n_chunks + 4
    for path in (store / "all/coefficients/receipts").glob("0*.json"):
        path.unlink()
    monkeypatch.setattr(split_records.SplitRecords, "receipt", None)
    for shard in range(5):
        path = files_of(store, shard)[0]
        data = path.read_bytes()
        path.write_bytes(data[:-n_bytes] + bytes(n_bytes))
    np.testing.assert_array_equal(read_all(store), expected)


def test_damaged_record_of_the_split_asks_for_resume(store):
    edit(store / "all/zarr.json", lambda data: data.replace(b'"shard_images": 12', b'"shard_images": 13'))
    with pytest.raises(StoreDamaged, match=r"split all, zarr\.json: it holds no record of it .*`scatcache resume`"):
        open_split(store)


# Unfinished and absent splits


def test_unfinished_split_is_refused_unless_asked_for(store):
    make_partial(store)
    with pytest.raises(StoreIncomplete, match=re.escape(f"finish it with `scatcache resume {store}`")):
        open_split(store)
    reader = open_split(store, allow_partial=True)
    assert reader.records.finished_shards() == [0, 2, 3]
    assert reader.read(np.array([0, 11, 24, 47])).shape[0] == 4
    for row in (12, 23, 48, 49):
        with pytest.raises(StoreIncomplete, match=f"split all, shard {row // SHARD_IMAGES} was not extracted"):
            reader.read(np.array([0, row]))


def test_shard_finished_after_opening_waits_for_the_next_opening(sound, store):
    make_partial(store, missing=(1,))
    reader = open_split(store, allow_partial=True)
    for ours, theirs in zip(files_of(store, 1), files_of(sound, 1), strict=True):
        ours.write_bytes(theirs.read_bytes())
    with pytest.raises(StoreIncomplete):
        reader.read(np.array([12]))
    assert open_split(store, allow_partial=True).records.finished_shards() == [0, 1, 2, 3, 4]


def test_several_splits_are_listed_where_none_is_named(tmp_path_factory):
    splits = made_splits(tmp_path_factory.getbasetemp())
    with pytest.raises(StoreIncomplete, match="holds the splits test, train: name one with split="):
        open_split(splits)
    assert open_split(splits, "test").split == "test"
    with pytest.raises(StoreIncomplete, match="holds no split 'val' but test, train: extract it with --split val"):
        open_split(splits, "val")


def test_lost_split_is_never_replaced_by_the_other(tmp_path_factory, tmp_path):
    store = copy_store(made_splits(tmp_path_factory.getbasetemp()), tmp_path)
    (store / "train/zarr.json").unlink()
    for split in (None, "train"):
        with pytest.raises(StoreDamaged, match=r"split train: its zarr\.json is missing"):
            open_split(store, split)
    assert open_split(store, "test").split == "test"


def test_newer_format_asks_for_a_newer_scatcache(store):
    edit(store / "zarr.json", lambda data: data.replace(b'"format": 2', b'"format": 3'))
    with pytest.raises(NotAStore, match="format 3, this scatcache reads format 2: install a newer scatcache"):
        open_split(store)
