"""A split as a Dask array and as an xarray Dataset, in storage order, read through the checked reader."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from scatcache.errors import StoreIncomplete
from scatcache.scattering.paths import channel_table
from scatcache.scattering.quantisation import restore
from scatcache.store.format.metadata import RECORD, TARGET_DIMENSIONS
from scatcache.store.format.row_arrays import OK, TARGET
from scatcache.store.reader import SplitReader

if TYPE_CHECKING:
    import dask.array
    import xarray


def read_shard(reader: SplitReader, shard: int, dtype: np.dtype[Any]) -> np.ndarray:
    """(n_positions of the shard, n_channels, h, w) of dtype, checked; NaN where no row is delivered."""
    positions = np.asarray(reader.layout.positions_of(shard))
    stored, steps = reader.read(positions), reader.encoding.steps
    values = (stored if steps is None else restore(stored, steps)).astype(dtype, copy=False)
    values[reader.records.status[positions] != OK] = np.nan
    return values


def find_dtype(dtype: npt.DTypeLike | None, stored: npt.DTypeLike) -> np.dtype[Any]:
    """The dtype of a lazy array: float32 for None. Raises ValueError for one that does not hold every stored value."""
    found = np.dtype(np.float32 if dtype is None else dtype)
    if not np.can_cast(stored, found, "safe"):
        raise ValueError(f"dtype is {found}: expected one that holds every {np.dtype(stored)}, as is stored")
    return found


def build_dask(reader: SplitReader, dtype: npt.DTypeLike | None = None) -> "dask.array.Array":
    """One block a shard. Raises StoreIncomplete for an incomplete split, ValueError as find_dtype does."""
    import dask.array
    from dask.delayed import delayed

    wanted = find_dtype(dtype, reader.encoding.value_dtype)
    layout = reader.layout
    if reader.records.summary is None:
        raise StoreIncomplete(f"split {reader.split} is incomplete: {reader.records.store.place.finish}")
    delayed_reader = delayed(reader, pure=False)
    blocks = [
        dask.array.from_delayed(
            delayed(read_shard)(delayed_reader, shard, wanted),
            shape=(len(layout.positions_of(shard)), *reader.row_shape),
            dtype=wanted,
        )
        for shard in range(layout.n_shards)
    ]
    return dask.array.concatenate(blocks)


def build_xarray(reader: SplitReader, dtype: npt.DTypeLike | None = None) -> "xarray.Dataset":
    """The same variables, dimensions and coordinates as xarray.open_zarr gives for the split's group, coefficients of
    dtype; quantised ones are multiplied by their steps, and the coordinate `step` is not there."""
    import xarray

    table = reader.records.rows
    rows = {name: ("image", getattr(table, name)) for name in ("label", "source_index", "view", "file_bytes")}
    targets = {} if table.target is None else {TARGET: (TARGET_DIMENSIONS, table.target)}
    # Without `step`: these are multiplied already.
    channels = {name: ("channel", values) for name, values in channel_table(reader.manifest.spec).items()}
    return xarray.Dataset(
        {"coefficients": (("image", "channel", "y", "x"), build_dask(reader, dtype))},
        coords={
            **channels,
            **rows,
            **targets,
            "key": ("image", table.key.astype(str)),
            "status": ("image", reader.records.status),
        },
        attrs={RECORD: reader.layout.to_dict()},
    )
