import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numcodecs import zstd

from scatcache.errors import StoreDamaged
from scatcache.store.format import codecs
from scatcache.store.format.codecs import Plain, Zstd
from scatcache.store.format.encodings import CRC_BYTES, ENCODINGS, Encoding, crc32c, find_encoding

VALUES = np.random.default_rng(0).random((2, 5, 4, 4))


def room(encoding, shape):
    """What a chunk of this shape is decoded into."""
    return encoding.empty(shape[0], shape[1:])


@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=list(ENCODINGS))
@given(data=st.data())
def test_values_come_back_bit_by_bit(encoding, data):
    shape = data.draw(arrays.array_shapes(min_dims=4, max_dims=4, max_side=6))
    values = data.draw(arrays.arrays(encoding.dtype, shape))
    encoded, crc = encoding.encode(values)
    out = room(encoding, values.shape)
    encoding.decode(memoryview(encoded), out, crc=crc)
    assert out.tobytes() == values.tobytes()


def test_blosc_s_own_threads_stay_off_whoever_turns_them_on(monkeypatch):
    """Above about 1 MB they make other bytes from run to run; the setting is the process's, not ours alone."""
    compress, seen = codecs.blosc.compress, []
    monkeypatch.setattr(codecs.blosc, "use_threads", True)
    monkeypatch.setattr(
        codecs.blosc, "compress", lambda *given: seen.append(codecs.blosc.use_threads) or compress(*given)
    )
    for name in ("float16", "float32"):
        codecs.blosc.use_threads = True
        find_encoding(name).encode(np.zeros((1, 4, 8, 8), ENCODINGS[name].dtype))
    assert seen == [False, False]


def test_crc32c_is_that_of_rfc_3720():
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(bytes(range(32))) == 0x46DD794E


@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=list(ENCODINGS))
def test_one_flipped_byte_never_decodes(encoding):
    values = VALUES.astype(encoding.dtype)
    encoded, crc = encoding.encode(values)
    for offset in range(0, len(encoded), 7):
        torn = bytearray(encoded)
        torn[offset] ^= 0x10
        with pytest.raises(StoreDamaged, match="crc32c"):
            encoding.decode(memoryview(bytes(torn)), room(encoding, values.shape), crc=crc)


@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=list(ENCODINGS))
@pytest.mark.parametrize("n_bytes", [0, 1, CRC_BYTES, CRC_BYTES + 1, -1])
def test_cut_chunk_never_decodes(encoding, n_bytes):
    values = VALUES.astype(encoding.dtype)
    encoded, crc = encoding.encode(values)
    with pytest.raises(StoreDamaged):
        encoding.decode(memoryview(encoded[:n_bytes]), room(encoding, values.shape), crc=crc)


@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=list(ENCODINGS))
def test_sound_chunk_of_another_place_is_refused(encoding):
    values = VALUES.astype(encoding.dtype)
    crc = encoding.encode(values)[1]
    other = encoding.encode(values + np.array(1, values.dtype))[0]
    with pytest.raises(StoreDamaged, match="not the chunk that the receipt recorded"):
        encoding.decode(memoryview(other), room(encoding, values.shape), crc=crc)


@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=list(ENCODINGS))
def test_chunk_of_another_size_is_refused(encoding):
    values = VALUES.astype(encoding.dtype)
    encoded, crc = encoding.encode(values)
    with pytest.raises(StoreDamaged, match="expected"):
        encoding.decode(memoryview(encoded), room(encoding, (1, 5, 4, 4)), crc=crc)


@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=list(ENCODINGS))
def test_large_chunk_has_the_same_bytes_in_every_thread(encoding):
    values = (8 * np.random.default_rng(0).random((1, 4, 512, 512))).astype(encoding.dtype)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(encoding.encode, [values] * 8)) == {encoding.encode(values)}


def test_zstd_without_short_repetitions_takes_fewer_bytes_and_any_decoder_reads_them():
    values = np.random.default_rng(0).geometric(0.5, (1, 243, 8, 8)).astype(np.int8) - np.int8(1)
    payload = Zstd(7).encode(values)
    assert bytes(zstd.decompress(payload)) == values.tobytes()
    assert len(payload) < len(Zstd(3).encode(values)) and len(payload) < len(zstd.compress(values, 1))


def test_blosc_is_kept_from_threads_of_its_own():
    # With them it gives other bytes from run to run above about 1 MB (importing zarr switches them off too).
    program = "from scatcache.store.format import encodings, codecs; assert codecs.blosc.use_threads is False"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_unknown_encoding_lists_the_known():
    with pytest.raises(ValueError, match="'zip' is unknown: expected one of float16, float16raw, float32"):
        find_encoding("zip")


@pytest.mark.parametrize(
    "encoding", [entry for entry in ENCODINGS.values() if not entry.quantised], ids=lambda one: one.name
)
def test_what_is_stored_is_rounded_from_what_is_computed(encoding):
    """The dtype of the transform's coefficients is one fact, that of the stored ones another."""
    wide = replace(encoding, compute_dtype="float64")
    encoded, crc = wide.encode(VALUES)
    out = np.empty(VALUES.shape, encoding.dtype)
    wide.decode(memoryview(encoded), out, crc=crc)
    assert out.tobytes() == VALUES.astype(encoding.dtype).tobytes()


def test_the_manifest_tells_the_facts_of_an_encoding_apart():
    assert ENCODINGS["float32"].to_dict() == {
        "name": "float32",
        "compute_dtype": "float32",
        "dtype": "float32",
        "fill": "NaN",
        "tolerance": 1e-5,
        "parameters": {"cname": "zstd", "clevel": 3},
    }
    assert np.isnan(ENCODINGS["float16"].fill_value)
    assert Encoding("toy", "float32", "int8", 0, 0.1, 0.5, Plain()).fill_value == 0
