import hashlib
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scatcache.errors import SourceError
from scatcache.images import source
from scatcache.images.source import Listing, Row

ROWS = (Row("a/0.jpg", 0, 10), Row("b/1.jpg", 1, 20))


def test_hash_is_sha256_of_length_label_size_and_key():
    expected = hashlib.sha256(b"7 0 10 a/0.jpg\n7 1 20 b/1.jpg\n").hexdigest()
    assert Listing(ROWS).hash == f"sha256:{expected}"


@pytest.mark.parametrize("row", [Row("b/2.jpg", 1, 20), Row("b/1.jpg", 2, 20), Row("b/1.jpg", 1, 21)])
def test_hash_changes_with_key_label_and_size(row):
    assert Listing((ROWS[0], row)).hash != Listing(ROWS).hash


def test_hash_does_not_change_with_ignored_files():
    assert Listing(ROWS, n_ignored=3).hash == Listing(ROWS).hash


LISTINGS = st.dictionaries(st.text("a1 é", max_size=4), st.tuples(st.integers(-1, 3), st.integers(0, 99)), max_size=4)


@given(LISTINGS, LISTINGS)
def test_different_listings_have_different_hashes(fields, other):
    first, second = (Listing(tuple(Row(key, *rest) for key, rest in sorted(x.items()))) for x in (fields, other))
    assert (first.rows == second.rows) == (first.hash == second.hash)


def test_hash_of_many_rows_is_that_of_one_text():
    rows = tuple(Row(f"{number:06d}", number % 7, number) for number in range(25_000))
    text = "".join(f"6 {row.label} {row.size} {row.key}\n" for row in rows)
    assert Listing(rows).hash == f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


@pytest.mark.parametrize("rows", [ROWS[::-1], (ROWS[0], ROWS[0])])
def test_unsorted_or_repeated_keys_are_refused(rows):
    with pytest.raises(SourceError, match="sort the rows by key, and list each once"):
        Listing(rows)


@pytest.mark.parametrize("key", ["a\nb", "a\x9b", "a\u202eb", "a\udcff"])
def test_keys_that_would_garble_a_terminal_are_refused(key):
    with pytest.raises(SourceError, match="not printable"):
        Listing([(key, 0, 0)])


@pytest.mark.parametrize("row", [("a", 0.5, 1), ("a", 0, "1"), ("a", None, 1)])
def test_labels_and_sizes_are_integers(row):
    with pytest.raises(TypeError):
        Listing([row])


@given(LISTINGS)
def test_rows_are_those_given_however_they_are_asked_for(fields):
    given_rows = [Row(key, *rest) for key, rest in sorted(fields.items())]
    rows = Listing(given_rows).rows
    assert list(rows) == given_rows == [rows[i] for i in range(len(rows))] == list(rows[:])
    assert [rows[i - len(rows)] for i in range(len(rows))] == given_rows
    assert [rows.find(row.key) for row in given_rows] == list(range(len(rows))) and rows.find("zz") is None
    with pytest.raises(IndexError):
        rows[len(rows)]


def test_a_listing_travels_to_another_process():
    listing = Listing(ROWS, n_ignored=2)
    assert pickle.loads(pickle.dumps(listing)) == listing


def test_a_listing_travels_as_columns_and_makes_only_the_rows_that_are_asked_for(monkeypatch):
    listing = Listing((f"class{number % 9}/{number:07d}.jpg", 0, number) for number in range(9))
    large = Listing(sorted((f"class{number % 9}/{number:07d}.jpg", 0, number) for number in range(100_000)))
    data = pickle.dumps(large)
    assert len(data) < 100_000 * (18 + 3 * 8) + 1000
    made = []
    monkeypatch.setattr(source, "Row", lambda *fields: made.append(fields) or Row(*fields))
    copy = pickle.loads(data)
    assert copy.rows[50_000] == large.rows[50_000] and len(made) == 2 and listing.rows[3].size == 3
