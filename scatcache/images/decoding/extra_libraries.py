"""Libraries that only some formats take: imported when the first such file comes, and quiet in threads that decode."""

import importlib
import logging
import pkgutil
import re
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar

from scatcache.errors import SourceError
from scatcache.images.decoding.strict_pillow import quieten

Result = TypeVar("Result")
_NO_MEMORY = re.compile("MEM_?ERROR|memory|allocat", re.IGNORECASE)
_quiet: dict[str, ModuleType] = {}


def import_extra(name: str, what: str, extra: str) -> Any:
    """A module by its dotted name. what: it is for, as a message names it; extra: the one of scatcache that has it.

    Raises SourceError where it is not installed.
    """
    if name in _quiet:
        return _quiet[name]
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        raise SourceError(f"reading {what} needs {package}: pip install 'scatcache[{extra}]'") from error
    folders = getattr(module, "__path__", [])
    for found in (name, *(entry.name for entry in pkgutil.walk_packages(folders, f"{name}.", onerror=lambda _: None))):
        quieten(sys.modules.get(found))
    quieten(logging.getLogger(name))
    _quiet[name] = module
    return module


def call_codec(call: Callable[[], Result]) -> Result:
    """What call() returns, what imagecodecs raises on damaged bytes turned into ValueError."""
    try:
        return call()
    except RuntimeError as error:
        if not type(error).__module__.startswith("imagecodecs"):
            raise
        if _NO_MEMORY.search(str(error)):
            raise MemoryError(str(error)) from error
        raise ValueError(str(error)) from error
    except ImportError as error:
        # Builds of imagecodecs lack some codecs.
        raise ValueError(f"{error}: it is not read here") from error
