"""Where a named dataset lies when the command line does not say."""

import os
from collections.abc import Sequence
from pathlib import Path

from scatcache.errors import SourceError
from scatcache.images.keys import show_path

DATA_VARIABLE = "SCATCACHE_DATA"


def locate_root(name: str, root: Path | None, wanted: Sequence[str]) -> Path:
    """The folder, absolute, that holds at least one of the wanted files or folders.

    Looks in root alone where it is given, else in $SCATCACHE_DATA/NAME, ./data/NAME and ./data, in this order.

    Raises SourceError listing the places looked in and what was looked for.
    """
    places = _list_places(name) if root is None else [root]
    for place in places:
        if any((place / entry).exists() for entry in wanted):
            return place.absolute()
    looked_in = ", ".join(f"{show_path(place)}{'' if place.is_dir() else ' (no such folder)'}" for place in places)
    advice = f"give their folder with --root DIR, or put it in $SCATCACHE_DATA/{name} or ./data/{name}"
    if root is not None:
        advice = "give the folder that holds one of them as --root DIR"
    raise SourceError(f"{name} was not found in {looked_in}: expected one of {', '.join(wanted)} there; {advice}")


def _list_places(name: str) -> list[Path]:
    data = os.environ.get(DATA_VARIABLE)
    places = [Path("data") / name, Path("data")]
    return [Path(data) / name, *places] if data else places
