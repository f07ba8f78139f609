from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numcodecs import zstd
from numcodecs.vlen import VLenUTF8

from scatcache.errors import StoreDamaged
from scatcache.store.format.layout import Generation, SplitLayout
from scatcache.store.format.row_arrays import (
    ALL_ROW_ARRAYS,
    ROW_ARRAYS,
    ROW_CHUNK,
    TARGET,
    RowTable,
    count_row_chunks,
    decode_rows,
    encode_rows,
    find_chunk_rows,
    hash_rows,
    list_arrays,
    positions_in,
    with_crc,
)

keys = st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=20)


# Of the tables made here.
COLUMNS, N_TARGETS = (*ROW_ARRAYS, TARGET), 2


def make_table(names):
    key = np.empty(len(names), object)
    key[:] = names
    numbers = np.arange(len(names))
    target = np.stack([numbers / 3, np.where(numbers % 5, -numbers, np.nan)], axis=1).astype(np.float32)
    return RowTable(key, numbers % 3, numbers[::-1].copy(), np.zeros(len(names), np.uint16), 100 + numbers, target)


def shape_of(name):
    """Of a row of these tables."""
    return (N_TARGETS,) if name == TARGET else ()


TABLE = make_table(["a/0.png", "b/ä.png", "c/写真.jpg", ""])


def encode_one(name, values):
    (data,) = encode_rows(name, values).values()
    return data


@given(keys)
def test_rows_come_back(names):
    table = make_table(names)
    for name in COLUMNS:
        values = getattr(table, name)
        again = decode_rows(name, encode_one(name, values), n_rows=len(names), row_shape=shape_of(name))
        assert again.dtype == ALL_ROW_ARRAYS[name][0]
        np.testing.assert_array_equal(again, values)


@pytest.mark.parametrize("name", [name for name in ALL_ROW_ARRAYS if name != TARGET])
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


@pytest.mark.parametrize("k", [1, 16, 17, 1000, 4096])
def test_chunks_of_targets_are_cut_to_a_size_that_a_small_split_can_bear(k):
    step = find_chunk_rows(k)
    assert step == (ROW_CHUNK if k <= 16 else 2**20 // k) and step * k * 4 <= 4 * 2**20
    values = np.arange((step + 1) * k, dtype=np.float32).reshape(-1, k)
    values[0] = np.nan
    chunks = encode_rows(TARGET, values)
    assert list(chunks) == ["c.0.0", "c.1.0"]
    layout = SplitLayout((8, 8), 1, 1, (Generation(step + 1, step + 1, ""),), n_targets=k)
    assert count_row_chunks(layout, TARGET) == 2 and positions_in(layout, TARGET, 1) == range(step, step + 1)
    found = [decode_rows(TARGET, chunks["c.0.0"], n_rows=step, row_shape=(k,))]
    found.append(decode_rows(TARGET, chunks["c.1.0"], n_rows=1, row_shape=(k,)))
    np.testing.assert_array_equal(np.concatenate(found), values)
    with pytest.raises(StoreDamaged, match="values beyond the split's last row"):
        decode_rows(TARGET, chunks["c.1.0"], n_rows=0, row_shape=(k,))
    with pytest.raises(StoreDamaged, match=rf"it holds .* rows, expected {find_chunk_rows(k + 1)}"):
        decode_rows(TARGET, chunks["c.1.0"], n_rows=1, row_shape=(k + 1,))


def test_a_split_has_the_arrays_that_its_record_tells_of():
    layout = SplitLayout((8, 8), 1, 1, (Generation(1, 1, ""),))
    assert list_arrays(layout, finished=False) == tuple(ROW_ARRAYS)
    with_targets = list_arrays(replace(layout, n_targets=1), finished=True)
    assert {*with_targets} == ALL_ROW_ARRAYS.keys() and len(with_targets) == len(ALL_ROW_ARRAYS)


@pytest.mark.parametrize("name", COLUMNS)
def test_flipped_or_cut_chunk_is_damage(name):
    data = encode_one(name, getattr(TABLE, name))
    for offset in range(len(data)):
        torn = bytearray(data)
        torn[offset] ^= 1
        with pytest.raises(StoreDamaged, match="crc32c"):
            decode_rows(name, bytes(torn), n_rows=4, row_shape=shape_of(name))
        with pytest.raises(StoreDamaged):
            decode_rows(name, data[:offset], n_rows=4, row_shape=shape_of(name))


@pytest.mark.parametrize("name", COLUMNS)
def test_sound_chunk_of_other_content_is_damage(name):
    with pytest.raises(StoreDamaged, match="does not decode"):
        decode_rows(name, with_crc(b"no zstd frame"), n_rows=4, row_shape=shape_of(name))
    short = VLenUTF8().encode(np.array(["a"], object)) if name == "key" else bytes(16)
    with pytest.raises(StoreDamaged, match=r"expected 65536|are no 0 keys"):
        data = with_crc(bytes(zstd.compress(bytes(short), 3)))
        decode_rows(name, data, n_rows=1 if name == "key" else 2, row_shape=shape_of(name))


def test_hash_of_an_array_is_that_of_its_values_alone():
    assert hash_rows("label", np.array([1, 2])) == "sha256:" + sha256(b"\1" + bytes(7) + b"\2" + bytes(7)).hexdigest()
    one, other = np.array(["ab", ""], object), np.array(["a", "b"], object)
    assert hash_rows("key", one) == "sha256:" + sha256(b"\2\0\0\0ab\0\0\0\0").hexdigest()
    assert hash_rows("key", one) != hash_rows("key", other)


def test_digest_covers_every_column_and_no_other_row():
    digest = TABLE.digest(range(1, 3))
    for name in COLUMNS:
        for row, same in ((0, True), (1, False), (2, False), (3, True)):
            columns = {column: getattr(TABLE, column).copy() for column in COLUMNS}
            columns[name][row] = "z" if name == "key" else 9
            assert (RowTable(**columns).digest(range(1, 3)) == digest) == same


def test_digest_of_rows_without_targets_is_that_of_before_there_were_any():
    without = replace(TABLE, target=None)
    known = "\n".join(TABLE.key).encode() + b"".join(getattr(TABLE, n).tobytes() for n in list(ROW_ARRAYS)[:4])
    assert without.digest(range(4)) == "sha256:" + sha256(known).hexdigest()
    assert TABLE.digest(range(4)) == "sha256:" + sha256(known + TABLE.target.tobytes()).hexdigest()
