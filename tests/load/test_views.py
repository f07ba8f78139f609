import json

import numpy as np
import pytest

import scatcache
from tests.load.conftest import N_VIEWS

torch = pytest.importorskip("torch")

# Rows 6, 35 and 39 are unreadable.
N_OK, N_IMAGES = 47, 10


@pytest.fixture(scope="session")
def cache(viewed):
    return scatcache.open_cache(viewed)


@pytest.fixture(scope="session")
def rows_of(cache):
    """rows_of(loader) is the rows of one iteration, told by their values."""
    known = {cache[row][0].numpy().tobytes(): row for row in cache.readable.tolist()}
    return lambda loader: [known[image.numpy().tobytes()] for S, _ in loader for image in S]


def epochs_of(rows_of, loader, n):
    return [rows_of(loader) for _ in range(n)]


def images_of(rows):
    return [row // N_VIEWS for row in rows]


def test_cache_tells_views_and_images(cache, sound):
    assert cache.views.dtype == np.uint16 and cache.views.tolist() == list(range(N_VIEWS)) * N_IMAGES
    assert cache.n_views == N_VIEWS and len(cache.readable) == N_OK
    assert cache.image_index.tolist() == images_of(range(len(cache)))
    plain = scatcache.open_cache(sound)
    assert (plain.n_views, plain.views.tolist()) == (1, [0] * 50) and plain.image_index.tolist() == list(range(50))


def test_default_is_every_row_in_source_order_and_one_a_shuffled_image(cache, rows_of):
    loader = cache.loader(10)
    assert (loader.views, len(loader)) == ("all", 5) and rows_of(loader) == cache.readable.tolist()
    loader = cache.loader(4, shuffle=True)
    assert (loader.views, len(loader)) == ("one", 3)
    assert sorted(images_of(rows_of(loader))) == list(range(N_IMAGES))


def test_one_draws_every_readable_view_about_equally_often(cache, rows_of):
    n_epochs = 400
    drawn = np.bincount(np.ravel(epochs_of(rows_of, cache.loader(50, views="one"), n_epochs)), minlength=50)
    assert (drawn[[6, 35, 39]] == 0).all()
    per_image = np.bincount(cache.image_index[cache.readable])
    share = 1 / per_image[cache.image_index[cache.readable]]
    # Five standard deviations.
    assert (np.abs(drawn[cache.readable] - n_epochs * share) < 5 * np.sqrt(n_epochs * share * (1 - share))).all()


def test_one_without_shuffle_keeps_the_order_of_the_images(cache, rows_of):
    epochs = epochs_of(rows_of, cache.loader(4, views="one"), 3)
    assert all(images_of(rows) == list(range(N_IMAGES)) for rows in epochs) and len(set(map(tuple, epochs))) == 3
    chosen = [26, 3, 29, 4, 27, 3]
    assert set(map(tuple, map(images_of, epochs_of(rows_of, cache.loader(4, views="one", rows=chosen), 9)))) == {(5, 0)}


def test_one_draws_among_the_rows_chosen(cache, rows_of):
    loader = cache.loader(4, shuffle=True, rows=[26, 3, 29, 6])
    epochs = epochs_of(rows_of, loader, 40)
    assert len(loader) == 1 and {row for rows in epochs for row in rows} == {26, 29, 3}
    assert all(sorted(images_of(rows)) == [0, 5] for rows in epochs)


def test_draws_depend_on_seed_and_epoch_alone(cache, rows_of):
    def drawn(epoch=0, **arguments):
        loader = cache.loader(3, shuffle=True, **arguments)
        loader.set_epoch(epoch)
        return set(rows_of(loader))

    assert drawn() == drawn() and len({frozenset(drawn()), frozenset(drawn(1)), frozenset(drawn(seed=1))}) == 3
    for world_size in (2, 5):
        assert set().union(*(drawn(rank=rank, world_size=world_size) for rank in range(world_size))) == drawn()


@pytest.mark.parametrize("shuffle", [False, True])
def test_ranks_share_images(cache, rows_of, shuffle):
    loaders = [cache.loader(2, shuffle, views="one", rank=rank, world_size=3) for rank in range(3)]
    dealt = [images_of(rows_of(loader)) for loader in loaders]
    assert [len(loader) for loader in loaders] == [2, 2, 2]
    every = sorted(image for images in dealt for image in images)
    assert every == sorted(set(every)) and len(every) == (9 if shuffle else 10)


def test_all_shuffled_gives_every_row(cache, rows_of):
    loader = cache.loader(10, shuffle=True, views="all")
    rows = rows_of(loader)
    assert len(loader) == 5 and rows != sorted(rows) and sorted(rows) == cache.readable.tolist()


@pytest.mark.parametrize("view", [0, np.uint16(3)], ids=str)
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_number_is_that_view_alone(cache, rows_of, shuffle, view):
    rows = rows_of(cache.loader(4, shuffle, views=view))
    assert sorted(rows) == [row for row in cache.readable.tolist() if row % N_VIEWS == view]
    assert (rows == sorted(rows)) != shuffle


@pytest.mark.parametrize("views", [5, -1, "two", True, 0.5], ids=str)
def test_views_that_are_none_are_refused(cache, views):
    with pytest.raises(ValueError, match=r"expected 'one', 'all' or the number of a view, here 0 to 4"):
        cache.loader(4, views=views)


def test_labels_are_those_of_the_rows_drawn(cache):
    for S, y in cache.loader(4, shuffle=True, labels=np.arange(len(cache))):
        assert torch.equal(S, torch.from_numpy(cache.coefficients(y.numpy())).float())


@pytest.mark.parametrize("views", ["one", "all", 2])
@pytest.mark.parametrize("shuffle", [False, True])
def test_fresh_loader_goes_on_where_another_stopped(cache, rows_of, shuffle, views):
    def make():
        return cache.loader(3, shuffle, seed=4, views=views)

    straight, stopped, fresh = make(), make(), make()
    expected = epochs_of(rows_of, straight, 2)
    walked = iter(stopped)
    seen = rows_of(next(walked) for _ in range(2))
    state = json.loads(json.dumps(stopped.state_dict()))
    fresh.load_state_dict(state)
    assert seen + rows_of(fresh) == expected[0] and rows_of(fresh) == expected[1]


def test_state_of_other_views_is_refused(cache):
    state = cache.loader(10, views="one").state_dict()
    for views in ("all", 0):
        with pytest.raises(ValueError, match="the state was made with views='one', this loader has"):
            cache.loader(10, views=views).load_state_dict(state)


@pytest.mark.parametrize("shuffle", [False, True])
def test_of_plain_images_all_views_are_the_same(sound, shuffle):
    plain = scatcache.open_cache(sound)
    loaders = [plain.loader(10, shuffle, rows=[3, 1, 4, 1, 5], views=views) for views in (None, "one", "all", 0)]
    batches = [list(loader) for loader in loaders]
    assert all(torch.equal(one[0][0], batches[0][0][0]) and len(one[0][0]) == 5 for one in batches)
    assert all(loader.state_dict() == loaders[0].state_dict() for loader in loaders)
    with pytest.raises(ValueError, match=r"the number of a view, here 0$"):
        plain.loader(4, views=1)


def test_shuffle_of_plain_images_is_the_permutation_that_it_always_was(sound):
    plain = scatcache.open_cache(sound)
    loader = plain.loader(50, shuffle=True, seed=5, labels=np.arange(50))
    for epoch, ((_, rows),) in enumerate((list(loader), list(loader))):
        assert rows.tolist() == np.random.default_rng([5, epoch]).permutation(plain.readable).tolist()
