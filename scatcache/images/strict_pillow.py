"""Pillow under the same rules in every process: quiet, bounded, and never content with half a file.

Pillow keeps its pixel limit and its leniency towards truncated files in globals that the user's program may have set,
and reports doubts through `warnings`, which `-W error` turns into failures, and `logging`, which prints them. What is
stored must depend on none of it, and `warnings.catch_warnings` is not safe in threads. So the names Pillow looks these
up by are replaced, once, by stand-ins that ask whether the calling thread is under strict_pillow(); all other calls
get what they always got.
"""

import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from PIL import Image, ImageFile

# Twice Pillow's own default of Image.MAX_IMAGE_PIXELS, which is where Pillow refuses by default.
MAX_PIXELS = 178_956_970


class _Thread(threading.local):
    strict = False


_thread = _Thread()
_lock = threading.Lock()
_adopted: set[str] = set()


@contextmanager
def strict_pillow() -> Iterator[None]:
    """In this thread Pillow warns of and logs nothing, and refuses truncated files and more than MAX_PIXELS pixels."""
    _adopt_pillow()
    before, _thread.strict = _thread.strict, True
    try:
        yield
    finally:
        _thread.strict = before


def check_size(size: tuple[int, int]) -> None:
    """Raises Image.DecompressionBombError for more than MAX_PIXELS pixels of (width, height)."""
    if size[0] * size[1] > MAX_PIXELS:
        raise Image.DecompressionBombError(f"{size[1]}x{size[0]} pixels, more than the {MAX_PIXELS} allowed")


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
        if _thread.strict:
            check_size(size)
        else:
            self._check(size, *args, **options)


def _is_heard(record: logging.LogRecord) -> bool:
    """A filter for Pillow's loggers."""
    return not _thread.strict


def _adopt_pillow() -> None:
    """Puts the stand-ins in place; plugins may be registered at any time, so every call looks for new ones."""
    if ImageFile.LOAD_TRUNCATED_IMAGES and not isinstance(ImageFile.LOAD_TRUNCATED_IMAGES, _Lenient):
        ImageFile.LOAD_TRUNCATED_IMAGES = _Lenient()  # type: ignore[assignment]
    if _adopted.issuperset(Image.OPEN):
        return
    with _lock:
        Image.init()
        formats = set(Image.OPEN)
        plugins = {getattr(Image.OPEN[name][0], "__module__", "") for name in formats}
        for name, module in list(sys.modules.items()):
            if name.startswith("PIL.") or name in plugins:
                _quieten(module)
        if not isinstance(Image._decompression_bomb_check, _BombCheck):
            Image._decompression_bomb_check = _BombCheck(Image._decompression_bomb_check)
        _adopted.update(formats)


def _quieten(module: ModuleType) -> None:
    if getattr(module, "warnings", None) is warnings:
        module.warnings = _QuietWarnings()  # type: ignore[attr-defined]
    logger = getattr(module, "logger", None)
    if isinstance(logger, logging.Logger):
        logger.addFilter(_is_heard)
