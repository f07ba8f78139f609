import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import scatcache
from scatcache.scattering.reference import scattering2d
from tests.store.stores import N_IMAGES, SETTINGS, UNREADABLE, draw_images, make_partial

# Image i is (a, b, c)[i % 3]/00i.png: source order is by class, then by number.
IMAGES = sorted(range(N_IMAGES), key=lambda image: (image % 3, image))
KEYS = [f"{'abc'[image % 3]}/{image:03d}.png" for image in IMAGES]
READABLE = [row for row, image in enumerate(IMAGES) if image not in UNREADABLE]
BAD_ROW = IMAGES.index(5)


@pytest.fixture(scope="session")
def cache(sound):
    return scatcache.open_cache(sound)


@pytest.fixture(scope="session")
def values(sound):
    """What xarray reads, put in source order."""
    dataset = pytest.importorskip("xarray").open_zarr(sound, group="all")
    return dataset.coefficients.values[np.argsort(dataset.source_index.values)]


@pytest.mark.parametrize("seed", [0, 1, 12345678901234567])
def test_everything_is_in_source_order_whatever_the_seed(tmp_path, seed):
    images = draw_images(tmp_path / "images", seed=7, n_images=9)
    scatcache.extract(images, out=tmp_path / "s.zarr", seed=seed, encoding="float32", workers=1, **SETTINGS)
    cache = scatcache.open_cache(tmp_path / "s.zarr")
    assert cache.keys == [f"{'abc'[image % 3]}/{image:03d}.png" for image in (0, 3, 6, 1, 4, 7, 2, 5, 8)]
    assert cache.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2] and cache.labels.dtype == np.int64
    for row, key in enumerate(cache.keys):
        pixels = np.asarray(Image.open(images / key)).transpose(2, 0, 1)
        expected = scattering2d(pixels, cache.spec).reshape(cache.row_shape)
        np.testing.assert_allclose(cache.coefficients([row])[0], expected, rtol=1e-3, atol=1e-5)


def test_rows_are_those_that_xarray_reads(cache, values):
    assert (cache.keys, len(cache), cache.readable.tolist()) == (KEYS, N_IMAGES, READABLE)
    assert cache.labels.tolist() == [image % 3 for image in IMAGES]
    found = cache.coefficients(READABLE)
    assert found.dtype == np.float16 and found.tobytes() == values[READABLE].tobytes()


def test_cache_tells_what_it_is(cache):
    assert (cache.split_name, cache.classes, cache.folds) == ("all", ("a", "b", "c"), None)
    assert cache.spec == scatcache.ScatteringSpec(J=2, L=4) == cache.manifest.spec
    assert (cache.row_shape, cache.dtype) == ((cache.spec.n_channels, 6, 6), np.float16)
    assert "split 'all': 50 rows" in repr(cache)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.sampled_from([*READABLE, *[row - N_IMAGES for row in READABLE]]), max_size=40))
def test_any_rows_negative_repeated_unsorted(cache, values, rows):
    assert cache.coefficients(rows).tobytes() == values[rows].tobytes()


@pytest.mark.parametrize(
    "rows",
    [
        slice(0, 3),
        slice(10, 0, -3),
        slice(None, None, 60),
        slice(100, 200),
        [],
        (0, 1),
        range(3),
        np.array([2, 1], np.uint8),
        np.array([2, -1], np.int8),
        np.isin(np.arange(N_IMAGES), [3, 8, 20]),
    ],
    ids=str,
)
def test_rows_may_be_whatever_numpy_takes(cache, values, rows):
    index = list(rows) if isinstance(rows, range | tuple) else rows
    expected = values[index] if len(np.shape(index)) == 0 or np.size(index) else values[:0]
    assert cache.coefficients(rows).tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    "rows",
    [
        [N_IMAGES],
        [0, -N_IMAGES - 1],
        np.array([2**64 - 1], np.uint64),
        [2**70],
        [0.0],
        ["0"],
        3,
        [[0, 1]],
        np.ones(N_IMAGES - 1, bool),
        np.ones((N_IMAGES, 1), bool),
        [None],
    ],
    ids=str,
)
def test_rows_that_are_none_are_refused(cache, rows):
    with pytest.raises(IndexError):
        cache.coefficients(rows)


