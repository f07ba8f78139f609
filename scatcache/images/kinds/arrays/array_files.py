"""A file, folder or URL that holds arrays, as a source: which array, its axes, and the labels and targets beside it."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from scatcache.errors import SourceError
from scatcache.images.contents import Contents
from scatcache.images.image_source import WHOLE, ImageSource
from scatcache.images.keys import show_path
from scatcache.images.kinds.arrays.array_axes import check_images, find_axes
from scatcache.images.kinds.arrays.array_numbers import LABELS, TARGETS, is_numbers_file, name_classes, read_numbers
from scatcache.images.kinds.arrays.array_part import ArrayPart, warn_of_blocks
from scatcache.images.kinds.arrays.fits import list_fits
from scatcache.images.kinds.arrays.hdf5 import list_hdf5
from scatcache.images.kinds.arrays.image_array import ArrayHead
from scatcache.images.kinds.arrays.npy import list_npy
from scatcache.images.kinds.arrays.npz import list_npz
from scatcache.images.kinds.arrays.zarr_arrays import is_zarr_folder, list_zarr
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
    """Whether arrays lie there, by a file's extension, or by what a folder holds."""
    return (_has_format(place) and os.path.isfile(place)) or is_zarr_folder(place)


def _has_format(place: str) -> bool:
    return os.path.splitext(place)[1].lower() in FORMATS


def list_arrays(path: Path, wanted: tuple[str, ...], work_dir: Path | None) -> dict[str, ArrayHead]:
    """What arrays lie at a path, by name, "" for one without."""
    if path.is_dir():
        return list_zarr(path, wanted)
    return FORMATS[path.suffix.lower()](path, wanted, work_dir)


def open_array_place(place: str, contents: Contents, work_dir: Path | None = None) -> ImageSource:
    """The images of one array as a source of one split; the array is not read.

    Raises SourceError where there is no such array, or it is none of images; where labels or targets are not theirs;
    OSError as the disk does.
    """
    where, path = show_path(place), Path(place).absolute()
    wanted = tuple(str(name) for name in (contents.array, contents.labels, contents.targets) if isinstance(name, str))
    found = list_arrays(path, wanted, work_dir)
    name = choose_array(where, found, contents.array)
    shown = f"{name} in {where}" if name else where
    part, warnings = make_part(shown, found[name], contents, found=found, where=where)
    options = {"array": name} if name else {}
    options["axes"] = part.axes
    memory: dict[str, str] = {}
    for what in (LABELS, TARGETS):
        given: Any = getattr(contents, what)
        if is_numbers_file(given):
            memory[what] = os.path.abspath(given)
        elif isinstance(given, str | os.PathLike):
            options[what] = os.fspath(given).strip("/")
    return ImageSource(
        ARRAY_NAME,
        name_classes({WHOLE: part.labels}, where),
        {WHOLE: part},
        root=path,
        options=options,
        warnings=warnings,
        pixels=describe_pixels(part),
        memory=memory,
    )


def choose_array(where: str, found: Mapping[str, ArrayHead], wanted: str | None) -> str:
    """The name of the array of images: the one wanted, else the only one of 3 or 4 axes.

    Raises SourceError where there is none of the name, or several may be meant.
    """
    held = ", ".join(f"{name} ({head})" for name, head in found.items() if name)
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
        for what, given in ((LABELS, contents.labels), (TARGETS, contents.targets))
    }
    part = ArrayPart(array, axes, form, **numbers)
    return part, warn_of_blocks(shown, part)


def describe_pixels(part: ArrayPart) -> Pixels:
    """What enters the transform where nobody says otherwise."""
    return Pixels(NATIVE, part.image_form.bands, part.image_form.dtype, SCALES[part.image_form.dtype])
