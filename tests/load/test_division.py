import numpy as np
import pytest

import scatcache
from scatcache.load.division import divide


def names(n):
    return [f"{i:04d}" for i in range(n)]


def test_each_class_is_divided_by_the_share():
    labels = np.repeat([0, 1, 2, -1], [100, 31, 10, 7])
    train, held_out = divide(np.arange(148), labels, names(148), share=0.9, seed=0)
    assert sorted([*train, *held_out]) == list(range(148)) and (np.diff(train) > 0).all()
    assert [int((labels[train] == label).sum()) for label in (0, 1, 2, -1)] == [90, 28, 9, 6]


def test_a_class_of_two_is_on_both_sides_and_one_of_one_on_one():
    for share in (0.01, 0.5, 0.99):
        train, held_out = divide(np.arange(3), np.array([5, 5, 6]), names(3), share=share, seed=0)
        assert 5 in np.array([5, 5, 6])[train] and 5 in np.array([5, 5, 6])[held_out]
        assert (2 in train) == (share >= 0.5)


def test_seed_and_keys_alone_decide():
    keys, labels = names(40), np.arange(40) % 4
    train, _ = divide(np.arange(40), labels, keys, share=0.5, seed=3)
    order = np.random.default_rng(0).permutation(40)
    other, _ = divide(np.arange(40), labels[order], [keys[i] for i in order], share=0.5, seed=3)
    assert sorted(order[other]) == train.tolist()
    assert divide(np.arange(40), labels, keys, share=0.5, seed=4)[0].tolist() != train.tolist()
    # Other classes that come and go move none of this class.
    mine = np.flatnonzero(labels == 2)
    alone, _ = divide(np.arange(10), labels[mine], [keys[i] for i in mine], share=0.5, seed=3)
    assert mine[alone].tolist() == [i for i in train if labels[i] == 2]


def test_views_of_an_image_stay_together(viewed):
    cache = scatcache.open_cache(viewed)
    train, held_out = cache.split(0.7, seed=1)
    assert sorted([*train, *held_out]) == cache.readable.tolist()
    assert not set(cache.image_index[train]) & set(cache.image_index[held_out])


def test_a_cache_is_divided_by_its_labels_or_others(sound):
    cache = scatcache.open_cache(sound)
    train, held_out = cache.split(0.9)
    assert train.dtype == held_out.dtype == np.int64
    assert set(cache.labels[held_out]) == {0, 1, 2} and len(train) == 42 and len(held_out) == 5
    batches = list(cache.loader(8, rows=train, shuffle=True))
    assert sum(len(y) for _, y in batches) == len(train)
    one_class, _ = cache.split(0.5, labels=np.zeros(50, int))
    assert len(one_class) == 24


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(sound, share):
    with pytest.raises(ValueError, match="expected a number between 0 and 1"):
        scatcache.open_cache(sound).split(share)
