"""What a loader asks for, whoever has it: a cache, rows kept in memory, pixels that are transformed in training."""

from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from scatcache.spec import ScatteringSpec

if TYPE_CHECKING:
    import torch


class Fetcher(Protocol):
    """Where a loader's rows come from."""

    @property
    def in_memory(self) -> bool:
        """Whether fetch only copies; what it reads or computes first is fetched ahead, in a thread."""

    def choose(
        self, rows: npt.NDArray[np.int64] | None, channels: npt.NDArray[np.int64] | None
    ) -> npt.NDArray[np.int64]:
        """Which of rows a loader delivers, in their order; where None, those it delivers unless told otherwise.

        Unreadable rows are left out. Raises IndexError for rows and channels that cannot be had from here.
        """

    def fetch(self, rows: npt.NDArray[np.int64], channels: npt.NDArray[np.int64] | None) -> "torch.Tensor":
        """(B, n_channels, h, w) of rows that choose gave, in the stored dtype, on the device where they are; of any
        strides.

        channels: only these, in their order; None is all that there are. May be called from several threads.
        """


class StoreFetcher(Fetcher, Protocol):
    """A Fetcher of what a store holds."""

    def steps_of(self, channels: npt.NDArray[np.int64] | None) -> npt.NDArray[np.float32] | None:
        """As Rows has it."""


class Rows(Fetcher, Protocol):
    """Rows with their labels. labels: int64 (n,); image_index: int64 (n,), of which image each row is a view; views:
    integers (n,), which view it is, 0 for the plain image; spec: of the transform, handed to augmentations.

    More may be there. `targets`: float32 (n, k), numbers to predict of each row, for loader(targets=True); None where
    there are none. `steps_of(channels)`: float32 (n_channels,), what the integers that fetch gives for these channels
    are multiplied by; None where it gives values.
    """

    @property
    def labels(self) -> npt.NDArray[np.int64]: ...
    @property
    def image_index(self) -> npt.NDArray[np.int64]: ...
    @property
    def views(self) -> npt.NDArray[np.integer]: ...
    @property
    def spec(self) -> ScatteringSpec: ...
