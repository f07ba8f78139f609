"""Parquet files with a column of images, one or a folder of them, such as Hugging Face's."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scatcache.errors import SourceError
from scatcache.images.archives.stamps import check_stamp, stamp_file
from scatcache.images.contents import Contents
from scatcache.images.image_source import ImageSource
from scatcache.images.keys import escape_name, show_path
from scatcache.images.kinds.arrays.array_numbers import name_classes
from scatcache.images.kinds.group_copies import GroupCopies, has_place
from scatcache.images.kinds.items import merge_class_names, warn_of_labels
from scatcache.images.kinds.parquet_file import TableFile, open_table, refuse_damaged
from scatcache.images.kinds.parquet_part import ParquetPart
from scatcache.images.kinds.split_files import is_folder_of, list_files_of, sort_into_splits
from scatcache.images.kinds.table_columns import (
    TableColumns,
    choose_columns,
    read_label_column,
    read_target_column,
)

if TYPE_CHECKING:
    pass

# Row groups that an extraction would read more often than this are copied; and told of where there are so many bytes.
N_TIMES, TOLD_BYTES = 4, 10**9
PARQUET_NAME, SUFFIX = "parquet", ".parquet"


def is_parquet(place: str) -> bool:
    """Whether a parquet file lies there by its name, or a folder of them."""
    if os.path.isdir(place):
        return is_folder_of(place, SUFFIX)
    return place.lower().endswith(SUFFIX) and os.path.exists(place)


def open_parquet(place: Path, contents: Contents, copy_to: Path | None = None) -> ImageSource:
    """Finds the splits, reads which columns there are, and the labels and targets; of the images nothing.

    copy_to: where row groups of many images are copied to as they are read, None for nowhere.

    Raises SourceError where a file is cut, damaged or no parquet, files of one folder contradict each other, or there
    is no column of images or labels that make sense; OSError as the disk does.
    """
    root = place.absolute()
    files = list_files_of(root, SUFFIX) if root.is_dir() else [root]
    if not files:
        raise SourceError(f"{show_path(root)} holds no {SUFFIX} file")
    where = show_path(root)
    splits = sort_into_splits(root, files, where)
    columns: dict[str, TableColumns] = {}
    parts: dict[str, ParquetPart] = {}
    for split, paths in splits.items():
        columns[split], parts[split] = _open_split(paths, contents)
    first = next(iter(columns))
    for split, found in columns.items():
        if found.options != columns[first].options:
            raise SourceError(
                f"{where}: split {first} has {columns[first].options}, split {split} {found.options}: give "
                f"--array, --labels and --targets NAME for columns that both have"
            )
    labels = {split: part.labels for split, part in parts.items() if part.labels is not None}
    names = merge_class_names({split: found.names for split, found in columns.items()}, where)
    classes = _check_names(labels, names, where) if names else name_classes(labels, where)
    warnings = warn_of_labels(labels, classes, where) if labels else ()
    for split, part in parts.items():
        parts[split], told = _plan_copies(split, part, copy_to)
        warnings += told
    return ImageSource(PARQUET_NAME, classes, parts, root=root, options=columns[first].options, warnings=warnings)


def _plan_copies(split: str, part: ParquetPart, copy_to: Path | None) -> tuple[ParquetPart, tuple[str, ...]]:
    """The part, with copies where an extraction would read its row groups over and over, and what to tell of that."""
    rows, sizes = ([getattr(file, name) for file in part.files] for name in ("group_rows", "group_bytes"))
    n_groups, n_bytes = sum(map(len, rows)), sum(map(sum, sizes))
    n_rows = sum(map(sum, rows))
    if n_rows <= N_TIMES * n_groups:
        return part, ()
    n_times, shown = n_rows // n_groups, f"{n_bytes / 1e9:,.1f} GB"
    if copy_to is None or has_place(copy_to, n_bytes):
        told = (
            f"split {split}: its images, {shown}, are copied into STORE.job as they are read, each once, for they lie "
            f"in row groups of {n_times}"
        )
        copies = None if copy_to is None else GroupCopies(copy_to, part.path)
        return replace(part, copies=copies), (told,) if n_bytes > TOLD_BYTES else ()
    return part, (
        f"split {split}: its images lie in row groups of {n_times}, each read up to as many times: free {shown} twice "
        f"over beside the store, and they are copied into STORE.job instead",
    )


def _check_names(labels: dict[str, np.ndarray], names: tuple[str, ...], where: str) -> tuple[str, ...]:
    for split, found in labels.items():
        if len(found) and found.max() >= len(names):
            raise SourceError(f"{where}: split {split} has the label {found.max()}, but there are {len(names)} classes")
    return names


def _open_split(paths: Sequence[Path], contents: Contents) -> tuple[TableColumns, ParquetPart]:
    """The columns and the part of one split, which all its files must have alike."""
    first: tuple[TableColumns, str] | None = None
    files, labels, targets = [], [], []
    for path in paths:
        where = show_path(path)
        stamp = stamp_file(path)
        with refuse_damaged(path), open_table(path) as table:
            columns = choose_columns(table.schema_arrow, contents, where)
            if first is not None and columns != first[0]:
                raise SourceError(f"{where} and {first[1]} of one split have different columns or classes")
            first = first or (columns, where)
            files.append(_describe(table, columns.path, stamp))
            if columns.labels is not None:
                labels.append(read_label_column(table.read([columns.labels]).column(0), columns.labels, where))
            if columns.targets is not None:
                targets.append(read_target_column(table.read([columns.targets]).column(0), columns.targets, where))
        check_stamp(stamp)
    assert first is not None, "a split has a file"
    columns, where = first
    if not any(sum(file.group_rows) for file in files):
        raise SourceError(f"{where} holds no row: expected one for each image")
    if len({found.shape[1] for found in targets}) > 1:
        raise SourceError(f"{where}: column {columns.targets} holds fewer or more targets in other files of the split")
    part = ParquetPart(
        tuple(files),
        columns.path,
        np.concatenate(labels) if labels else None,
        np.concatenate(targets) if targets else None,
    )
    return columns, part


def _describe(table: Any, path: str, stamp: Any) -> TableFile:
    metadata = table.metadata
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    # Of a row group no column is asked for: damaged statistics of one would end the process.
    paths = [table.schema.column(j).path for j in range(metadata.num_columns)]
    where = show_path(stamp.path)
    if groups and paths.count(path) != 1:
        found = "several columns that may be called" if path in paths else "no column"
        raise SourceError(f"{where} has {found} {escape_name(path)}: name its columns apart")
    rows = tuple(group.num_rows for group in groups)
    # A value takes a byte at the least; what claims more rows than that is not worth the memory.
    if sum(rows) > stamp.n_bytes or min(rows, default=0) < 0:
        raise SourceError(f"{where} claims {sum(rows)} rows in {stamp.n_bytes} bytes: it is damaged: fetch it again")
    return TableFile(
        stamp,
        escape_name(Path(stamp.path).stem),
        rows,
        tuple(group.total_byte_size for group in groups),
    )
