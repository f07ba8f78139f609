import json
import threading
import time

import numpy as np
import pytest

import scatcache
from scatcache.load.arguments import find_channels, find_rank
from scatcache.load.loader import SERIAL_VALUES, convert
from scatcache.load.read_ahead import read_ahead
from tests.store.stores import flip, make_partial

torch = pytest.importorskip("torch")


@pytest.fixture(scope="session")
def cache(sound):
    return scatcache.open_cache(sound)


@pytest.fixture(scope="session")
def row_of(cache):
    """row_of(S) is the source rows of a batch, told by their values."""
    known = {cache[row][0].numpy().tobytes(): row for row in cache.readable.tolist()}
    assert len(known) == len(cache.readable)
    return lambda S: [known[image.float().numpy().tobytes()] for image in S]


@pytest.fixture(scope="session")
def rows_of(row_of):
    """rows_of(loader) is the rows of each batch of one iteration."""
    return lambda loader: [row_of(S) for S, _ in loader]


def flatten(batches):
    return [row for batch in batches for row in batch]


def count_threads():
    return sum(thread.name.startswith("scatcache-load") for thread in threading.enumerate())


def test_batches_in_source_order(cache, row_of):
    loader = cache.loader(10)
    batches = list(loader)
    assert len(loader) == len(batches) == 5
    assert [len(S) for S, _ in batches] == [10, 10, 10, 10, 7]
    for S, y in batches:
        assert (S.dtype, y.dtype, S.shape[1:]) == (torch.float32, torch.int64, cache.row_shape)
        assert y.tolist() == cache.labels[row_of(S)].tolist()
    assert flatten(row_of(S) for S, _ in batches) == cache.readable.tolist()


def test_drop_last_drops_the_short_batch_alone(cache, rows_of):
    loader = cache.loader(10, drop_last=True)
    assert len(loader) == 4 and flatten(rows_of(loader)) == cache.readable[:40].tolist()
    assert len(cache.loader(47, drop_last=True)) == 1


