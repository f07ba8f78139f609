"""What a store says of itself, read from any place: settings, splits, row arrays, receipts, summaries."""

import contextlib
import os
from typing import Any

import numpy as np

from scatcache.errors import NotAStore, StoreDamaged
from scatcache.store.evidence import find_splits
from scatcache.store.format.chunk_index import parse_index
from scatcache.store.format.json_text import parse_json
from scatcache.store.format.layout import SplitLayout, receipt_name, shard_name
from scatcache.store.format.manifest import Manifest
from scatcache.store.format.metadata import RECORD, is_own
from scatcache.store.format.receipts import Receipt, hash_bytes, parse_receipt
from scatcache.store.format.row_arrays import (
    RowTable,
    array_shape,
    count_row_chunks,
    decode_rows,
    list_arrays,
    positions_in,
    row_chunk_name,
)
from scatcache.store.format.summaries import Summary, parse_summary
from scatcache.store.places.opening import open_place
from scatcache.store.places.place import Place

# What a lost or damaged root asks for.
MEND_ROOT = (
    "give the `scatcache extract` command that made it, with all its settings: it makes zarr.json anew where the "
    "receipts confirm it"
)
# What a damaged zarr.json of a split asks for.
MEND_SPLIT = "`scatcache resume` makes it anew from the source's listing, where the receipts confirm it"


class StoreRecords:
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
            return document.get("attributes", {}).get(RECORD), dict(members.get("metadata", {}))
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
        """Raises NotAStore where there is none of ours, or one of another format; StoreDamaged for a malformed one."""
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
            return Manifest.from_dict(fields)
        except NotAStore as error:
            raise NotAStore(f"{self.name}: {error}") from error
        except StoreDamaged as error:
            raise StoreDamaged(f"{self.name}: {error}, or {MEND_ROOT}") from error

    # Splits

    def list_splits(self) -> dict[str, Any]:
        """The records of the splits that the root's metadata lists."""
        try:
            members = self._read_document()[1]
        except StoreDamaged:
            # Whoever makes the root anew knows of no other split than those that are there.
            return {}
        listed = {}
        for name, member in members.items():
            with contextlib.suppress(TypeError, KeyError):
                attributes = member["attributes"]
                if "/" not in name and is_own(attributes["coordinates"]):
                    listed[name] = attributes.get(RECORD)
        return listed

    def splits(self) -> list[str]:
        """The splits that were added, sorted by name; by the root's metadata where looking costs requests."""
        listed = self.list_splits()
        found = {name: self.place.has(f"{name}/zarr.json") for name in {*listed, *self.own_splits()}}
        return sorted(name for name, there in found.items() if there or (there is None and name in listed))

    def begun_splits(self) -> list[str]:
        """The splits that were added, and those of which only a part is there, sorted by name."""
        return sorted({*self.splits(), *self.own_splits()})

    def lost_splits(self) -> list[str]:
        """The splits that were added, by the root's metadata, and whose own metadata is gone."""
        return sorted(name for name in self.list_splits() if self.place.has(f"{name}/zarr.json") is False)

    def read_layout(self, manifest: Manifest, split: str) -> SplitLayout:
        """A split's record: its zarr.json's, or its summary's where another program took the attribute away.

        Raises StoreDamaged where zarr.json is missing, or holds none or an impossible one.
        """
        try:
            attributes = parse_json(self.place.read(f"{split}/zarr.json"))["attributes"]
            if RECORD not in attributes and (summary := self.read_summary(split)) is not None:
                manifest.check_split(summary.layout)
                return summary.layout
            return _check_layout(manifest, attributes[RECORD])
        except (FileNotFoundError, StoreDamaged, LookupError, TypeError, ValueError, AttributeError) as error:
            reason = "it is missing" if isinstance(error, FileNotFoundError) else f"it holds no record of it ({error})"
            raise StoreDamaged(f"{self.name}: split {split}, zarr.json: {reason}: {MEND_SPLIT}") from error

    def find_layouts(self, manifest: Manifest, split: str) -> list[SplitLayout]:
        """All different records of a split that are sound: the summary's, its zarr.json's, the root's copy.

        There is one of a store that nobody has damaged, and none of a split that was never added.
        """
        found = []
        with contextlib.suppress(StoreDamaged):
            summary = self.read_summary(split)
            if summary is not None and summary.settings == manifest.digest:
                found.append(summary.layout)
        with contextlib.suppress(StoreDamaged):
            found.append(self.read_layout(manifest, split))
        with contextlib.suppress(LookupError, TypeError, ValueError, AttributeError):
            found.append(_check_layout(manifest, self.list_splits()[split]))
        return [layout for place, layout in enumerate(found) if layout not in found[:place]]

    def read_rows(self, layout: SplitLayout, split: str) -> RowTable:
        """A split's row table. Raises StoreDamaged naming the array that is missing or damaged."""
        names = list_arrays(layout, finished=False)
        return RowTable(**{name: self.read_row_array(layout, split, name) for name in names})

    def read_row_array(self, layout: SplitLayout, split: str, name: str) -> np.ndarray:
        """(n_positions, ...) values of one of list_arrays. Raises StoreDamaged where it is missing or damaged."""
        parts = [self.read_row_chunk(layout, split, name, chunk) for chunk in range(count_row_chunks(layout, name))]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def read_row_chunk(self, layout: SplitLayout, split: str, name: str, chunk: int) -> np.ndarray:
        """The values in one chunk of a row array. Raises StoreDamaged where it is missing or damaged."""
        try:
            data = self.place.read(row_path(split, name, chunk))
            n_rows, row_shape = len(positions_in(layout, name, chunk)), array_shape(layout, name)[1:]
            return decode_rows(name, data, n_rows=n_rows, row_shape=row_shape)
        except (FileNotFoundError, StoreDamaged) as error:
            reason = "it is missing" if isinstance(error, FileNotFoundError) else error
            raise StoreDamaged(
                f"{self.name}: split {split}, array {name} ({row_chunk_name(name, chunk)}): {reason}"
            ) from error

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

    def read_index(self, summary: Summary) -> np.ndarray:
        """(n_shards, n_chunks) entries of a finished split's index.bin. Raises StoreDamaged."""
        try:
            data = self.place.read(index_path(summary.split))
        except FileNotFoundError as error:
            raise StoreDamaged("it is missing") from error
        return parse_index(data, summary.layout, crc=summary.index.crc32c)


def _check_layout(manifest: Manifest, fields: Any) -> SplitLayout:
    layout = SplitLayout.from_dict(fields)
    manifest.check_split(layout)
    return layout


def shard_path(split: str, shard: int) -> str:
    """A shard's file, relative to the store; so the others."""
    return f"{split}/coefficients/{shard_name(shard)}"


def receipt_path(split: str, shard: int) -> str:
    return f"{split}/coefficients/receipts/{receipt_name(shard)}"


def summary_path(split: str) -> str:
    return f"{split}/coefficients/receipts/summary.json"


def index_path(split: str) -> str:
    return f"{split}/coefficients/receipts/index.bin"


def row_path(split: str, name: str, chunk: int = 0) -> str:
    """A chunk of a row array."""
    return f"{split}/{name}/{row_chunk_name(name, chunk)}"


def open_records(path: str | os.PathLike[str]) -> StoreRecords:
    """The records of a store by its local path or URL. Raises ScatcacheError for a URL that is none of a store."""
    return StoreRecords(open_place(path))
