"""Wavelet scattering coefficients of image datasets: computed once, kept safely, fed to training from the disk.

Every public name is imported on first use: `import scatcache` alone imports no torch, dask or zarr.
"""

import importlib
from typing import TYPE_CHECKING, Any

from scatcache.errors import (
    BackendUnavailable,
    NotAStore,
    ScatcacheError,
    SettingsDiffer,
    SourceError,
    StoreDamaged,
    StoreIncomplete,
    StoreLocked,
    UnreadableImage,
    UsageError,
)
from scatcache.spec import ScatteringSpec
from scatcache.version import __version__

if TYPE_CHECKING:
    from scatcache import symmetry
    from scatcache.images.catalogue import open_source
    from scatcache.images.decode import decode
    from scatcache.inspect.doctor import doctor
    from scatcache.inspect.info import info
    from scatcache.inspect.named_sources import sources
    from scatcache.inspect.plan import plan
    from scatcache.inspect.show import show
    from scatcache.inspect.verify import verify
    from scatcache.job.extraction import extract, resume
    from scatcache.load.augment import Compose, GridCrop, RandomFlip, RandomQuarterTurn
    from scatcache.load.cache import Cache, open_cache
    from scatcache.scattering.scattering2d import Scattering2D

_MODULES = {
    "Cache": "scatcache.load.cache",
    "Compose": "scatcache.load.augment",
    "GridCrop": "scatcache.load.augment",
    "RandomFlip": "scatcache.load.augment",
    "RandomQuarterTurn": "scatcache.load.augment",
    "Scattering2D": "scatcache.scattering.scattering2d",
    "decode": "scatcache.images.decode",
    "doctor": "scatcache.inspect.doctor",
    "extract": "scatcache.job.extraction",
    "info": "scatcache.inspect.info",
    "open_cache": "scatcache.load.cache",
    "open_source": "scatcache.images.catalogue",
    "plan": "scatcache.inspect.plan",
    "resume": "scatcache.job.extraction",
    "show": "scatcache.inspect.show",
    "sources": "scatcache.inspect.named_sources",
    "verify": "scatcache.inspect.verify",
}

__all__ = [
    "BackendUnavailable",
    "Cache",
    "Compose",
    "GridCrop",
    "NotAStore",
    "RandomFlip",
    "RandomQuarterTurn",
    "ScatcacheError",
    "Scattering2D",
    "ScatteringSpec",
    "SettingsDiffer",
    "SourceError",
    "StoreDamaged",
    "StoreIncomplete",
    "StoreLocked",
    "UnreadableImage",
    "UsageError",
    "__version__",
    "decode",
    "doctor",
    "extract",
    "info",
    "open_cache",
    "open_source",
    "plan",
    "resume",
    "show",
    "sources",
    "symmetry",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name == "symmetry":
        return importlib.import_module("scatcache.symmetry")
    if name not in _MODULES:
        raise AttributeError(f"module 'scatcache' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
