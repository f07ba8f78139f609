import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scatcache.errors import StoreDamaged
from scatcache.store.format.layout import Generation, SplitLayout
from scatcache.store.format.receipts import Receipt, Unreadable, encode_record, fits, parse_receipt

counts = st.integers(0, 2**63)
crcs = st.integers(0, 2**32 - 1)
numbers = st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=5).map(tuple)
unreadable = st.lists(st.builds(Unreadable, row=counts, key=st.text(), reason=st.text()), max_size=3).map(tuple)
facts = st.dictionaries(st.text(), st.text(), max_size=3)
notes = st.dictionaries(st.text(), counts, max_size=3)
receipts = st.builds(
    Receipt,
    split=st.text(),
    shard=counts,
    settings=st.text(),
    rows=st.text(),
    image_shape=st.tuples(counts, counts),
    n_rows=counts,
    n_ok=counts,
    file_bytes=counts,
    sha256=st.text(),
    index_crc32c=counts,
    chunk_bytes=st.lists(counts, max_size=5).map(tuple),
    chunk_crc32c=st.lists(crcs, max_size=5).map(tuple),
    sums=numbers,
    square_sums=numbers,
    unreadable=unreadable,
    backend=facts,
    versions=facts,
    notes=notes,
)
LAYOUT = SplitLayout((24, 32), 6, 2, (Generation(22, 22, "sha256:l"),))
RECEIPT = Receipt(
    split="all",
    shard=3,
    settings="sha256:m",
    rows="sha256:r",
    image_shape=(24, 32),
    n_rows=4,
    n_ok=3,
    file_bytes=1052,
    sha256="sha256:f",
    index_crc32c=7,
    chunk_bytes=(600, 400, 0),
    chunk_crc32c=(1, 2, 0),
    sums=(0.1, 0.2),
    square_sums=(0.01, 0.04),
    unreadable=(Unreadable(19, "a/1.png", "it holds no image"),),
    backend={"name": "torch"},
    versions={"torch": "2"},
    notes={"constant": 1},
)


@given(receipts)
def test_receipt_survives_json(receipt):
    assert Receipt.from_dict(json.loads(json.dumps(receipt.to_dict()))) == receipt
    assert parse_receipt(encode_record(receipt)) == receipt


def test_arrays_are_base64_of_little_endian_values():
    fields = RECEIPT.to_dict()
    assert fields["chunk_crc32c"] == "AQAAAAIAAAAAAAAA"
    assert len(fields["sums"]) == 24


@pytest.mark.parametrize("bits", [1, 2, 16, 128])
def test_flipped_or_cut_receipt_is_damage(bits):
    data = encode_record(RECEIPT)
    for offset in range(len(data)):
        torn = bytearray(data)
        torn[offset] ^= bits
        with pytest.raises(StoreDamaged):
            parse_receipt(bytes(torn))
        with pytest.raises(StoreDamaged):
            parse_receipt(data[:offset])


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"7", b'{"crc32c":0}', b"\xff", b'{"crc32c":0,"unreadable":0}'])
def test_what_holds_no_receipt_is_damage(data):
    with pytest.raises(StoreDamaged, match="it holds no receipt"):
        parse_receipt(data)


@pytest.mark.parametrize("sums", [None, 7, [0.1, 0.2], "no base64!", "AAAA", "AA==", "AAAAAAAA8H8="])
def test_what_is_no_array_is_damage(sums):
    """The last is infinity."""
    with pytest.raises(StoreDamaged, match="it holds no receipt"):
        parse_receipt(json.dumps({**RECEIPT.to_dict(), "sums": sums, "crc32c": 0}).encode())


def test_edited_number_is_damage():
    fields = json.loads(encode_record(RECEIPT))
    fields["n_ok"] = 4
    with pytest.raises(StoreDamaged, match="do not match their crc32c"):
        parse_receipt(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode() + b"\n")


@pytest.mark.parametrize(
    "change",
    [
        {"shard": 2},
        {"shard": 4},
        {"n_rows": 5},
        {"n_ok": 4},
        {"image_shape": (32, 24)},
        {"chunk_bytes": (600, 400)},
        {"chunk_crc32c": (1, 2, 0, 0)},
        {"file_bytes": 1053},
        {"sums": (0.1,)},
        {"square_sums": (0.1, -0.1)},
        {"sums": (1e200, 0.0)},
        {"unreadable": (Unreadable(22, "", ""),)},
        {"unreadable": ()},
    ],
)
def test_counts_that_are_not_the_shard_s_do_not_fit(change):
    assert fits(RECEIPT, LAYOUT, n_channels=2)
    assert not fits(replace(RECEIPT, **change), LAYOUT, n_channels=2)
    assert np.isfinite(RECEIPT.sums).all()
