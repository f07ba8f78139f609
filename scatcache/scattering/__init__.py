"""Pixels to scattering coefficients. Importing this package imports no torch; its torch parts come on first use."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from scatcache.scattering.filters import filter_bank_hash
from scatcache.scattering.paths import channel_table, path_table

if TYPE_CHECKING:
    from scatcache.scattering.batched import BatchTransform, open_transform
    from scatcache.scattering.scattering2d import Scattering2D

__all__ = ["BatchTransform", "Scattering2D", "channel_table", "filter_bank_hash", "open_transform", "path_table"]

_MODULE_OF = {"BatchTransform": "batched", "Scattering2D": "scattering2d", "open_transform": "batched"}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
