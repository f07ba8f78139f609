"""Which rows make up each batch of an epoch: pure arithmetic on (seed, epoch, rank), the same on every machine."""

import numpy as np
import numpy.typing as npt


def deal_rows(
    rows: npt.NDArray[np.int64], *, shuffle: bool, seed: int, epoch: int, rank: int, world_size: int
) -> npt.NDArray[np.int64]:
    """The rows of one rank in one epoch, in order; no row goes to two ranks.

    Shuffled, each rank gets floor(n / world_size) rows, the remainder being others each epoch, so that all ranks take
    the same number of steps. In source order every row goes to one rank, rank, rank + world_size, ...
    """
    if shuffle:
        rows = np.random.default_rng([seed, epoch]).permutation(rows)
        rows = rows[: len(rows) - len(rows) % world_size]
    return rows[rank::world_size]


def count_batches(n_rows: int, batch_size: int, *, drop_last: bool) -> int:
    """Batches that n_rows rows make; the last may be short unless drop_last."""
    return n_rows // batch_size if drop_last else -(-n_rows // batch_size)


def count_rows(n_rows: int, *, shuffle: bool, rank: int, world_size: int) -> int:
    """len(deal_rows(...)) without dealing."""
    return n_rows // world_size if shuffle else len(range(rank, n_rows, world_size))


def seed_step(seed: int, epoch: int, rank: int, step: int) -> int:
    """Seed, 0 .. 2^63 - 1, of one step's augmentation: a resumed epoch draws what the straight one drew."""
    words = np.random.SeedSequence([seed, epoch, rank, step]).generate_state(2, np.uint32)
    return (int(words[0]) << 32 | int(words[1])) & (2**63 - 1)
