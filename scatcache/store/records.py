"""A store's records, read from any place: manifest, splits, row tables, receipts, summaries."""

import os
from typing import Any

import numpy as np

from scatcache.errors import NotAStore, StoreDamaged
from scatcache.store.evidence import find_splits
from scatcache.store.format.json_text import parse_json
from scatcache.store.format.layout import receipt_name, shard_name, status_name
from scatcache.store.format.manifest import Manifest
from scatcache.store.format.receipts import Receipt, Summary, hash_bytes, parse_receipt, parse_summary
from scatcache.store.format.rows import ROW_ARRAYS, RowTable, decode_rows
from scatcache.store.places.opening import open_place
from scatcache.store.places.place import Place

# What a lost or damaged root asks for.
MEND_ROOT = (
    "give the `scatcache extract` command that made it, with all its settings: it makes zarr.json anew where the "
    "receipts confirm it"
)


class StoreView:
    """One store for reading; holds no open file. place: where its files are."""

    def __init__(self, place: Place):
        self.place = place

    @property
    def name(self) -> str:
        """The store's path or URL, for messages."""
        return self.place.name

    def read_root(self) -> dict[str, Any] | None:
        """The attributes under "scatcache" of zarr.json, None where this place carries none of ours.

        Raises StoreDamaged where zarr.json is ours by its place but does not parse.
        """
        return self._read_document()[0]

    def _read_document(self) -> tuple[dict[str, Any] | None, dict[str, Any]]:
        """(our attributes or None, consolidated metadata by path) of the root's zarr.json."""
        try:
            document = parse_json(self.place.read("zarr.json"))
            members = document.get("consolidated_metadata") or {}
            return document.get("attributes", {}).get("scatcache"), dict(members.get("metadata", {}))
        except FileNotFoundError:
            return None, {}
        except (StoreDamaged, ValueError, TypeError, AttributeError) as error:
            reason = f" ({error})" if isinstance(error, StoreDamaged) else ""
            raise StoreDamaged(
                f"{self.name}/zarr.json is not readable as Zarr v3 metadata{reason}: restore it, or {MEND_ROOT}"
            ) from error

    def own_splits(self) -> list[str]:
        """Folders that show to be splits of ours whatever the root says; none where only requests could tell."""
        return find_splits(self.place)

    def read_manifest(self) -> Manifest:
        """Raises NotAStore where there is none of ours, or one of a newer format; StoreDamaged for a malformed one."""
        fields = self.read_root()
        if fields is None and (splits := self.own_splits()):
            raise StoreDamaged(
                f"{self.name}: its zarr.json is missing, or not scatcache's, although it holds the split {splits[0]}: "
                f"{MEND_ROOT}"
            )
        if fields is None:
            found = self.place.look()
            raise NotAStore(
                f"{self.name} is no scatcache store (found {found}): name a folder that scatcache extract made"
            )
        try:
            manifest = Manifest.from_dict(fields)
        except NotAStore as error:
            raise NotAStore(f"{self.name}: {error}") from error
        except StoreDamaged as error:
            raise StoreDamaged(f"{self.name}: {error}, or {MEND_ROOT}") from error
        for split in self.splits(manifest):
            if manifest.splits[split].image_shape is None:
                raise StoreDamaged(f"{self.name}: the manifest in zarr.json lost split {split}'s shape: restore it")
        return manifest

    def splits(self, manifest: Manifest) -> list[str]:
        """The splits that were added, sorted by name; by the root's metadata where looking costs requests."""
        present = {name: self.place.has(f"{name}/zarr.json") for name in sorted(manifest.splits)}
        if None not in present.values():
            return [name for name, there in present.items() if there]
        members = self._read_document()[1]
        return [name for name in present if name in members]

    def lost_splits(self, manifest: Manifest) -> list[str]:
        """The splits that were added, by the root's metadata, and whose own metadata is gone."""
        try:
            members = self._read_document()[1]
        except StoreDamaged:
            # Whoever makes the root anew knows of no other split than those that are there.
            return []
        present = self.splits(manifest)
        return [name for name in sorted(manifest.splits) if name in members and name not in present]

    def read_rows(self, manifest: Manifest, split: str) -> RowTable:
        """A split's row table. Raises StoreDamaged naming the array that is missing or damaged."""
        return RowTable(**{name: self.read_row_array(manifest, split, name) for name in ROW_ARRAYS})

    def read_row_array(self, manifest: Manifest, split: str, name: str) -> np.ndarray:
        """(n_rows,) values of one of ROW_ARRAYS. Raises StoreDamaged where it is missing or damaged."""
        try:
            return decode_rows(name, self.place.read(f"{split}/{name}/c.0"), n_rows=manifest.splits[split].n_rows)
        except (FileNotFoundError, StoreDamaged) as error:
            reason = "it is missing" if isinstance(error, FileNotFoundError) else error
            raise StoreDamaged(f"{self.name}: split {split}, array {name} (c.0): {reason}") from error

    def read_receipt(self, split: str, shard: int) -> tuple[Receipt, str] | None:
        """(receipt, sha256 of its bytes), None where the shard has none."""
        try:
            data = self.place.read(receipt_path(split, shard))
        except FileNotFoundError:
            return None
        return parse_receipt(data), hash_bytes(data)

    def read_summary(self, split: str) -> Summary | None:
        """None where the split is unfinished."""
        try:
            return parse_summary(self.place.read(summary_path(split)))
        except FileNotFoundError:
            return None


def shard_path(split: str, shard: int) -> str:
    """A shard's file, relative to the store; so the others."""
    return f"{split}/coefficients/{shard_name(shard)}"


def receipt_path(split: str, shard: int) -> str:
    return f"{split}/coefficients/receipts/{receipt_name(shard)}"


def summary_path(split: str) -> str:
    return f"{split}/coefficients/receipts/summary.json"


def status_path(split: str, shard: int) -> str:
    return f"{split}/status/{status_name(shard)}"


def open_view(path: str | os.PathLike[str]) -> StoreView:
    """The view of a store by its local path or its URL. Raises ScatcacheError for a URL that is none of a store."""
    return StoreView(open_place(path))
