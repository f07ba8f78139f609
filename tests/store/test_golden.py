"""Stores that earlier versions wrote, and the schemas of the documents in them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import scatcache
from scatcache.errors import UnreadableImage
from tests.store.golden import GENERATIONS, LAYOUT, NATIVE, TARGET, TARGETS, make_golden, read_store

DATA = Path(__file__).parents[1] / "data"
SCHEMAS = Path(__file__).parents[2] / "docs/schemas"
EXPECTED = json.loads((DATA / "golden.json").read_bytes())


@pytest.mark.parametrize("name", EXPECTED)
def test_a_golden_store_gives_the_values_that_it_was_made_with(name):
    assert read_store(DATA / name) == EXPECTED[name]


@pytest.mark.parametrize("name", EXPECTED)
def test_a_golden_store_is_sound(name, tmp_path):
    # verify may leave nothing behind, and finds no STORE.job.
    assert scatcache.verify(shutil.copytree(DATA / name, tmp_path / name)).to_dict()["failures"] == []


def test_every_golden_store_is_in_the_list():
    assert {path.name for path in DATA.glob("*.zarr")} == EXPECTED.keys()
    assert sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file()) < 700_000


def test_golden_stores_are_made_as_they_were(tmp_path):
    """What is written now reads as what was written then; bytes may differ by a backend's rounding and versions."""
    make_golden(tmp_path)
    again = json.loads((tmp_path / "golden.json").read_bytes())
    for name, expected in EXPECTED.items():
        found = again[name]
        np.testing.assert_allclose(found.pop("coefficients"), expected["coefficients"], rtol=2e-3, atol=1e-5)
        for part in ("mean", "std"):
            np.testing.assert_allclose(found.pop(part), expected[part], rtol=2e-3, atol=1e-5)
        assert found == {key: value for key, value in expected.items() if key in found}


# Two generations


def test_rows_of_two_generations_are_in_source_order_and_removed_ones_are_not_delivered():
    cache = scatcache.open_cache(DATA / GENERATIONS)
    assert cache.keys == ["a/0", "a/1", "b/0", "b/1", "b/2", "a/3", "b/3"]
    assert cache.readable.tolist() == [0, 1, 3, 5, 6]
    first = cache.coefficients(cache.readable)[:, 0, 0, 0].tolist()
    assert first == [2, 0, 4, 6, 7]
    with pytest.raises(UnreadableImage, match=r"row 2 \(b/0\) is no longer in the source"):
        cache.coefficients([2])
    with pytest.raises(UnreadableImage, match=r"row 4 \(b/2\) has no coefficients: its image was unreadable"):
        cache.coefficients([4])
    assert [batch[1].tolist() for batch in cache.loader(8)] == [[0, 0, 1, 0, 1]]


def test_info_and_dask_understand_two_generations():
    split = scatcache.info(DATA / GENERATIONS).splits["all"]
    assert (split.rows, split.ok, split.unreadable, split.shards, split.shards_done) == (7, 5, 1, 4, 4)
    lazy = scatcache.open_cache(DATA / GENERATIONS).to_xarray()
    assert lazy.status.values.tolist() == [1, 3, 1, 2, 1, 0, 1, 1] and lazy.sizes["image"] == LAYOUT.n_positions
    values = lazy.coefficients.values[:, 0, 0, 0]
    # Position 1 is on disk, and its image no longer in the source.
    np.testing.assert_array_equal(values, [0, np.nan, 2, np.nan, 4, np.nan, 6, 7])


# Other pixels, and targets


def test_targets_of_two_generations_are_in_source_order_and_gaps_have_none():
    cache = scatcache.open_cache(DATA / TARGETS)
    assert cache.keys == scatcache.open_cache(DATA / GENERATIONS).keys
    assert cache.targets.tobytes() == TARGET[[2, 0, 1, 4, 3, 6, 7]].tobytes()
    assert scatcache.open_cache(DATA / GENERATIONS).targets is None
    (_, _, t), *_ = cache.loader(8, targets=True)
    assert t.numpy().tobytes() == TARGET[[2, 0, 4, 6, 7]].tobytes()


def test_pixels_of_one_float32_band_are_told_by_every_reader():
    cache = scatcache.open_cache(DATA / NATIVE)
    assert (cache.manifest.pixels, cache.dtype) == (scatcache.Pixels("native", 1, "float32", 1.0), np.float32)
    assert cache.row_shape == (cache.spec.n_paths, 2, 2)
    assert scatcache.info(DATA / NATIVE).to_dict()["pixels"]["kind"] == "native"


# Schemas


def read_schema(name: str):
    jsonschema, referencing = pytest.importorskip("jsonschema"), pytest.importorskip("referencing")
    schemas = {path.name: json.loads(path.read_bytes()) for path in SCHEMAS.glob("*.json")}
    registry = referencing.Registry().with_resources(
        (key, referencing.Resource.from_contents(schema)) for key, schema in schemas.items()
    )
    jsonschema.Draft202012Validator.check_schema(schemas[name])
    return jsonschema.Draft202012Validator(schemas[name], registry=registry)


def list_documents(store: Path):
    """(schema, document) of every document of ours."""
    yield "settings.json", json.loads((store / "zarr.json").read_bytes())["attributes"]["scatcache"]
    for split in {path.parent for path in store.glob("*/coefficients")}:
        yield "split.json", json.loads((split / "zarr.json").read_bytes())["attributes"]["scatcache"]
        for path in (split / "coefficients/receipts").glob("*.json"):
            kind = "summary.json" if path.name == "summary.json" else "receipt.json"
            yield kind, json.loads(path.read_bytes())


def test_documents_of_real_stores_have_the_published_schemas(encoded, splits):
    seen = set()
    for store in (encoded, splits, *(DATA / name for name in EXPECTED)):
        for name, document in list_documents(store):
            read_schema(name).validate(document)
            seen.add(name)
    assert seen == {path.name for path in SCHEMAS.glob("*.json")}


@pytest.mark.parametrize("name", ["settings.json", "split.json", "receipt.json", "summary.json"])
def test_a_schema_refuses_a_document_that_lacks_or_adds_a_field(sound, name):
    document = next(document for kind, document in list_documents(sound) if kind == name)
    schema = read_schema(name)
    for field in document:
        assert not schema.is_valid({key: value for key, value in document.items() if key != field}), field
    assert not schema.is_valid({**document, "surprise": 1})
