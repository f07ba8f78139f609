import copy
import pickle
import re

import numpy as np
import psutil
import pytest

import scatcache
from scatcache.load import preload as module
from tests.store.stores import flip, make_partial

torch = pytest.importorskip("torch")


@pytest.fixture(scope="session")
def cache(viewed):
    return scatcache.open_cache(viewed)


def assert_same_batches(one, other):
    assert len(one) == len(other)
    for _ in range(2):
        for (S, y), (T, z) in zip(one, other, strict=True):
            assert (S.dtype, S.device, S.shape) == (T.dtype, T.device, T.shape)
            assert torch.equal(S, T) and torch.equal(y, z)


def leave_free(monkeypatch, n_bytes):
    free = psutil.virtual_memory()._replace(available=n_bytes)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"shuffle": True, "seed": 3},
        {"shuffle": True, "views": "all", "drop_last": True},
        {"views": "one"},
        {"shuffle": True, "views": 2},
        {"rows": [30, 2, 11, 2, -1, 6], "shuffle": True},
        {"rows": slice(40, 3, -7)},
        {"channels": [4, 0, -1, 4], "shuffle": True},
        {"augment": scatcache.Compose([scatcache.GridCrop(), scatcache.RandomFlip()]), "shuffle": True},
        {"dtype": torch.float16},
        {"dtype": torch.float64, "rank": 1, "world_size": 3, "shuffle": True},
        {"labels": range(50), "shuffle": True},
    ],
    ids=str,
)
def test_batches_are_those_of_the_store(cache, arguments):
    assert_same_batches(cache.preload().loader(4, **arguments), cache.loader(4, **arguments))


def test_rows_are_kept_once_in_the_stored_dtype_with_the_store_open_no_more(encoded, monkeypatch):
    cache = scatcache.open_cache(encoded)
    kept = cache.preload(rows=[3, 1, 4, 1, 5])
    assert kept._loaded.coefficients.shape == (4, *cache.row_shape)
    assert kept._loaded.coefficients.numpy().dtype == cache.manifest.stored_as.dtype
    expected = list(cache.loader(2, rows=[3, 1, 4, 1, 5]))

    def refuse(*_):
        raise AssertionError("the store was read")

    monkeypatch.setattr(type(cache._reader), "read", refuse)
    for (S, y), (T, z) in zip(kept.loader(2), expected, strict=True):
        assert torch.equal(S, T) and torch.equal(y, z)


def test_rows_preloaded_are_the_default_and_others_refused(cache):
    kept = cache.preload(rows=[30, 2, 11, 6, 35])
    assert kept.choose(None, None).tolist() == [30, 2, 11]
    assert_same_batches(kept.loader(2), cache.loader(2, rows=[30, 2, 11]))
    assert_same_batches(kept.loader(2, True, rows=[11, 2]), cache.loader(2, True, rows=[11, 2]))
    for rows in ([2, 3], slice(None)):
        with pytest.raises(IndexError, match=r"row \d+ was not preloaded: preload it too"):
            kept.loader(2, rows=rows)


def test_fetch_never_gives_another_row(cache):
    kept = cache.preload(rows=[30, 2, 11])
    assert torch.equal(kept.fetch(np.array([11, 2]), None), cache.fetch(np.array([11, 2]), None))
    with pytest.raises(IndexError, match="row 3 was not preloaded"):
        kept.fetch(np.array([2, 3]), None)
    with pytest.raises(scatcache.UnreadableImage):
        cache.fetch(np.array([2, 6]), None)


def test_a_view_that_was_preloaded_is_enough_for_it(cache):
    kept = cache.preload(rows=cache.views == 0)
    assert_same_batches(kept.loader(4, True, views=0), cache.loader(4, True, views=0))
    with pytest.raises(ValueError, match="no batch: of 50 rows none is readable and view 1"):
        iter(kept.loader(4, views=1))


def test_channels_preloaded_are_the_default_and_others_refused(cache):
    kept = cache.preload(channels=[7, 0, 5])
    assert kept._loaded.coefficients.shape[1] == 3
    assert_same_batches(kept.loader(4), cache.loader(4, channels=[7, 0, 5]))
    assert_same_batches(kept.loader(4, channels=[5, 5, -68]), cache.loader(4, channels=[5, 5, 7]))
    with pytest.raises(IndexError, match=r"channel 1 was not preloaded: expected some of \[7, 0, 5\]"):
        kept.loader(4, channels=slice(2))
    with pytest.raises(IndexError, match="channels are"):
        cache.preload(channels=[1000])


def test_loader_goes_on_where_one_of_the_store_stopped(cache):
    stopped, kept = cache.loader(3, True, seed=2), cache.preload().loader(3, True, seed=2)
    walked = iter(stopped)
    for _ in range(2):
        next(walked)
    kept.load_state_dict(stopped.state_dict())
    assert all(torch.equal(S, T) for (S, _), (T, _) in zip(kept, walked, strict=True))
    assert kept.state_dict() == stopped.state_dict()


