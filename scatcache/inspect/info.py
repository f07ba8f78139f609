"""What a store holds and how far it is."""

import os
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from scatcache.errors import StoreDamaged
from scatcache.images.decoding.notes import word_notes
from scatcache.inspect.energy import energy_of_orders
from scatcache.spec import Pixels, ScatteringSpec
from scatcache.store.format.chunk_index import find_file_bytes
from scatcache.store.format.layout import shard_name
from scatcache.store.format.manifest import FORMAT
from scatcache.store.format.row_arrays import OK, UNREADABLE
from scatcache.store.records import open_records
from scatcache.store.split_records import SplitRecords


@dataclass(frozen=True)
class SplitInfo:
    """rows of the split; ok, unreadable: by their statuses; shards_done: those whose file has the receipt's size;
    image_shape: (height, width) in pixels; classes: how many; targets: numbers stored with each row; energy: of each
    order, 0 to max_order: the squared coefficients averaged over readable rows, positions and colours, added up over
    the paths of the order, so that all orders compare with each other and with the mean squared pixel, divided by its
    scale; None where the split is unfinished or has no readable row; notes: what is to be told of the images of a
    finished split, a line each."""

    rows: int
    ok: int
    unreadable: int
    shards: int
    shards_done: int
    image_shape: tuple[int, int]
    classes: int
    targets: int = 0
    energy: tuple[float, ...] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class StoreInfo:
    """state: "complete" where every split that was begun is finished; pixels: what enters the transform; bytes: of all
    files of the store; limit: images kept of each split at most, None for all."""

    store: str
    format: int
    state: str
    source: str
    pixels: Pixels
    spec: ScatteringSpec
    settings: str
    encoding: str
    bytes: int
    splits: dict[str, SplitInfo]
    limit: int | None = None

    def to_dict(self) -> dict[str, Any]:
        fields = {name: value for name, value in asdict(self).items() if name not in ("source", "settings", "limit")}
        for split in fields["splits"].values():
            del split["energy"], split["notes"]
        return fields


def info(store: str | os.PathLike[str]) -> StoreInfo:
    """Describes a store from its manifest and receipts; store: a local path or a URL, as in open_cache.

    Where the place cannot list its files (https, http), the receipts' word is taken for the shards' sizes, and bytes
    counts shards alone. Raises NotAStore, StoreDamaged.
    """
    records = open_records(store)
    manifest = records.read_manifest()
    if lost := records.lost_splits():
        raise StoreDamaged(f"{records.name}: split {lost[0]}: its zarr.json is missing: see `scatcache verify`")
    files = records.place.list_sizes("")
    added = records.splits()
    splits, finished, receipt_bytes = {}, added == records.begun_splits(), 0
    for split in added:
        found = SplitRecords(records, manifest, split, allow_partial=True)
        splits[split], shard_bytes = _describe(found)
        finished &= found.summary is not None and splits[split].shards_done == splits[split].shards
        receipt_bytes += shard_bytes
    return StoreInfo(
        store=records.name,
        format=FORMAT,
        state="complete" if splits and finished else "incomplete",
        source=manifest.source,
        pixels=manifest.pixels,
        spec=manifest.spec,
        settings=manifest.describe(),
        encoding=manifest.encoding,
        bytes=receipt_bytes if files is None else sum(files.values()),
        splits=splits,
        limit=manifest.settings.limit,
    )


def _describe(records: SplitRecords) -> tuple[SplitInfo, int]:
    """(what there is of a split, bytes of its shard files by its own records)."""
    layout, manifest, summary = records.layout, records.manifest, records.summary
    finished = records.finished_shards()
    sizes = dict(zip(finished, find_file_bytes(records.index[finished]).tolist(), strict=True))
    files = records.store.place.list_sizes(f"{records.split}/coefficients")
    done = [shard for shard, size in sizes.items() if files is None or files.get(shard_name(shard)) == size]
    entry = SplitInfo(
        rows=layout.n_rows,
        ok=int((records.status == OK).sum()),
        unreadable=int((records.status == UNREADABLE).sum()),
        shards=layout.n_shards,
        shards_done=len(done),
        image_shape=layout.image_shape,
        classes=len(manifest.classes),
        targets=layout.n_targets,
        energy=_average_energy(records),
        notes=word_notes(summary.notes) if summary is not None else (),
    )
    return entry, sum(sizes.values())


def _average_energy(records: SplitRecords) -> tuple[float, ...] | None:
    summary, (_, h, w) = records.summary, records.row_shape
    # Means over cells and angles have not the energy of what they are means of.
    if summary is None or not summary.n_ok or records.manifest.spec != records.manifest.spec.whole:
        return None
    return energy_of_orders(records.manifest.spec, np.array(summary.square_sums) / (summary.n_ok * h * w))
