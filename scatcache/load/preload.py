"""Rows of a split kept in memory, of the machine or of a GPU: read once, checked, in the stored dtype."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from scatcache.errors import ScatcacheError
from scatcache.load.read_ahead import read_ahead
from scatcache.resources import free_memory_bytes
from scatcache.store.reader import SplitReader

# Read at once, beside what is kept: enough for long reads in every thread of the reader.
PIECE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Preloaded:
    """coefficients: (n, n_channels, h, w), each row once, on the device; rows: int64 source rows, in the order asked
    for; place: int64, of each source row in coefficients, -1 for none; channels: int64 of the store, in the order of
    coefficients, None for all."""

    coefficients: torch.Tensor
    rows: npt.NDArray[np.int64]
    place: npt.NDArray[np.int64]
    channels: npt.NDArray[np.int64] | None

    def check_rows(self, rows: npt.NDArray[np.int64]) -> None:
        """Raises IndexError unless all these source rows are here."""
        absent = rows[self.place[rows] < 0]
        if len(absent):
            raise IndexError(
                f"row {absent[0]} was not preloaded: preload it too, or make the loader from the cache that "
                f"open_cache() gave"
            )

    def find_channels(self, channels: npt.NDArray[np.int64] | None) -> npt.NDArray[np.int64] | None:
        """Where these channels of the store are; None where all are wanted. Raises IndexError for absent ones."""
        if channels is None or self.channels is None:
            return channels
        kept = self.channels.tolist()
        absent = [channel for channel in channels.tolist() if channel not in kept]
        if absent:
            raise IndexError(f"channel {absent[0]} was not preloaded: expected some of {kept}")
        return np.array([kept.index(channel) for channel in channels.tolist()], np.int64)

    def take(self, rows: npt.NDArray[np.int64], channels: npt.NDArray[np.int64] | None) -> torch.Tensor:
        """(B, n_channels, h, w) of source rows, in the stored dtype, on the device; channels as find_channels gives."""
        place, device = self.place[rows], self.coefficients.device
        if device.type == "cpu":
            kept = self.coefficients.numpy().take(place, 0)
            return torch.from_numpy(kept if channels is None else kept.take(channels, 1))
        S = self.coefficients.index_select(0, torch.from_numpy(place).to(device))
        return S if channels is None else S.index_select(1, torch.from_numpy(channels).to(device))


def preload(
    reader: SplitReader,
    rows: npt.NDArray[np.int64],
    *,
    stored_row: npt.NDArray[np.int64],
    channels: npt.NDArray[np.int64] | None,
    device: torch.device,
) -> Preloaded:
    """Reads source rows, which must be readable, onto the device; stored_row: of every source row of the split.

    Raises ScatcacheError where they do not fit, StoreDamaged as every read does.
    """
    place = np.full(len(stored_row), -1)
    source = np.unique(rows)
    source = source[np.argsort(stored_row[source])]
    place[source] = np.arange(len(source))
    n_channels = reader.row_shape[0] if channels is None else len(channels)
    shape = (len(source), n_channels, *reader.row_shape[1:])
    dtype = torch.from_numpy(np.empty(0, reader.encoding.dtype)).dtype
    check_fits(int(np.prod(shape)) * dtype.itemsize, device, what=f"{len(source)} rows of {reader.records.store.name}")
    coefficients = torch.empty(shape, dtype=dtype, device=device)
    if device.type == "cpu" and channels is None:
        reader.read(stored_row[source], coefficients.numpy())
        return Preloaded(coefficients, rows, place, channels)
    start = 0
    for piece in read_pieces(reader, stored_row[source]):
        kept = piece if channels is None else piece[:, channels]
        coefficients[start : start + len(kept)] = torch.from_numpy(kept)
        start += len(kept)
    return Preloaded(coefficients, rows, place, channels)


def read_pieces(reader: SplitReader, stored: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.float16 | np.float32]]:
    """The coefficients of increasing storage rows in pieces of at most PIECE_BYTES, or of one row; read ahead."""
    row_bytes = int(np.prod(reader.row_shape)) * np.dtype(reader.encoding.dtype).itemsize
    n = max(1, PIECE_BYTES // row_bytes)
    return read_ahead(reader.read, [stored[start : start + n] for start in range(0, len(stored), n)])


def check_fits(n_bytes: int, device: torch.device, *, what: str) -> None:
    """Raises ScatcacheError where a CPU or CUDA device has less memory free."""
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    elif device.type == "cpu":
        free = free_memory_bytes()
    else:
        return
    if n_bytes > free:
        raise ScatcacheError(
            f"{what} take {n_bytes / 1e9:.1f} GB and {device} has {free / 1e9:.1f} GB free: preload fewer rows= or "
            f"channels=, or none, for loader() also reads batches from the store as it goes"
        )
