"""Labels and targets beside arrays of images: from .npy and .csv files, from the file of the images, or from Python."""

import csv
import operator
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scatcache.errors import SourceError
from scatcache.images.image_source import NO_LABEL
from scatcache.images.keys import escape_name, show_path
from scatcache.images.kinds.arrays.array_axes import describe_dtype
from scatcache.images.kinds.arrays.image_array import ArrayHead
from scatcache.images.kinds.arrays.npy import list_npy

LABELS, TARGETS = "labels", "targets"
NUMBERS_SUFFIXES = (".npy", ".csv")
# Gaps that are shown of many.
N_SHOWN = 3


def read_numbers(what: str, given: Any, n_images: int, *, found: Mapping[str, ArrayHead], where: str) -> np.ndarray:
    """The labels, int64 (n,), or targets, float32 (n, k), of n images. what: LABELS or TARGETS.

    given: the path of a .npy or .csv file, the name of an array among those found in the file of the images, or the
    numbers; where: that file, for messages. float64 is rounded to float32; a target may be NaN, a number nobody knows.

    Raises SourceError where there is no such file or name, or they are others than that.
    """
    check = check_labels if what == LABELS else check_targets
    if not isinstance(given, str | os.PathLike):
        return check(what, _as_numbers(what, given), n_images)
    path, name = Path(given), os.fspath(given)
    shown = f"{what} {show_path(name)}"
    if is_numbers_file(given):
        is_csv = path.suffix.lower() == ".csv"
        return check(
            shown, _read_csv(path, what) if is_csv else _read_head(what, shown, list_npy(path)[""], n_images), n_images
        )
    if name.strip("/") in found:
        return check(shown, _read_head(what, shown, found[name.strip("/")], n_images), n_images)
    held = list_names(found)
    raise SourceError(
        f"{shown}: there is no .npy or .csv file of that path, and {where} holds "
        f"{'no array of that name, only ' + held if held else 'no named arrays'}: check --{what}"
    )


def list_names(found: Mapping[str, ArrayHead]) -> str:
    """The named arrays among those found, for messages."""
    return ", ".join(f"{escape_name(name)} ({head})" for name, head in found.items() if name)


def is_numbers_file(given: Any) -> bool:
    """Whether labels or targets are in a file of their own."""
    if not isinstance(given, str | os.PathLike):
        return False
    return Path(given).suffix.lower() in NUMBERS_SUFFIXES and os.path.isfile(given)


