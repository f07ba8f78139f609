"""Arrays in Python as sources: NumPy's, tensors, and the open arrays of h5py and Zarr, alone or by split."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from scatcache.errors import ScatcacheError, SourceError, UnreadableImage, UsageError
from scatcache.images.contents import Contents
from scatcache.images.image_source import WHOLE, ImageSource, check_split_names
from scatcache.images.kinds.arrays.array_files import describe_pixels, make_part
from scatcache.images.kinds.arrays.array_numbers import LABELS, TARGETS, name_classes
from scatcache.images.kinds.arrays.array_part import ArrayPart
from scatcache.images.kinds.arrays.image_array import ArrayHead

# Whose arrays are known by their type, without importing anything.
_KNOWN = (("torch", "Tensor"), ("h5py", "Dataset"), ("zarr", "Array"))
# Whose arrays would be computed or copied anew for each image, or are no plain numbers.
_OTHERS = ("cupy", "dask", "jax", "jaxlib", "tensorflow", "xarray")


@dataclass(frozen=True)
class HeldArray:
    """What somebody holds: a NumPy array, or one that gives rows as NumPy arrays."""

    values: Any = field(repr=False)
    shape: tuple[int, ...]
    dtype: np.dtype
    rows_per_block: int = 1

    @property
    def n_bytes(self) -> int:
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize

    def read_rows(self, start: int, stop: int) -> np.ndarray:
        try:
            return np.asarray(self.values[start:stop])
        except (OSError, EOFError, ValueError, TypeError, RuntimeError, LookupError) as error:
            if not getattr(getattr(self.values, "id", None), "valid", True):
                raise SourceError("the HDF5 file of the array is closed: leave it open until all is read") from error
            if isinstance(error, ScatcacheError) or (isinstance(error, OSError) and error.errno is not None):
                raise
            raise UnreadableImage(f"its samples do not decode ({type(error).__name__})") from error

    def locate_row(self, row: int) -> None:
        """Nowhere but in memory, as far as is known."""


def is_array(found: Any) -> bool:
    """Whether an object is an array, or a mapping of arrays by split."""
    if isinstance(found, Mapping):
        return any(_is_one(entry) for entry in found.values())
    return _is_one(found)


def _is_one(found: Any) -> bool:
    if isinstance(found, np.ndarray):
        return True
    if type(found).__module__.partition(".")[0] in _OTHERS and hasattr(found, "dtype"):
        return True
    return any(_is_known(found, *known) for known in _KNOWN)


def _is_known(found: Any, module: str, name: str) -> bool:
    return module in sys.modules and isinstance(found, getattr(sys.modules[module], name, ()))


def open_python_arrays(found: Any, *, name: str, version: str | None, contents: Contents) -> ImageSource:
    """An array as a source of one split, or a mapping of them by split; labels and targets may be mappings then, too.

    version: what the caller declares of the samples, which the listing does not cover.

    Raises SourceError where one is no array of images, or splits differ in axes; UsageError for the name of one.
    """
    if contents.array is not None:
        raise UsageError(f"array is {contents.array!r}, and {name} is an array itself, without a name: leave array out")
    arrays = found if isinstance(found, Mapping) else {WHOLE: found}
    check_split_names(arrays, name)
    parts: dict[str, ArrayPart] = {}
    warnings: tuple[str, ...] = ()
    for split, values in arrays.items():
        where = f"{name}: split {split}" if isinstance(found, Mapping) else name
        head = _look_at(where, values)
        own = {what: pick_of_split(getattr(contents, what), split, arrays, what) for what in (LABELS, TARGETS)}
        parts[split], told = make_part(where, head, replace(contents, **own), found={}, where=where)
        warnings += told
    first, *others = parts
    for split in others:
        if (there := parts[split]).axes != parts[first].axes:
            raise SourceError(
                f"{name}: the axes of split {first} are {parts[first].axes}, those of split {split} {there.axes}: give "
                f"axes='NHWC' or another"
            )
    options = {"axes": parts[first].axes, "version": version}
    return ImageSource(
        name,
        name_classes({split: part.labels for split, part in parts.items()}, name),
        parts,
        options=options,
        warnings=warnings,
        parallel="threads",
        pixels=describe_pixels(parts[first]),
    )


def pick_of_split(given: Any, split: str, arrays: Mapping[str, Any], what: str) -> Any:
    """What of labels or targets is of one split. Raises SourceError where they are of other splits than the images."""
    if isinstance(given, Mapping):
        if unknown := [key for key in given if key not in arrays]:
            raise SourceError(f"{what} are of split {unknown[0]!r}: expected some of {', '.join(arrays)}")
        return given.get(split)
    if given is not None and set(arrays) != {WHOLE}:
        raise SourceError(f"{what} are a {type(given).__name__}: expected a mapping by split, as the images are")
    return given


def _look_at(where: str, values: Any) -> ArrayHead:
    """An array that is held. Raises SourceError for what is none, or cannot be read image by image."""
    kind = f"a {type(values).__module__.partition('.')[0]} {type(values).__name__}"
    if not _is_one(values):
        raise SourceError(f"{where} is {kind}: expected an array for each split")
    rows_per_block = 1
    if _is_known(values, "torch", "Tensor"):
        values = _as_numpy(where, values)
    elif isinstance(values, np.ma.MaskedArray):
        raise SourceError(f"{where} is a masked array: give .filled(value) of it, for samples have no mask")
    elif isinstance(values, np.ndarray):
        values = np.asarray(values)
    elif type(values).__module__.partition(".")[0] in _OTHERS:
        raise SourceError(
            f"{where} is {kind}: expected a NumPy array: give numpy.asarray(x), or save it as a .npy file"
        )
    elif not getattr(getattr(values, "id", None), "valid", True):
        raise SourceError(f"{where} is of an HDF5 file that is closed: leave it open until all is read")
    else:
        chunks = values.chunks
        rows_per_block = min(chunks[0], values.shape[0]) or 1 if chunks and values.shape else 1
    shape, dtype = tuple(values.shape), values.dtype
    return ArrayHead(shape, dtype, lambda: HeldArray(values, shape, dtype, rows_per_block))


def _as_numpy(where: str, tensor: Any) -> np.ndarray:
    """A tensor's memory as a NumPy array."""
    if tensor.device.type != "cpu":
        raise SourceError(f"{where} is a tensor on {tensor.device}: give .cpu() of it")
    try:
        return tensor.detach().resolve_conj().resolve_neg().numpy()
    except (TypeError, RuntimeError) as error:
        raise SourceError(
            f"{where} is a tensor of {tensor.dtype} ({tensor.layout}), which NumPy cannot hold: give .float() of it, "
            f"or .to_dense() of a sparse one"
        ) from error
