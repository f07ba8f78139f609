from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numcodecs import zstd
from numcodecs.vlen import VLenUTF8

from scatcache.errors import StoreDamaged
from scatcache.store.format.row_arrays import (
    ALL_ROW_ARRAYS,
    ROW_ARRAYS,
    ROW_CHUNK,
    RowTable,
    decode_rows,
    encode_rows,
    hash_rows,
    with_crc,
)

keys = st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=20)


def make_table(names):
    key = np.empty(len(names), object)
    key[:] = names
    numbers = np.arange(len(names))
    return RowTable(key, numbers % 3, numbers[::-1].copy(), np.zeros(len(names), np.uint16), 100 + numbers)


TABLE = make_table(["a/0.png", "b/ä.png", "c/写真.jpg", ""])


def encode_one(name, values):
    (data,) = encode_rows(name, values).values()
    return data


@given(keys)
def test_rows_come_back(names):
    table = make_table(names)
    for name in ROW_ARRAYS:
        values = getattr(table, name)
        again = decode_rows(name, encode_one(name, values), n_rows=len(names))
        assert again.tolist() == values.tolist() and again.dtype == ROW_ARRAYS[name][0]


@pytest.mark.parametrize("name", ALL_ROW_ARRAYS)
def test_many_rows_are_cut_into_chunks_of_the_same_size(name):
    n_rows = ROW_CHUNK + 3
    values = np.arange(n_rows) % 200 + 1
    values = values.astype(str).astype(object) if name == "key" else values.astype(ALL_ROW_ARRAYS[name][0])
    chunks = encode_rows(name, values)
    assert list(chunks) == ["c.0", "c.1"]
    found = [decode_rows(name, chunks["c.0"], n_rows=ROW_CHUNK), decode_rows(name, chunks["c.1"], n_rows=3)]
    assert np.array_equal(np.concatenate(found), values)
    with pytest.raises(StoreDamaged, match=r"beyond the split's last row|the lengths of its keys"):
        decode_rows(name, chunks["c.1"], n_rows=2)


@pytest.mark.parametrize("name", ROW_ARRAYS)
def test_flipped_or_cut_chunk_is_damage(name):
    data = encode_one(name, getattr(TABLE, name))
    for offset in range(len(data)):
        torn = bytearray(data)
        torn[offset] ^= 1
        with pytest.raises(StoreDamaged, match="crc32c"):
            decode_rows(name, bytes(torn), n_rows=4)
        with pytest.raises(StoreDamaged):
            decode_rows(name, data[:offset], n_rows=4)


@pytest.mark.parametrize("name", ROW_ARRAYS)
def test_sound_chunk_of_other_content_is_damage(name):
    with pytest.raises(StoreDamaged, match="does not decode"):
        decode_rows(name, with_crc(b"no zstd frame"), n_rows=4)
    short = VLenUTF8().encode(np.array(["a"], object)) if name == "key" else bytes(16)
    with pytest.raises(StoreDamaged, match=r"expected 65536|are no 0 keys"):
        decode_rows(name, with_crc(bytes(zstd.compress(bytes(short), 3))), n_rows=1 if name == "key" else 2)


def test_hash_of_an_array_is_that_of_its_values_alone():
    assert hash_rows("label", np.array([1, 2])) == "sha256:" + sha256(b"\1" + bytes(7) + b"\2" + bytes(7)).hexdigest()
    one, other = np.array(["ab", ""], object), np.array(["a", "b"], object)
    assert hash_rows("key", one) == "sha256:" + sha256(b"\2\0\0\0ab\0\0\0\0").hexdigest()
    assert hash_rows("key", one) != hash_rows("key", other)


def test_digest_covers_every_column_and_no_other_row():
    digest = TABLE.digest(range(1, 3))
    for name in ROW_ARRAYS:
        for row, same in ((0, True), (1, False), (2, False), (3, True)):
            columns = {column: getattr(TABLE, column).copy() for column in ROW_ARRAYS}
            columns[name][row] = "z" if name == "key" else 9
            assert (RowTable(**columns).digest(range(1, 3)) == digest) == same
