"""The writer and the reader know names and bytes alone: at a place of another kind they do the same."""

import numpy as np
import pytest

from scatcache.errors import NotAStore, ScatcacheError, StoreIncomplete
from scatcache.scattering.paths import channel_table
from scatcache.store.format.shard_file import ABSENT, ShardEncoder, index_bytes, read_index
from scatcache.store.format.summaries import finish_split
from scatcache.store.places.local import LocalPlace
from scatcache.store.places.place import Place
from scatcache.store.reader import SplitReader
from scatcache.store.records import StoreRecords, shard_path
from scatcache.store.split_records import SplitRecords
from scatcache.store.writer import StoreWriter
from tests.runs import list_files
from tests.store.memory_place import MemoryPlace
from tests.store.stores import N_IMAGES


def open_reader(store: StoreRecords, *, allow_partial: bool = False) -> SplitReader:
    return SplitReader(SplitRecords(store, store.read_manifest(), "all", allow_partial=allow_partial))


def copy_shard(reader: SplitReader, writer: StoreWriter, receipt) -> None:
    """A shard's chunks, decoded and encoded anew, through the writer."""
    split, shard, n_chunks = receipt.split, receipt.shard, reader.layout.n_chunks
    source = reader.records.store.place.open(shard_path(split, shard), tail_bytes=index_bytes(n_chunks))
    index = read_index(source.read_range, file_bytes=source.file_bytes, n_chunks=n_chunks, crc=receipt.index_crc32c)
    encoding = reader.encoding
    with writer.put_shard(split, shard) as file:
        encoder = ShardEncoder(file.write, n_chunks=n_chunks)
        for (offset, n_bytes), crc in zip(index.tolist(), receipt.chunk_crc32c, strict=True):
            chunk = encoding.empty(reader.layout.chunk_images, reader.row_shape)
            if offset != ABSENT:
                encoding.decode(memoryview(source.read_range(offset, n_bytes)), chunk, crc=crc)
            encoder.append(None if offset == ABSENT else encoding.encode(chunk))
        digests = encoder.finish()
        file.commit()
    assert (digests.sha256, digests.index_crc32c) == (receipt.sha256, receipt.index_crc32c)


def write_store(source: StoreRecords, place: Place) -> StoreWriter:
    """A finished store of one split, written step by step as a run does."""
    manifest, writer = source.read_manifest(), StoreWriter(place)
    reader, channels = open_reader(source), channel_table(manifest.spec)
    writer.mend_root(manifest)
    writer.add_split(manifest, "all", reader.layout, rows=reader.records.rows, channels=channels)
    writer.consolidate(manifest, channels=channels)
    receipts = list(reader.records.receipts())
    for receipt in receipts:
        copy_shard(reader, writer, receipt)
        writer.publish_receipt(receipt)
    writer.publish_split(finish_split(receipts, reader.layout, reader.records.rows))
    return writer


@pytest.fixture
def memory(sound):
    place = MemoryPlace()
    write_store(StoreRecords(LocalPlace(sound)), place)
    return place


def test_a_store_in_memory_has_the_bytes_of_a_local_one(sound, memory):
    assert memory.files == {
        str(path): (sound / path).read_bytes() for path in list_files(sound) if (sound / path).is_file()
    }


def test_rows_read_from_memory_are_those_of_the_local_store(sound, memory):
    rows = np.arange(N_IMAGES)
    readers = [open_reader(StoreRecords(place)) for place in (memory, LocalPlace(sound))]
    np.testing.assert_array_equal(readers[0].read(rows), readers[1].read(rows))
    assert readers[0].records.unreadable == readers[1].records.unreadable


def test_a_split_is_there_with_its_last_file_and_a_shard_with_its_receipt(memory):
    split = [name for name in memory.written if name.startswith("all/")]
    making = [name for name in split if "coefficients/" not in name or name.endswith("zarr.json")]
    made = [name for name in making if not name.startswith("all/status/c.")]
    finishing = ["all/status/c.0", "all/coefficients/receipts/index.bin", "all/coefficients/receipts/summary.json"]
    assert made[-1] == "all/zarr.json" and split[-3:] == finishing
    for shard in range(5):
        order = (shard_path("all", shard), f"all/coefficients/receipts/{shard:05d}.json")
        places = [memory.written.index(name) for name in order]
        assert places == sorted(places)


@pytest.mark.parametrize("n_kept", range(0, 30, 3))
def test_making_a_split_that_was_cut_off_goes_on(sound, memory, n_kept):
    whole, place = dict(memory.files), MemoryPlace()
    # As far as it came, file by file.
    place.files = {name: whole[name] for name in memory.written[:n_kept]}
    write_store(StoreRecords(LocalPlace(sound)), place)
    assert place.files == whole


def test_what_is_there_is_not_written_again(sound, memory):
    memory.written.clear()
    write_store(StoreRecords(LocalPlace(sound)), memory)
    again = [name for name in memory.written if "/c." not in name and "receipts/0" not in name]
    assert again == []


def test_a_partial_store_in_memory_says_what_to_do(memory):
    memory.delete("all/coefficients/receipts/summary.json")
    memory.delete("all/coefficients/receipts/00001.json")
    with pytest.raises(StoreIncomplete, match="put what is missing"):
        open_reader(StoreRecords(memory))
    assert open_reader(StoreRecords(memory), allow_partial=True).records.finished_shards() == [0, 2, 3, 4]


def test_a_store_in_memory_is_deleted_and_what_is_not_ours_stays(memory):
    memory.put("mine/notes.txt", b"mine")
    StoreWriter(memory).delete()
    assert set(memory.files) == {"mine/notes.txt"}
    with pytest.raises(ScatcacheError, match="not deleted"):
        StoreWriter(memory).delete()
    with pytest.raises(NotAStore, match="found 1 files"):
        StoreRecords(memory).read_manifest()
