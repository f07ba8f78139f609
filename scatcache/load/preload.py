"""Rows of a split kept in memory, of the machine or of a GPU: read once, checked, in the stored dtype."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from scatcache.errors import ScatcacheError
from scatcache.load.read_ahead import read_ahead
from scatcache.load.selection import Selection
from scatcache.resources import free_memory_bytes
from scatcache.store.format.encodings import Encoding
from scatcache.store.reader import SplitReader

# Read at once, beside what is kept: enough for long reads in every thread of the reader.
PIECE_BYTES = 64 * 2**20
# What preload(if_fits=True) keeps takes at most this part of the free memory: the rest is for the network, its
# optimizer and the batches.
FITTING_SHARE = 0.5


@dataclass(frozen=True)
class Preloaded:
    """A Fetcher of the rows and channels of a selection, from memory.

    coefficients: (n, n_channels, h, w), each row once, on the device; position: int64 (n_source_rows,), of each source
    row in coefficients, -1 for none.
    """

    selection: Selection
    coefficients: torch.Tensor
    position: npt.NDArray[np.int64]
    in_memory = True

    def choose(
        self, rows: npt.NDArray[np.int64] | None, channels: npt.NDArray[np.int64] | None
    ) -> npt.NDArray[np.int64]:
        return self.selection.choose(rows, channels)

    def steps_of(self, channels: npt.NDArray[np.int64] | None) -> npt.NDArray[np.float32] | None:
        """What fetched integers are multiplied by; see Rows."""
        return self.selection.steps_of(channels)

    def fetch(self, rows: npt.NDArray[np.int64], channels: npt.NDArray[np.int64] | None) -> torch.Tensor:
        position, index = self.position[rows], self.selection.index_channels(channels)
        encoding = self.selection.stored.reader.encoding
        if (position < 0).any():
            raise IndexError(f"row {rows[position < 0][0]} was not preloaded: fetch rows that choose() gave")
        device = self.coefficients.device
        if device.type == "cpu":
            kept = encoding.take(self.coefficients.numpy(), position)
            return torch.from_numpy(kept if index is None else encoding.pick(kept, index))
        S = self.coefficients.index_select(0, torch.from_numpy(position).to(device))
        return S if index is None else S.index_select(1, torch.from_numpy(index).to(device))


def preload(selection: Selection, device: torch.device) -> Preloaded:
    """Reads a selection onto the device. Raises ScatcacheError where it does not fit, StoreDamaged as reading does."""
    reader, stored_row, channels = selection.stored.reader, selection.stored.stored_row, selection.channels
    n_bytes, free = count_bytes(selection), find_free_bytes(device)
    if n_bytes > free:
        raise ScatcacheError(
            f"{len(np.unique(selection.rows))} rows of {reader.records.store.name} "
            f"take {n_bytes / 1e9:.1f} GB and {device} has "
            f"{free / 1e9:.1f} GB free: preload fewer rows= or channels=, or none, for loader() also reads batches "
            f"from the store as it goes"
        )
    source = np.unique(selection.rows)
    source = source[np.argsort(stored_row[source])]
    position = np.full(len(stored_row), -1)
    position[source] = np.arange(len(source))
    coefficients = make_room(reader.encoding, len(source), find_shape(selection), device)
    if device.type == "cpu" and channels is None:
        reader.read(stored_row[source], coefficients.numpy())
        return Preloaded(selection, coefficients, position)
    start = 0
    for piece in read_pieces(reader, stored_row[source]):
        kept = piece if channels is None else reader.encoding.pick(piece, channels)
        coefficients[start : start + len(kept)] = torch.from_numpy(kept)
        start += len(kept)
    return Preloaded(selection, coefficients, position)


def make_room(encoding: Encoding, n: int, row_shape: tuple[int, int, int], device: torch.device) -> torch.Tensor:
    """(n, n_channels, h, w) of the stored dtype on the device, its memory in the order of encoding.empty()."""
    like = torch.from_numpy(encoding.empty(0, row_shape))
    if not encoding.channels_last:
        return torch.empty((n, *row_shape), dtype=like.dtype, device=device)
    n_channels, height, width = row_shape
    return torch.empty((n, height, width, n_channels), dtype=like.dtype, device=device).permute(0, 3, 1, 2)


def read_pieces(reader: SplitReader, stored: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.float16 | np.float32]]:
    """The coefficients of increasing storage rows in pieces of at most PIECE_BYTES, or of one row; read ahead."""
    row_bytes = int(np.prod(reader.row_shape)) * np.dtype(reader.encoding.dtype).itemsize
    n = max(1, PIECE_BYTES // row_bytes)
    return read_ahead(reader.read, [stored[start : start + n] for start in range(0, len(stored), n)])


def leaves_room(selection: Selection, device: torch.device) -> bool:
    """Whether a selection leaves room on the device for what is trained from it."""
    return count_bytes(selection) <= FITTING_SHARE * find_free_bytes(device)


def count_bytes(selection: Selection) -> int:
    """What the coefficients of a selection take, each row once, in the stored dtype."""
    itemsize = np.dtype(selection.stored.reader.encoding.dtype).itemsize
    return len(np.unique(selection.rows)) * int(np.prod(find_shape(selection))) * itemsize


def find_shape(selection: Selection) -> tuple[int, int, int]:
    """(n_channels, h, w) of a row of a selection."""
    n_channels, height, width = selection.stored.reader.row_shape
    return n_channels if selection.channels is None else len(selection.channels), height, width


def find_free_bytes(device: torch.device) -> float:
    """Free memory of a CPU or CUDA device; of others, which do not say, more than anything takes."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return free_memory_bytes() if device.type == "cpu" else float("inf")
