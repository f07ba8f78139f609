"""Making and mending a store at any place that takes files: its root, its splits, receipts and summaries."""

import contextlib
from collections.abc import Iterable, Mapping

import numpy as np

from scatcache.errors import ScatcacheError, StoreDamaged
from scatcache.store.documents import ROOT, encode_document, expect, merge, read_document
from scatcache.store.format.layout import SplitLayout
from scatcache.store.format.manifest import Manifest, is_split_name
from scatcache.store.format.metadata import ALL_COORDINATES, channel_chunk, describe_root, describe_split
from scatcache.store.format.receipts import Receipt, encode_record, fits
from scatcache.store.format.row_arrays import STATUS, RowTable, encode_rows, hold_same, list_arrays, with_crc
from scatcache.store.format.shard_file import index_bytes, read_index
from scatcache.store.format.summaries import FinishedSplit
from scatcache.store.places.place import NewObject, Place
from scatcache.store.records import StoreRecords, index_path, receipt_path, shard_path, summary_path


class StoreWriter:
    """Writes one store; knows names and bytes alone. place: where its files are; records: of the same store."""

    def __init__(self, place: Place):
        self.place = place
        self.records = StoreRecords(place)

    # Writing

    def create(self, manifest: Manifest) -> None:
        """Makes the store with the manifest and no split yet; what others wrote beside a manifest stays."""
        root = merge(describe_root(manifest, {}), read_document(self.place, ""))
        self.place.put(ROOT, encode_document(root))

    def is_started(self) -> bool:
        """Whether anything of a store is here: a zarr.json, or splits of ours."""
        return bool(self.place.has(ROOT)) or bool(self.records.own_splits())

    def states(self, manifest: Manifest) -> bool:
        """Whether the root's metadata is there and carries exactly this manifest."""
        try:
            return self.records.read_root() == manifest.to_dict()
        except StoreDamaged:
            return False

    def mend_root(self, manifest: Manifest) -> None:
        """Makes the store, or the root's metadata anew where it is lost, damaged or states another manifest."""
        if not self.states(manifest):
            self.create(manifest)

    def add_split(
        self,
        manifest: Manifest,
        split: str,
        layout: SplitLayout,
        *,
        rows: RowTable,
        channels: Mapping[str, np.ndarray],
    ) -> None:
        """Writes those of a split's metadata and small arrays that are missing or differ.

        Row arrays are compared by value. The split's own zarr.json comes last: with it the split is there, and without
        it the next run goes on. channels: (n_channels,) coordinates by name.
        """
        expected = expect(self.place, manifest, {split: layout}, channels=channels)
        names = describe_split(manifest, layout, channels=channels)
        metadata = {
            f"{name}/{ROOT}".removeprefix("/"): encode_document(expected.documents[f"{split}/{name}".removesuffix("/")])
            for name in names
        }
        # In the order of their writing: by the first the others are known for a split of ours.
        first, last = f"coefficients/{ROOT}", metadata.pop(ROOT)
        files = {first: metadata.pop(first)}
        for name in list_arrays(layout, finished=False):
            values = getattr(rows, name)
            if not self._has_rows(layout, split, name, values):
                files |= {f"{name}/{file}": data for file, data in encode_rows(name, values).items()}
        files |= {f"{name}/c.0": with_crc(channel_chunk(values)) for name, values in channels.items()}
        files |= metadata | {ROOT: last}
        for name, data in files.items():
            self._put_changed(f"{split}/{name}", data)

    def _has_rows(self, layout: SplitLayout, split: str, array: str, values: np.ndarray) -> bool:
        """Whether a row array is there and holds these values."""
        with contextlib.suppress(StoreDamaged):
            return hold_same(self.records.read_row_array(layout, split, array), values)
        return False

    def consolidate(self, manifest: Manifest, *, channels: Mapping[str, np.ndarray]) -> None:
        """Replaces the root's metadata, atomically, by one that lists the splits present; keeps an equal one.

        What other programs added stays listed; see expect(). So does a split whose own metadata is damaged, as far as
        anything tells its record.
        """
        found = {split: self.records.find_layouts(manifest, split) for split in self.records.splits()}
        layouts = {split: layouts[0] for split, layouts in found.items() if layouts}
        expected = expect(self.place, manifest, layouts, channels=channels)
        self._put_changed(ROOT, encode_document(expected.documents[""]))

    def put_shard(self, split: str, shard: int) -> contextlib.AbstractContextManager[NewObject]:
        """The file of a shard in the making."""
        return self.place.put_stream(shard_path(split, shard))

    def publish_receipt(self, receipt: Receipt) -> None:
        """Writes the receipt of a committed shard: from here on it is done."""
        self.place.put(receipt_path(receipt.split, receipt.shard), encode_record(receipt))

    def publish_split(self, finished: FinishedSplit) -> None:
        """Finishes a split: its statuses and index, then its summary; keeps what is already equal."""
        split = finished.summary.split
        for file, data in encode_rows(STATUS, finished.status).items():
            self._put_changed(f"{split}/{STATUS}/{file}", data)
        self._put_changed(index_path(split), finished.index)
        self._put_changed(summary_path(split), encode_record(finished.summary))

    def withdraw_summary(self, split: str) -> None:
        """A split that turns out unfinished must not claim to be finished while it is worked on, nor its statuses."""
        self.place.delete(summary_path(split))
        self.place.delete(index_path(split))
        for name in self.place.list_names(f"{split}/{STATUS}") or ():
            if name != ROOT:
                self.place.delete(f"{split}/{STATUS}/{name}")

    def withdraw_receipt(self, split: str, shard: int) -> None:
        """A shard is to be computed again; withdraw its split's summary first."""
        self.place.delete(receipt_path(split, shard))

    def clean(self, splits: Iterable[str] = ()) -> None:
        """Removes what killed writers left, in these splits and in all that are there; call it holding the lock."""
        self.place.sweep("")
        for split in sorted({*splits, *self.records.own_splits()}):
            for folder in (
                "",
                "/coefficients",
                "/coefficients/receipts",
                *(f"/{name}" for name in ALL_COORDINATES.split()),
            ):
                self.place.sweep(f"{split}{folder}")

    def delete(self) -> None:
        """Deletes the store: its root's metadata, its splits and temporaries, nothing that is not ours.

        What is ours: a root with our manifest, or else splits that show to be ours. Whenever this is cut off, the rest
        can still be told for ours and deleted: a sound root goes last, and a damaged one first. Raises ScatcacheError
        where nothing here is ours.
        """
        try:
            root = self.records.read_root()
        except StoreDamaged:
            root = None
        is_sound, splits = isinstance(root, dict) and type(root.get("format")) is int, set(self.records.own_splits())
        if not (is_sound or splits):
            raise ScatcacheError(f"{self.place.name} carries no scatcache manifest: not deleted")
        # A group of the user's own that holds splits of ours keeps its metadata.
        is_foreign = root is None and bool(read_document(self.place, ""))
        if is_sound:
            splits |= set(filter(self._has_split, self.records.list_splits()))
        elif not is_foreign:
            self.place.delete(ROOT)
        for split in sorted(splits):
            self.place.delete(split)
        self.place.sweep("")
        if not is_foreign:
            self.place.delete(ROOT)

    def _has_split(self, name: str) -> bool:
        """Whether a name that nobody vouches for is that of a folder in the store, and not of one elsewhere."""
        if not is_split_name(name):
            return False
        return f"{name}/" in (self.place.list_names("") or ()) or bool(self.place.has(f"{name}/{ROOT}"))

    def _put_changed(self, name: str, data: bytes) -> None:
        if not self._holds(name, data):
            self.place.put(name, data)

    def _holds(self, name: str, data: bytes) -> bool:
        """Whether a file is there with exactly these bytes."""
        try:
            return self.place.read(name) == data
        except (FileNotFoundError, StoreDamaged):
            return False

    # What is done

    def find_done(
        self, manifest: Manifest, split: str, layout: SplitLayout, shard: int, *, rows_digest: str
    ) -> Receipt | None:
        """The receipt of a finished shard whose file's size and index agree with it, else None."""
        try:
            found = self.records.read_receipt(split, shard)
            if found is None:
                return None
            identity = (found[0].split, found[0].shard, found[0].settings, found[0].rows)
            if identity != (split, shard, manifest.digest, rows_digest):
                return None
            return found[0] if self._agrees(manifest, found[0], layout) else None
        except (FileNotFoundError, StoreDamaged):
            return None

    def _agrees(self, manifest: Manifest, receipt: Receipt, layout: SplitLayout) -> bool:
        if not fits(receipt, layout, n_channels=manifest.spec.n_channels):
            return False
        path = shard_path(receipt.split, receipt.shard)
        file = self.place.open(path, tail_bytes=index_bytes(layout.n_chunks))
        if file.file_bytes != receipt.file_bytes:
            return False
        read_index(file.read_range, file_bytes=receipt.file_bytes, n_chunks=layout.n_chunks, crc=receipt.index_crc32c)
        return True
