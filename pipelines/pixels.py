"""Training from pixels, what a cache spares: crops and mirror images drawn in each epoch, transformed at each step."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import scatcache


@dataclass(frozen=True)
class Pixels:
    """Images in memory, in the place of a cache: images uint8 (n, H, W, 3), labels int64 (n,), the transform's spec;
    padding: pixels of reflection from which random crops are taken, half of them mirrored."""

    images: np.ndarray
    labels: np.ndarray
    spec: scatcache.ScatteringSpec
    padding: int

    @property
    def image_index(self) -> np.ndarray:
        return np.arange(len(self.images))

    def loader(
        self,
        batch_size: int,
        shuffle: bool = False,
        *,
        seed: int,
        rows: np.ndarray,
        labels: np.ndarray,
        drop_last: bool,
        augment: None,
        device: str,
    ) -> "PixelLoader":
        """As a cache's; augmentation is part of it, and it shuffles whatever is asked."""
        assert shuffle and augment is None, "pixels are for training, and augmented before the transform"
        return PixelLoader(self, batch_size, seed=seed, rows=rows, labels=labels, drop_last=drop_last, device=device)


class PixelLoader:
    """Batches (S float32 (B, n_channels, h, w), y int64 (B,)) on device; each iteration is the next epoch.

    Order and crops are drawn from (seed, epoch); state_dict and load_state_dict go on in mid-epoch.
    """

    def __init__(
        self,
        pixels: Pixels,
        batch_size: int,
        *,
        seed: int,
        rows: np.ndarray,
        labels: np.ndarray,
        drop_last: bool,
        device: str,
    ):
        self.pixels, self.batch_size, self.seed, self.device = pixels, batch_size, seed, device
        self._rows, self._labels = rows, torch.from_numpy(labels)
        self._n_batches = len(rows) // batch_size if drop_last else -(-len(rows) // batch_size)
        spec, shape = pixels.spec, pixels.images.shape[1:3]
        scat = scatcache.Scattering2D(J=spec.J, shape=shape, L=spec.L, max_order=spec.max_order, grid=spec.grid)
        self._scat = scat.to(device)
        border = (pixels.padding, pixels.padding)
        self._padded = np.pad(pixels.images, ((0, 0), border, border, (0, 0)), mode="reflect")
        self._epoch, self._step = 0, 0

    def __len__(self) -> int:
        return self._n_batches

    def state_dict(self) -> dict[str, Any]:
        at_end = self._step == len(self)
        return {"epoch": self._epoch + at_end, "step": 0 if at_end else self._step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._epoch, self._step = state["epoch"], state["step"]

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        state = self.state_dict()
        self.load_state_dict(state)
        rows = np.random.default_rng([self.seed, self._epoch]).permutation(self._rows)
        rng = np.random.default_rng([self.seed, self._epoch, 1])
        offsets = rng.integers(2 * self.pixels.padding + 1, size=(len(rows), 2))
        mirrored = rng.integers(2, size=len(rows)).astype(bool)
        for step in range(self._step, len(self)):
            part = slice(step * self.batch_size, (step + 1) * self.batch_size)
            images = self._cut(rows[part], offsets[part], mirrored[part])
            S = self._scat(torch.from_numpy(images).to(self.device)).flatten(1, 2)
            self._step = step + 1
            yield S, self._labels[rows[part]].to(self.device)

    def _cut(self, rows: np.ndarray, offsets: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
        """uint8 (B, 3, H, W): the crop of each row at its offset, mirrored or not."""
        height, width = self.pixels.images.shape[1:3]
        y = offsets[:, :1] + np.arange(height)
        x = np.where(mirrored[:, None], np.arange(width)[::-1], np.arange(width)) + offsets[:, 1:]
        crops = self._padded[rows[:, None, None], y[:, :, None], x[:, None, :]]
        return np.ascontiguousarray(crops.transpose(0, 3, 1, 2))
