"""A store's local folder: creating it and its splits, publishing receipts and summaries."""

import contextlib
import os
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from scatcache.errors import ScatcacheError, StoreDamaged, UsageError
from scatcache.retries import with_retries
from scatcache.store.documents import encode_document, expect, merge, read_document
from scatcache.store.format.layout import receipt_name, shard_name, status_name
from scatcache.store.format.manifest import Manifest, is_split_name
from scatcache.store.format.metadata import COORDINATES, channel_chunk, describe_root, describe_split
from scatcache.store.format.receipts import Receipt, Summary, encode_receipt_status, encode_record, fits
from scatcache.store.format.rows import ROW_ARRAYS, RowTable, encode_rows, with_crc
from scatcache.store.format.shard_file import index_bytes, read_index
from scatcache.store.places.files import (
    exists,
    fsync_folder,
    is_folder,
    is_own_temporary,
    make_folder,
    publish,
    read_regular,
    remove_file,
    remove_temporaries,
    temporary_beside,
    write_atomically,
    write_synced,
)
from scatcache.store.places.place import LocalPlace, is_url, show_place
from scatcache.store.records import StoreView, shard_path, status_path


class StoreFolder:
    """The paths and files of one store on a local (or locally mounted) file system; holds no open file.

    path: absolute and without links, so that a store has one STORE.job whichever way it is named, and is found after a
    change of the working folder. view: the same store for reading. Raises UsageError for a URL.
    """

    def __init__(self, path: str | os.PathLike[str]):
        if is_url(path):
            raise UsageError(
                f"{show_place(path)} is no local path: extract to a local folder, then copy it with any tool"
            )
        self.path = Path(os.path.realpath(path))
        self.view = StoreView(LocalPlace(self.path))

    @property
    def job(self) -> Path:
        """STORE.job: everything volatile; deleting it loses only comfort."""
        return self.path.with_name(self.path.name + ".job")

    def coefficients(self, split: str) -> Path:
        return self.path / split / "coefficients"

    def shard(self, split: str, shard: int) -> Path:
        return self.coefficients(split) / shard_name(shard)

    def receipts(self, split: str) -> Path:
        return self.coefficients(split) / "receipts"

    def summary(self, split: str) -> Path:
        return self.receipts(split) / "summary.json"

    def status(self, split: str, shard: int) -> Path:
        return self.path / split / "status" / status_name(shard)

    # Writing

    def create(self, manifest: Manifest) -> None:
        """Makes the folder with the manifest and no split yet; what others wrote beside a manifest stays."""
        make_folder(self.path)
        root = merge(describe_root(manifest, {}), read_document(self.view.place, ""))
        write_atomically(self.path / "zarr.json", encode_document(root))
        with_retries(lambda: fsync_folder(self.path.parent))

    def is_started(self) -> bool:
        """Whether anything of a store is here: a zarr.json, or splits of ours."""
        return exists(self.path / "zarr.json") or bool(self.view.own_splits())

    def states(self, manifest: Manifest) -> bool:
        """Whether the root's metadata is there and carries exactly this manifest."""
        try:
            return self.view.read_root() == manifest.to_dict()
        except StoreDamaged:
            return False

    def mend_root(self, manifest: Manifest) -> None:
        """Makes the store, or the root's metadata anew where it is lost, damaged or states another manifest."""
        if not self.states(manifest):
            self.create(manifest)

    def add_split(self, manifest: Manifest, split: str, *, rows: RowTable, channels: Mapping[str, np.ndarray]) -> None:
        """Writes a split's metadata and small arrays once, whole or not at all; mends those of a split that is there.

        channels: (n_channels,) int8 coordinates by name.
        """
        expected = expect(self.view.place, manifest, [split], channel_names=tuple(channels))
        names = describe_split(manifest, split, channel_names=tuple(channels))
        documents = {name: expected.documents[f"{split}/{name}".removesuffix("/")] for name in names}
        files = {f"{name}/zarr.json": encode_document(document) for name, document in documents.items()}
        files |= {f"{name}/c.0": encode_rows(name, getattr(rows, name)) for name in ROW_ARRAYS}
        files |= {f"{name}/c.0": with_crc(channel_chunk(values)) for name, values in channels.items()}
        if exists(self.path / split):
            self._mend_split(manifest, split, rows=rows, files=files)
        else:
            with_retries(partial(self._make_split, split, files))

    def _make_split(self, split: str, files: dict[str, bytes]) -> None:
        final = self.path / split
        if final.exists():
            # An earlier try came as far as the name.
            fsync_folder(self.path)
            return
        temporary = temporary_beside(final)
        try:
            (temporary / "coefficients" / "receipts").mkdir(parents=True)
            for name, data in files.items():
                path = temporary / name.removeprefix("/")
                path.parent.mkdir(parents=True, exist_ok=True)
                write_synced(path, data)
            for folder, _, _ in os.walk(temporary, topdown=False):
                fsync_folder(Path(folder))
            publish(temporary, final)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise

    def _mend_split(self, manifest: Manifest, split: str, *, rows: RowTable, files: dict[str, bytes]) -> None:
        """Writes those of a split's files that are missing or differ; row arrays are compared by value."""
        make_folder(self.receipts(split))
        for name, data in files.items():
            path = self.path / split / name.removeprefix("/")
            array = path.parent.name if path.name == "c.0" else ""
            if array in ROW_ARRAYS:
                with contextlib.suppress(StoreDamaged):
                    if np.array_equal(self.view.read_row_array(manifest, split, array), getattr(rows, array)):
                        continue
            elif _holds(path, data):
                continue
            make_folder(path.parent)
            write_atomically(path, data)

    def consolidate(self, manifest: Manifest, *, channel_names: tuple[str, ...]) -> None:
        """Replaces the root's metadata, atomically, by one that lists the splits present; keeps an equal one.

        What other programs added stays listed; see expect().
        """
        expected = expect(self.view.place, manifest, self.view.splits(manifest), channel_names=channel_names)
        document = encode_document(expected.documents[""])
        if not _holds(self.path / "zarr.json", document):
            write_atomically(self.path / "zarr.json", document)

    def publish_receipt(self, manifest: Manifest, receipt: Receipt) -> None:
        """Writes the statuses of a committed shard's rows, then its receipt: from here on it is done."""
        write_atomically(
            self.status(receipt.split, receipt.shard), encode_receipt_status(manifest.splits[receipt.split], receipt)
        )
        write_atomically(self.receipts(receipt.split) / receipt_name(receipt.shard), encode_record(receipt))

    def publish_summary(self, summary: Summary) -> None:
        """Finishes a split; keeps a summary that is already equal."""
        data = encode_record(summary)
        path = self.summary(summary.split)
        if not _holds(path, data):
            write_atomically(path, data)

    def withdraw_summary(self, split: str) -> None:
        """A split that turns out unfinished must not claim to be finished while it is worked on."""
        remove_file(self.summary(split))

    def withdraw_receipt(self, split: str, shard: int) -> None:
        """A shard is to be computed again; withdraw its split's summary first."""
        with contextlib.suppress(FileNotFoundError):
            (self.receipts(split) / receipt_name(shard)).unlink()
        fsync_folder(self.receipts(split))

    def clean(self, manifest: Manifest) -> None:
        """Removes what killed writers left, in splits that nobody asked for too; call it holding the lock."""
        remove_temporaries(self.path, self.job, is_left=is_own_temporary)
        folders = []
        for split in manifest.splits:
            folders += [self.path / split, self.coefficients(split), self.receipts(split)]
            folders += [self.path / split / name for name in COORDINATES.split()]
        remove_temporaries(*folders)

    def delete(self) -> None:
        """Deletes the store: its root's metadata, its splits and temporaries, nothing that is not ours.

        What is ours: a root with our manifest, or else splits that show to be ours. Whenever this is cut off, the rest
        can still be told for ours and deleted: a sound root goes last, a damaged one first, and a split under a
        temporary name. Raises ScatcacheError where nothing here is ours.
        """
        try:
            root = self.view.read_root()
        except StoreDamaged:
            root = None
        is_sound, splits = isinstance(root, dict) and type(root.get("format")) is int, set(self.view.own_splits())
        if not (is_sound or splits):
            raise ScatcacheError(f"{self.path} carries no scatcache manifest: not deleted")
        # A group of the user's own that holds splits of ours keeps its metadata.
        is_foreign = root is None and bool(read_document(self.view.place, ""))
        if is_sound:
            assert root is not None
            stated = root.get("splits")
            splits |= set(filter(self._has_split, stated)) if isinstance(stated, dict) else set()
        elif not is_foreign:
            remove_file(self.path / "zarr.json")
        for split in sorted(splits):
            with_retries(partial(self._discard, self.path / split))
        remove_temporaries(self.path, is_left=is_own_temporary)
        if not is_foreign:
            remove_file(self.path / "zarr.json")

    def _has_split(self, name: str) -> bool:
        """Whether a name that nobody vouches for is that of a folder in the store, and not of one elsewhere."""
        return is_split_name(name) and is_folder(self.path / name)

    def _discard(self, split: Path) -> None:
        if split.is_symlink():
            split.unlink()
        elif split.is_dir():
            publish(split, temporary_beside(split))

    # What is done

    def find_done(self, manifest: Manifest, split: str, shard: int, *, rows_digest: str) -> Receipt | None:
        """The receipt of a finished shard whose file's size and index agree with it, else None."""
        try:
            found = self.view.read_receipt(split, shard)
            if found is None or not self._agrees(manifest, found[0], split, shard, rows_digest):
                return None
            return found[0]
        except (FileNotFoundError, StoreDamaged):
            return None

    def _agrees(self, manifest: Manifest, receipt: Receipt, split: str, shard: int, rows_digest: str) -> bool:
        identity = (receipt.split, receipt.shard, receipt.manifest, receipt.rows)
        if identity != (split, shard, manifest.digest, rows_digest):
            return False
        layout = manifest.splits[split]
        if not fits(receipt, layout, n_channels=manifest.spec.n_channels):
            return False
        file = self.view.place.open(shard_path(split, shard), tail_bytes=index_bytes(manifest.splits[split].n_chunks))
        if file.file_bytes != receipt.file_bytes:
            return False
        if self.view.place.read(status_path(split, shard)) != encode_receipt_status(
            manifest.splits[receipt.split], receipt
        ):
            return False
        read_index(
            file.read_range,
            file_bytes=receipt.file_bytes,
            n_chunks=manifest.splits[split].n_chunks,
            crc=receipt.index_crc32c,
        )
        return True


def _holds(path: Path, data: bytes) -> bool:
    """Whether a file is there with exactly these bytes."""
    try:
        return read_regular(path) == data
    except (FileNotFoundError, StoreDamaged):
        return False