def test_item_is_a_float32_tensor_and_an_int(cache, values):
    import torch

    for row in (0, -1, np.int64(3)):
        S, y = cache[row]
        assert (S.dtype, type(y)) == (torch.float32, int)
        np.testing.assert_array_equal(S.numpy(), values[row].astype(np.float32))
        assert y == cache.labels[row]
    for row in (N_IMAGES, -N_IMAGES - 1, 0.5, slice(2)):
        with pytest.raises(IndexError):
            cache[row]


def test_unreadable_row_raises_with_key_and_reason(cache):
    reason = rf"split all, row {BAD_ROW} \(c/005\.png\) has no coefficients: its image was unreadable: \w+"
    for read in (lambda: cache[BAD_ROW], lambda: cache.coefficients([0, BAD_ROW, 1])):
        with pytest.raises(scatcache.UnreadableImage, match=reason):
            read()


def test_statistics_are_numpys_over_the_readable_rows(encoded):
    cache = scatcache.open_cache(encoded)
    values = cache.coefficients(cache.readable).astype(np.float64)
    # Sums of integers are exact, their products with the steps are rounded to float32.
    rtol = 1e-12 if cache.manifest.stored_as.steps is None else 1e-7
    np.testing.assert_allclose(cache.channel_mean, values.mean(axis=(0, 2, 3)), rtol=rtol)
    np.testing.assert_allclose(cache.channel_std, values.std(axis=(0, 2, 3)), rtol=max(rtol, 1e-9))
    assert cache.channel_mean.shape == (cache.spec.n_channels,)


def test_caller_cannot_change_the_cache_by_what_it_got(cache, values):
    found = cache.coefficients([0])
    found[:] = 0
    np.testing.assert_array_equal(cache.coefficients([0])[0], values[0])


def test_unfinished_split_is_refused_or_reads_what_is_there(store):
    make_partial(store)
    with pytest.raises(scatcache.StoreIncomplete, match="scatcache resume"):
        scatcache.open_cache(store)
    whole = scatcache.open_cache(store, allow_partial=True)
    finished = whole.readable
    assert 0 < len(finished) < N_IMAGES and len(whole) == N_IMAGES
    assert not np.isnan(whole.coefficients(finished)).any()
    for row in sorted(set(READABLE) - set(finished.tolist())):
        with pytest.raises(scatcache.StoreIncomplete, match=r"split all, shard [14] "):
            whole[row]
    for read in (lambda: whole.channel_mean, lambda: whole.channel_std, whole.to_dask, whole.to_xarray):
        with pytest.raises(scatcache.StoreIncomplete, match="incomplete"):
            read()


def test_unreadable_rows_of_an_unfinished_split_raise_too(store):
    make_partial(store, missing=())
    cache = scatcache.open_cache(store, allow_partial=True)
    assert cache.readable.tolist() == READABLE
    with pytest.raises(scatcache.UnreadableImage, match="c/005"):
        cache[BAD_ROW]


def test_split_is_named_where_there_are_several(splits):
    with pytest.raises(scatcache.StoreIncomplete, match="test, train"):
        scatcache.open_cache(splits)
    assert scatcache.open_cache(splits, split="train").split_name == "train"


@pytest.mark.parametrize("name", ["missing", ".", "file"])
def test_what_is_no_store_is_refused(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(scatcache.NotAStore, match="is no scatcache store"):
        scatcache.open_cache(tmp_path / name)


def test_opening_and_reading_numpy_imports_no_torch(sound):
    program = f"import sys, scatcache; c = scatcache.open_cache({str(sound)!r}); c.coefficients(c.readable); c.labels\n"
    program += "heavy = {'torch', 'zarr', 'dask', 'xarray'} & sys.modules.keys(); assert not heavy, heavy"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_program_that_ends_with_open_shards_says_nothing(sound):
    program = f"import scatcache\ncache = scatcache.open_cache({str(sound)!r})\ncache.coefficients([0])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
