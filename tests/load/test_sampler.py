import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scatcache.load.sampler import count_batches, count_rows, deal_rows, draw_rows, group_rows, seed_step

sizes = st.integers(0, 300)
worlds = st.integers(1, 9)
seeds = st.integers(0, 2**63 - 1)
epochs = st.integers(0, 10**6)


def deal_all(rows, *, world_size, shuffle, seed=0, epoch=0, remainder=None):
    deals, part = [], {"world_size": world_size, "remainder": remainder or ("drop" if shuffle else "keep")}
    for rank in range(world_size):
        dealt = deal_rows(rows, shuffle=shuffle, seed=seed, epoch=epoch, rank=rank, **part)
        assert len(dealt) == count_rows(len(rows), rank=rank, **part)
        deals.append(dealt.tolist())
    return deals


@given(sizes, worlds, seeds, epochs)
def test_shuffled_ranks_get_equally_many_rows_and_none_twice(n, world_size, seed, epoch):
    deals = deal_all(np.arange(n) * 3, world_size=world_size, shuffle=True, seed=seed, epoch=epoch)
    assert {len(dealt) for dealt in deals} == {n // world_size}
    every = [row for dealt in deals for row in dealt]
    assert len(set(every)) == len(every) and set(every) <= set(range(0, 3 * n, 3))


@given(sizes, worlds)
def test_ranks_in_order_get_every_row_once_and_in_order(n, world_size):
    deals = deal_all(np.arange(n) * 3, world_size=world_size, shuffle=False)
    assert sorted(row for dealt in deals for row in dealt) == list(range(0, 3 * n, 3))
    assert all(dealt == sorted(dealt) for dealt in deals)


@given(sizes, worlds, st.booleans(), seeds)
def test_padded_ranks_get_equally_many_rows_and_every_row(n, world_size, shuffle, seed):
    rows = np.arange(n) * 3
    deals = deal_all(rows, world_size=world_size, shuffle=shuffle, seed=seed, remainder="pad")
    assert {len(dealt) for dealt in deals} == {-(-n // world_size)}
    every = [row for dealt in deals for row in dealt]
    assert set(every) == set(rows.tolist()) and len(every) - n < world_size


@given(st.integers(20, 300), seeds, epochs)
def test_shuffle_repeats_with_its_seed_and_epoch_alone(n, seed, epoch):
    rows = np.arange(n)

    def dealt(seed, epoch):
        return deal_all(rows, world_size=1, shuffle=True, seed=seed, epoch=epoch)[0]

    assert dealt(seed, epoch) == dealt(seed, epoch)
    assert dealt(seed, epoch) != dealt(seed, epoch + 1) and dealt(seed, epoch) != dealt(seed + 1, epoch)
    assert rows.tolist() == list(range(n))


def test_dropped_rows_differ_from_epoch_to_epoch():
    rows = np.arange(11)
    dropped = {
        frozenset(rows) - frozenset(itertools.chain(*deal_all(rows, world_size=4, shuffle=True, epoch=epoch)))
        for epoch in range(20)
    }
    assert {len(some) for some in dropped} == {3} and len(dropped) > 10


@given(sizes, st.integers(1, 40), st.booleans())
def test_batches_hold_every_row_or_drop_less_than_one_batch(n, batch_size, drop_last):
    n_batches = count_batches(n, batch_size, drop_last=drop_last)
    rows = range(n)
    cut = [len(rows[step * batch_size : (step + 1) * batch_size]) for step in range(n_batches)]
    assert all(0 < size <= batch_size for size in cut)
    assert 0 <= n - sum(cut) < batch_size if drop_last else sum(cut) == n
    assert not drop_last or set(cut) <= {batch_size}


@given(seeds, epochs, worlds, st.integers(0, 10**6))
def test_step_seed_fits_a_generator_and_tells_steps_apart(seed, epoch, rank, step):
    found = seed_step(seed, epoch, rank, step)
    assert 0 <= found < 2**63 and found == seed_step(seed, epoch, rank, step)
    others = [(seed + 1, epoch, rank, step), (seed, epoch + 1, rank, step)]
    others += [(seed, epoch, rank + 1, step), (seed, epoch, rank, step + 1)]
    assert found not in {seed_step(*other) for other in others}


@given(st.lists(st.integers(0, 59), max_size=40), seeds, epochs)
def test_one_row_of_each_image_is_drawn_in_the_order_of_the_images(chosen, seed, epoch):
    rows = np.array(chosen, np.int64)
    grouped, starts = group_rows(rows, rows // 4)
    images = list(dict.fromkeys((rows // 4).tolist()))
    assert sorted(grouped.tolist()) == sorted(chosen) and (grouped[starts] // 4).tolist() == images
    for image in images:
        assert [row for row in grouped.tolist() if row // 4 == image] == [row for row in chosen if row // 4 == image]
    drawn = draw_rows(grouped, starts, seed=seed, epoch=epoch)
    assert (drawn // 4).tolist() == images and set(drawn.tolist()) <= set(chosen)
    assert draw_rows(grouped, starts, seed=seed, epoch=epoch).tolist() == drawn.tolist()


@given(seeds, epochs)
def test_draws_change_with_seed_and_epoch_and_are_not_those_of_the_shuffle(seed, epoch):
    grouped, starts = group_rows(np.arange(400), np.arange(400) // 4)
    pairs = ((seed, epoch), (seed + 1, epoch), (seed, epoch + 1))
    draws = [tuple(draw_rows(grouped, starts, seed=one, epoch=other)) for one, other in pairs]
    shuffling = np.random.default_rng([seed, epoch]).integers(np.full(100, 4))
    assert len(set(draws)) == 3 and (np.array(draws[0]) % 4 != shuffling).any()
