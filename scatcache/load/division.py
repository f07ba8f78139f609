"""One split divided in two: a part to train on and one that is held out, class by class."""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def divide(
    images: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], keys: Sequence[str], *, share: float, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(train, held out): places 0 .. n - 1, increasing; share of each class's images, to the nearest, are in the first.

    images, labels, keys: of n rows; rows of one image stay together. Each side gets an image of every class that has
    two. Which ones is by a hash of seed and key: the order of rows and the other classes do not matter.
    Raises ValueError for a share that is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise ValueError(f"share is {share!r}: expected a number between 0 and 1, such as 0.9")
    _, first, image = np.unique(images, return_index=True, return_inverse=True)
    hashes = np.array([_hash(keys[row], seed) for row in first.tolist()], object)
    in_train = np.zeros(len(first), bool)
    of_class = labels[first]
    for label in np.unique(of_class):
        members = np.flatnonzero(of_class == label)
        n_train = int(np.floor(share * len(members) + 0.5))
        if len(members) > 1:
            n_train = min(max(n_train, 1), len(members) - 1)
        in_train[members[np.argsort(hashes[members], kind="stable")][:n_train]] = True
    return np.flatnonzero(in_train[image]), np.flatnonzero(~in_train[image])


def _hash(key: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed} {key}".encode(), digest_size=16, person=b"split").digest()
