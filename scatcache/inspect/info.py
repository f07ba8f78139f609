"""What a store holds and how far it is."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scatcache.errors import StoreDamaged
from scatcache.inspect.energy import energy_of_orders
from scatcache.job.resources import folder_bytes
from scatcache.spec import ScatteringSpec
from scatcache.store.folder import StoreFolder
from scatcache.store.manifest import FORMAT, Manifest
from scatcache.store.reader import SplitReader


@dataclass(frozen=True)
class SplitInfo:
    """rows of the split; ok, unreadable: by the receipts; shards_done: those whose file has the receipt's size;
    image_shape: (height, width) in pixels; classes: how many; energy: of each order, 0 to max_order: the squared
    coefficients averaged over readable rows, positions and colours, added up over the paths of the order, so that all
    orders compare with each other and with the mean squared pixel (0 to 1); None where the split is unfinished or has
    no readable row."""

    rows: int
    ok: int
    unreadable: int
    shards: int
    shards_done: int
    image_shape: tuple[int, int]
    classes: int
    energy: tuple[float, ...] | None = None


@dataclass(frozen=True)
class StoreInfo:
    """state: "complete" where every split that was added is finished; bytes: of the store on disk."""

    store: str
    format: int
    state: str
    source: str
    spec: ScatteringSpec
    settings: str
    encoding: str
    bytes: int
    splits: dict[str, SplitInfo]

    def to_dict(self) -> dict[str, Any]:
        fields = {name: value for name, value in asdict(self).items() if name not in ("source", "settings")}
        for split in fields["splits"].values():
            del split["energy"]
        return fields


def info(store: str | os.PathLike[str]) -> StoreInfo:
    """Describes a store from its manifest and receipts. Raises NotAStore, StoreDamaged."""
    folder = StoreFolder(store)
    manifest = folder.read_manifest()
    splits = {split: _describe(folder, manifest, split) for split in folder.splits(manifest)}
    if lost := folder.lost_splits(manifest):
        raise StoreDamaged(f"{store}: split {lost[0]}: its zarr.json is missing: see `scatcache verify`")
    finished = splits and all(
        folder.read_summary(split) is not None and entry.shards_done == entry.shards for split, entry in splits.items()
    )
    return StoreInfo(
        store=str(folder.path),
        format=FORMAT,
        state="complete" if finished else "incomplete",
        source=manifest.source,
        spec=manifest.spec,
        settings=manifest.describe(),
        encoding=manifest.encoding,
        bytes=folder_bytes(folder.path),
        splits=splits,
    )


def _describe(folder: StoreFolder, manifest: Manifest, split: str) -> SplitInfo:
    layout = manifest.splits[split]
    assert layout.image_shape is not None
    reader = SplitReader(folder, manifest, split, allow_partial=True)
    if reader.summary is not None:
        ok, rows = reader.summary.n_ok, reader.summary.n_rows
        sizes = dict(enumerate(shard.file_bytes for shard in reader.summary.shards))
    else:
        receipts = [reader.receipt(shard) for shard in reader.finished_shards()]
        ok, rows = sum(receipt.n_ok for receipt in receipts), sum(receipt.n_rows for receipt in receipts)
        sizes = {receipt.shard: receipt.file_bytes for receipt in receipts}
    done = sum(_has_size(folder.shard(split, shard), file_bytes) for shard, file_bytes in sizes.items())
    return SplitInfo(
        rows=layout.n_rows,
        ok=ok,
        unreadable=rows - ok,
        shards=layout.n_shards,
        shards_done=done,
        image_shape=layout.image_shape,
        classes=len(manifest.classes),
        energy=_average_energy(reader),
    )


def _average_energy(reader: SplitReader) -> tuple[float, ...] | None:
    summary, (_, h, w) = reader.summary, reader.row_shape
    if summary is None or not summary.n_ok:
        return None
    return energy_of_orders(reader.manifest.spec, np.array(summary.square_sums) / (summary.n_ok * h * w))


def _has_size(path: Path, file_bytes: int) -> bool:
    try:
        return path.stat().st_size == file_bytes
    except FileNotFoundError:
        return False
