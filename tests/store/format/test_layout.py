import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scatcache.job.planning import lay_out
from scatcache.spec import Reduction, ScatteringSpec
from scatcache.store.format.encodings import ENCODINGS
from scatcache.store.format.layout import (
    MAX_SHARD_WORK_BYTES,
    MIN_SHARD_BYTES,
    MIN_SHARDS,
    Generation,
    SplitLayout,
    choose_sizes,
    receipt_name,
    shard_name,
)

MAX_SHARD_BYTES = 200 * 10**6
LAYOUT = SplitLayout((24, 32), 12, 3, (Generation(50, 60, "sha256:0"),))

n_rows = st.integers(1, 3_000_000)
row_bytes = st.integers(1, MAX_SHARD_BYTES)
encodings = st.sampled_from(list(ENCODINGS.values()))


@given(n_rows, row_bytes, encodings, st.none() | st.integers(1, 5000))
def test_chunks_divide_a_shard(n_rows, row_bytes, encoding, shard_images):
    shard, chunk = choose_sizes(n_rows, row_bytes, encoding=encoding, shard_images=shard_images)
    assert 1 <= chunk <= shard and shard % chunk == 0


@given(n_rows, row_bytes, encodings)
def test_shard_is_large_but_not_too_large_and_there_are_enough(n_rows, row_bytes, encoding):
    shard, _ = choose_sizes(n_rows, row_bytes, encoding=encoding)
    assert shard * row_bytes <= MAX_SHARD_BYTES
    n_shards = -(-n_rows // shard)
    # No row more than the least size of a shard asks for, but those that fill its last chunk.
    assert n_shards >= MIN_SHARDS or n_rows < MIN_SHARDS or (shard - 1) * row_bytes < 2 * MIN_SHARD_BYTES
    # Nothing forbids more rows but one of the two limits.
    more = 2 * shard
    assert more * row_bytes > 100 * 2**20 or n_rows // more < MIN_SHARDS or n_rows < MIN_SHARDS


def test_small_rows_make_no_shards_that_are_smaller_than_their_receipts():
    encoding = ENCODINGS["float16"]
    shard, chunk = choose_sizes(1000, 486, encoding=encoding)
    assert abs(shard * 486 - MIN_SHARD_BYTES) < chunk * 486


def test_a_shard_of_pooled_maps_is_not_hours_of_work():
    n_rows, whole = 1_281_167, ScatteringSpec(2)
    pooled = ScatteringSpec(2, reduction=Reduction(1))
    arguments = {"n_listed": n_rows, "listing": "", "image_shape": (224, 224), "limit": None, "shard_images": None}
    layouts = [lay_out(spec, ENCODINGS["float16"], **arguments) for spec in (whole, pooled)]
    assert layouts[1].shard_images <= MAX_SHARD_WORK_BYTES // (2 * whole.n_channels * 56 * 56) < n_rows // MIN_SHARDS
    assert layouts[0].shard_images < layouts[1].shard_images


@given(st.lists(st.integers(1, 400), min_size=1, max_size=4), st.integers(1, 50_000), encodings)
def test_every_row_lies_in_exactly_one_shard(counts, row_bytes, encoding):
    sizes = choose_sizes(counts[0], row_bytes, encoding=encoding)
    layout = SplitLayout((8, 8), *sizes, tuple(Generation(count, count, "") for count in counts))
    spans = [layout.rows_of(shard) for shard in range(layout.n_shards)]
    rows = [row for span in spans for row in span]
    assert rows == np.flatnonzero(layout.is_row()).tolist() == [row for span in layout.spans for row in span]
    assert len(rows) == layout.n_rows == sum(counts) and layout.n_positions == rows[-1] + 1
    assert all(1 <= len(span) <= layout.n_chunks * layout.chunk_images for span in spans)
    assert all(span.start == shard * layout.shard_images for shard, span in enumerate(spans))


def test_generation_begins_on_a_new_shard():
    layout = replace(LAYOUT, generations=(*LAYOUT.generations, Generation(5, 70, "sha256:1")))
    assert (layout.n_rows, layout.n_positions, layout.n_shards) == (55, 65, 6)
    assert (layout.rows_of(4), layout.rows_of(5)) == (range(48, 50), range(60, 65))
    assert np.flatnonzero(~layout.is_row()).tolist() == list(range(50, 60))
    assert (layout.listing, layout.n_listed) == ("sha256:1", 70)


@given(st.integers(1, 400), encodings, st.integers(1, 10**12))
def test_shard_of_more_rows_than_there_are_takes_no_space(n_rows, encoding, shard_images):
    shard, chunk = choose_sizes(n_rows, 1000, encoding=encoding, shard_images=shard_images)
    assert shard <= shard_images and shard - n_rows < 16 + chunk


def test_tiny_compressed_images_share_a_chunk():
    assert choose_sizes(10_000, 1024, encoding=ENCODINGS["float16"], shard_images=64) == (64, 16)
    assert choose_sizes(10_000, 1024, encoding=ENCODINGS["float16raw"], shard_images=64) == (64, 1)
    assert choose_sizes(50_000, 31_104, encoding=ENCODINGS["float16"]) == (1562, 1)


@pytest.mark.parametrize("n_rows", [300, 10_000])
@pytest.mark.parametrize(("colours", "side"), [(1, 28), (3, 28), (1, 36), (5, 20), (2, 12)])
def test_a_chunk_of_odd_maps_is_still_shuffled(colours, side, n_rows):
    """Else Blosc would leave it as large as it was: numbers whose upper bits are equal, the lower ones random."""
    encoding, shape = ENCODINGS["float16"], ScatteringSpec(J=2, colours=colours).output_shape(side, side)
    _, chunk = choose_sizes(n_rows, 2 * math.prod(shape), encoding=encoding)
    values = np.random.default_rng(0).uniform(1, 2, (chunk, *shape)).astype(np.float16)
    assert len(encoding.encode(values)[0]) < 0.75 * values.nbytes


generations = st.lists(
    st.builds(Generation, n_rows=st.integers(1, 10**9), n_listed=st.integers(0, 10**9), listing=st.text()),
    min_size=1,
    max_size=4,
).map(tuple)


@given(
    st.builds(
        SplitLayout,
        image_shape=st.tuples(st.integers(1, 9999), st.integers(1, 9999)),
        shard_images=st.sampled_from([6, 12, 600]),
        chunk_images=st.sampled_from([1, 2, 3, 6]),
        generations=generations,
        n_targets=st.integers(0, 4096),
    )
)
def test_layout_survives_json(layout):
    assert SplitLayout.from_dict(json.loads(json.dumps(layout.to_dict()))) == layout
    # Records of splits without targets are those of before there were any.
    assert ("n_targets" in layout.to_dict()) == (layout.n_targets > 0)


@pytest.mark.parametrize(
    "change",
    [
        {"generations": []},
        {"generations": None},
        {"generations": [{"n_rows": -1, "n_listed": 60, "listing": ""}]},
        {"generations": [{"n_rows": 50.0, "n_listed": 60, "listing": ""}]},
        {"generations": [{"n_rows": 50, "n_listed": True, "listing": ""}]},
        {"generations": [{"n_rows": 50, "n_listed": 60}]},
        {"generations": [{"n_rows": 50, "n_listed": 60, "listing": ""}, {"n_rows": 0, "n_listed": 60, "listing": ""}]},
        {"shard_images": 0},
        {"shard_images": 13},
        {"chunk_images": 0},
        {"image_shape": [24, 0]},
        {"image_shape": [24, None]},
        {"image_shape": None},
        {"folds": ["50"]},
        {"folds": [7]},
        {"n_targets": -1},
        {"n_targets": 4097},
        {"n_targets": 2.0},
        {"n_targets": True},
        {"n_targets": None},
        {"surprise": 1},
    ],
)
def test_contradictory_layout_is_refused(change):
    with pytest.raises((KeyError, TypeError, ValueError)):
        SplitLayout.from_dict({**LAYOUT.to_dict(), **change})


def test_file_names_are_those_of_the_format():
    assert (shard_name(7), receipt_name(7)) == ("c.7.0.0.0", "00007.json")
