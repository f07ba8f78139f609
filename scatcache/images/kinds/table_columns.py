"""Which columns of a table hold the images, their labels and targets; what they hold as arrays."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scatcache.errors import SourceError, UsageError
from scatcache.images.contents import Contents
from scatcache.images.image_source import NO_LABEL
from scatcache.images.keys import escape_name
from scatcache.images.kinds.arrays.array_numbers import check_targets
from scatcache.images.kinds.items import IMAGE_COLUMNS, LABEL_COLUMNS

if TYPE_CHECKING:
    import pyarrow

# Of a table's columns, so many are shown where none will do.
_N_COLUMNS_SHOWN = 12


@dataclass(frozen=True)
class TableColumns:
    """image: the column of images, and path, what of it holds their bytes; labels, targets: None where there are none;
    names: of the classes, in the order of the labels, () where the table does not say."""

    image: str
    path: str
    labels: str | None
    targets: str | None
    names: tuple[str, ...]

    @property
    def options(self) -> dict[str, str]:
        """What a store keeps of it."""
        found = {"array": self.image, "labels": self.labels, "targets": self.targets}
        return {name: column for name, column in found.items() if column is not None}


def choose_columns(schema: "pyarrow.Schema", contents: Contents, where: str) -> TableColumns:
    """The columns of a table that are asked for, or that it says, or that go without saying.

    Raises SourceError where there is none of images, or several that might be; UsageError for a name that it lacks.
    """
    if twice := [name for name, n in Counter(schema.names).items() if n > 1]:
        raise SourceError(f"{where} has several columns {escape_name(twice[0])}: name them apart")
    for option in ("array", "labels", "targets"):
        name = getattr(contents, option)
        if name is not None and (not isinstance(name, str) or name not in schema.names):
            raise UsageError(f"--{option} is {name!a}: {where} has the columns {show_columns(schema)}")
    features = _read_features(schema)
    image = contents.array or _find_images(schema, features, where)
    path = _find_bytes(schema.field(image).type)
    if path is None:
        raise SourceError(
            f"{where}: column {escape_name(image)} is {schema.field(image).type}: expected images, a struct of bytes "
            f"and path, or binary; its columns are {show_columns(schema)}"
        )
    labels = contents.labels or _find_labels(schema, features)
    names = () if labels is None else _find_names(features.get(labels))
    return TableColumns(image, f"{image}.{path}" if path else image, labels, contents.targets, names)


def _find_images(schema: "pyarrow.Schema", features: Mapping[str, Any], where: str) -> str:
    may = [name for name in schema.names if _find_bytes(schema.field(name).type) is not None]
    said = [name for name in may if _type_of(features.get(name)) == "Image"]
    found = said if len(said) == 1 else [name for name in IMAGE_COLUMNS if name in may][:1] or said or may
    if len(found) == 1:
        return found[0]
    if found:
        shown = ", ".join(map(escape_name, found))
        raise SourceError(f"{where} has several columns that may hold images: give --array, one of {shown}")
    raise SourceError(
        f"{where} has no column of images (a struct of bytes and path, or binary): its columns are "
        f"{show_columns(schema)}"
    )


def _find_bytes(kind: "pyarrow.DataType") -> str | None:
    """The field of a column of images that holds their bytes, "" for the column itself, None for another column."""
    from pyarrow import types

    def is_bytes(found: "pyarrow.DataType") -> bool:
        if types.is_dictionary(found):
            found = found.value_type
        return types.is_binary(found) or types.is_large_binary(found) or str(found) == "binary_view"

    if types.is_struct(kind):
        return next((field.name for field in kind if field.name == "bytes" and is_bytes(field.type)), None)
    return "" if is_bytes(kind) else None


def _find_labels(schema: "pyarrow.Schema", features: Mapping[str, Any]) -> str | None:
    named = [name for name in LABEL_COLUMNS if name in schema.names]
    said = [name for name in schema.names if _type_of(features.get(name)) == "ClassLabel"]
    return next((name for name in named if name in said), None) or next(
        iter(named), said[0] if len(said) == 1 else None
    )


def _read_features(schema: "pyarrow.Schema") -> Mapping[str, Any]:
    """What Hugging Face's datasets noted of the columns, {} where nothing that makes sense."""
    try:
        noted = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = noted["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def _type_of(feature: Any) -> str:
    return str(feature.get("_type", "")) if isinstance(feature, dict) else ""


def _find_names(feature: Any) -> tuple[str, ...]:
    names = feature.get("names") if isinstance(feature, dict) and _type_of(feature) == "ClassLabel" else None
    return tuple(escape_name(str(name)) for name in names) if isinstance(names, list) else ()


def show_columns(schema: "pyarrow.Schema") -> str:
    """ "id (int64), image (struct<...>)", the first of many."""
    shown = [f"{escape_name(field.name)} ({escape_name(str(field.type)[:40])})" for field in schema]
    more = len(shown) - _N_COLUMNS_SHOWN
    return ", ".join(shown[:_N_COLUMNS_SHOWN]) + (f" and {more} more" if more > 0 else "")


def read_label_column(column: "pyarrow.ChunkedArray", name: str, where: str) -> np.ndarray:
    """int64 (n,) labels of a column, -1 where it holds none. Raises SourceError where it holds no integers."""
    import pyarrow
    from pyarrow import compute

    if pyarrow.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not pyarrow.types.is_integer(column.type):
        raise SourceError(
            f"{where}: column {escape_name(name)} holds {escape_name(str(column.type)[:60])}: expected integers as "
            f"labels: give --labels NAME, or write the classes as numbers from 0"
        )
    try:
        values = compute.fill_null(column.cast("int64"), NO_LABEL).to_numpy()
    except pyarrow.ArrowInvalid as error:
        raise SourceError(f"{where}: column {escape_name(name)} holds a label beyond 64 bits") from error
    if len(values) and values.min() < NO_LABEL:
        row = int(np.argmax(values < NO_LABEL))
        raise SourceError(f"{where}: the label of row {row} is {values[row]}: expected 0 or more, or -1 for none")
    return values


def read_target_column(column: "pyarrow.ChunkedArray", name: str, where: str) -> np.ndarray:
    """float32 (n, k) targets of a column of numbers, or of lists of k numbers, NaN for one that is missing.

    Raises SourceError for others.
    """
    import pyarrow
    from pyarrow import types

    shown, n_rows = escape_name(name), len(column)
    lengths: set[int] = {1}
    if types.is_list(column.type) or types.is_large_list(column.type) or types.is_fixed_size_list(column.type):
        lengths = set(pyarrow.compute.unique(pyarrow.compute.list_value_length(column)).to_pylist())
        if len(lengths) > 1:
            found = ", ".join(str(length) for length in sorted(lengths, key=str)[:3])
            raise SourceError(f"{where}: column {shown} holds lists of {found} values: expected targets of one length")
        column = pyarrow.compute.list_flatten(column)
    if not (types.is_integer(column.type) or types.is_floating(column.type)):
        raise SourceError(
            f"{where}: column {shown} holds {escape_name(str(column.type)[:60])}: expected numbers as targets"
        )
    # A number that is missing is nobody's: NaN.
    values = column.to_numpy() if not column.null_count else column.cast(pyarrow.float64(), safe=False).to_numpy()
    (k,) = lengths or {1}
    return check_targets(f"{where}: column {shown}", values.reshape(n_rows, k or 0), n_rows)
