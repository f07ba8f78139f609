"""Targets on their way to training: each row's own, whatever is chosen, shuffled, dealt or kept in memory."""

import pickle
from dataclasses import dataclass

import numpy as np
import pytest

import scatcache
from scatcache.load.arguments import LoaderOptions
from tests.store.stores import SETTINGS, Measured

torch = pytest.importorskip("torch")

N_VIEWS = 3


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """20 images in 3 views each; those of image 3 are unreadable."""
    out = tmp_path_factory.mktemp("targets") / "views.zarr"
    scatcache.extract(Measured(), out=out, workers=1, **{**SETTINGS, "shard_images": 6}, views=N_VIEWS)
    return scatcache.open_cache(out, "train")


@pytest.fixture(scope="module")
def without(cache):
    return scatcache.open_cache(cache._records.store.name, "test")


@pytest.fixture(scope="module")
def row_of(cache):
    known = {cache[row][0].numpy().tobytes(): row for row in cache.readable.tolist()}
    assert len(known) == len(cache.readable)
    return lambda S: [known[image.numpy().tobytes()] for image in S]


def same(targets, expected):
    """Bit for bit, for NaN equals nothing."""
    return torch.as_tensor(targets).numpy().tobytes() == np.ascontiguousarray(expected).tobytes()


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"shuffle": True, "seed": 3},
        {"shuffle": True, "views": "all", "drop_last": True},
        {"views": "one"},
        {"views": 2},
        {"rows": [30, 2, 13, 2, -1, 9], "shuffle": True},
        {"shuffle": True, "rank": 1, "world_size": 3},
        {"shuffle": True, "rank": 2, "world_size": 3, "remainder": "pad"},
        {"rank": 6, "world_size": 7, "remainder": "pad", "views": 0},
    ],
    ids=str,
)
@pytest.mark.parametrize("preloaded", [False, True])
def test_each_row_comes_with_its_own_targets(cache, row_of, arguments, preloaded):
    rows = cache.preload() if preloaded else cache
    with_targets, plain = rows.loader(4, targets=True, **arguments), rows.loader(4, **arguments)
    for _ in range(2):
        for (S, y, t), (T, z) in zip(with_targets, plain, strict=True):
            assert torch.equal(S, T) and torch.equal(y, z)
            assert (t.dtype, t.shape) == (torch.float32, (len(S), 3)) and same(t, cache.targets[row_of(S)])


def test_folds_and_small_samples_are_given_by_rows(cache, row_of):
    fold = np.flatnonzero(cache.image_index % 4 == 1)
    (S, _, t), *rest = cache.loader(100, rows=fold, targets=True)
    assert not rest and same(t, cache.targets[fold]) and row_of(S) == fold.tolist()


@pytest.mark.parametrize(
    "choice", [{"rows": [8, 3, 41, 9]}, {"channels": [4, 0]}, {"rows": range(30), "channels": [1]}]
)
def test_what_is_preloaded_of_a_cache_keeps_the_targets(cache, choice):
    kept = cache.preload(**choice)
    assert same(kept.targets, cache.targets)
    for (S, y, t), (T, z, u) in zip(
        kept.loader(5, targets=True, views="all"), cache.loader(5, targets=True, views="all", **choice), strict=True
    ):
        assert torch.equal(S, T) and torch.equal(y, z) and same(t, u.numpy())


def test_dtype_labels_and_augmentation_leave_targets_alone(cache):
    loader = cache.loader(
        60, targets=True, dtype=torch.float16, labels=range(60), augment=scatcache.RandomFlip(), rows=range(8)
    )
    ((S, y, t),) = loader
    assert (S.dtype, y.tolist(), t.dtype) == (torch.float16, list(range(8)), torch.float32)
    assert same(t, cache.targets[:8])


