"""Files that somebody has edited, their checksums mended: each is refused in our own words, or read as what it says."""

import json
import os
import random
from dataclasses import replace

import numpy as np
import pytest
from numcodecs import zstd

import scatcache
from scatcache.errors import NotAStore, StoreDamaged
from scatcache.job.store_folder import StoreFolder
from scatcache.job.stored_source import recall
from scatcache.store.format.chunk_index import parse_index
from scatcache.store.format.encodings import CRC_BYTES, ENCODINGS, crc32c
from scatcache.store.format.json_text import to_json
from scatcache.store.format.manifest import Manifest
from scatcache.store.format.receipts import Receipt, encode_record, parse_receipt
from scatcache.store.format.row_arrays import check_crc, decode_rows, encode_rows, with_crc
from scatcache.store.format.summaries import finish_split, parse_summary
from scatcache.store.records import StoreRecords, index_path
from tests.store.format.test_row_arrays import COLUMNS, make_table, shape_of
from tests.store.stores import read_everything

# Thousands with SCATCACHE_MUTANTS=5000.
N_MUTANTS = int(os.environ.get("SCATCACHE_MUTANTS", "150"))
REFUSALS = (StoreDamaged, NotAStore)
ODD_VALUES = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, 2**64, 10**15, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf")),
    *("", "x", "\ud800", "a/b", "..", "\0", [], {}, [[]], {"": None}, [1, 2], [-1, 10**15], "9" * 5000),
)


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """Some bytes flipped, cut, inserted, or set to numbers that lie at the edges."""
    mutant = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(min(len(mutant), rng.choice((16, 24, 64, 2**20)))) if mutant else 0
        kind = rng.randrange(5)
        if kind == 0 and mutant:
            mutant[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            number = rng.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1, len(data), len(data) + 16))
            mutant[at : at + 4] = number.to_bytes(4, "little")
        elif kind == 2:
            del mutant[at : at + rng.randint(1, 40)]
        elif kind == 3:
            mutant[at:at] = rng.randbytes(rng.randint(1, 20))
        else:
            mutant[at : at + 8] = rng.randbytes(min(8, len(mutant) - at))
    return bytes(mutant)


def list_roots(value: object, place: tuple = ()) -> list[tuple]:
    """The paths of everything in a JSON value."""
    found = [place] if place else []
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in list(entries)[:40]:
        found += list_roots(entry, (*place, key))
    return found


def mutate_value(value: object, rng: random.Random) -> object:
    """The JSON value with one entry exchanged, taken away, renamed or nested."""
    value = json.loads(json.dumps(value))
    *parents, last = rng.choice(list_roots(value))
    inner = value
    for key in parents:
        inner = inner[key]
    kind = rng.randrange(5)
    if kind == 0:
        del inner[last]
    elif kind == 1 and isinstance(inner, dict):
        inner[rng.choice(("surprise", "n_rows", ""))] = inner.pop(last)
    elif kind == 2:
        for _ in range(rng.choice((1, 5, 300))):
            inner[last] = [inner[last]]
    else:
        inner[last] = rng.choice(ODD_VALUES)
    return value


