"""Coefficients in the memory they are trained from, where they fit."""

import math

import psutil
import torch

import scatcache

# Of the free memory: the rest is for the network, its optimizer and the batches.
SHARE = 0.5


def keep_in_memory(cache: scatcache.Cache, device: str) -> scatcache.Cache:
    """The cache with its coefficients on the device, where they take at most SHARE of its free memory; else as it is.

    Raises StoreDamaged as every read does.
    """
    n_bytes = len(cache.readable) * math.prod(cache.row_shape) * cache.dtype.itemsize
    return cache.preload(device) if n_bytes <= SHARE * free_bytes(device) else cache


def free_bytes(device: str) -> int:
    return torch.cuda.mem_get_info()[0] if device == "cuda" else psutil.virtual_memory().available
