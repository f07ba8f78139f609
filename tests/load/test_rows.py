"""A loader asks for Rows and for nothing else, so that anybody's rows can be trained from."""

import inspect
from dataclasses import dataclass, fields

import numpy as np
import pytest

import scatcache
from scatcache.load.arguments import LoaderOptions

torch = pytest.importorskip("torch")


@dataclass(frozen=True)
class Numbers:
    """A row in each view is (3, 1, 1) of its own number."""

    labels: np.ndarray
    image_index: np.ndarray
    views: np.ndarray
    spec = scatcache.ScatteringSpec(J=1, max_order=0)
    in_memory: bool = False

    def choose(self, rows, channels):
        rows = np.arange(len(self.labels)) if rows is None else rows
        return rows[rows != 4]

    def fetch(self, rows, channels):
        n_channels = 3 if channels is None else len(channels)
        return torch.from_numpy(rows).to(torch.uint8)[:, None, None, None].expand(-1, n_channels, -1, -1)


@pytest.fixture(params=[False, True], ids=["ahead", "in_memory"])
def numbers(request):
    return Numbers(np.arange(8) * 10, np.arange(8) // 2, np.arange(8) % 2, in_memory=request.param)


def take(loader):
    batches = list(loader)
    assert all(S.dtype == torch.float32 and S[:, 0, 0, 0].tolist() == (y // 10).tolist() for S, y in batches)
    return torch.cat([y for _, y in batches]).tolist()


def test_rows_of_ones_own_are_delivered(numbers):
    assert take(scatcache.CacheLoader(numbers, LoaderOptions(3))) == [0, 10, 20, 30, 50, 60, 70]
    assert take(scatcache.CacheLoader(numbers, LoaderOptions(3, rows=[6, 4, -7]))) == [60, 10]
    assert take(scatcache.CacheLoader(numbers, LoaderOptions(3, views=1))) == [10, 30, 50, 70]
    shuffled = take(scatcache.CacheLoader(numbers, LoaderOptions(3, True, seed=1)))
    assert sorted(y // 20 for y in shuffled) == [0, 1, 2, 3]
    (S, _), *_ = scatcache.CacheLoader(numbers, LoaderOptions(3, channels=[0]))
    assert S.shape == (3, 1, 1, 1)


def test_cache_is_rows(sound):
    cache = scatcache.open_cache(sound)
    for rows in (cache, cache.preload()):
        one, other = rows.loader(8, True, seed=2), scatcache.CacheLoader(rows, LoaderOptions(8, True, seed=2))
        assert all(torch.equal(S, T) and torch.equal(y, z) for (S, y), (T, z) in zip(one, other, strict=True))


def test_signature_of_the_loader_is_written_once():
    parameters = list(inspect.signature(scatcache.Cache.loader).parameters)
    assert parameters[1:] == [field.name for field in fields(LoaderOptions)]
    for name in parameters[2:]:
        assert f"{name}:" in LoaderOptions.__doc__ or f"{name}," in LoaderOptions.__doc__, f"{name} is not described"
