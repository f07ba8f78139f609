"""Whether files are those that a dataset's authors published."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from scatcache.images.keys import show_path


def hash_md5(path: Path) -> str:
    """The md5 of a file in hex. Raises OSError as the disk does."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def find_unofficial(folder: Path, md5s: Mapping[str, str], title: str) -> tuple[str, ...]:
    """One warning naming the first of these files in a folder whose md5 is not the published one, or nothing."""
    for name, published in md5s.items():
        if (md5 := hash_md5(folder / name)) != published:
            return (
                f"{show_path(folder)} is not the official {title}: the md5 of {name} is {md5}, published is "
                f"{published}; going on with it",
            )
    return ()
