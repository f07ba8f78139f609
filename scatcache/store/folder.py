"""A store's local folder: creating it and its splits, publishing receipts and summaries."""

import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from scatcache.errors import ScatcacheError, StoreDamaged
from scatcache.store.files import (
    fsync_folder,
    publish,
    remove_temporaries,
    temporary_beside,
    to_json,
    write_atomically,
)
from scatcache.store.layout import receipt_name, shard_name, status_name
from scatcache.store.manifest import Manifest
from scatcache.store.metadata import channel_chunk, describe_root, describe_split
from scatcache.store.places import LocalPlace, is_url, show_place
from scatcache.store.receipts import Receipt, Summary, encode_record
from scatcache.store.rows import ROW_ARRAYS, RowTable, encode_rows, encode_status, with_crc
from scatcache.store.shard_file import read_index
from scatcache.store.view import StoreView


class StoreFolder:
    """The paths and files of one store on a local (or locally mounted) file system; holds no open file.

    path: absolute and without links, so that a store has one STORE.job whichever way it is named, and is found after a
    change of the working folder. view: the same store for reading. Raises ScatcacheError for a URL.
    """

    def __init__(self, path: str | os.PathLike[str]):
        if is_url(path):
            raise ScatcacheError(
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
        """Makes the folder with the manifest and no split yet."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path / "zarr.json", to_json(describe_root(manifest, {}), indent=2))
        fsync_folder(self.path.parent)

    def add_split(self, manifest: Manifest, split: str, *, rows: RowTable, channels: Mapping[str, np.ndarray]) -> None:
        """Writes a split's metadata and small arrays once, whole or not at all; mends those of a split that is there.

        channels: (n_channels,) int8 coordinates by name.
        """
        final = self.path / split
        files = {
            f"{name}/zarr.json": to_json(document, indent=2)
            for name, document in describe_split(manifest, split, channel_names=tuple(channels)).items()
        }
        files |= {f"{name}/c.0": encode_rows(name, getattr(rows, name)) for name in ROW_ARRAYS}
        files |= {f"{name}/c.0": with_crc(channel_chunk(values)) for name, values in channels.items()}
        if final.exists():
            self._mend_split(manifest, split, rows=rows, files=files)
            return
        temporary = temporary_beside(final)
        try:
            (temporary / "coefficients" / "receipts").mkdir(parents=True)
            for name, data in files.items():
                _write_synced(temporary / name.removeprefix("/"), data)
            for folder, _, _ in os.walk(temporary, topdown=False):
                fsync_folder(Path(folder))
            publish(temporary, final)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise

    def _mend_split(self, manifest: Manifest, split: str, *, rows: RowTable, files: dict[str, bytes]) -> None:
        """Writes those of a split's files that are missing or differ; row arrays are compared by value."""
        self.receipts(split).mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            path = self.path / split / name.removeprefix("/")
            array = path.parent.name if path.name == "c.0" else ""
            if array in ROW_ARRAYS:
                with contextlib.suppress(StoreDamaged):
                    if np.array_equal(self.view.read_row_array(manifest, split, array), getattr(rows, array)):
                        continue
            elif path.exists() and path.read_bytes() == data:
                continue
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, data)

    def consolidate(self, manifest: Manifest, *, channel_names: tuple[str, ...]) -> None:
        """Replaces the root's metadata, atomically, by one that lists the splits present; keeps an equal one."""
        members = {
            split: describe_split(manifest, split, channel_names=channel_names) for split in self.view.splits(manifest)
        }
        document = to_json(describe_root(manifest, members), indent=2)
        if (self.path / "zarr.json").read_bytes() != document:
            write_atomically(self.path / "zarr.json", document)

    def publish_receipt(self, manifest: Manifest, receipt: Receipt) -> None:
        """Writes the statuses of a committed shard's rows, then its receipt: from here on it is done."""
        layout = manifest.splits[receipt.split]
        ok = np.ones(receipt.n_rows, bool)
        ok[[entry.row - layout.rows_of(receipt.shard).start for entry in receipt.unreadable]] = False
        status = encode_status(ok, shard_images=layout.shard_images)
        write_atomically(self.status(receipt.split, receipt.shard), status)
        write_atomically(self.receipts(receipt.split) / receipt_name(receipt.shard), encode_record(receipt))

    def publish_summary(self, summary: Summary) -> None:
        """Finishes a split; keeps a summary that is already equal."""
        data = encode_record(summary)
        path = self.summary(summary.split)
        with contextlib.suppress(FileNotFoundError):
            if path.read_bytes() == data:
                return
        write_atomically(path, data)

    def withdraw_summary(self, split: str) -> None:
        """A split that turns out unfinished must not claim to be finished while it is worked on."""
        with contextlib.suppress(FileNotFoundError):
            self.summary(split).unlink()

    def withdraw_receipt(self, split: str, shard: int) -> None:
        """A shard is to be computed again; withdraw its split's summary first."""
        with contextlib.suppress(FileNotFoundError):
            (self.receipts(split) / receipt_name(shard)).unlink()
        fsync_folder(self.receipts(split))

    def clean(self, manifest: Manifest) -> None:
        """Removes what killed writers left; call it holding the lock."""
        remove_temporaries(self.path)
        for split in manifest.splits:
            remove_temporaries(self.coefficients(split), self.receipts(split), self.path / split / "status")

    def delete(self) -> None:
        """Deletes the store, which must carry our manifest; the folder itself stays, empty.

        The manifest goes last: whenever this is cut off, the rest can still be told for ours and deleted.
        """
        root = self.view.read_root()
        if not isinstance(root, dict) or not isinstance(root.get("format"), int):
            raise ScatcacheError(f"{self.path} carries no scatcache manifest: not deleted")
        for path in self.path.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != "zarr.json":
                path.unlink()
        (self.path / "zarr.json").unlink()

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
        path = self.shard(split, shard)
        identity = (receipt.split, receipt.shard, receipt.manifest, receipt.rows, receipt.file_bytes)
        if identity != (split, shard, manifest.digest, rows_digest, path.stat().st_size):
            return False
        if not self.status(split, shard).exists():
            return False
        with open(path, "rb") as file:
            read_index(
                lambda start, n: os.pread(file.fileno(), n, start),
                file_bytes=receipt.file_bytes,
                n_chunks=manifest.splits[split].n_chunks,
                crc=receipt.index_crc32c,
            )
        return True


def _write_synced(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
