"""Which rows make up each batch of an epoch: pure arithmetic on (seed, epoch, rank), the same on every machine."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def deal_rows(
    rows: npt.NDArray[np.int64], *, shuffle: bool, seed: int, epoch: int, rank: int, world_size: int, remainder: str
) -> npt.NDArray[np.int64]:
    """The rows of one rank in one epoch: each world_size-th from rank on, permuted before if shuffle.

    remainder: what becomes of the n % world_size rows that are left over, others each epoch if shuffle: "drop" and
    "pad", with rows that were dealt already, give every rank equally many, so that all take the same number of steps;
    "keep" gives one more to the first ranks.
    """
    if shuffle:
        rows = np.random.default_rng([seed, epoch]).permutation(rows)
    if remainder == "drop":
        rows = rows[: len(rows) - len(rows) % world_size]
    elif remainder == "pad" and len(rows):
        rows = np.resize(rows, -(-len(rows) // world_size) * world_size)
    return rows[rank::world_size]


def number_images(keys: Sequence[str]) -> npt.NDArray[np.int64]:
    """(n,) int64: of which image each row is a view, where those of one image have one key and stand side by side."""
    names = np.array(keys, object)
    return np.cumsum(np.append(0, names[1:] != names[:-1]))


def group_rows(
    rows: npt.NDArray[np.int64], images: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(rows with those of one image side by side, where each image begins): int64 (n,) and (n_images,).

    images: of which image each row is. Images stay in the order of their first rows, rows of one in theirs.
    """
    _, first, image = np.unique(images, return_index=True, return_inverse=True)
    order = np.argsort(first[image], kind="stable")
    return rows[order], np.flatnonzero(np.diff(images[order], prepend=-1))


def draw_rows(
    rows: npt.NDArray[np.int64], starts: npt.NDArray[np.int64], *, seed: int, epoch: int
) -> npt.NDArray[np.int64]:
    """One row of each image, all its rows equally likely; rows and starts as group_rows gives them.

    Chance comes from (seed, epoch) alone, in a stream of its own, so that every rank draws the same.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, epoch], spawn_key=(0,)))
    return rows[starts + rng.integers(np.diff(starts, append=len(rows)))]


def count_batches(n_rows: int, batch_size: int, *, drop_last: bool) -> int:
    """Batches that n_rows rows make; the last may be short unless drop_last."""
    return n_rows // batch_size if drop_last else -(-n_rows // batch_size)


def count_rows(n_rows: int, *, rank: int, world_size: int, remainder: str) -> int:
    """len(deal_rows(...)) without dealing."""
    rounded = {"drop": n_rows - n_rows % world_size, "pad": n_rows + -n_rows % world_size, "keep": n_rows}
    return len(range(rank, rounded[remainder], world_size))


def seed_step(seed: int, epoch: int, rank: int, step: int) -> int:
    """Seed, 0 .. 2^63 - 1, of one step's augmentation: a resumed epoch draws what the straight one drew."""
    words = np.random.SeedSequence([seed, epoch, rank, step]).generate_state(2, np.uint32)
    return (int(words[0]) << 32 | int(words[1])) & (2**63 - 1)
