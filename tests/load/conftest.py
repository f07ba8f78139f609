"""A store with several views of each image."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from scatcache.durable import write_file
from scatcache.store.format.receipts import encode_record, summarize
from scatcache.store.format.rows import ROW_ARRAYS, RowTable, encode_rows
from scatcache.store.records import open_view, receipt_path, summary_path
from tests.store.stores import copy_store

N_VIEWS = 5


@pytest.fixture(scope="session")
def viewed(sound: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 10 images in 5 views each, of the coefficients of sound; read only.

    Views 1 of image 1, 0 and 4 of image 7 are unreadable.
    """
    store = copy_store(sound, tmp_path_factory.mktemp("viewed"))
    view = open_view(store)
    manifest = view.read_manifest()
    plain = view.read_rows(manifest, "all")
    image, number = np.divmod(plain.source_index, N_VIEWS)
    names = np.array([f"{index:03d}" for index in range(len(plain) // N_VIEWS)], object)
    rows = RowTable(names[image], image % 3, plain.source_index, number.astype(np.uint16), plain.file_bytes)
    for name in ROW_ARRAYS:
        write_file(store / f"all/{name}/c.0", encode_rows(name, getattr(rows, name)))
    layout, receipts = manifest.splits["all"], []
    for shard in range(layout.n_shards):
        receipt, _ = view.read_receipt("all", shard)
        receipts.append(dataclasses.replace(receipt, rows=rows.digest(layout.rows_of(shard))))
        write_file(store / receipt_path("all", shard), encode_record(receipts[-1]))
    write_file(store / summary_path("all"), encode_record(summarize(receipts)))
    return store
