"""The networks that the poster puts behind the scattering transform, on (B, n_channels, h, w) coefficients."""

import torch
from torch import nn

import scatcache


class Standardise(nn.Module):
    """(S - mean) / std of each channel; the statistics of a cache's whole split, whichever of its rows are used."""

    def __init__(self, cache: scatcache.Cache):
        super().__init__()
        mean, std = (torch.tensor(x, dtype=torch.float32) for x in (cache.channel_mean, cache.channel_std))
        self.register_buffer("mean", mean[:, None, None])
        self.register_buffer("std", std.clamp(min=1e-12)[:, None, None])

    def forward(self, S: torch.Tensor) -> torch.Tensor:
        return (S - self.mean) / self.std


def linear(cache: scatcache.Cache, n_classes: int) -> nn.Sequential:
    """A linear classifier on all standardised coefficients, its weights zero at first."""
    channels, height, width = cache.row_shape
    classifier = nn.Linear(channels * height * width, n_classes)
    nn.init.zeros_(classifier.weight)
    return nn.Sequential(Standardise(cache), nn.Flatten(), classifier)
