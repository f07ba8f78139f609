"""A split as a Dask array and as an xarray Dataset, in storage order, read through the checked reader."""

from typing import TYPE_CHECKING

import numpy as np

from scatcache.errors import StoreIncomplete
from scatcache.scattering.paths import channel_table
from scatcache.store.reader import SplitReader
from scatcache.store.rows import OK, UNREADABLE

if TYPE_CHECKING:
    import dask.array
    import xarray


def read_shard(reader: SplitReader, shard: int) -> np.ndarray:
    """(n_rows of the shard, n_channels, h, w), checked."""
    return reader.read(np.asarray(reader.layout.rows_of(shard)))


def build_dask(reader: SplitReader) -> "dask.array.Array":
    """One block a shard. Raises StoreIncomplete for an incomplete split."""
    import dask.array
    from dask.delayed import delayed

    if reader.summary is None:
        raise StoreIncomplete(f"split {reader.split} is incomplete: {reader.view.place.finish}")
    delayed_reader = delayed(reader, pure=False)
    blocks = [
        dask.array.from_delayed(
            delayed(read_shard)(delayed_reader, shard),
            shape=(len(reader.layout.rows_of(shard)), *reader.row_shape),
            dtype=reader.encoding.dtype,
        )
        for shard in range(reader.layout.n_shards)
    ]
    return dask.array.concatenate(blocks)


def build_xarray(reader: SplitReader) -> "xarray.Dataset":
    """The same variables, dimensions and coordinates as xarray.open_zarr gives for the split's group."""
    import xarray

    status = np.full(len(reader.rows), OK, np.uint8)
    status[list(reader.unreadable())] = UNREADABLE
    rows = {name: ("image", getattr(reader.rows, name)) for name in ("label", "source_index", "view", "file_bytes")}
    channels = {name: ("channel", values) for name, values in channel_table(reader.manifest.spec).items()}
    return xarray.Dataset(
        {"coefficients": (("image", "channel", "y", "x"), build_dask(reader))},
        coords={
            **channels,
            **rows,
            "key": ("image", reader.rows.key.astype(str)),
            "status": ("image", status),
        },
    )
