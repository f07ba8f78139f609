import builtins
import hashlib
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import scatcache
from scatcache.images.source import ListedRows, Listing, Row
from scatcache.job.planning import ShardId, bound_bytes, find_images, lay_out, order_rows, plan_task, row_bytes
from scatcache.job.store_folder import StoreFolder
from scatcache.spec import ScatteringSpec
from scatcache.store.format.encodings import ENCODINGS
from scatcache.store.format.manifest import Manifest
from scatcache.store.format.store_settings import Settings

keys = st.lists(
    st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), min_size=1, max_size=12), unique=True, max_size=60
)
seeds = st.integers(0, 2**63 - 1)


def make_rows(names):
    return ListedRows(Row(name, index % 7 - 1, len(name)) for index, name in enumerate(sorted(names)))


def plan_tasks(layout, rows, images):
    return [plan_task(layout, ShardId("train", shard), rows, images=images) for shard in range(layout.n_shards)]


def place(key, seed):
    """The documented place of a key, written out once more."""
    return hashlib.blake2b(key.encode(), digest_size=16, key=seed.to_bytes(8, "little")).digest()


@given(keys, seeds)
def test_rows_are_stored_in_the_order_of_blake2b_of_seed_and_key(names, seed):
    rows = make_rows(names)
    table = order_rows(rows, seed=seed)
    assert list(table.key) == sorted(names, key=lambda name: (place(name, seed), name))
    assert dict(zip(table.key, table.label, strict=True)) == {row.key: row.label for row in rows}


def test_order_is_frozen():
    # Another order would orphan every store on disk.
    table = order_rows(make_rows(["cat/a.png", "cat/b.png", "dog/a.png", "dog/b.png"]), seed=0)
    assert list(table.key) == ["cat/b.png", "cat/a.png", "dog/b.png", "dog/a.png"]


@given(keys, keys, seeds)
def test_the_order_of_two_keys_does_not_depend_on_the_others(some, more, seed):
    alone = list(order_rows(make_rows(some), seed=seed).key)
    together = list(order_rows(make_rows({*some, *more}), seed=seed).key)
    assert [key for key in together if key in set(some)] == alone


def test_another_seed_gives_another_order():
    rows = make_rows([f"{index:03d}" for index in range(50)])
    orders = {tuple(order_rows(rows, seed=seed).key) for seed in (0, 1, 2**63 - 1)}
    assert len(orders) == 3


@given(keys, seeds, st.integers(1, 80))
def test_a_limit_keeps_the_first_rows_of_the_storage_order(names, seed, limit):
    rows = make_rows(names)
    limited = order_rows(rows, seed=seed, limit=limit)
    assert list(limited.key) == list(order_rows(rows, seed=seed).key)[:limit]
    assert sorted(limited.source_index) == list(range(len(limited)))


@given(keys, seeds, st.integers(1, 80))
def test_source_index_is_the_rank_in_the_order_of_the_keys(names, seed, limit):
    table = order_rows(make_rows(names), seed=seed, limit=limit)
    assert list(table.key[np.argsort(table.source_index)]) == sorted(table.key)


@given(
    n_rows=st.integers(1, 300),
    limit=st.none() | st.integers(1, 400),
    shard_images=st.none() | st.integers(1, 400),
    side=st.integers(4, 64),
    encoding=st.sampled_from(sorted(ENCODINGS)),
)
def test_tasks_cover_every_row_once(n_rows, limit, shard_images, side, encoding):
    layout = lay_out(
        ScatteringSpec(J=2),
        ENCODINGS[encoding],
        n_listed=n_rows,
        listing="sha256:0",
        image_shape=(side, side),
        limit=limit,
        shard_images=shard_images,
    )
    listed = make_rows([f"{index}" for index in range(n_rows)])
    rows = order_rows(listed, seed=3, limit=limit)
    tasks = plan_tasks(layout, rows, find_images(rows, Listing(listed), n_views=1))
    assert [listed[i].key for task in tasks for i in task.images] == list(rows.key)
    assert [key for task in tasks for key in task.keys] == list(rows.key)
    assert [task.shard for task in tasks] == list(range(layout.n_shards))
    assert all(list(rows.key[task.start : task.start + len(task.keys)]) == list(task.keys) for task in tasks)
    assert all(len(task.keys) == layout.shard_images for task in tasks[:-1])
    assert all(task.rows_digest == rows.digest(layout.rows_of(task.shard)) for task in tasks)


