"""Whether files are those that a dataset's authors published."""

import hashlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from scatcache.images.keys import show_path

# By the number of hex digits.
_ALGORITHMS = {32: "md5", 40: "sha1"}


def hash_md5(path: Path) -> str:
    """The md5 of a file in hex. Raises OSError as the disk does."""
    return _hash(path, "md5")


def _hash(path: Path, algorithm: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, partial(hashlib.new, algorithm, usedforsecurity=False)).hexdigest()


def find_unofficial(
    folder: Path, digests: Mapping[str, str], title: str, *, unpacked: Mapping[str, Path] | None = None
) -> tuple[str, ...]:
    """One warning naming the first of these files in a folder whose digest is not the published one, or nothing.

    digests: md5 or sha1 in hex; unpacked: where files lie that are packed in the folder.
    """
    for name, published in digests.items():
        algorithm = _ALGORITHMS[len(published)]
        if (digest := _hash((unpacked or {}).get(name, folder / name), algorithm)) != published:
            return (
                f"{show_path(folder)} is not the official {title}: the {algorithm} of {name} is {digest}, published is "
                f"{published}; going on with it",
            )
    return ()