def write(value: object) -> bytes:
    """Without asking whether it is JSON that ought to be."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def refused(call, *args, **options) -> bool:
    """Whether a call refuses in our own words; any other exception passes."""
    try:
        call(*args, **options)
    except REFUSALS as error:
        assert str(error)
        return True
    return False


@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=list(ENCODINGS))
def test_mutants_of_chunks(encoding):
    rng = random.Random(encoding.name)
    values = np.random.default_rng(0).normal(size=(3, 5, 8, 8)).cumsum(-1).astype(encoding.dtype)
    encoded, _ = encoding.encode(values)
    n_refused = 0
    for _ in range(N_MUTANTS):
        payload = mutate_bytes(encoded[:-CRC_BYTES], rng)
        crc = crc32c(payload)
        data = payload + crc.to_bytes(CRC_BYTES, "little")
        n_refused += refused(encoding.decode, memoryview(data), encoding.empty(3, values.shape[1:]), crc=crc)
    assert n_refused > N_MUTANTS // 4


@pytest.mark.parametrize("name", COLUMNS)
def test_mutants_of_row_arrays(name):
    rng, table = random.Random(name), make_table([f"class{row % 7}/é{row}.png" for row in range(200)])
    (data,) = encode_rows(name, getattr(table, name)).values()
    payload = check_crc(data)
    n_refused = 0
    for _ in range(N_MUTANTS):
        mutant = with_crc(mutate_bytes(payload, rng))
        n_refused += refused(decode_rows, name, mutant, n_rows=200, row_shape=shape_of(name))
    assert n_refused > N_MUTANTS // 2


@pytest.mark.parametrize("n_bytes", [0, 2**20, 2**40, 2**63])
def test_a_frame_that_claims_more_than_it_may_is_not_decoded(n_bytes):
    header = b"\x28\xb5\x2f\xfd" + b"\xe0" + n_bytes.to_bytes(8, "little")
    for name in COLUMNS:
        with pytest.raises(StoreDamaged):
            decode_rows(name, with_crc(header + bytes(20)), n_rows=n_bytes // 8 + 1, row_shape=shape_of(name))


def test_a_small_frame_of_many_zeros_is_not_decoded(monkeypatch):
    bomb = with_crc(bytes(zstd.compress(bytes(2**26), 3)))
    monkeypatch.setattr(zstd, "decompress", None)
    for name in COLUMNS:
        with pytest.raises(StoreDamaged, match="it holds"):
            decode_rows(name, bomb, n_rows=4, row_shape=shape_of(name))


@pytest.mark.parametrize("name", ["receipt", "summary"])
def test_mutants_of_records(sound, name):
    rng, records = random.Random(name), StoreFolder(sound).records
    record = records.read_receipt("all", 1)[0] if name == "receipt" else records.read_summary("all")
    parse = parse_receipt if name == "receipt" else parse_summary
    fields = record.to_dict()
    for _ in range(N_MUTANTS):
        value = mutate_value(fields, rng)
        if isinstance(value, dict):
            try:
                data = to_json({**value, "crc32c": crc32c(to_json(value))})
            except ValueError:  # NaN and its like, which no crc32c of ours covers
                data = write(value)
            if not refused(parse, data):
                assert encode_record(parse(data)) == data
        refused(parse, mutate_bytes(encode_record(record), rng))


class Root:
    """A place that holds a zarr.json and nothing else."""

    name, finish = "mutant", ""

    def __init__(self, data: bytes):
        self.data = data

    def read(self, name: str) -> bytes:
        return self.data

    def has(self, name: str) -> bool:
        return False

    def look(self) -> str:
        return "a mutant"


def test_mutants_of_the_manifest(sound):
    rng = random.Random("manifest")
    data = (sound / "zarr.json").read_bytes()
    document = json.loads(data)
    fields = document["attributes"]["scatcache"]
    n_refused = 0
    for _ in range(N_MUTANTS):
        mutant = mutate_value(fields, rng)
        n_refused += refused(Manifest.from_dict, mutant)
        for text in (mutate_bytes(data, rng), write({**document, "attributes": {"scatcache": mutant}})):
            refused(StoreRecords(Root(text)).read_manifest)
        refused(StoreRecords(Root(write(mutate_value(document, rng)))).read_manifest)
    assert n_refused > N_MUTANTS // 2


@pytest.mark.parametrize(
    "data", [b"[" * 10**6, b'{"a":' * 10**5, b"9" * 10**5, b'{"attributes": 1e999}', b"\xff\xfe[\0"]
)
def test_texts_without_end_are_refused(data):
    for parse in (parse_receipt, parse_summary):
        with pytest.raises(StoreDamaged):
            parse(data)
    assert refused(StoreRecords(Root(data)).read_manifest)


def test_a_record_that_claims_rows_without_end_costs_no_memory(store):
    records = StoreFolder(store).records
    manifest, document = records.read_manifest(), json.loads((store / "all/zarr.json").read_bytes())
    for number in (10**6, 10**12, 10**15):
        document["attributes"]["scatcache"]["generations"][0].update(n_rows=number, n_listed=number)
        (store / "all/zarr.json").write_text(json.dumps(document))
        if not refused(records.read_layout, manifest, "all"):
            assert refused(records.read_rows, records.read_layout(manifest, "all"), "all")
            assert refused(scatcache.open_cache, store)
    document["attributes"]["scatcache"].update(n_targets=4096)
    (store / "all/zarr.json").write_text(json.dumps(document))
    assert refused(scatcache.open_cache, store)


def test_mutants_of_a_split_s_record(sound):
    rng, records = random.Random("record"), StoreFolder(sound).records
    manifest, document = records.read_manifest(), json.loads((sound / "all/zarr.json").read_bytes())
    n_refused = 0
    for _ in range(N_MUTANTS):
        mutant = mutate_value(document["attributes"]["scatcache"], rng)
        text = write({**document, "attributes": {"scatcache": mutant}})
        n_refused += refused(StoreRecords(Root(text)).read_layout, manifest, "all")
        refused(StoreRecords(Root(mutate_bytes(text, rng))).read_layout, manifest, "all")
    assert n_refused > N_MUTANTS // 2


def test_mutants_of_the_index(sound):
    rng, records = random.Random("index"), StoreFolder(sound).records
    summary, data = records.read_summary("all"), (sound / index_path("all")).read_bytes()
    n_refused = 0
    for _ in range(N_MUTANTS):
        text = mutate_bytes(data[:-CRC_BYTES], rng)
        crc = crc32c(text)
        n_refused += refused(parse_index, text + crc.to_bytes(CRC_BYTES, "little"), summary.layout, crc=crc)
    assert n_refused > N_MUTANTS // 2


def test_mutants_of_the_memory_beside_a_store(tmp_path):
    rng, folder = random.Random("job.json"), StoreFolder(tmp_path / "a.zarr")
    fields = {"root": "/data", "host": "a", "started": 1.5}
    folder.job.mkdir()
    for _ in range(N_MUTANTS):
        for text in (write(mutate_value(fields, rng)), mutate_bytes(write(fields), rng)):
            (folder.job / "job.json").write_bytes(text)
            known = recall(folder)
            assert isinstance(known, dict) and isinstance(known.get("root", ""), str | int | float | None)


def test_a_store_forged_from_receipt_to_summary(store):
    """Whatever one receipt says, with every checksum and the summary made to agree."""
    folder = StoreFolder(store)
    manifest = folder.records.read_manifest()
    layout = folder.records.read_layout(manifest, "all")
    rows = folder.records.read_rows(layout, "all")
    receipts = [folder.records.read_receipt("all", shard)[0] for shard in range(5)]
    rng, sound = random.Random("forged"), read_everything(store)
    n_refused = 0
    for _ in range(N_MUTANTS // 3):
        try:
            forged = Receipt.from_dict(mutate_value(receipts[1].to_dict(), rng))
            forged = replace(forged, split="all", shard=1, settings=manifest.digest, rows=receipts[1].rows)
            finished = finish_split([receipts[0], forged, *receipts[2:]], layout, rows)
        except (KeyError, TypeError, ValueError, OverflowError, StoreDamaged):
            continue
        (folder.path / "all/coefficients/receipts" / "00001.json").write_bytes(encode_record(forged))
        folder.writer.publish_split(finished)
        try:
            found = read_everything(store)
            assert found["coefficients"] == sound["coefficients"] and found["labels"] == sound["labels"]
        except REFUSALS:
            n_refused += 1
        n_refused += not scatcache.verify(store).ok
    assert n_refused >= 3
    scatcache.resume(store)
    assert read_everything(store) == sound and scatcache.verify(store).ok
