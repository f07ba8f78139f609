import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scatcache.errors import StoreDamaged
from scatcache.store.format.receipts import (
    Receipt,
    ShardSummary,
    Summary,
    Unreadable,
    encode_record,
    parse_receipt,
    parse_summary,
    summarize,
)

counts = st.integers(0, 2**63)
numbers = st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=5).map(tuple)
unreadable = st.lists(st.builds(Unreadable, row=counts, key=st.text(), reason=st.text()), max_size=3).map(tuple)
facts = st.dictionaries(st.text(), st.text(), max_size=3)
notes = st.dictionaries(st.text(), counts, max_size=3)
receipts = st.builds(
    Receipt,
    split=st.text(),
    shard=counts,
    manifest=st.text(),
    rows=st.text(),
    n_rows=counts,
    n_ok=counts,
    file_bytes=counts,
    sha256=st.text(),
    index_crc32c=counts,
    chunk_crc32c=st.lists(st.none() | counts, max_size=5).map(tuple),
    sums=numbers,
    square_sums=numbers,
    unreadable=unreadable,
    backend=facts,
    versions=facts,
    notes=notes,
)
shards = st.builds(ShardSummary, receipt=st.text(), rows=st.text(), file_bytes=counts, n_ok=counts)
summaries = st.builds(
    Summary,
    split=st.text(),
    manifest=st.text(),
    n_rows=counts,
    n_ok=counts,
    shards=st.lists(shards, max_size=3).map(tuple),
    sums=numbers,
    square_sums=numbers,
    unreadable=unreadable,
    notes=notes,
)
RECEIPT = Receipt(
    split="all",
    shard=3,
    manifest="sha256:m",
    rows="sha256:r",
    n_rows=4,
    n_ok=3,
    file_bytes=1000,
    sha256="sha256:f",
    index_crc32c=7,
    chunk_crc32c=(1, None, 2),
    sums=(0.1, 0.2),
    square_sums=(0.01, 0.04),
    unreadable=(Unreadable(13, "a/1.png", "it holds no image"),),
    backend={"name": "torch"},
    versions={"torch": "2"},
    notes={"constant": 1},
)


@given(receipts)
def test_receipt_survives_json(receipt):
    assert Receipt.from_dict(json.loads(json.dumps(receipt.to_dict()))) == receipt
    assert parse_receipt(encode_record(receipt)) == receipt


@given(summaries)
def test_summary_survives_json(summary):
    assert Summary.from_dict(json.loads(json.dumps(summary.to_dict()))) == summary
    assert parse_summary(encode_record(summary)) == summary


@pytest.mark.parametrize(
    ("record", "parse"), [(RECEIPT, parse_receipt), (summarize([RECEIPT]), parse_summary)], ids=["receipt", "summary"]
)
@pytest.mark.parametrize("bits", [1, 2, 16, 128])
def test_flipped_or_cut_record_is_damage(record, parse, bits):
    data = encode_record(record)
    for offset in range(len(data)):
        torn = bytearray(data)
        torn[offset] ^= bits
        with pytest.raises(StoreDamaged):
            parse(bytes(torn))
        with pytest.raises(StoreDamaged):
            parse(data[:offset])


@pytest.mark.parametrize("parse", [parse_receipt, parse_summary])
@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"7", b'{"crc32c":0}', b"\xff", b'{"crc32c":0,"unreadable":0}'])
def test_what_holds_no_record_is_damage(parse, data):
    with pytest.raises(StoreDamaged, match="it holds no"):
        parse(data)


def test_edited_number_is_damage():
    fields = json.loads(encode_record(RECEIPT))
    fields["sums"][0] = 0.3
    with pytest.raises(StoreDamaged, match="do not match their crc32c"):
        parse_receipt(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode() + b"\n")


def test_summary_adds_up_its_receipts():
    other = replace(RECEIPT, shard=4, n_rows=2, n_ok=2, unreadable=(), sums=(1.0, 2.0), file_bytes=50)
    summary = summarize([RECEIPT, other])
    assert (summary.n_rows, summary.n_ok, summary.unreadable) == (6, 5, RECEIPT.unreadable)
    assert summary.sums == (0.1 + 1.0, 0.2 + 2.0)
    assert summary.notes == {"constant": 2}
    assert [shard.file_bytes for shard in summary.shards] == [1000, 50]
    assert summary.shards[0].receipt != summary.shards[1].receipt


def test_sums_are_added_shard_by_shard():
    values = np.random.default_rng(0).random(1000) * 10.0 ** np.arange(1000, dtype=float).clip(max=15)
    total = 0.0
    for value in values.tolist():
        total += value
    assert summarize([replace(RECEIPT, sums=(value,), square_sums=()) for value in values.tolist()]).sums == (total,)