def _as_numbers(what: str, given: Any) -> np.ndarray:
    if isinstance(given, np.ma.MaskedArray):
        advice = "-1 for none" if what == LABELS else "NaN for what nobody knows"
        raise SourceError(f"{what} are a masked array: give .filled(value) of it, {advice}")
    if hasattr(given, "detach"):
        given = given.detach()
    try:
        return np.asarray(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise SourceError(f"{what} are a {type(given).__name__}, not an array of numbers: {error}") from error


def _read_head(what: str, shown: str, head: ArrayHead, n_images: int) -> np.ndarray:
    """An array of few axes, read whole only where it has a row for each image."""
    if len(head.shape) not in (1, 2) or head.shape[0] != n_images:
        raise _refuse(what, shown, head.dtype, head.shape, n_images)
    return head.open().read_rows(0, n_images)


def _read_csv(path: Path, what: str) -> np.ndarray:
    """(rows, columns) of a .csv file with or without a line of names above. Raises SourceError where it is none."""
    labels = what == LABELS
    parse: Callable[[str], Any] = int if labels else float
    with open(path, encoding="utf-8-sig", newline="") as file, warnings.catch_warnings():
        # An empty file is told of by its length.
        warnings.simplefilter("ignore")
        try:
            first = next(csv.reader(file), [])
            file.seek(0)
            values = np.loadtxt(
                file,
                np.int64 if labels else np.float64,
                comments=None,
                delimiter=",",
                quotechar='"',
                skiprows=0 if _parses(first, parse) else 1,
                ndmin=2,
            )
        except (ValueError, OverflowError, csv.Error) as error:
            expected = "one column of integers" if labels else "columns of numbers"
            raise SourceError(
                f"{show_path(path)}: {error}: expected {expected}, and at most one line of names"
            ) from error
    if labels and values.shape[1] != 1:
        raise SourceError(
            f"{show_path(path)} has {values.shape[1]} columns: expected one, the labels in the images' order"
        )
    return values[:, 0] if labels else values


def _parses(fields: Sequence[str], parse: Callable[[str], Any]) -> bool:
    try:
        return bool([parse(field) for field in fields])
    except ValueError:
        return False


def check_labels(shown: str, values: np.ndarray, n_images: int) -> np.ndarray:
    """Labels as int64 (n,). Raises SourceError for what are no integers of -1 or more, one for each image."""
    if values.dtype.kind not in "iu" and values.size:
        advice = "; numbers to be stored with the images go by --targets" if values.dtype.kind == "f" else ""
        raise SourceError(f"{shown} are {describe_dtype(values.dtype)}: expected integers{advice}")
    if values.shape != (n_images,):
        raise _refuse(LABELS, shown, values.dtype, values.shape, n_images)
    if values.min() < NO_LABEL or values.max() > np.iinfo(np.int64).max:
        row = int(np.flatnonzero((values < NO_LABEL) | (values > np.iinfo(np.int64).max))[0])
        raise SourceError(f"{shown} hold {values[row]} at {row}: expected 0 or more, or {NO_LABEL} for none")
    return values.astype(np.int64)


def check_targets(shown: str, values: np.ndarray, n_images: int) -> np.ndarray:
    """Targets as float32 (n, k). Raises SourceError for what are no numbers, k for each image."""
    if values.dtype.kind not in "iufb":
        raise SourceError(f"{shown} are {describe_dtype(values.dtype)}: expected numbers")
    if values.ndim not in (1, 2) or len(values) != n_images or values.size == 0:
        raise _refuse(TARGETS, shown, values.dtype, values.shape, n_images)
    values = values.reshape(n_images, -1)
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float32)
    beyond = np.isinf(rounded) & np.isfinite(values)
    if beyond.any():
        row, column = (int(at[0]) for at in np.nonzero(beyond))
        raise SourceError(f"{shown} hold {values[row, column]} at row {row}, column {column}: beyond float32")
    return rounded


def _refuse(what: str, shown: str, dtype: np.dtype, shape: tuple[int, ...], n_images: int) -> SourceError:
    wanted = f"({n_images},)" if what == LABELS else f"({n_images},) or ({n_images}, k)"
    return SourceError(
        f"{shown} are {describe_dtype(dtype)} {shape}: expected {wanted}, one for each image in their order"
    )


def name_classes(labels: Mapping[str, np.ndarray | None], where: str) -> tuple[str, ...]:
    """ "0", "1", ... for the labels of all splits together. Raises SourceError where a number among them is missing."""
    given = [values for values in labels.values() if values is not None]
    present = np.unique(np.concatenate([np.unique(values) for values in given])) if given else np.empty(0, np.int64)
    present = present[present != NO_LABEL]
    if not len(present) or present[-1] == len(present) - 1:
        return tuple(map(str, range(len(present))))
    highest = int(present[-1])
    n_missing = highest + 1 - len(present)
    missing: list[int] = []
    expected = 0
    for value in map(operator.index, present):
        missing += range(expected, min(value, expected + N_SHOWN - len(missing)))
        expected = value + 1
        if len(missing) == N_SHOWN:
            break
    shown = ", ".join(map(str, missing)) + (f" and {n_missing - len(missing)} more" if n_missing > len(missing) else "")
    raise SourceError(
        f"the labels of {where} go to {highest}, and none is {shown}: classes are 0, 1, 2, ... without gaps; renumber "
        f"them with numpy.unique(labels, return_inverse=True)"
    )
