"""Training from pixels, what a cache spares: crops and mirror images drawn in each epoch, transformed at each step."""

import functools
import hashlib
from dataclasses import dataclass

import numpy as np
import torch

import scatcache


@dataclass(frozen=True)
class PixelRows:
    """Images in memory in the place of a cache: a scatcache.Rows whose rows are pixels, for RandomCrops to transform.

    images: uint8 (n, H, W, 3); labels: int64 (n,); spec: of the transform.
    """

    images: np.ndarray
    labels: np.ndarray
    spec: scatcache.ScatteringSpec
    in_memory = True

    @property
    def image_index(self) -> np.ndarray:
        return np.arange(len(self.images))

    @property
    def views(self) -> np.ndarray:
        return np.zeros(len(self.images), np.uint16)

    @property
    def digest(self) -> str:
        """Tells these images and what is made of them from others."""
        return hashlib.sha256(f"{self.spec}".encode() + self.images.tobytes()).hexdigest()

    def choose(self, rows: np.ndarray | None, channels: np.ndarray | None) -> np.ndarray:
        assert channels is None, "an image is transformed whole"
        return self.image_index if rows is None else rows

    def fetch(self, rows: np.ndarray, channels: np.ndarray | None) -> torch.Tensor:
        """uint8 (B, 3, H, W)."""
        return torch.from_numpy(self.images[rows].transpose(0, 3, 1, 2))


@dataclass(frozen=True)
class RandomCrops:
    """The coefficients of crops and mirror images, as a loader's augment of PixelRows.

    padding: pixels of reflection from which each crop is taken, all positions equally likely; half are mirrored.
    Called with S (B, 3, H, W), 0 to 255, the spec and a generator, from which alone chance comes.
    """

    padding: int

    def __call__(self, S: torch.Tensor, *, spec: scatcache.ScatteringSpec, generator: torch.Generator) -> torch.Tensor:
        n, _, height, width = S.shape
        shifts = torch.randint(2 * self.padding + 1, (2, n, 1), generator=generator, device=generator.device)
        mirrored = torch.randint(2, (n, 1), generator=generator, device=generator.device).to(S.device)
        dy, dx = shifts.to(S.device)
        x = torch.arange(width, device=S.device)
        x = torch.where(mirrored == 1, width - 1 - x, x) + dx
        y = torch.arange(height, device=S.device) + dy
        padded = torch.nn.functional.pad(S, (self.padding,) * 4, mode="reflect")
        image = torch.arange(n, device=S.device)
        # Indices around a slice put their axes first: (B, H, W, 3).
        crops = padded[image[:, None, None], :, y[:, :, None], x[:, None, :]].permute(0, 3, 1, 2)
        return make_transform(spec, height, width, S.device)(crops.contiguous() / 255).flatten(1, 2)


@functools.cache
def make_transform(
    spec: scatcache.ScatteringSpec, height: int, width: int, device: torch.device
) -> scatcache.Scattering2D:
    shape = (height, width)
    return scatcache.Scattering2D(J=spec.J, shape=shape, L=spec.L, max_order=spec.max_order, grid=spec.grid).to(device)
