import pickle

import numpy as np
import pytest

import scatcache
from tests.store.stores import N_IMAGES, UNREADABLE, flip

torch = pytest.importorskip("torch")
DataLoader = torch.utils.data.DataLoader


@pytest.fixture
def cache(sound):
    return scatcache.open_cache(sound)


@pytest.fixture
def dataset(cache):
    return cache.dataset()


def test_items_are_the_readable_rows_in_source_order(cache, dataset):
    assert len(dataset) == N_IMAGES - len(UNREADABLE)
    assert dataset.rows.tolist() == cache.readable.tolist()
    for item in (0, 1, len(dataset) - 1, -1):
        S, y = dataset[item]
        expected = cache[int(dataset.rows[item])]
        assert torch.equal(S, expected[0]) and y == expected[1]
    with pytest.raises(IndexError):
        dataset[len(dataset)]


def test_items_read_at_once_are_those_read_singly(dataset):
    items = [3, 0, 3, 40]
    for (S, y), item in zip(dataset.__getitems__(items), items, strict=True):
        assert S.dtype == torch.float32 and torch.equal(S, dataset[item][0]) and y == dataset[item][1]


def test_dataloader_reads_a_batch_by_one_call(cache, dataset, monkeypatch):
    monkeypatch.setattr(type(dataset), "__getitem__", None)
    batches = list(DataLoader(dataset, batch_size=16))
    assert [tuple(S.shape) for S, _ in batches] == [(n, *cache.row_shape) for n in (16, 16, 15)]
    assert torch.cat([y for _, y in batches]).tolist() == cache.labels[dataset.rows].tolist()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_dataloader_workers_read_what_this_process_read_before(cache, dataset, context):
    expected = cache.coefficients(dataset.rows).astype(np.float32)
    loader = DataLoader(dataset, batch_size=10, num_workers=2, multiprocessing_context=context, timeout=100)
    found = torch.cat([S for S, _ in loader]).numpy()
    np.testing.assert_array_equal(found, expected)


def test_pickled_dataset_reads_on(dataset):
    expected = dataset[5][0]
    assert torch.equal(pickle.loads(pickle.dumps(dataset))[5][0], expected)


def test_damage_stops_the_training_loop(store):
    flip(store / "all/coefficients/c.1.0.0.0", 50)
    dataset = scatcache.open_cache(store).dataset()
    with pytest.raises(scatcache.StoreDamaged, match="split all, shard 1"):
        list(DataLoader(dataset, batch_size=16))