@given(keys, seeds, st.none() | st.integers(1, 80), st.integers(1, 4))
def test_rows_show_the_images_that_their_keys_name(names, seed, limit, n_views):
    listed = make_rows(names)
    rows = order_rows(listed, seed=seed, limit=limit, n_views=n_views)
    assert [listed[i].key for i in find_images(rows, Listing(listed), n_views=n_views)] == list(rows.key)


def test_planning_is_pure(monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("planning looked at the clock or the disk")

    rows = make_rows([f"{index:04d}" for index in range(500)])
    spec, encoding = ScatteringSpec(J=2), ENCODINGS["float16"]
    options = {"n_listed": 500, "listing": "sha256:0", "image_shape": (32, 32), "limit": 300, "shard_images": None}

    def plan():
        ordered = order_rows(rows, seed=1, limit=300)
        return plan_tasks(lay_out(spec, encoding, **options), ordered, find_images(ordered, Listing(rows), n_views=1))

    first = plan()
    for module, name in ((time, "time"), (time, "monotonic"), (builtins, "open"), (np.random, "default_rng")):
        monkeypatch.setattr(module, name, refuse)
    assert plan() == first


@settings(max_examples=30)
@given(J=st.integers(1, 3), height=st.integers(8, 70), width=st.integers(8, 70))
def test_bytes_of_a_row_are_those_of_its_array(J, height, width):
    spec = ScatteringSpec(J=J, L=4)
    for encoding in ENCODINGS.values():
        array = np.empty(spec.output_shape(height, width), encoding.dtype)
        assert row_bytes(spec, (height, width), encoding) == array.nbytes


def save_noise(folder, n_images, height, width):
    generator = np.random.default_rng(n_images)
    folder.mkdir()
    for index in range(n_images):
        pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{generator.bytes(16).hex()}-{index}.png")
    return folder


@pytest.mark.parametrize("encoding", sorted(ENCODINGS))
@pytest.mark.parametrize(
    ("n_images", "height", "width", "J", "max_order", "shard_images"),
    [(1, 2, 2, 1, 0, None), (1, 4, 4, 2, 2, 5), (7, 33, 5, 1, 1, 3), (40, 4, 4, 2, 0, None), (20, 32, 32, 2, 2, None)],
)
def test_no_store_is_larger_than_the_plan_says(tmp_path, encoding, n_images, height, width, J, max_order, shard_images):
    """Noise, which hardly compresses, in stores so small that metadata weighs, and in larger ones."""
    source = save_noise(tmp_path / "noise", n_images, height, width)
    out = tmp_path / "noise.zarr"
    settings = {"J": J, "max_order": max_order, "encoding": encoding, "shard_images": shard_images}
    events = []
    report = scatcache.extract(source, out=out, workers=2, on_event=events.append, **settings)
    planned = scatcache.plan(source, out=out, quick=True, **settings)
    assert report.bytes <= events[0].plan.bytes == planned.bytes
    records = StoreFolder(out).records
    manifest = records.read_manifest()
    assert bound_bytes(manifest, [records.read_layout(manifest, "all")]) == planned.bytes


@pytest.mark.parametrize("encoding", sorted(ENCODINGS))
def test_the_plan_is_not_far_above_what_incompressible_coefficients_take(encoding):
    spec = ScatteringSpec(J=2)
    options = {"n_listed": 50_000, "listing": "sha256:0", "image_shape": (32, 32), "limit": None, "shard_images": None}
    layout = lay_out(spec, ENCODINGS[encoding], **options)
    settings = Settings(J=2, encoding=encoding).merge(None, pixels="rgb", scale=255.0)
    manifest = Manifest(settings, "sha256:0", "folder", None, ("cat",))
    assert bound_bytes(manifest, [layout]) < 1.03 * 50_000 * row_bytes(spec, (32, 32), ENCODINGS[encoding])
