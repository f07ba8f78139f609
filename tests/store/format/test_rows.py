import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scatcache.errors import StoreDamaged
from scatcache.store.format.rows import (
    MISSING,
    OK,
    ROW_ARRAYS,
    UNREADABLE,
    RowTable,
    check_crc,
    decode_rows,
    encode_rows,
    encode_status,
    with_crc,
)

keys = st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=20)


def make_table(names):
    key = np.empty(len(names), object)
    key[:] = names
    numbers = np.arange(len(names))
    return RowTable(key, numbers % 3, numbers[::-1].copy(), np.zeros(len(names), np.uint16), 100 + numbers)


TABLE = make_table(["a/0.png", "b/ä.png", "c/写真.jpg", ""])


@given(keys)
def test_rows_come_back(names):
    table = make_table(names)
    for name in ROW_ARRAYS:
        values = getattr(table, name)
        again = decode_rows(name, encode_rows(name, values), n_rows=len(names))
        assert again.tolist() == values.tolist() and again.dtype == ROW_ARRAYS[name][0]


@pytest.mark.parametrize("name", ROW_ARRAYS)
def test_flipped_or_cut_chunk_is_damage(name):
    data = encode_rows(name, getattr(TABLE, name))
    for offset in range(len(data)):
        torn = bytearray(data)
        torn[offset] ^= 1
        with pytest.raises(StoreDamaged, match="crc32c"):
            decode_rows(name, bytes(torn), n_rows=4)
        with pytest.raises(StoreDamaged):
            decode_rows(name, data[:offset], n_rows=4)


@pytest.mark.parametrize("name", ROW_ARRAYS)
def test_sound_chunk_of_other_content_is_damage(name):
    data = encode_rows(name, getattr(TABLE, name))
    with pytest.raises(StoreDamaged, match="holds 4 rows, expected 5"):
        decode_rows(name, data, n_rows=5)
    with pytest.raises(StoreDamaged, match="does not decode"):
        decode_rows(name, with_crc(b"no zstd frame"), n_rows=4)


def test_digest_covers_every_column_and_no_other_row():
    digest = TABLE.digest(range(1, 3))
    for name in ROW_ARRAYS:
        for row, same in ((0, True), (1, False), (2, False), (3, True)):
            columns = {column: getattr(TABLE, column).copy() for column in ROW_ARRAYS}
            columns[name][row] = "z" if name == "key" else 9
            assert (RowTable(**columns).digest(range(1, 3)) == digest) == same


def test_status_tells_ok_unreadable_and_missing():
    payload = check_crc(encode_status(np.array([True, False, True]), shard_images=5))
    assert list(payload) == [OK, UNREADABLE, OK, MISSING, MISSING]
