"""A store with several views of each image."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from scatcache.store.format.receipts import encode_record
from scatcache.store.format.row_arrays import ROW_ARRAYS, RowTable, encode_rows
from scatcache.store.format.summaries import finish_split
from scatcache.store.places.local import LocalPlace
from scatcache.store.records import receipt_path, row_path
from scatcache.store.writer import StoreWriter
from tests.store.stores import copy_store

N_VIEWS = 5


@pytest.fixture(scope="session")
def viewed(sound: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 10 images in 5 views each, of the coefficients of sound; read only.

    Views 1 of image 1, 0 and 4 of image 7 are unreadable.
    """
    store = copy_store(sound, tmp_path_factory.mktemp("viewed"))
    writer = StoreWriter(LocalPlace(store))
    layout = writer.records.read_layout(writer.records.read_manifest(), "all")
    plain = writer.records.read_rows(layout, "all")
    image, number = np.divmod(plain.source_index, N_VIEWS)
    names = np.array([f"{index:03d}" for index in range(len(plain) // N_VIEWS)], object)
    rows = RowTable(names[image], image % 3, plain.source_index, number.astype(np.uint16), plain.file_bytes)
    for name in ROW_ARRAYS:
        writer.place.put(row_path("all", name), encode_rows(name, getattr(rows, name))["c.0"])
    receipts = []
    for shard in range(layout.n_shards):
        receipt, _ = writer.records.read_receipt("all", shard)
        receipts.append(dataclasses.replace(receipt, rows=rows.digest(layout.rows_of(shard))))
        writer.place.put(receipt_path("all", shard), encode_record(receipts[-1]))
    writer.publish_split(finish_split(receipts, layout, rows))
    return store
