"""Every byte of one split against its records, and the records against one another."""

import hashlib
from collections.abc import Iterator

import numpy as np

from scatcache.errors import StoreDamaged, StoreIncomplete
from scatcache.inspect.failures import Failure
from scatcache.scattering.paths import channel_table
from scatcache.store.format.manifest import Manifest
from scatcache.store.format.metadata import channel_chunk
from scatcache.store.format.receipts import Receipt
from scatcache.store.format.row_arrays import REMOVED, STATUS, count_row_chunks, list_arrays, with_crc
from scatcache.store.format.shard_file import read_index
from scatcache.store.format.summaries import finish_split
from scatcache.store.places.place import OpenFile
from scatcache.store.reader import SplitReader
from scatcache.store.records import StoreRecords, index_path, receipt_path, row_path, shard_path, summary_path
from scatcache.store.split_records import SplitRecords

# Few requests where the store is remote, and little memory.
READ_BYTES = 8 * 2**20


def check_split(store: StoreRecords, manifest: Manifest, split: str) -> tuple[list[Failure], int]:
    """(failures, shards checked) of one split."""
    try:
        store.read_layout(manifest, split)
    except StoreDamaged as error:
        return [Failure(split, None, f"{split}/zarr.json", name_failure(error, store))], 0
    failures = list(_check_small_files(store, manifest, split))
    try:
        records = SplitRecords(store, manifest, split, allow_partial=True)
    except StoreIncomplete as error:
        return [*failures, Failure(split, None, summary_path(split), name_failure(error, store))], 0
    except StoreDamaged as error:
        if not failures:
            # The row arrays are sound, each for itself, and together not those of the summary.
            failures.append(Failure(split, None, split, name_failure(error, store)))
        return failures, 0
    finished = records.finished_shards()
    if records.summary is None:
        reason = f"the split is incomplete: {len(finished)} of {records.layout.n_shards} shards are done, no summary"
        failures.append(Failure(split, None, summary_path(split), reason))
    receipts = []
    for shard in finished:
        try:
            receipt = records.receipt(shard)
        except (StoreDamaged, StoreIncomplete) as error:
            failures.append(Failure(split, shard, receipt_path(split, shard), name_failure(error, store)))
            continue
        receipts.append(receipt)
        failures += _check_shard(records, receipt)
    if records.summary is not None and len(receipts) == records.layout.n_shards:
        failures += _check_summary(records, receipts, {failure.path for failure in failures})
    return failures, len(finished)


def name_failure(error: Exception, store: StoreRecords) -> str:
    """What the reader said, without the store's path and the advice to run what is running."""
    return str(error).removeprefix(f"{store.name}: ").removesuffix(": see `scatcache verify`")


def _check_small_files(store: StoreRecords, manifest: Manifest, split: str) -> Iterator[Failure]:
    """Each for itself, so that one that is damaged hides no other."""
    channels = manifest.add_step(channel_table(manifest.spec))
    expected = {f"{split}/{name}/c.0": with_crc(channel_chunk(values)) for name, values in channels.items()}
    layout, summary = store.read_layout(manifest, split), None
    try:
        summary = store.read_summary(split)
    except StoreDamaged as error:
        yield Failure(split, None, summary_path(split), name_failure(error, store))
    else:
        if summary is not None and summary.settings != manifest.digest:
            reason = "it belongs to another store, or zarr.json was edited"
            yield Failure(split, None, summary_path(split), reason)
    names = list_arrays(layout, finished=summary is not None)
    for name, chunk in ((each, chunk) for each in names for chunk in range(count_row_chunks(layout, each))):
        try:
            store.read_row_chunk(layout, split, name, chunk)
        except StoreDamaged as error:
            yield Failure(split, None, row_path(split, name, chunk), name_failure(error, store))
    try:
        if summary is not None and summary.layout == layout:
            store.read_index(summary)
    except StoreDamaged as error:
        yield Failure(split, None, index_path(split), name_failure(error, store))
    for path, data in expected.items():
        try:
            if store.place.read(path) != data:
                yield Failure(split, None, path, "its bytes are not what the settings give")
        except (FileNotFoundError, StoreDamaged) as error:
            yield Failure(split, None, path, _say_unread(error))


def _say_unread(error: Exception) -> str:
    return "the file is missing" if isinstance(error, FileNotFoundError) else str(error)


def _check_summary(records: SplitRecords, receipts: list[Receipt], failed: set[str]) -> Iterator[Failure]:
    """Statuses, index and summary are made of the receipts alone, but for the rows that were removed since."""
    split, layout = records.split, records.layout
    status = np.zeros(layout.n_positions, np.uint8)
    knows_status = not any(path.startswith(f"{split}/{STATUS}/") for path in failed)
    if knows_status:
        status = records.store.read_row_array(layout, split, STATUS)
    removed = np.flatnonzero((status == REMOVED) & layout.is_row()).tolist()
    made = finish_split(receipts, layout, records.rows, removed=removed)
    if knows_status and not np.array_equal(status, made.status):
        yield Failure(split, None, row_path(split, STATUS), "the statuses are not those of the receipts")
    elif knows_status and made.summary != records.summary:
        yield Failure(split, None, summary_path(split), "it is not the sum of the receipts")
    if index_path(split) not in failed and records.store.place.read(index_path(split)) != made.index:
        yield Failure(split, None, index_path(split), "it is not the index that the receipts give")


def _check_shard(records: SplitRecords, receipt: Receipt) -> Iterator[Failure]:
    split, shard = receipt.split, receipt.shard
    path = shard_path(split, shard)
    try:
        file = records.store.place.open(path, tail_bytes=READ_BYTES)
        found = hash_file(file)
    except (FileNotFoundError, StoreDamaged) as error:
        yield Failure(split, shard, path, _say_unread(error))
        return
    if found != receipt.sha256:
        yield Failure(split, shard, path, _locate_damage(records, receipt, file))


def _locate_damage(records: SplitRecords, receipt: Receipt, file: OpenFile) -> str:
    """What is wrong with a shard's file: its size, its own index, or the first row that the reader refuses."""
    layout = records.layout
    if file.file_bytes != receipt.file_bytes:
        return f"it has {file.file_bytes} bytes, its receipt says {receipt.file_bytes}"
    try:
        read_index(file.read_range, file_bytes=receipt.file_bytes, n_chunks=layout.n_chunks, crc=receipt.index_crc32c)
        reader = SplitReader(records)
        for row in layout.rows_of(receipt.shard):
            reader.read(np.array([row]))
    except StoreDamaged as error:
        return name_failure(error, records.store)
    return "its bytes are not those of the receipt (none of the rows is touched)"


def hash_file(file: OpenFile) -> str:
    """sha256 of a file's bytes, as receipts write it."""
    hashed = hashlib.sha256()
    assert file.file_bytes is not None
    for start in range(0, file.file_bytes, READ_BYTES):
        hashed.update(file.read_range(start, READ_BYTES))
    return "sha256:" + hashed.hexdigest()
