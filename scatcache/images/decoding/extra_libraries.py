"""Libraries that only some formats take: imported when the first such file comes, and quiet in threads that decode."""

import importlib
import logging
import re
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar

from scatcache.errors import SourceError
from scatcache.images.decoding.strict_pillow import quieten

Result = TypeVar("Result")
_NO_MEMORY = re.compile("MEM_?ERROR|memory|allocat", re.IGNORECASE)
_OF_ASTROPY = ("CfitsioException", "VerifyError")
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
    # A copy, made at once: other threads may import meanwhile.
    for found, part in sys.modules.copy().items():
        if found == name or found.startswith(f"{name}."):
            quieten(part)
    quieten(logging.getLogger(name))
    _quiet[name] = module
    return module


def call_library(call: Callable[[], Result]) -> Result:
    """What call() returns, what imagecodecs and astropy raise on damaged bytes turned into ValueError."""
    try:
        return call()
    except RuntimeError as error:
        if not type(error).__module__.startswith("imagecodecs"):
            raise
        if _NO_MEMORY.search(str(error)):
            raise MemoryError(str(error)) from error
        raise ValueError(str(error)) from error
    except BaseException as error:
        # Classes that are nothing but an Exception, and of which astropy keeps one to itself.
        if type(error).__name__ in _OF_ASTROPY:
            raise ValueError(str(error)) from error
        raise