def test_shuffle_gives_every_readable_row_once_an_epoch(cache, rows_of):
    loader = cache.loader(10, shuffle=True)
    epochs = [flatten(rows_of(loader)) for _ in range(3)]
    assert all(sorted(epoch) == cache.readable.tolist() for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_equal_seeds_repeat_and_others_do_not(cache, rows_of):
    one, same, other = (cache.loader(10, True, seed=seed) for seed in (5, 5, 6))
    assert rows_of(one) == rows_of(same) and rows_of(one) == rows_of(same)
    assert rows_of(cache.loader(10, True, seed=5)) != rows_of(other)


def test_set_epoch_chooses_the_next_iteration(cache, rows_of):
    loader = cache.loader(10, shuffle=True)
    epochs = [rows_of(loader) for _ in range(3)]
    loader.set_epoch(1)
    assert [rows_of(loader), rows_of(loader)] == epochs[1:]
    with pytest.raises(ValueError, match="epoch is -1"):
        loader.set_epoch(-1)


@pytest.mark.parametrize("world_size", [2, 3, 5])
def test_ranks_share_the_rows_without_overlap(cache, rows_of, world_size):
    def dealt(epoch, shuffle):
        loaders = [cache.loader(4, shuffle, rank=rank, world_size=world_size) for rank in range(world_size)]
        for loader in loaders:
            loader.set_epoch(epoch)
        ranks = [rows_of(loader) for loader in loaders]
        assert [len(batches) for batches in ranks] == [len(loader) for loader in loaders]
        return [flatten(batches) for batches in ranks]

    readable = set(cache.readable.tolist())
    in_order = flatten(dealt(0, False))
    assert sorted(in_order) == sorted(readable)
    dropped = []
    for epoch in range(3):
        ranks = dealt(epoch, True)
        assert {len(rows) for rows in ranks} == {len(readable) // world_size}
        every = flatten(ranks)
        assert len(set(every)) == len(every)
        dropped.append(frozenset(readable - set(every)))
    assert len(set(dropped)) > 1


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"rank": 0}, "give both or neither"),
        ({"world_size": 2}, "give both or neither"),
        ({"rank": 2, "world_size": 2}, "rank is 2"),
        ({"rank": -1, "world_size": 2}, "rank is -1"),
        ({"rank": 0, "world_size": 0}, "rank is 0"),
    ],
)
def test_argument_out_of_range_is_refused(cache, arguments, error):
    with pytest.raises(ValueError, match=error):
        cache.loader(**{"batch_size": 4, **arguments})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"shuffle": True, "rows": range(3), "world_size": 8, "rank": 0},
         "3 rows for 8 ranks: give at most 3 ranks, more rows, or remainder='pad'"),
        ({"shuffle": True, "rows": range(3), "world_size": 8, "rank": 7}, "3 rows for 8 ranks"),
        ({"remainder": "drop", "rows": range(3), "world_size": 8, "rank": 7}, "3 rows for 8 ranks"),
        ({"drop_last": True, "batch_size": 48}, "47 rows for 1 rank are 47 each.*batch_size=48: give a smaller"),
        ({"drop_last": True, "batch_size": 25, "world_size": 2, "rank": 1}, "47 rows for 2 ranks are 24 each"),
        ({"drop_last": True, "batch_size": 24, "world_size": 2, "rank": 0, "shuffle": True}, "are 23 each"),
        ({"rows": []}, "of 0 rows none is readable: give other rows="),
        ({"rows": "unreadable"}, "of 3 rows none is readable: give other rows="),
        ({"rows": np.zeros(50, bool), "shuffle": True, "world_size": 2, "rank": 0, "remainder": "pad"}, "of 0 rows"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("is_preloaded", [False, True])
def test_epoch_without_a_batch_on_any_rank_is_refused(cache, arguments, words, is_preloaded):
    if str(arguments.get("rows")) == "unreadable":
        arguments = {**arguments, "rows": np.setdiff1d(np.arange(len(cache)), cache.readable)}
    loader = (cache.preload() if is_preloaded else cache).loader(**{"batch_size": 4, **arguments})
    assert len(loader) == 0
    for _ in range(2):
        with pytest.raises(ValueError, match=f"^an epoch would have no batch: .*{words}"):
            iter(loader)


def test_rank_that_alone_has_no_batch_is_warned_and_has_none(cache, caplog):
    loaders = [cache.loader(4, rows=range(3), rank=rank, world_size=5) for rank in range(5)]
    assert [len(list(loader)) for loader in loaders] == [1, 1, 1, 0, 0]
    assert [record.message for record in caplog.records] == [
        f"rank {rank} of 5 gets no batch of 3 rows: remainder='pad' gives every rank equally many" for rank in (3, 4)
    ]


@pytest.mark.parametrize("shuffle", [False, True])
def test_remainder_is_dropped_padded_or_kept(cache, rows_of, shuffle):
    def deal(remainder, n, world_size=4):
        loaders = [cache.loader(2, shuffle, rows=cache.readable[:n], remainder=remainder, rank=rank,
                                world_size=world_size) for rank in range(world_size)]  # fmt: skip
        ranks = [flatten(rows_of(loader)) for loader in loaders]
        assert [-(-len(rows) // 2) for rows in ranks] == [len(loader) for loader in loaders]
        return [len(rows) for rows in ranks], flatten(ranks)

    readable = cache.readable.tolist()
    lengths, rows = deal("drop", 11)
    assert lengths == [2] * 4 and len(set(rows)) == 8 and set(rows) <= set(readable[:11])
    lengths, rows = deal("pad", 11)
    assert lengths == [3] * 4 and set(rows) == set(readable[:11])
    lengths, rows = deal("keep", 11)
    assert lengths == [3, 3, 3, 2] and sorted(rows) == readable[:11]
    assert deal("pad", 1) == ([1] * 4, readable[:1] * 4)
    with pytest.raises(ValueError, match="remainder is 'even': expected one of drop, pad, keep"):
        cache.loader(4, remainder="even")


@pytest.mark.parametrize("integer", [np.int64, np.int32, np.uint8, torch.tensor])
def test_state_of_numpy_integers_is_plain(cache, tmp_path, integer):
    def make(integer):
        return cache.loader(
            integer(10), True, seed=integer(3), rank=integer(1), world_size=integer(2), views=integer(0), rows=rows
        )

    rows = np.arange(40, dtype=np.uint8)
    loader, plain = make(integer), make(int)
    loader.set_epoch(integer(2))
    plain.set_epoch(2)
    next(iter(loader))
    next(iter(plain))
    state = loader.state_dict()
    assert json.loads(json.dumps(state)) == state == plain.state_dict()
    torch.save(state, tmp_path / "state.pt")
    fresh = make(integer)
    fresh.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert fresh.state_dict() == state


@pytest.mark.parametrize("name", ["batch_size", "seed", "rank", "world_size", "views"])
@pytest.mark.parametrize("value", [True, np.True_, 1.0, "1", np.float64(1), [1]], ids=repr)
def test_what_is_no_whole_number_is_refused(cache, name, value):
    arguments = {"batch_size": 4, **({"rank": 0, "world_size": 1} if name in ("rank", "world_size") else {})}
    with pytest.raises(ValueError, match=f"{name} is "):
        cache.loader(**{**arguments, name: value})
    with pytest.raises(ValueError, match="epoch is"):
        cache.loader(4).set_epoch(value)


def test_rank_is_that_of_torch_distributed(monkeypatch):
    assert find_rank(None, None) == (0, 1)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 3)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 8)
    assert find_rank(None, None) == (3, 8)
    assert find_rank(0, 1) == (0, 1)


@pytest.mark.parametrize("channels", [[4, 0, 4], [-1], slice(3), slice(None, None, -20), range(2), (7,)], ids=str)
def test_chosen_channels_come_in_their_order(cache, channels):
    (whole, _), (S, _) = next(iter(cache.loader(5))), next(iter(cache.loader(5, channels=channels)))
    index = channels if isinstance(channels, slice) else list(channels)
    np.testing.assert_array_equal(S.numpy(), whole.numpy()[:, index])


def test_channels_may_be_a_mask():
    assert find_channels(np.array([True, False, True]), 3).tolist() == [0, 2]


@pytest.mark.parametrize("channels", [[75], [-76], [0.5], [True, False], 3, [[0]], ["a"], [None]], ids=str)
def test_channels_that_are_none_are_refused(cache, channels):
    with pytest.raises(IndexError, match="channels are"):
        cache.loader(5, channels=channels)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_batch_has_the_dtype_asked_for(cache, dtype):
    (S, _), (expected, _) = next(iter(cache.loader(5, dtype=dtype))), next(iter(cache.loader(5)))
    assert S.dtype == dtype and torch.equal(S, expected.to(dtype))


def test_rows_chosen_come_in_their_order_and_readable(cache, rows_of):
    chosen = [30, 2, 11, *range(40, 45)]
    readable = set(cache.readable.tolist())
    assert flatten(rows_of(cache.loader(4, rows=chosen))) == [row for row in chosen if row in readable]
    shuffled = flatten(rows_of(cache.loader(4, True, rows=chosen)))
    assert sorted(shuffled) == sorted(set(chosen) & readable)
    with pytest.raises(IndexError, match="out of range"):
        cache.loader(4, rows=[50])


def draw(S, *, spec, generator):
    return torch.rand(len(S), generator=generator)


def test_augment_gets_the_converted_batch_the_spec_and_a_generator(cache):
    seen = []

    def augment(S, *, spec, generator):
        seen.append((S.dtype, S.shape[1:], spec, generator.device))
        return S * 2

    (S, _), (plain, _) = next(iter(cache.loader(5, augment=augment))), next(iter(cache.loader(5)))
    assert seen[0] == (torch.float32, cache.row_shape, cache.spec, torch.device("cpu"))
    assert torch.equal(S, plain * 2)


def test_augment_draws_depend_on_seed_epoch_rank_and_step_alone(cache):
    def draws(epoch=0, **arguments):
        loader = cache.loader(5, augment=draw, **arguments)
        loader.set_epoch(epoch)
        return [tuple(S.tolist()) for S, _ in loader]

    torch.manual_seed(0)
    first = draws()
    torch.manual_seed(1)
    assert draws() == first and len(set(first)) == len(first)
    ranks = [draws(rank=rank, world_size=2)[0] for rank in (0, 1)]
    assert len({first[0], draws(seed=1)[0], draws(epoch=1)[0], ranks[1]}) == 4


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("n_steps", [0, 1, 3, 5, 6, 13])
def test_fresh_loader_goes_on_where_another_stopped(cache, shuffle, n_steps):
    def make():
        return cache.loader(10, shuffle, seed=4, augment=lambda S, *, spec, generator: S + draw_one(generator))

    def draw_one(generator):
        return torch.rand(1, generator=generator)

    def steps(loader):
        while True:
            yield from loader

    straight = steps(make())
    expected = [next(straight)[0] for _ in range(n_steps + 8)]
    stopped = make()
    walked = steps(stopped)
    for _ in range(n_steps):
        next(walked)
    state = json.loads(json.dumps(stopped.state_dict()))
    fresh = make()
    fresh.load_state_dict(state)
    assert fresh.state_dict() == state
    resumed = steps(fresh)
    for S in expected[n_steps:]:
        assert torch.equal(next(resumed)[0], S)


def test_state_at_an_epochs_end_is_the_next_ones_start(cache):
    loader = cache.loader(10)
    for _ in loader:
        pass
    state = loader.state_dict()
    assert (state["epoch"], state["step"]) == (1, 0)


@pytest.mark.parametrize(
    "other",
    [
        {"batch_size": 5},
        {"seed": 1},
        {"shuffle": True},
        {"drop_last": True},
        {"rank": 0, "world_size": 2},
        {"rows": range(40)},
    ],
    ids=str,
)
def test_state_of_a_loader_that_deals_otherwise_is_refused(cache, other):
    state = cache.loader(10).state_dict()
    name = next(iter(other)) if "rank" not in other else "world_size"
    with pytest.raises(ValueError, match=f"the state was made with {name}=.*make the loader as before"):
        cache.loader(**{"batch_size": 10, **other}).load_state_dict(state)


def test_state_of_another_store_is_refused(cache, splits):
    other = scatcache.open_cache(splits, "train").loader(10)
    with pytest.raises(ValueError, match="the state was made with rows="):
        cache.loader(10).load_state_dict(other.state_dict())


def test_damaged_shard_stops_the_training_loop(store):
    flip(store / "all/coefficients/c.1.0.0.0", 50)
    loader = scatcache.open_cache(store).loader(4)
    with pytest.raises(scatcache.StoreDamaged, match="split all, shard 1"):
        for _ in loader:
            pass
    assert count_threads() == 0


def test_unfinished_split_gives_what_is_there(store):
    make_partial(store)
    cache = scatcache.open_cache(store, allow_partial=True)
    assert sum(len(y) for _, y in cache.loader(4)) == len(cache.readable)


@pytest.mark.parametrize("how", ["break", "raise", "forget"])
def test_loop_left_early_leaks_no_thread(cache, how):
    loader = cache.loader(2)
    for _ in range(10):
        if how == "forget":
            next(iter(loader))
            continue
        try:
            for _ in loader:
                if how == "break":
                    break
                raise KeyError
        except KeyError:
            pass
    assert count_threads() == 0


def test_loop_left_early_waits_for_the_read_under_way_alone():
    started, go_on = [], threading.Event()

    def read(batch):
        started.append(batch)
        if batch:
            go_on.wait(60)
        return batch

    batches = read_ahead(read, range(100))
    assert next(batches) == 0
    while started != [0, 1]:
        time.sleep(0.001)
    threading.Timer(0.2, go_on.set).start()
    batches.close()
    assert started == [0, 1] and count_threads() == 0


def test_loader_left_early_gives_the_next_epoch(cache, rows_of):
    straight, loader = cache.loader(10, True), cache.loader(10, True)
    rows_of(straight)
    for _ in loader:
        break
    assert rows_of(loader) == rows_of(straight)


def test_two_iterations_at_once_are_two_epochs(cache, row_of, rows_of):
    straight, loader = cache.loader(10, True), cache.loader(10, True)
    expected = [rows_of(straight), rows_of(straight)]
    pairs = [(row_of(one), row_of(other)) for (one, _), (other, _) in zip(loader, loader, strict=True)]
    assert [list(epoch) for epoch in zip(*pairs, strict=True)] == expected


def test_state_is_that_of_the_latest_iteration(cache):
    loader = cache.loader(10)
    older, latest = iter(loader), iter(loader)
    next(older)
    for _ in range(3):
        next(latest)
    next(older)
    state = loader.state_dict()
    assert (state["epoch"], state["step"]) == (1, 3)


def test_labels_given_stand_in_for_the_caches(cache):
    labels = np.random.default_rng(0).permutation(cache.labels).astype(np.uint8)
    batches = list(cache.loader(10, labels=labels.tolist()))
    assert all(y.dtype == torch.int64 for _, y in batches)
    assert torch.cat([y for _, y in batches]).tolist() == labels[cache.readable].tolist()
    assert next(iter(cache.loader(10)))[1].tolist() == cache.labels[:10].tolist()


@pytest.mark.parametrize("labels", [[0] * 49, [[0] * 50], [0.5] * 50, [True] * 50, ["a"] * 50, []], ids=str)
def test_labels_of_another_shape_or_kind_are_refused(cache, labels):
    with pytest.raises(ValueError, match=r"expected integers of shape \(50,\)"):
        cache.loader(10, labels=labels)


@pytest.mark.parametrize("n_values", [0, 1, SERIAL_VALUES - 1, SERIAL_VALUES, SERIAL_VALUES + 1, 3 * SERIAL_VALUES + 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_conversion_is_torchs_own(n_values, dtype):
    values = torch.randn(n_values, 1, generator=torch.Generator().manual_seed(0)).half()
    assert convert(values, dtype).dtype == dtype and torch.equal(convert(values, dtype), values.to(dtype))