def test_an_epoch_goes_on_with_or_without_targets(cache):
    """What is delivered beside S is no part of where an epoch is."""
    straight = [t for _, _, t in cache.loader(8, True, targets=True)]
    loader = cache.loader(8, True)
    for _, _ in zip(range(2), loader, strict=False):
        state = loader.state_dict()
    assert state == {**state, "step": 2} and "targets" not in state
    resumed = cache.loader(8, True, targets=True)
    resumed.load_state_dict(state)
    for (_, _, t), expected in zip(resumed, straight[2:], strict=True):
        assert same(t, expected.numpy())


def test_batches_without_targets_are_those_of_before_there_were_any(cache, without):
    assert {len(batch) for rows in (cache, without) for batch in rows.loader(16)} == {2}


def test_targets_that_there_are_none_of_are_refused(without):
    assert without.targets is None
    for call in (without.loader, without.preload().loader):
        with pytest.raises(ValueError, match="no targets are stored with these rows: leave targets out, or extract"):
            call(4, targets=True)
    with pytest.raises(ValueError, match="no targets are stored"):
        without.dataset(targets=True)


@pytest.mark.parametrize("targets", [np.zeros((60, 3), np.float32), [1.0], 1, None, "target"])
def test_targets_are_asked_for_and_not_given(cache, targets):
    with pytest.raises(ValueError, match="expected True, for the targets that are stored with the rows, or False"):
        cache.loader(4, targets=targets)


def test_a_dataset_has_items_with_targets(cache):
    plain, dataset = cache.dataset(), cache.dataset(targets=True)
    for item in (0, 7, len(dataset) - 1):
        S, y, t = pickle.loads(pickle.dumps(dataset))[item]
        assert torch.equal(S, plain[item][0]) and y == plain[item][1]
        assert same(t, cache.targets[dataset.rows[item]])
    batches = torch.utils.data.DataLoader(dataset, batch_size=16)
    assert same(torch.cat([t for _, _, t in batches]), cache.targets[cache.readable])
    assert len(plain[0]) == 2


@dataclass(frozen=True)
class Own:
    """Rows of one's own: a row is its number. targets: may be left out, as of any Rows."""

    labels: np.ndarray
    targets: np.ndarray | None = None
    spec = scatcache.ScatteringSpec(J=1, max_order=0)
    in_memory = True

    @property
    def image_index(self):
        return np.arange(len(self.labels))

    @property
    def views(self):
        return np.zeros(len(self.labels), int)

    def choose(self, rows, channels):
        return self.image_index if rows is None else rows

    def fetch(self, rows, channels):
        return torch.from_numpy(rows)[:, None, None, None]


def test_rows_of_ones_own_may_have_targets():
    labels, targets = np.arange(6), np.arange(12, dtype=np.float32).reshape(6, 2)
    batches = list(scatcache.CacheLoader(Own(labels, targets), LoaderOptions(4, True, targets=True)))
    assert all(t.tolist() == targets[y].tolist() for _, y, t in batches)
    with pytest.raises(ValueError, match="no targets are stored"):
        scatcache.CacheLoader(Own(labels), LoaderOptions(4, targets=True))
    for wrong in (targets[:5], targets[:, 0], targets.astype(np.float64)):
        with pytest.raises(ValueError, match=r"targets are float.*expected float32 of shape \(6, k\)"):
            scatcache.CacheLoader(Own(labels, wrong), LoaderOptions(4, targets=True))


@pytest.mark.gpu
@pytest.mark.parametrize("kept", ["cpu", "cuda", None])
def test_targets_arrive_on_the_device(cache, kept):
    rows = cache if kept is None else cache.preload(kept)
    for (S, y, t), (T, z, u) in zip(
        rows.loader(8, True, targets=True, device="cuda"), cache.loader(8, True, targets=True), strict=True
    ):
        assert S.device.type == y.device.type == t.device.type == "cuda"
        assert torch.equal(S.cpu(), T) and torch.equal(y.cpu(), z) and same(t.cpu(), u.numpy())
