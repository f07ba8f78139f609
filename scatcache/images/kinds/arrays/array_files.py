"""A file, folder or URL that holds arrays, as a source: which array, its axes, and the labels and targets beside it."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from scatcache.errors import SourceError
from scatcache.images.contents import Contents
from scatcache.images.image_source import WHOLE, ImageSource
from scatcache.images.keys import escape_name, show_path
from scatcache.images.kinds.arrays.array_axes import check_images, find_axes
from scatcache.images.kinds.arrays.array_numbers import (
    LABELS,
    TARGETS,
    is_numbers_file,
    list_names,
    name_classes,
    read_numbers,
)
from scatcache.images.kinds.arrays.array_part import ArrayPart, warn_of_blocks
from scatcache.images.kinds.arrays.fits import list_fits
from scatcache.images.kinds.arrays.hdf5 import list_hdf5
from scatcache.images.kinds.arrays.image_array import ArrayHead
from scatcache.images.kinds.arrays.npy import list_npy
from scatcache.images.kinds.arrays.npz import list_npz
from scatcache.images.kinds.arrays.zarr_arrays import is_zarr_folder, list_zarr
from scatcache.remote.urls import check_url, is_url
from scatcache.spec import NATIVE, SCALES, Pixels

ARRAY_NAME = "array"
# How the arrays of a file are found, by its extension: of a path, the names asked for, and where to write.
FORMATS: dict[str, Callable[[Path, tuple[str, ...], Path | None], dict[str, ArrayHead]]] = {
    ".npy": lambda path, _, __: list_npy(path),
    ".npz": lambda path, _, work_dir: list_npz(path, work_dir),
    **dict.fromkeys((".h5", ".hdf5"), lambda path, wanted, _: list_hdf5(path, wanted)),
    **dict.fromkeys((".fits", ".fit", ".fts"), lambda path, _, __: list_fits(path)),
}
# As many axes an array of images has.
N_AXES = (3, 4)


def is_array_place(place: str) -> bool:
    """Whether arrays lie there, by a file's extension, by what a folder holds, or by the name that a URL ends in."""
    if is_url(place):
        path = urlsplit(place).path
        return _has_format(path) or any(name.lower().endswith(".zarr") for name in path.split("/"))
    return (_has_format(place) and os.path.isfile(place)) or is_zarr_folder(place)


def _has_format(place: str) -> bool:
    return os.path.splitext(place)[1].lower() in FORMATS


def list_heads(place: str, wanted: tuple[str, ...], work_dir: Path | None) -> dict[str, ArrayHead]:
    """What arrays lie at a path or URL, by name, "" for one without. wanted: the names asked for; see list_zarr.

    Raises SourceError for a file at a URL.
    """
    if is_url(place) and _has_format(place):
        raise SourceError(f"{show_path(place)} is read from a local disk alone: fetch it, then give the file")
    if is_url(place) or os.path.isdir(place):
        return list_zarr(place, wanted)
    return FORMATS[os.path.splitext(place)[1].lower()](Path(place), wanted, work_dir)


def open_array_place(place: str, contents: Contents, work_dir: Path | None = None) -> ImageSource:
    """The images of one array as a source of one split; the array is not read.

    Raises SourceError where there is no such array, or it is none of images; where labels or targets are not theirs;
    ScatcacheError where a server does not answer; OSError as the disk does.
    """
    where = show_path(place)
    place = check_url(place) if is_url(place) else os.path.abspath(place)
    given = (contents.array or "", contents.labels, contents.targets)
    found = list_heads(place, tuple(name for name in given if isinstance(name, str)), work_dir)
    name = choose_array(where, found, contents.array)
    shown = f"{escape_name(name)} in {where}" if name else where
    part, warnings = make_part(shown, found[name], contents, found=found, where=where)
    options = ({"array": name} if name else {}) | {"axes": part.axes} | _name_numbers(contents)
    return ImageSource(
        ARRAY_NAME,
        name_classes({WHOLE: part.labels}, where),
        {WHOLE: part},
        root=None if is_url(place) else Path(place),
        url=place if is_url(place) else None,
        options=options,
        warnings=warnings,
        pixels=describe_pixels(part),
        memory={what: os.path.abspath(given) for what, given in _list_numbers(contents) if is_numbers_file(given)},
    )


def _list_numbers(contents: Contents) -> tuple[tuple[str, Any], ...]:
    return (LABELS, contents.labels), (TARGETS, contents.targets)


def _name_numbers(contents: Contents) -> dict[str, str]:
    """The names of the arrays of labels and targets, where they are in the images' file."""
    named = [(what, given) for what, given in _list_numbers(contents) if isinstance(given, str)]
    return {what: given.strip("/") for what, given in named if not is_numbers_file(given)}


def choose_array(where: str, found: Mapping[str, ArrayHead], wanted: str | None) -> str:
    """The name of the array of images: the one wanted, else the only one of 3 or 4 axes.

    Raises SourceError where there is none of the name, or several may be meant.
    """
    held = list_names(found)
    if wanted is not None:
        name = wanted.strip("/")
        if name not in found or not name:
            raise SourceError(f"{where} has no array {wanted!r}: it holds {held or 'one array without a name'}")
        return name
    candidates = [name for name, head in found.items() if len(head.shape) in N_AXES] or list(found)
    if not candidates:
        raise SourceError(f"{where} holds no array: expected one of images, (images, height, width) or with bands")
    if len(candidates) > 1:
        raise SourceError(f"{where} holds several arrays, {held}: give the name of the images' with --array NAME")
    return candidates[0]


def make_part(
    shown: str, head: ArrayHead, contents: Contents, *, found: Mapping[str, ArrayHead], where: str
) -> tuple[ArrayPart, tuple[str, ...]]:
    """The part of an array with the labels and targets of contents, and warnings. Raises as open_array_place does."""
    axes = find_axes(shown, head.shape, contents.axes)
    check_images(shown, head.shape, head.dtype, axes)
    array = head.open()
    # Of scaled samples the header says another dtype.
    form = check_images(shown, array.shape, array.dtype, axes)
    numbers = {
        what: None if given is None else read_numbers(what, given, head.shape[0], found=found, where=where)
        for what, given in _list_numbers(contents)
    }
    part = ArrayPart(array, axes, form, **numbers)
    return part, warn_of_blocks(shown, part)


def describe_pixels(part: ArrayPart) -> Pixels:
    """What enters the transform where nobody says otherwise."""
    return Pixels(NATIVE, part.image_form.bands, part.image_form.dtype, SCALES[part.image_form.dtype])
