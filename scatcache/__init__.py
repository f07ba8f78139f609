"""Wavelet scattering coefficients of image datasets: computed once, kept safely, fed to training from the disk.

Every public name is imported on first use: `import scatcache` alone imports no torch, dask or zarr.
"""

import importlib
from typing import TYPE_CHECKING, Any

# What type checkers and editors read; _PUBLIC is what runs, and a test compares them.
if TYPE_CHECKING:
    from scatcache import durable as durable
    from scatcache import symmetry as symmetry
    from scatcache import testing as testing
    from scatcache.errors import BackendUnavailable as BackendUnavailable
    from scatcache.errors import NotAStore as NotAStore
    from scatcache.errors import ScatcacheError as ScatcacheError
    from scatcache.errors import SettingsDiffer as SettingsDiffer
    from scatcache.errors import SourceError as SourceError
    from scatcache.errors import StoreDamaged as StoreDamaged
    from scatcache.errors import StoreIncomplete as StoreIncomplete
    from scatcache.errors import StoreLocked as StoreLocked
    from scatcache.errors import UnreadableImage as UnreadableImage
    from scatcache.errors import UsageError as UsageError
    from scatcache.images.catalogue import open_source as open_source
    from scatcache.images.decode import decode as decode
    from scatcache.images.source import Listing as Listing
    from scatcache.images.source import Location as Location
    from scatcache.images.source import Part as Part
    from scatcache.images.source import Row as Row
    from scatcache.images.source import Source as Source
    from scatcache.inspect.doctor import doctor as doctor
    from scatcache.inspect.info import info as info
    from scatcache.inspect.named_sources import sources as sources
    from scatcache.inspect.plan import plan as plan
    from scatcache.inspect.show import show as show
    from scatcache.inspect.verify import verify as verify
    from scatcache.job.events import ArchiveProgress as ArchiveProgress
    from scatcache.job.events import ClusterWaiting as ClusterWaiting
    from scatcache.job.events import Event as Event
    from scatcache.job.events import JobFinished as JobFinished
    from scatcache.job.events import JobPlanned as JobPlanned
    from scatcache.job.events import ShardFinished as ShardFinished
    from scatcache.job.events import StoreReplaced as StoreReplaced
    from scatcache.job.extraction import extract as extract
    from scatcache.job.extraction import resume as resume
    from scatcache.load.arguments import LoaderOptions as LoaderOptions
    from scatcache.load.augment import Compose as Compose
    from scatcache.load.augment import GridCrop as GridCrop
    from scatcache.load.augment import RandomFlip as RandomFlip
    from scatcache.load.augment import RandomQuarterTurn as RandomQuarterTurn
    from scatcache.load.cache import Cache as Cache
    from scatcache.load.cache import open_cache as open_cache
    from scatcache.load.loader import CacheLoader as CacheLoader
    from scatcache.load.rows import Rows as Rows
    from scatcache.scattering.scattering2d import Scattering2D as Scattering2D
    from scatcache.spec import Pixels as Pixels
    from scatcache.spec import Reduction as Reduction
    from scatcache.spec import ScatteringSpec as ScatteringSpec
    from scatcache.version import __version__ as __version__

_PUBLIC = {
    "": "durable symmetry testing",
    ".errors": "BackendUnavailable NotAStore ScatcacheError SettingsDiffer SourceError StoreDamaged StoreIncomplete "
    "StoreLocked UnreadableImage UsageError",
    ".images.catalogue": "open_source",
    ".images.decode": "decode",
    ".images.source": "Listing Location Part Row Source",
    ".inspect.doctor": "doctor",
    ".inspect.info": "info",
    ".inspect.named_sources": "sources",
    ".inspect.plan": "plan",
    ".inspect.show": "show",
    ".inspect.verify": "verify",
    ".job.events": "ArchiveProgress ClusterWaiting Event JobFinished JobPlanned ShardFinished StoreReplaced",
    ".job.extraction": "extract resume",
    ".load.arguments": "LoaderOptions",
    ".load.augment": "Compose GridCrop RandomFlip RandomQuarterTurn",
    ".load.cache": "Cache open_cache",
    ".load.loader": "CacheLoader",
    ".load.rows": "Rows",
    ".scattering.scattering2d": "Scattering2D",
    ".spec": "Pixels Reduction ScatteringSpec",
    ".version": "__version__",
}
_MODULES = {name: module for module, names in _PUBLIC.items() for name in names.split()}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'scatcache' has no attribute {name!r}")
    if not _MODULES[name]:
        return importlib.import_module(f"scatcache.{name}")
    value = getattr(importlib.import_module(f"scatcache{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
