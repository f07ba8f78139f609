"""What shows that a folder is a store of ours, and of which settings, where its zarr.json does not say so."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from scatcache.errors import StoreDamaged
from scatcache.retries import retried
from scatcache.store.format.json_text import parse_json
from scatcache.store.format.metadata import COORDINATES
from scatcache.store.format.receipts import parse_receipt, parse_summary
from scatcache.store.places.files import is_folder, is_temporary, read_regular

SUMMARY = "summary.json"


def find_splits(store: Path) -> list[str]:
    """Folders in a store's that are splits of ours by what is in them: a receipt, or our own group's metadata."""
    return [name for name in sorted(_list_names(store)) if _is_split(store / name)]


def _is_split(folder: Path) -> bool:
    if is_temporary(folder.name) or not is_folder(folder, follow_links=False):
        return False
    with contextlib.suppress(FileNotFoundError, StoreDamaged, ValueError, TypeError, KeyError):
        if parse_json(read_regular(folder / "zarr.json"))["attributes"]["coordinates"] == COORDINATES:
            return True
    return any(True for _ in _find_digests(folder))


def find_digests(store: Path) -> Iterator[str]:
    """The manifests' digests that a store's receipts and summaries state, one after another, as far as they parse."""
    for name in sorted(_list_names(store)):
        if not is_temporary(name):
            yield from _find_digests(store / name)


def _find_digests(split: Path) -> Iterator[str]:
    receipts = split / "coefficients" / "receipts"
    # The summary first: it is there in most stores, and says it at once.
    for name in sorted(_list_names(receipts), key=lambda name: (name != SUMMARY, name)):
        parse = parse_summary if name == SUMMARY else parse_receipt
        if name.endswith(".json"):
            with contextlib.suppress(FileNotFoundError, StoreDamaged):
                yield parse(read_regular(receipts / name)).manifest


def confirms(store: Path, digest: str) -> bool | None:
    """Whether a receipt states this digest of the manifest; None where there is no receipt at all."""
    found = None
    for stated in find_digests(store):
        if stated == digest:
            return True
        found = False
    return found


@retried
def _list_names(folder: Path) -> Sequence[str]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        return os.listdir(folder)
    return ()
