"""From a path or a URL to the place of a store."""

import os
from pathlib import Path

from scatcache.remote.urls import check_url, is_url
from scatcache.store.places.local import LocalPlace
from scatcache.store.places.place import Place


def open_place(path: str | os.PathLike[str]) -> Place:
    """The place of a store: of a URL remote, else local. Raises ScatcacheError for a URL that is none of a store."""
    if not is_url(path):
        # Shards are opened when they are read, by then perhaps from another working folder.
        return LocalPlace(Path(os.path.realpath(path)))
    from scatcache.store.places.remote import RemotePlace

    return RemotePlace(check_url(os.fspath(path)))
