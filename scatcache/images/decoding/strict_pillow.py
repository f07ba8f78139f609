"""The user's own Pillow under the same rules in every process: quiet, bounded, and never content with half a file.

It loads the images that datasets hand over, and the formats of plugins (HEIF); own_pillow.py reads all files. Pillow
keeps its pixel limit and its leniency towards truncated files in globals that the user's program may have set, and
reports doubts through `warnings`, which `-W error` turns into failures, and `logging`, which prints them. What is
stored must depend on none of it, and `warnings.catch_warnings` is not safe in threads. So the names Pillow looks these
up by are replaced, once, by stand-ins that ask whether the calling thread is under strict_pillow(); all other calls
get what they always got.
"""

import logging
import pkgutil
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import PIL
from PIL import Image, ImageFile

from scatcache.images.decoding.own_pillow import check_size


class _Thread(threading.local):
    strict = False


_thread = _Thread()
_lock = threading.Lock()
_adopted: set[str] = set()


@contextmanager
def strict_pillow() -> Iterator[None]:
    """In this thread Pillow warns of and logs nothing, and refuses truncated files and more than MAX_PIXELS pixels."""
    adopt_pillow()
    before, _thread.strict = _thread.strict, True
    try:
        yield
    finally:
        _thread.strict = before


class _QuietWarnings:
    """Stands in for the module `warnings` in Pillow's modules."""

    def warn(self, message: Any, category: Any = None, stacklevel: int = 1, source: Any = None) -> None:
        if not _thread.strict:
            warnings.warn(message, category, stacklevel + 1, source)

    def __getattr__(self, name: str) -> Any:
        return getattr(warnings, name)


class _Lenient:
    """Stands in for ImageFile.LOAD_TRUNCATED_IMAGES where the user's program has set it."""

    def __bool__(self) -> bool:
        return not _thread.strict


class _BombCheck:
    """Stands in for Pillow's check of a size, which every plugin calls before it allocates pixels."""

    def __init__(self, check: Any):
        self._check = check

    def __call__(self, size: tuple[int, int], *args: Any, **options: Any) -> None:
        if not _thread.strict:
            self._check(size, *args, **options)
            return
        try:
            check_size(size)
        except ValueError as error:
            raise Image.DecompressionBombError(str(error)) from error


def _is_heard(record: logging.LogRecord) -> bool:
    """A filter for Pillow's loggers."""
    return not _thread.strict


def adopt_pillow() -> None:
    """Puts the stand-ins in place; plugins may be registered at any time, so every call looks for new ones.

    Modules are looked up by their names: whoever goes through all of sys.modules while another thread imports may meet
    "dictionary changed size during iteration".
    """
    if ImageFile.LOAD_TRUNCATED_IMAGES and not isinstance(ImageFile.LOAD_TRUNCATED_IMAGES, _Lenient):
        ImageFile.LOAD_TRUNCATED_IMAGES = _Lenient()  # type: ignore[assignment]
    if _adopted and _adopted.issuperset(Image.ID):
        return
    with _lock:
        Image.init()
        formats = list(Image.ID)
        names = {f"PIL.{entry.name}" for entry in pkgutil.iter_modules(PIL.__path__)}
        names |= {getattr(Image.OPEN[name][0], "__module__", "") for name in formats if name in Image.OPEN}
        for name in sorted(names):
            quieten(sys.modules.get(name))
        if not isinstance(Image._decompression_bomb_check, _BombCheck):
            Image._decompression_bomb_check = _BombCheck(Image._decompression_bomb_check)
        _adopted.update(formats)


def quieten(found: ModuleType | logging.Logger | None) -> None:
    """Makes a module, by its warnings and its logger, or a logger, quiet in threads under strict_pillow()."""
    if isinstance(found, logging.Logger):
        if _is_heard not in found.filters:
            found.addFilter(_is_heard)
        return
    if getattr(found, "warnings", None) is warnings:
        found.warnings = _QuietWarnings()  # type: ignore[union-attr]
    logger = getattr(found, "logger", None)
    if isinstance(logger, logging.Logger):
        quieten(logger)
