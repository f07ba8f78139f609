"""Where the coefficients of one shard go: encoded chunk by chunk, summed row by row."""

import math
from collections.abc import Sequence

import numpy as np

from scatcache.errors import ScatcacheError
from scatcache.scattering.channel_sums import find_adder
from scatcache.scattering.quantisation import find_quantiser
from scatcache.store.format.encodings import Encoding
from scatcache.store.format.shard_file import ShardEncoder

# How the reason begins for which a sound image has no quantised coefficients.
BEYOND = "its coefficients go beyond"


class ShardSink:
    """Takes coefficients batch by batch, in order, and writes them chunk by chunk; used from one thread at a time.

    keys: of the shard's rows; sums, square_sums: (n_channels,) float64 over the stored values of the readable rows;
    reasons: one per row, None where it is readable.
    """

    def __init__(
        self, encoder: ShardEncoder, encoding: Encoding, *, chunk_images: int, n_channels: int, keys: Sequence[str]
    ):
        self.sums = np.zeros(n_channels, np.float64)
        self.square_sums = np.zeros(n_channels, np.float64)
        self.reasons: list[str | None] = []
        self._encoder, self._encoding, self._chunk_images = encoder, encoding, chunk_images
        self._add, self._quantise_row = find_adder(), find_quantiser()
        self._keys = iter(keys)
        self._held: list[np.ndarray] = []
        self._held_ok: list[bool] = []

    def append(self, coefficients: np.ndarray, reasons: list[str | None]) -> None:
        """coefficients: (n, n_channels, h, w) in the encoding's compute_dtype; reasons: why each is unreadable, None
        where it is readable.

        Raises ScatcacheError for coefficients that the dtype does not hold.
        """
        keys = [next(self._keys) for _ in reasons]
        for row, reason in zip(coefficients, reasons, strict=True):
            if self._encoding.quantised:
                row, reason = self._quantise(row, reason)
            if reason is not None:
                row[...] = self._encoding.fill_value
            elif not self._encoding.quantised:
                # One row at a time: the last bit of a sum then depends on the shard alone, not on its batches.
                self._add(row, self.sums, self.square_sums)
            self.reasons.append(reason)
            self._held.append(row)
            self._held_ok.append(reason is None)
            if len(self._held) == self._chunk_images:
                self._write_chunk()
        # Infinity stays in the sums.
        if not math.isfinite(self.sums.sum()):
            key = next(k for k, row, r in zip(keys, coefficients, reasons, strict=True) if r is None and not _fits(row))
            wider = "" if coefficients.dtype == np.float32 else ", or --encoding float32,"
            raise ScatcacheError(
                f"{key}: its coefficients go beyond {np.finfo(coefficients.dtype).max:.5g}, the most that "
                f"{self._encoding.name} holds: give a larger --scale{wider} for a new store"
            )

    def _quantise(self, row: np.ndarray, reason: str | None) -> tuple[np.ndarray, str | None]:
        """The row as it is stored, and why it is unreadable: its coefficients may be more than the integers hold."""
        steps, stored = self._encoding.steps, self._encoding.empty(1, row.shape)[0]
        assert steps is not None
        if reason is None and not self._quantise_row(row, steps, stored, self.sums, self.square_sums):
            reason = (
                f"{BEYOND} what {self._encoding.dtype} holds at this step: a larger --step or --encoding float32, for "
                f"a new store, would keep it"
            )
        return stored, reason

    def _write_chunk(self) -> None:
        if any(self._held_ok):
            chunk = self._held[0][None]
            if len(self._held) > 1:
                chunk = self._encoding.empty(len(self._held), chunk.shape[1:], dtype=chunk.dtype)
                np.stack(self._held, out=chunk)
            self._encoder.append(self._encoding.encode(chunk))
        else:
            self._encoder.append(None)
        self._held, self._held_ok = [], []

    def finish(self) -> None:
        """Writes a last, partly filled chunk, filled up with the array's fill value."""
        if self._held:
            filler = np.full_like(self._held[0], self._encoding.fill_value)
            self._held += [filler] * (self._chunk_images - len(self._held))
            self._write_chunk()


def _fits(row: np.ndarray) -> bool:
    return bool(np.isfinite(row).all())
