import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scatcache.errors import StoreDamaged
from scatcache.store.format.chunk_index import ENTRY, find_file_bytes, index_of, parse_index
from scatcache.store.format.encodings import crc32c
from scatcache.store.format.layout import Generation, SplitLayout
from scatcache.store.format.receipts import Receipt, Unreadable, encode_record, hash_bytes
from scatcache.store.format.row_arrays import RowTable, list_arrays
from scatcache.store.format.shard_file import ABSENT
from scatcache.store.format.summaries import (
    IndexDigest,
    Summary,
    fill_status,
    finish_split,
    parse_summary,
    summary_fits,
)
from tests.store.format.test_receipts import RECEIPT, notes, numbers, unreadable

counts = st.integers(0, 2**63)
digests = st.binary(min_size=32, max_size=32).map(lambda data: "sha256:" + data.hex())
summaries = st.builds(
    Summary,
    split=st.text(),
    settings=st.text(),
    layout=st.just(SplitLayout((24, 32), 4, 2, (Generation(7, 9, "sha256:l"),), folds=((0, 2), (1, 6)))),
    n_rows=counts,
    n_ok=counts,
    rows=st.dictionaries(st.text(), st.text(), max_size=3),
    index=st.builds(IndexDigest, bytes=counts, crc32c=counts),
    receipts=st.lists(digests, max_size=3).map(tuple),
    sums=numbers,
    square_sums=numbers,
    unreadable=unreadable,
    notes=notes,
)
# Two generations: rows 0 to 5 and 8 to 10, gaps between.
LAYOUT = SplitLayout((24, 32), 4, 2, (Generation(6, 6, "sha256:1"), Generation(3, 8, "sha256:2")))


def make_receipt(shard: int, *, n_rows: int, lengths: tuple[int, int], bad: tuple[int, ...] = ()) -> Receipt:
    return replace(
        RECEIPT,
        shard=shard,
        n_rows=n_rows,
        n_ok=n_rows - len(bad),
        file_bytes=sum(lengths) + 36,
        chunk_bytes=lengths,
        chunk_crc32c=tuple(length + 1 if length else 0 for length in lengths),
        sums=(0.1 * shard, 1.0),
        square_sums=(0.01, 1.0),
        unreadable=tuple(Unreadable(row, f"{row}.png", "it holds no image") for row in bad),
    )


RECEIPTS = (
    make_receipt(0, n_rows=4, lengths=(0, 30), bad=(0, 1)),
    make_receipt(1, n_rows=2, lengths=(40, 0)),
    make_receipt(2, n_rows=3, lengths=(50, 60), bad=(10,)),
)


def make_rows() -> RowTable:
    key = np.empty(11, object)
    key[:] = [f"{row}.png" for row in range(6)] + [""] * 2 + ["a", "b", "ä"]
    source_index = np.array([*range(6), 0, 0, 6, 7, 8])
    return RowTable(key, source_index * 0, source_index, np.zeros(11, np.uint16), source_index * 10)


FINISHED = finish_split(RECEIPTS, LAYOUT, make_rows(), removed=[3])


@given(summaries)
def test_summary_survives_json(summary):
    assert Summary.from_dict(json.loads(json.dumps(summary.to_dict()))) == summary
    assert parse_summary(encode_record(summary)) == summary


def test_flipped_or_cut_summary_is_damage():
    data = encode_record(FINISHED.summary)
    for offset in range(len(data)):
        torn = bytearray(data)
        torn[offset] ^= 16
        with pytest.raises(StoreDamaged):
            parse_summary(bytes(torn))
        with pytest.raises(StoreDamaged):
            parse_summary(data[:offset])


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"7", b'{"crc32c":0}', b"\xff"])
def test_what_holds_no_summary_is_damage(data):
    with pytest.raises(StoreDamaged, match="it holds no summary"):
        parse_summary(data)


def test_summary_adds_up_its_receipts():
    summary = FINISHED.summary
    assert (summary.n_rows, summary.n_ok) == (9, 6)
    assert [entry.row for entry in summary.unreadable] == [0, 1, 10]
    assert summary.sums == (0.0 + 0.1 * 1 + 0.1 * 2, 3.0)
    assert summary.notes == {"constant": 3}
    assert summary.receipts == tuple(hash_bytes(encode_record(receipt)) for receipt in RECEIPTS)
    assert summary.rows.keys() == {*list_arrays(LAYOUT, finished=True)}
    assert summary_fits(summary, LAYOUT, n_channels=2)


