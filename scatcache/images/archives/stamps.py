"""Whether a file is still what it was when its dataset was opened."""

import os
from pathlib import Path
from typing import NamedTuple

from scatcache.errors import SourceError
from scatcache.images.keys import show_path


class Stamp(NamedTuple):
    """What changes when a file does. It decides whether the file may be read, never what is stored."""

    path: str
    n_bytes: int
    mtime_ns: int


def stamp_file(path: Path) -> Stamp:
    """The stamp of a file as it is now. Raises OSError as the disk does."""
    status = os.stat(path)
    return Stamp(os.fspath(path), status.st_size, status.st_mtime_ns)


def check_stamp(stamp: Stamp) -> None:
    """Raises SourceError where the file has changed since; a mapped file that shrinks would end the process."""
    status = os.stat(stamp.path)
    if (status.st_size, status.st_mtime_ns) != stamp[1:]:
        found = "" if status.st_size == stamp.n_bytes else f" ({stamp.n_bytes} bytes then, {status.st_size} now)"
        raise SourceError(
            f"{show_path(stamp.path)} has changed since it was opened{found}: let whatever writes there finish, then "
            f"give the same command again"
        )