def test_everything_else_is_as_before(cache):
    kept = cache.preload(rows=[0, 1], channels=[0])
    assert len(kept) == len(cache) and kept.readable.tolist() == cache.readable.tolist()
    assert kept.in_memory and not cache.in_memory
    assert kept.coefficients([9]).tobytes() == cache.coefficients([9]).tobytes()
    assert torch.equal(kept[9][0], cache[9][0]) and len(kept.dataset()) == len(cache.dataset())


def test_copies_leave_the_rows_in_memory_behind(cache):
    kept = cache.preload(rows=[0, 1])
    assert len(pickle.dumps(kept)) == len(pickle.dumps(cache))
    for other in (pickle.loads(pickle.dumps(kept)), copy.deepcopy(kept)):
        assert not other.in_memory and kept.in_memory
        assert_same_batches(other.loader(4), cache.loader(4))


def test_damage_is_found_while_preloading(store):
    flip(store / "all/coefficients/c.1.0.0.0", 50)
    with pytest.raises(scatcache.StoreDamaged, match="split all, shard 1"):
        scatcache.open_cache(store).preload()


def test_unfinished_split_gives_what_is_there(store):
    make_partial(store)
    cache = scatcache.open_cache(store, allow_partial=True)
    assert_same_batches(cache.preload().loader(4), cache.loader(4))


def test_nothing_preloaded_is_no_epoch(cache):
    for rows in ([], [6]):
        with pytest.raises(ValueError, match="an epoch would have no batch"):
            iter(cache.preload(rows=rows).loader(4, True))


@pytest.mark.parametrize("n_rows", [0, 1, 2, 3, 1000])
def test_pieces_of_any_size_make_the_same(cache, monkeypatch, n_rows):
    whole, row_bytes = cache.preload()._loaded, int(np.prod(cache.row_shape)) * cache.dtype.itemsize
    monkeypatch.setattr(module, "PIECE_BYTES", n_rows * row_bytes)
    pieces = cache.preload(channels=slice(None))._loaded
    assert torch.equal(pieces.coefficients, whole.coefficients) and (pieces.position == whole.position).all()


def test_what_does_not_fit_is_refused_before_it_is_read(cache, monkeypatch):
    n_bytes = len(cache.readable) * int(np.prod(cache.row_shape)) * 2
    leave_free(monkeypatch, n_bytes)
    cache.preload()
    leave_free(monkeypatch, n_bytes - 1)
    with pytest.raises(scatcache.ScatcacheError, match=re.escape("free: preload fewer rows= or channels=")):
        cache.preload()
    cache.preload(rows=range(20))


def test_what_fits_beside_its_training_is_kept_and_else_read_from_the_store(cache, monkeypatch):
    n_bytes = len(cache.readable) * int(np.prod(cache.row_shape)) * cache.dtype.itemsize
    leave_free(monkeypatch, 2 * n_bytes)
    assert cache.preload(if_fits=True).in_memory
    leave_free(monkeypatch, 2 * n_bytes - 1)
    assert cache.preload(if_fits=True) is cache
    assert cache.preload(rows=range(20), if_fits=True).in_memory


@pytest.mark.parametrize(
    "chosen", [{"rows": [30, 2, 11, 6]}, {"channels": [7, 0, 5]}, {"rows": range(9), "channels": [3]}]
)
def test_loaders_deliver_the_same_whether_rows_fit_or_not(cache, monkeypatch, chosen):
    kept = cache.preload(**chosen)
    leave_free(monkeypatch, 0)
    read = cache.preload(**chosen, if_fits=True)
    assert kept.in_memory and not read.in_memory
    assert_same_batches(read.loader(4, True), kept.loader(4, True))
    for refused in ({"rows": [40]} if "rows" in chosen else {"channels": [1]},):
        for one in (kept, read):
            with pytest.raises(IndexError, match="was not preloaded"):
                one.loader(4, **refused)


def test_gpu_that_is_not_there_is_refused(cache, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(scatcache.BackendUnavailable, match="sees no CUDA device"):
        cache.preload("cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("kept_on", ["cpu", "cuda"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_any_device_delivers_from_any(cache, kept_on, device):
    arguments = {"shuffle": True, "views": "all", "augment": scatcache.RandomFlip(), "device": device}
    kept = cache.preload(kept_on)
    assert kept._loaded.coefficients.device.type == kept_on
    assert_same_batches(kept.loader(4, **arguments), cache.loader(4, **arguments))


@pytest.mark.gpu
def test_what_does_not_fit_on_the_gpu_is_refused(cache, monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 10**9))
    with pytest.raises(scatcache.ScatcacheError, match=r"cuda has 0\.0 GB free"):
        cache.preload("cuda")
