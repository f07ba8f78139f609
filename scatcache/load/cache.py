"""A finished split as training sees it: rows in source order, labels, keys, statistics, and ways to iterate."""

import copy
import os
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from scatcache.errors import StoreIncomplete
from scatcache.load.arguments import (
    LoaderOptions,
    find_channels,
    find_device,
    find_labels,
    find_rows,
    find_targets,
    find_whole,
)
from scatcache.load.rows import StoreFetcher
from scatcache.load.sampler import number_images
from scatcache.load.stored_rows import StoredRows
from scatcache.signatures import takes
from scatcache.spec import ScatteringSpec
from scatcache.store.format.layout import SplitLayout
from scatcache.store.format.manifest import Manifest
from scatcache.store.reader import SplitReader, open_split

if TYPE_CHECKING:
    import dask.array
    import torch
    import xarray

    from scatcache.load.dataset import CacheDataset
    from scatcache.load.features import Statistics
    from scatcache.load.loader import CacheLoader


class Cache:
    """One split of a store. Indices count source rows, 0 .. len(cache) - 1, in the order of the sorted keys, whatever
    the order on disk; where a store holds several views of an image, each is a row, one after the other.

    labels: int64 (n,); targets: float32 (n, k), numbers to predict, None where the split has none; keys: list of str;
    views: uint16 (n,), 0 being the plain image; classes: names that labels index; spec: of the transform; manifest:
    every setting; row_shape: (n_channels, h, w); dtype: of coefficients(), the stored one, or float32 where integers
    are stored; readable: int64 indices of the rows with
    coefficients; folds: the source's folds, None where it has none. Loaders take a cache as Rows.
    """

    def __init__(self, reader: SplitReader):
        self._reader, self._records = reader, reader.records
        self._stored = StoredRows(reader)
        self._loaded: StoreFetcher = self._stored
        in_source_order = self._stored.stored_row
        self.labels: npt.NDArray[np.int64] = reader.records.rows.label[in_source_order]
        stored_targets = reader.records.rows.target
        self.targets: npt.NDArray[np.float32] | None = (
            None if stored_targets is None else stored_targets[in_source_order]
        )
        self.keys: list[str] = reader.records.rows.key[in_source_order].tolist()
        self.views: npt.NDArray[np.uint16] = reader.records.rows.view[in_source_order]
        folds = reader.layout.folds
        self.folds = None if folds is None else [np.array(fold, np.int64) for fold in folds]

    def __getstate__(self) -> dict[str, Any]:
        """Without the rows in memory: whoever gets the copy reads the store."""
        return {**self.__dict__, "_loaded": self._stored}

    @property
    def split_name(self) -> str:
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
        return np.dtype(self._reader.encoding.value_dtype)

    @property
    def n_views(self) -> int:
        """Views of each image; 1 for plain images alone."""
        return int(self.views.max(initial=0)) + 1

    @cached_property
    def image_index(self) -> npt.NDArray[np.int64]:
        """(n,) int64: of which image each row is a view, counted in source order."""
        return number_images(self.keys) if self.n_views > 1 else np.arange(len(self))

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        channels, height, width = self.row_shape
        name = f"Cache {self._records.store.name.rpartition('/')[2]!r}, split {self.split_name!r}"
        return f"<{name}: {len(self)} rows of ({channels}, {height}, {width}) {self.dtype}, {self.spec}>"

    @property
    def readable(self) -> npt.NDArray[np.int64]:
        """(n_ok,) int64, increasing: rows whose image could be read, is still in the source, and whose shard is
        finished."""
        return self._stored.readable

    def coefficients(self, rows: npt.ArrayLike | slice) -> npt.NDArray[Any]:
        """(n, n_channels, h, w) coefficients of source rows, of dtype; NumPy only, every byte checked.

        rows: integers (negative ones count from the end), a slice or a boolean mask of len(cache). Raises IndexError
        for rows out of range, UnreadableImage, StoreIncomplete, StoreDamaged.
        """
        return self._stored.read(find_rows(rows, len(self)))

    def __getitem__(self, row: int) -> "tuple[torch.Tensor, int]":
        """(float32 (n_channels, h, w), label) of one source row. Raises as coefficients() does."""
        import torch

        index = int(find_rows([row], len(self))[0])
        return torch.from_numpy(self.coefficients([index])[0]).float(), int(self.labels[index])

    @property
    def channel_mean(self) -> npt.NDArray[np.float64]:
        """(n_channels,) float64: mean over the rows with coefficients and their positions, from the sums in the
        receipts: rows that are no longer in the source count too."""
        return self._summarise().mean

    @property
    def channel_std(self) -> npt.NDArray[np.float64]:
        """(n_channels,) float64: standard deviation over what channel_mean counts (divided by n)."""
        return self._summarise().std

    def statistics(
        self, rows: npt.ArrayLike | slice | None = None, *, channels: Sequence[int] | slice | None = None
    ) -> "Statistics":
        """Mean and standard deviation of each channel over some rows, read once: those of a training part, say.

        rows, channels: as in preload(); of all rows the store has the sums, and nothing is read. Raises as
        coefficients() does.
        """
        from scatcache.load.features import measure

        found = self._summarise() if rows is None else measure(self._stored, find_rows(rows, len(self)))
        return found.of_channels(find_channels(channels, self.spec.n_channels))

    def _summarise(self) -> "Statistics":
        from scatcache.load.features import Statistics

        summary = self._records.summary
        if summary is None:
            raise StoreIncomplete(
                f"split {self.split_name} is incomplete: its statistics are known once it is finished"
            )
        n_cells = self.row_shape[1] * self.row_shape[2]
        sums, square_sums = np.array(summary.sums), np.array(summary.square_sums)
        return Statistics.of_sums(sums, square_sums, n_rows=summary.n_ok, n_cells=n_cells)

    def features(
        self, rows: npt.ArrayLike | slice | None = None, *, channels: Sequence[int] | slice | None = None
    ) -> npt.NDArray[np.float32]:
        """(n, d) float32, C-contiguous: the coefficients of each row in one line, as scikit-learn takes them.

        rows: as in coefficients(), by default the readable ones, whose labels are cache.labels[cache.readable];
        channels: only these, as in loader(). Raises as coefficients() does, ScatcacheError where they do not fit.
        """
        from scatcache.load.features import read_features

        wanted = self.readable if rows is None else find_rows(rows, len(self))
        return read_features(self._stored, wanted, find_channels(channels, self.spec.n_channels))

    def split(
        self, share: float, *, seed: int = 0, labels: npt.ArrayLike | None = None
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(train, held out): the readable rows in two, int64 source rows, for rows= of loaders, features and the like.

        share: of each class's images that the first gets, to the nearest; views of one image stay together. Which ones
        depends on seed and keys alone. labels: int64 (n,), what to go by instead of the stored ones. Raises ValueError
        for a share that is not between 0 and 1.
        """
        from scatcache.load.division import divide

        rows = self.readable
        of_class = self.labels if labels is None else find_labels(labels, len(self))
        keys = [self.keys[row] for row in rows.tolist()]
        sides = divide(self.image_index[rows], of_class[rows], keys, share=share, seed=find_whole("seed", seed, 0))
        return rows[sides[0]], rows[sides[1]]

    def dataset(self, *, targets: bool = False) -> "CacheDataset":
        """A map-style torch Dataset of the readable rows; see CacheDataset.

        targets: whether items are (S, label, targets). Raises ValueError where they are asked for and there are none.
        """
        from scatcache.load.dataset import CacheDataset

        return CacheDataset(self._stored, self.labels, find_targets(targets, self))

    @property
    def in_memory(self) -> bool:
        """Whether loaders take their rows from memory, as those of preload() do."""
        return self._loaded.in_memory

    def choose(
        self, rows: npt.NDArray[np.int64] | None, channels: npt.NDArray[np.int64] | None
    ) -> npt.NDArray[np.int64]:
        """Which of rows a loader delivers; see Rows."""
        return self._loaded.choose(rows, channels)

    def steps_of(self, channels: npt.NDArray[np.int64] | None) -> npt.NDArray[np.float32] | None:
        """(n_channels,) float32, what fetched integers are multiplied by, None where values are fetched; see Rows."""
        return self._loaded.steps_of(channels)

    def fetch(self, rows: npt.NDArray[np.int64], channels: npt.NDArray[np.int64] | None) -> "torch.Tensor":
        """(B, n_channels, h, w) of rows that choose gave, as they are stored or kept in memory; see Rows."""
        return self._loaded.fetch(rows, channels)

    @takes(LoaderOptions)
    def loader(self, options: LoaderOptions) -> "CacheLoader":
        """Batches (S, y) of the readable rows: S (B, n_channels, h, w) of dtype (float32 by default), y int64 (B,),
        both on device; with targets=True (S, y, t), t float32 (B, k). LoaderOptions says what each argument means,
        CacheLoader what can be done with the batches.
        """
        from scatcache.load.loader import CacheLoader

        return CacheLoader(self, options)

    def preload(
        self,
        device: "str | torch.device" = "cpu",
        *,
        rows: npt.ArrayLike | slice | None = None,
        channels: Sequence[int] | slice | None = None,
        if_fits: bool = False,
    ) -> "Cache":
        """This cache with rows in memory, from which its loaders draw the very batches that this one's would be.

        device: where they are kept, in the stored dtype. rows: as in coefficients(), all by default, unreadable ones
        left out; its loaders take them where they are given none, and refuse others by IndexError. channels: only
        these, as in loader(). if_fits: where they would take more than half of the free memory, they stay in the store:
        this cache itself is returned, or, where rows or channels are given, one whose loaders deliver these.
        Everything but loaders still reads the store, as a pickled copy does.
        Raises ScatcacheError where they do not fit, BackendUnavailable, StoreIncomplete, StoreDamaged.
        """
        from scatcache.load.preload import leaves_room, preload
        from scatcache.load.selection import Selection

        wanted = self._stored.choose(None if rows is None else find_rows(rows, len(self)), None)
        selection = Selection(self._stored, wanted, find_channels(channels, self.spec.n_channels))
        found = find_device(device)
        in_store = if_fits and not leaves_room(selection, found)
        if in_store and rows is None and channels is None:
            return self
        cache = copy.copy(self)
        cache._loaded = selection if in_store else preload(selection, found)
        return cache

    def to_dask(self, dtype: npt.DTypeLike | None = None) -> "dask.array.Array":
        """(n, n_channels, h, w) in storage order, one block a shard, every byte checked when computed.

        dtype: float32 where None, whatever is stored, for Dask adds and counts in an array's own type and float16 ends
        at 65504; cache.dtype for what is stored. Rows that loaders leave out are NaN. Raises StoreIncomplete for an
        incomplete split, ValueError for a dtype that does not hold every stored value.
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
