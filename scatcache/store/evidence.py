"""What shows that a folder is a store of ours, and of which settings, where its zarr.json does not say so."""

import contextlib
from collections.abc import Iterator

from scatcache.durable import is_temporary
from scatcache.errors import StoreDamaged
from scatcache.store.format.json_text import parse_json
from scatcache.store.format.metadata import DIMENSIONS, is_own
from scatcache.store.format.receipts import parse_receipt
from scatcache.store.format.summaries import parse_summary
from scatcache.store.places.place import Place

SUMMARY = "summary.json"


def find_splits(place: Place) -> list[str]:
    """Folders in a store's that are splits of ours by what is in them: a receipt, or our group's or array's metadata.

    Those whose making was cut off are among them. None are found where only requests could tell; so below.
    """
    folders = [name.removesuffix("/") for name in place.list_names("") or () if name.endswith("/")]
    return [name for name in folders if not is_temporary(name) and _is_split(place, name)]


def _is_split(place: Place, name: str) -> bool:
    damage = contextlib.suppress(FileNotFoundError, StoreDamaged, ValueError, TypeError, KeyError)
    with damage:
        if is_own(parse_json(place.read(f"{name}/zarr.json"))["attributes"]["coordinates"]):
            return True
    with damage:
        # The first file of a split, as the group's metadata is the last.
        if parse_json(place.read(f"{name}/coefficients/zarr.json"))["dimension_names"] == list(DIMENSIONS):
            return True
    return any(True for _ in _find_digests(place, name))


def find_digests(place: Place) -> Iterator[str]:
    """The manifests' digests that a store's receipts and summaries state, one after another, as far as they parse."""
    for name in place.list_names("") or ():
        if not is_temporary(name.removesuffix("/")):
            yield from _find_digests(place, name.removesuffix("/"))


def _find_digests(place: Place, split: str) -> Iterator[str]:
    receipts = f"{split}/coefficients/receipts"
    # The summary first: it is there in most stores, and says it at once.
    for name in sorted(place.list_names(receipts) or (), key=lambda name: (name != SUMMARY, name)):
        parse = parse_summary if name == SUMMARY else parse_receipt
        if name.endswith(".json"):
            with contextlib.suppress(FileNotFoundError, StoreDamaged):
                yield parse(place.read(f"{receipts}/{name}")).settings


def confirms(place: Place, digest: str) -> bool | None:
    """Whether a receipt states this digest of the manifest; None where there is no receipt at all."""
    found = None
    for stated in find_digests(place):
        if stated == digest:
            return True
        found = False
    return found
