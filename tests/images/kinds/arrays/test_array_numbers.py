import numpy as np
import pytest
import torch

from scatcache.errors import SourceError
from scatcache.images.kinds.arrays.array_numbers import LABELS, TARGETS, name_classes, read_numbers


def read(what, given, n_images=4):
    return read_numbers(what, given, n_images, found={}, where="x.npy")


@pytest.mark.parametrize("text", ["label\n3\n0\n-1\n1\n", "3\n0\n-1\n1", '\ufeff"label"\r\n3\r\n0\r\n-1\r\n1\r\n'])
def test_labels_of_a_csv_are_read_with_or_without_a_line_of_names(tmp_path, text):
    (tmp_path / "y.csv").write_text(text, encoding="utf-8", newline="")
    found = read(LABELS, tmp_path / "y.csv")
    assert found.dtype == np.int64 and found.tolist() == [3, 0, -1, 1]


@pytest.mark.parametrize(
    "given", [[3, 0, -1, 1], (3, 0, -1, 1), np.array([3, 0, -1, 1], ">i2"), torch.tensor([3, 0, -1, 1])]
)
def test_labels_in_python_are_any_integers(given):
    found = read(LABELS, given)
    assert found.dtype == np.int64 and found.tolist() == [3, 0, -1, 1]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([0, 1, 2], r"int64 \(3,\): expected \(4,\)"),
        ([[0], [1], [2], [3]], r"int64 \(4, 1\): expected \(4,\)"),
        ([0.0, 1.0, 2.0, 3.0], "labels are float64: expected integers; numbers .* go by --targets"),
        ([True, False, True, False], "bool: expected integers"),
        (["a", "b", "c", "d"], "text: expected integers"),
        ([None, 1, 2, 3], "Python objects.*: expected integers"),
        ([0, -2, 1, 1], "hold -2 at 1: expected 0 or more, or -1 for none"),
        (np.array([0, 2**64 - 1, 1, 1], "u8"), "hold 18446744073709551615 at 1"),
        ([[1, 2], [3]], "labels are a list, not an array of numbers"),
        ("nix.csv", "no .npy or .csv file of that path, and x.npy holds no named arrays"),
    ],
)
def test_what_are_no_labels_is_refused_in_one_line(given, words):
    with pytest.raises(SourceError, match=words) as refused:
        read(LABELS, given)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("y\n0\nx\n1\n1\n", "expected one column of integers"),
        ("0\n1.5\n1\n1\n", "expected one column of integers"),
        ("a,y\n1,0\n2,1\n3,1\n4,1\n", "has 2 columns: expected one"),
        ("y\n0\n1\n", r"\(2,\): expected \(4,\)"),
        ("", r"\(0,\): expected \(4,\)"),
        ("\x80\x00\xff", "expected one column of integers"),
    ],
)
def test_a_csv_of_anything_else_is_refused(tmp_path, text, words):
    (tmp_path / "y.csv").write_text(text, encoding="latin1")
    with pytest.raises(SourceError, match=words) as refused:
        read(LABELS, str(tmp_path / "y.csv"))
    assert "\n" not in str(refused.value)


def test_targets_are_float32_with_a_row_for_each_image(tmp_path):
    given = np.array([[1, np.nan], [1 / 3, 2], [3, np.inf], [-4, 0]])
    for values in (given, given.tolist(), torch.tensor(given, requires_grad=True)):
        np.testing.assert_array_equal(read(TARGETS, values), given.astype("f4"))
    np.savetxt(tmp_path / "t.csv", given, delimiter=",", header="a,b", comments="", fmt="%.17g")
    np.testing.assert_array_equal(read(TARGETS, tmp_path / "t.csv"), given.astype("f4"))
    assert read(TARGETS, [1, 2, 3, 4]).tolist() == [[1], [2], [3], [4]]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([1, 2, 3], r"int64 \(3,\): expected \(4,\) or \(4, k\)"),
        (np.zeros((4, 2, 2)), r"\(4, 2, 2\): expected"),
        (np.zeros((4, 0)), r"\(4, 0\): expected"),
        (["a", "b", "c", "d"], "text: expected numbers"),
        ([None, 1, 2, 3], "Python objects.*: expected numbers"),
        ([1j, 2, 3, 4], "complex128: expected numbers"),
        ([[0, 0], [0, 1e300], [0, 0], [0, 0]], "hold 1e\\+300 at row 1, column 1: beyond float32"),
    ],
)
def test_what_are_no_targets_is_refused(given, words):
    with pytest.raises(SourceError, match=words):
        read(TARGETS, given)


def test_classes_are_numbered_over_all_splits_together():
    train, test = np.array([0, 2, -1]), np.array([1, 1])
    assert name_classes({"train": train, "test": test, "more": None}, "x") == ("0", "1", "2")
    assert name_classes({"all": np.array([-1, -1])}, "x") == () == name_classes({"all": None}, "x")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([0, 2, 5], "go to 5, and none is 1, 3, 4:"),
        ([1, 2], "go to 2, and none is 0:"),
        ([0, 10**18], "go to 1000000000000000000, and none is 1, 2, 3 and 999999999999999996 more:"),
        ([3, 9], "and none is 0, 1, 2 and 5 more:"),
    ],
)
def test_gaps_among_the_labels_are_told_with_the_way_to_renumber_them(labels, words):
    with pytest.raises(SourceError, match=words + r".*numpy.unique\(labels, return_inverse=True\)"):
        name_classes({"all": np.array(labels)}, "x")


@pytest.mark.parametrize(("what", "words"), [(LABELS, "-1 for none"), (TARGETS, "NaN for what nobody knows")])
def test_what_is_masked_is_no_number(what, words):
    with pytest.raises(SourceError, match=f"{what} are a masked array: give .filled.value. of it, {words}"):
        read(what, np.ma.array([0, 1, 2, 3], mask=[True, False, False, False]))
