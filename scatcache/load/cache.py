"""A finished split as training sees it: rows in source order, labels, keys, statistics, and ways to iterate."""

import copy
import os
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from scatcache.errors import StoreIncomplete, UnreadableImage
from scatcache.spec import ScatteringSpec
from scatcache.store.format.layout import SplitLayout
from scatcache.store.format.manifest import Manifest
from scatcache.store.format.rows import OK, UNREADABLE
from scatcache.store.reader import SplitReader, open_split

if TYPE_CHECKING:
    import dask.array
    import torch
    import xarray

    from scatcache.load.dataset import CacheDataset
    from scatcache.load.loader import CacheLoader
    from scatcache.load.preload import Preloaded


class Cache:
    """One split of a store. Indices count source rows, 0 .. len(cache) - 1, in the order of the sorted keys, whatever
    the order on disk; where a store holds several views of an image, each is a row, one after the other.

    labels: int64 (n,); keys: list of str; views: uint16 (n,), 0 being the plain image; classes: names that labels
    index; spec: of the transform; manifest: every setting; row_shape: (n_channels, h, w); dtype: as stored; readable:
    int64 indices of the rows with coefficients; folds: the source's folds, None where it has none; preloaded: the rows
    in memory, None but for what preload() returned.
    """

    def __init__(self, reader: SplitReader):
        self._reader, self._records = reader, reader.records
        # First: of a partial store this checks the rows of the shards that are there.
        status, rows = self._records.status, self._records.rows
        stored = np.flatnonzero(reader.layout.is_row())
        self._stored_row = np.empty(len(stored), np.int64)
        self._stored_row[rows.source_index[stored]] = stored
        self._status: npt.NDArray[np.uint8] = status[self._stored_row]
        self.labels: npt.NDArray[np.int64] = rows.label[self._stored_row]
        self.keys: list[str] = rows.key[self._stored_row].tolist()
        self.views: npt.NDArray[np.uint16] = rows.view[self._stored_row]
        folds = reader.layout.folds
        self.folds = None if folds is None else [np.array(fold, np.int64) for fold in folds]
        self.preloaded: Preloaded | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Without the rows in memory: whoever gets the copy reads the store."""
        return {**self.__dict__, "preloaded": None}

    @property
    def split(self) -> str:
        return self._reader.split

    @property
    def manifest(self) -> Manifest:
        return self._reader.manifest

    @property
    def layout(self) -> SplitLayout:
        """The split's images, shards and generations."""
        return self._reader.layout

    @property
    def spec(self) -> ScatteringSpec:
        return self._reader.manifest.spec

    @property
    def classes(self) -> tuple[str, ...]:
        return self._reader.manifest.classes

    @property
    def row_shape(self) -> tuple[int, int, int]:
        return self._reader.row_shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self._reader.encoding.dtype)

    @property
    def n_views(self) -> int:
        """Views of each image; 1 for plain images alone."""
        return int(self.views.max(initial=0)) + 1

    @cached_property
    def image_index(self) -> npt.NDArray[np.int64]:
        """(n,) int64: of which image each row is a view, counted in source order."""
        if self.n_views == 1:
            return np.arange(len(self))
        keys = np.array(self.keys, object)
        return np.cumsum(np.append(0, keys[1:] != keys[:-1]))

    def __len__(self) -> int:
        return len(self._stored_row)

    def __repr__(self) -> str:
        channels, height, width = self.row_shape
        name = f"Cache {self._records.store.name.rpartition('/')[2]!r}, split {self.split!r}"
        return f"<{name}: {len(self)} rows of ({channels}, {height}, {width}) {self.dtype}, {self.spec}>"

    @property
    def readable(self) -> npt.NDArray[np.int64]:
        """(n_ok,) int64, increasing: rows whose image could be read, is still in the source, and whose shard is
        finished."""
        return np.flatnonzero(self._status == OK)

    def coefficients(self, rows: npt.ArrayLike | slice) -> npt.NDArray[Any]:
        """(n, n_channels, h, w) coefficients of source rows, in the stored dtype; NumPy only, every byte checked.

        rows: integers (negative ones count from the end), a slice or a boolean mask of len(cache). Raises IndexError
        for rows out of range, UnreadableImage, StoreIncomplete, StoreDamaged.
        """
        wanted = self._find_rows(rows)
        self._refuse_unreadable(wanted)
        return self._reader.read(self._stored_row[wanted])

    def _find_rows(self, rows: npt.ArrayLike | slice) -> npt.NDArray[np.int64]:
        if isinstance(rows, slice):
            return np.arange(len(self))[rows]
        wanted = np.asarray(rows)
        if wanted.dtype == bool:
            if wanted.shape != (len(self),):
                raise IndexError(f"the mask has shape {wanted.shape}, expected ({len(self)},)")
            return np.flatnonzero(wanted)
        if wanted.ndim != 1 or (wanted.size and not np.issubdtype(wanted.dtype, np.integer)):
            raise IndexError(f"rows are {wanted.dtype} of shape {wanted.shape}: expected a list of integers")
        outside = (wanted < -len(self)) | (wanted >= len(self))
        if outside.any():
            raise IndexError(f"row {wanted[outside][0]} is out of range: the split has {len(self)} rows")
        wanted = wanted.astype(np.int64)
        return np.where(wanted < 0, wanted + len(self), wanted)

    def _refuse_unreadable(self, wanted: npt.NDArray[np.int64]) -> None:
        # Those that are absent the reader refuses.
        refused = wanted[self._status[wanted] > OK]
        if not len(refused):
            return
        row = int(refused[0])
        reason = "is no longer in the source, and no row of the split any more"
        if self._status[row] == UNREADABLE:
            entry = self._records.unreadable[int(self._stored_row[row])]
            reason = f"has no coefficients: its image was unreadable: {entry.reason}"
        raise UnreadableImage(f"split {self.split}, row {row} ({self.keys[row]}) {reason}")

    def __getitem__(self, row: int) -> "tuple[torch.Tensor, int]":
        """(float32 (n_channels, h, w), label) of one source row. Raises as coefficients() does."""
        import torch

        index = int(self._find_rows([row])[0])
        return torch.from_numpy(self.coefficients([index])[0]).float(), int(self.labels[index])

    @property
    def channel_mean(self) -> npt.NDArray[np.float64]:
        """(n_channels,) float64: mean over the readable rows and positions, from the sums in the receipts."""
        return self._moments()[0]

    @property
    def channel_std(self) -> npt.NDArray[np.float64]:
        """(n_channels,) float64: standard deviation over the readable rows and positions (divided by n)."""
        mean, square_mean = self._moments()
        return np.sqrt(np.maximum(square_mean - mean**2, 0))

    def _moments(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        summary = self._records.summary
        if summary is None:
            raise StoreIncomplete(f"split {self.split} is incomplete: its statistics are known once it is finished")
        n_values = max(1, summary.n_ok * self.row_shape[1] * self.row_shape[2])
        return np.array(summary.sums) / n_values, np.array(summary.square_sums) / n_values

    def dataset(self) -> "CacheDataset":
        """A map-style torch Dataset of the readable rows; see CacheDataset."""
        from scatcache.load.dataset import CacheDataset

        return CacheDataset(self)

    def loader(
        self,
        batch_size: int,
        shuffle: bool = False,
        *,
        seed: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
        drop_last: bool = False,
        remainder: str | None = None,
        rows: npt.ArrayLike | slice | None = None,
        channels: Sequence[int] | slice | None = None,
        views: int | str | None = None,
        labels: npt.ArrayLike | None = None,
        augment: "Callable[..., torch.Tensor] | None" = None,
        device: "str | torch.device" = "cpu",
        dtype: "torch.dtype | None" = None,
    ) -> "CacheLoader":
        """Batches (S, y) of the readable rows: S (B, n_channels, h, w) of dtype (float32 by default), y int64 (B,),
        both on device. rows: only these, as in coefficients(); for folds and small samples. views: "one" of each image,
        drawn anew each epoch, "all" of them, or the number of one; by default "one" with shuffle, else "all". labels:
        (len(cache),) integers in place of the cache's. remainder: "drop", "pad" or "keep" what cannot be dealt evenly
        to the ranks; by default "drop" with shuffle, else "keep". See CacheLoader.
        """
        from scatcache.load.loader import CacheLoader

        return CacheLoader(
            self,
            batch_size,
            shuffle,
            seed=seed,
            rank=rank,
            world_size=world_size,
            drop_last=drop_last,
            remainder=remainder,
            rows=None if rows is None else self._find_rows(rows),
            channels=channels,
            views=views,
            labels=labels,
            augment=augment,
            device=device,
            dtype=dtype,
        )

    def preload(
        self,
        device: "str | torch.device" = "cpu",
        *,
        rows: npt.ArrayLike | slice | None = None,
        channels: Sequence[int] | slice | None = None,
    ) -> "Cache":
        """This cache with rows in memory, from which its loaders draw the very batches that this one's would be.

        device: where they are kept, in the stored dtype. rows: as in coefficients(), all by default, unreadable ones
        left out; its loaders take them where they are given none, and refuse others by IndexError. channels: only
        these, as in loader(). Everything but loader() still reads the store, as a pickled copy does.
        Raises ScatcacheError where they do not fit, BackendUnavailable, StoreIncomplete, StoreDamaged.
        """
        from scatcache.load.arguments import find_channels, find_device
        from scatcache.load.preload import preload

        wanted = self.readable if rows is None else self._find_rows(rows)
        cache = copy.copy(self)
        cache.preloaded = preload(
            self._reader,
            wanted[np.isin(wanted, self.readable)],
            stored_row=self._stored_row,
            channels=find_channels(channels, self.spec.n_channels),
            device=find_device(device),
        )
        return cache

    def to_dask(self, dtype: npt.DTypeLike | None = None) -> "dask.array.Array":
        """(n, n_channels, h, w) in storage order, one block a shard, every byte checked when computed.

        dtype: float32 where None, whatever is stored, for Dask adds and counts in an array's own type and float16 ends
        at 65504; cache.dtype for what is stored. Unreadable rows are NaN. Raises StoreIncomplete for an incomplete
        split, ValueError for a dtype that does not hold every stored value.
        """
        from scatcache.load.lazy import build_dask

        return build_dask(self._reader, dtype)

    def to_xarray(self, dtype: npt.DTypeLike | None = None) -> "xarray.Dataset":
        """to_dask() with its coordinates, in storage order. Raises as to_dask() does."""
        from scatcache.load.lazy import build_xarray

        return build_xarray(self._reader, dtype)


def open_cache(path: str | os.PathLike[str], split: str | None = None, *, allow_partial: bool = False) -> Cache:
    """Opens one split of a store for reading; takes the only split where split is None.

    path: of a local folder, or an s3://, https:// or http:// URL; credentials come from the environment (AWS_...).
    allow_partial: open an unfinished split too; rows that are not there yet raise StoreIncomplete when asked for.
    Raises NotAStore, StoreIncomplete (also for a split that is not there, or several and none named), StoreDamaged;
    ScatcacheError where a remote place refuses or does not answer.
    """
    return Cache(open_split(path, split, allow_partial=allow_partial))
