"""Where a named dataset lies when the command line does not say."""

import os
from collections.abc import Callable
from pathlib import Path

from scatcache.errors import SourceError
from scatcache.images.keys import show_path

DATA_VARIABLE = "SCATCACHE_DATA"


class NotFound(SourceError):
    """A dataset is in none of the places where it was looked for; what else is wrong with one is a SourceError."""


def locate_root(name: str, root: Path | None, wanted: str, *, holds: Callable[[Path], bool]) -> Path:
    """The folder, absolute, that holds a dataset.

    Looks in root alone where it is given, else in $SCATCACHE_DATA/NAME, ./data/NAME and ./data, in this order. holds:
    whether a folder is one; wanted: what it would hold, in words.

    Raises NotFound listing the places looked in and what was looked for.
    """
    places = list_roots(name) if root is None else [root]
    for place in places:
        if holds(place):
            return place.absolute()
    looked_in = ", ".join(f"{show_path(place)}{'' if place.is_dir() else ' (no such folder)'}" for place in places)
    advice = f"put that into $SCATCACHE_DATA/{name} or ./data/{name}, or name the folder that holds it with --root DIR"
    if root is not None:
        advice = "name the folder that holds that with --root DIR"
    raise NotFound(f"{name} was not found in {looked_in}: expected {wanted} there; {advice}")


def has_any(*entries: str) -> Callable[[Path], bool]:
    """For locate_root: a folder that holds at least one of these files or folders."""
    return lambda place: any((place / entry).exists() for entry in entries)


def list_roots(name: str) -> list[Path]:
    """Where a named dataset is looked for, in this order, when no root is given."""
    data = os.environ.get(DATA_VARIABLE)
    places = [Path("data") / name, Path("data")]
    return [Path(data) / name, *places] if data else places