@pytest.mark.parametrize(
    "change",
    [
        {"layout": replace(LAYOUT, image_shape=(32, 24))},
        {"n_rows": 11},
        {"n_ok": 7},
        {"rows": {}},
        {"index": IndexDigest(20, 0)},
        {"receipts": FINISHED.summary.receipts[:2]},
        {"sums": (0.0,)},
        {"unreadable": (*FINISHED.summary.unreadable[:2], Unreadable(7, "", "in a gap"))},
    ],
)
def test_counts_that_are_not_the_split_s_do_not_fit(change):
    assert not summary_fits(replace(FINISHED.summary, **change), LAYOUT, n_channels=2)


def test_targets_have_a_hash_and_a_split_with_any_lacks_none():
    target = np.arange(22, dtype=np.float32).reshape(11, 2)
    layout, rows = replace(LAYOUT, n_targets=2), replace(make_rows(), target=target)
    summary = finish_split(RECEIPTS, layout, rows).summary
    assert summary.rows == {
        **finish_split(RECEIPTS, LAYOUT, make_rows()).summary.rows,
        "target": summary.rows["target"],
    }
    assert summary_fits(summary, layout, n_channels=2) and not summary_fits(summary, LAYOUT, n_channels=2)
    lacking = {name: found for name, found in summary.rows.items() if name != "target"}
    assert not summary_fits(replace(summary, rows=lacking), layout, n_channels=2)
    other = replace(rows, target=target + np.float32(1e-6))
    assert finish_split(RECEIPTS, layout, other).summary.rows["target"] != summary.rows["target"]


def test_sums_are_added_shard_by_shard():
    values = (np.random.default_rng(0).random(1000) * 10.0 ** np.arange(1000, dtype=float).clip(max=15)).tolist()
    total = 0.0
    for value in values:
        total += value
    layout = SplitLayout((24, 32), 1, 1, (Generation(1000, 1000, ""),))
    one = replace(RECEIPTS[1], n_rows=1, chunk_bytes=(1,), chunk_crc32c=(1,), square_sums=())
    receipts = (replace(one, shard=shard, sums=(value,)) for shard, value in enumerate(values))
    key = np.full(1000, "a", object)
    rows = RowTable(key, *(np.zeros(1000, np.int64) for _ in range(4)))
    assert finish_split(receipts, layout, rows).summary.sums == (total,)


def test_status_tells_ok_unreadable_removed_and_absent():
    assert FINISHED.status.tolist() == [2, 2, 1, 3, 1, 1, 0, 0, 1, 1, 2]
    status = np.zeros(11, np.uint8)
    fill_status(status, RECEIPTS[2], LAYOUT)
    assert status.tolist() == [0] * 8 + [1, 1, 2]
    for change in ({"n_rows": 4}, {"shard": 3}, {"unreadable": (Unreadable(6, "", ""),)}):
        with pytest.raises(StoreDamaged, match="rows that are not the shard's"):
            fill_status(status, replace(RECEIPTS[1], **change), LAYOUT)


def test_index_says_where_each_chunk_lies():
    index = parse_index(FINISHED.index, LAYOUT, crc=FINISHED.summary.index.crc32c)
    assert index.tolist() == [
        [(ABSENT, ABSENT, 0), (0, 30, 31)],
        [(0, 40, 41), (ABSENT, ABSENT, 0)],
        [(0, 50, 51), (50, 60, 61)],
    ]
    assert find_file_bytes(index).tolist() == [receipt.file_bytes for receipt in RECEIPTS]
    assert FINISHED.summary.index.bytes == len(FINISHED.index) == 20 * 6 + 4


def test_flipped_cut_or_foreign_index_is_damage():
    crc = FINISHED.summary.index.crc32c
    for offset in range(len(FINISHED.index)):
        torn = bytearray(FINISHED.index)
        torn[offset] ^= 4
        with pytest.raises(StoreDamaged, match="crc32c"):
            parse_index(bytes(torn), LAYOUT, crc=crc)
        with pytest.raises(StoreDamaged, match="bytes, expected 124"):
            parse_index(FINISHED.index[:offset], LAYOUT, crc=crc)
    with pytest.raises(StoreDamaged, match="not the index that the summary recorded"):
        parse_index(FINISHED.index, LAYOUT, crc=crc ^ 1)


@pytest.mark.parametrize("entry", [(1, 30, 0), (0, 2**63, 0), (2**64 - 1, 30, 0), (2**64 - 30, 30, 0)])
def test_sound_index_of_chunks_that_do_not_follow_each_other_is_damage(entry):
    shards = np.stack([index_of(receipt) for receipt in RECEIPTS])
    shards[0, 1] = np.array(entry, ENTRY)
    data = shards.tobytes()
    with pytest.raises(StoreDamaged, match="gaps between chunks"):
        parse_index(data + crc32c(data).to_bytes(4, "little"), LAYOUT, crc=crc32c(data))
