import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scatcache.errors import StoreDamaged
from scatcache.store.format.encodings import ENCODINGS, crc32c
from scatcache.store.format.receipts import hash_bytes
from scatcache.store.format.shard_file import ABSENT, ShardEncoder, index_bytes, read_index

payloads = st.lists(st.none() | st.binary(min_size=1, max_size=40), min_size=1, max_size=12)


def write_shard(path, payloads, *, n_chunks):
    with open(path, "wb") as file:
        encoder = ShardEncoder(file.write, n_chunks=n_chunks)
        for payload in payloads:
            encoder.append(None if payload is None else (payload, crc32c(payload)))
        return encoder.finish()


def parse_index(data, *, n_chunks, crc):
    return read_index(lambda start, n: data[start : start + n], file_bytes=len(data), n_chunks=n_chunks, crc=crc)


@given(payloads, st.integers(0, 3))
def test_chunks_come_back_and_absent_ones_stay_absent(tmp_path_factory, payloads, n_more):
    path = tmp_path_factory.getbasetemp() / "c.0.0.0.0"
    n_chunks = len(payloads) + n_more
    digests = write_shard(path, payloads, n_chunks=n_chunks)
    data = path.read_bytes()
    index = parse_index(data, n_chunks=n_chunks, crc=digests.index_crc32c)
    found = [None if offset == ABSENT else data[offset : offset + n] for offset, n in index.tolist()]
    assert found == [*payloads, *[None] * n_more]
    assert digests.chunk_crc32c == tuple(0 if chunk is None else crc32c(chunk) for chunk in found)
    assert digests.chunk_bytes == tuple(len(chunk or b"") for chunk in found)
    assert (digests.file_bytes, digests.sha256) == (len(data), hash_bytes(data))


@pytest.mark.parametrize("name", ENCODINGS)
def test_zarr_reads_a_shard_with_absent_chunks(tmp_path, name):
    zarr = pytest.importorskip("zarr")
    encoding = ENCODINGS[name]
    array = zarr.create_array(
        tmp_path / "array",
        shape=(4, 2, 3, 3),
        shards=(4, 2, 3, 3),
        chunks=(1, 2, 3, 3),
        dtype=encoding.dtype,
        fill_value=encoding.fill_value,
        chunk_key_encoding={"name": "default", "separator": "."},
        compressors=None,
    )
    metadata = array.metadata.to_dict()
    metadata["codecs"][0]["configuration"]["codecs"] = encoding.codecs()
    values = np.random.default_rng(0).random((4, 2, 3, 3)).astype(encoding.dtype)
    with open(tmp_path / "array/c.0.0.0.0", "wb") as file:
        encoder = ShardEncoder(file.write, n_chunks=4)
        for row in range(3):
            encoder.append(encoding.encode(values[row : row + 1]) if row != 1 else None)
        encoder.finish()
    values[[1, 3]] = encoding.fill_value
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.metadata import ArrayV3Metadata

    document = ArrayV3Metadata.from_dict(metadata).to_buffer_dict(default_buffer_prototype())["zarr.json"]
    (tmp_path / "array/zarr.json").write_bytes(document.to_bytes())
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "array", mode="r")[:], values)


def test_flipped_or_cut_index_is_damage(tmp_path):
    path = tmp_path / "c.0.0.0.0"
    digests = write_shard(path, [b"one", None, b"three"], n_chunks=3)
    data = path.read_bytes()
    for offset in range(len(data) - index_bytes(3), len(data)):
        torn = bytearray(data)
        torn[offset] ^= 4
        with pytest.raises(StoreDamaged, match="index"):
            parse_index(bytes(torn), n_chunks=3, crc=digests.index_crc32c)
    for n_bytes in range(len(data)):
        with pytest.raises(StoreDamaged, match="index"):
            parse_index(data[:n_bytes], n_chunks=3, crc=digests.index_crc32c)


def test_sound_index_of_another_shard_is_refused(tmp_path):
    path = tmp_path / "c.0.0.0.0"
    digests = write_shard(path, [b"one", b"three"], n_chunks=2)
    with pytest.raises(StoreDamaged, match="not the one that the receipt recorded"):
        parse_index(path.read_bytes(), n_chunks=2, crc=digests.index_crc32c ^ 1)


@pytest.mark.parametrize("entry", [(5, 1), (0, 6), (2**64 - 2, 1), (2**64 - 2, 2**64 - 1), (0, 2**64 - 1)])
def test_index_that_points_outside_is_damage(entry):
    index = np.array([entry], "<u8").tobytes()
    data = b"chunk" + index + crc32c(index).to_bytes(4, "little")
    with pytest.raises(StoreDamaged, match="outside"):
        parse_index(data, n_chunks=1, crc=crc32c(index))


@pytest.mark.parametrize(
    "entries", [[(2, 3), (0, 2)], [(0, 2), (3, 2)], [(1, 2), (3, 2)], [(0, 2), (2, 2)], [(0, 5), (0, 5)]]
)
def test_index_with_gaps_or_exchanged_chunks_is_damage(entries):
    index = np.array(entries, "<u8").tobytes()
    data = b"chunk" + index + crc32c(index).to_bytes(4, "little")
    with pytest.raises(StoreDamaged, match="gaps between the chunks"):
        parse_index(data, n_chunks=2, crc=crc32c(index))
