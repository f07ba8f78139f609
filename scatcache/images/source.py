"""What a source of images is: two protocols, which anybody may implement, and the records that they hand over.

A source is a name, class names, and splits; a split is a listing and a way to read its images. A complete one, of
pictures in memory, and what it takes to extract it:

    class Pictures:
        def __init__(self, images, labels):
            self.images = images
            self.listing = Listing((f"{i:05d}", label, 0) for i, label in enumerate(labels))

        def read(self, i):
            return self.images[i]

        def locate(self, i):
            return None

    class Pets:
        name, classes, pixels, official, parallel = "pets", ("cat", "dog"), Pixels(), None, "threads"

        def __init__(self, **splits):
            self.splits = {split: Pictures(*pictures) for split, pictures in splits.items()}

    scatcache.extract(Pets(train=(images, labels)), J=2)

`scatcache.testing.check_source(source)` checks an implementation against every promise made here.
"""

import hashlib
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, Protocol, overload

import numpy as np

from scatcache.errors import SourceError
from scatcache.images.keys import is_safe
from scatcache.spec import Pixels

if TYPE_CHECKING:
    from PIL.Image import Image

# Blocks keep the text being hashed near 1 MB, however long the listing is.
ROWS_PER_HASH_BLOCK = 10_000


class Row(NamedTuple):
    """One image of a split.

    key: its name in the split, valid UTF-8 without control characters; label: index into the source's classes, -1
    where there is none; size: bytes of the encoded image, or of the raw record, 0 where there is no such number.
    """

    key: str
    label: int
    size: int


class Location(NamedTuple):
    """Where the bytes of an image lie in a large file, which is best read in its own order. file: any name of it."""

    file: str
    offset: int
    bytes: int


class ListedRows(Sequence[Row]):
    """Rows held as columns: a Row is made when it is asked for, and pickling makes none. labels, sizes: int64 (n,)."""

    __slots__ = ("_ends", "_text", "labels", "sizes")

    def __init__(self, rows: Iterable[tuple[str, int, int]]):
        rows = list(rows)
        keys = [row[0] for row in rows]
        for key, following in pairwise(keys):
            if not key < following:
                raise SourceError(f"key {following!r} stands behind {key!r}: sort the rows by key, and list each once")
        self._text = "".join(keys)
        if not is_safe(self._text):
            wrong = next(key for key in keys if not is_safe(key))
            raise SourceError(f"key {wrong!a} holds what is not printable: expected UTF-8 without control characters")
        self._ends = np.cumsum(np.fromiter(map(len, keys), np.int64, len(keys)))
        self.labels = np.fromiter((operator.index(row[1]) for row in rows), np.int64, len(rows))
        self.sizes = np.fromiter((operator.index(row[2]) for row in rows), np.int64, len(rows))

    @property
    def keys(self) -> list[str]:
        """All keys, made anew with each call."""
        ends = self._ends.tolist()
        return [self._text[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | Sequence[Row]:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(len(self))[index])
        i = range(len(self))[index]
        start = self._ends[i - 1] if i else 0
        return Row(self._text[start : self._ends[i]], int(self.labels[i]), int(self.sizes[i]))

    def __iter__(self) -> Iterator[Row]:
        return map(Row, self.keys, self.labels.tolist(), self.sizes.tolist())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(map(operator.eq, self, other))

    __hash__ = None  # type: ignore[assignment]

    def find(self, key: str) -> int | None:
        """The index of a key, None where there is no such row."""
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self[middle].key < key else (low, middle)
        return low if low < len(self) and self[low].key == key else None


@dataclass(frozen=True, init=False)
class Listing:
    """Every row of one split, sorted by the code points of the keys, which are unique.

    rows: given as ListedRows, or as any (key, label, size); n_ignored: files in the split's folder that are no images
    by name; n_by_machines: files in folders that machines make, by the folder's name; folds: the dataset's own, each
    the indices of its rows, None where it has none.

    Raises SourceError where keys are unsorted, repeated or not printable, TypeError where labels or sizes are no
    integers.
    """

    rows: ListedRows
    n_ignored: int
    n_by_machines: Mapping[str, int]
    folds: tuple[tuple[int, ...], ...] | None

    def __init__(
        self,
        rows: Iterable[tuple[str, int, int]],
        n_ignored: int = 0,
        n_by_machines: Mapping[str, int] | None = None,
        folds: tuple[tuple[int, ...], ...] | None = None,
    ):
        object.__setattr__(self, "rows", rows if isinstance(rows, ListedRows) else ListedRows(rows))
        object.__setattr__(self, "n_ignored", n_ignored)
        object.__setattr__(self, "n_by_machines", n_by_machines or {})
        object.__setattr__(self, "folds", folds)

    @cached_property
    def hash(self) -> str:
        """ "sha256:" and the hex digest over key, label and size of every row; times and folders do not enter."""
        digest = hashlib.sha256()
        rows = list(zip(self.rows.keys, self.rows.labels.tolist(), self.rows.sizes.tolist(), strict=True))
        for start in range(0, len(rows), ROWS_PER_HASH_BLOCK):
            block = rows[start : start + ROWS_PER_HASH_BLOCK]
            # The key's length first, so that no key can pass for the end of one row and the start of the next.
            text = "".join(f"{len(key)} {label} {size} {key}\n" for key, label, size in block)
            digest.update(text.encode())
        return f"sha256:{digest.hexdigest()}"


class Part(Protocol):
    """One split of a source.

    Two more may be there. `shape(i) -> (height, width)` of one image, which a header may give for less than reading;
    `image_shape`, (height, width) where all images are known to share it. By default images are read to see.
    """

    @property
    def listing(self) -> Listing:
        """The rows, the same object each time. Raises SourceError, and OSError as the disk does."""
        ...

    def read(self, i: int) -> "bytes | np.ndarray | Image":
        """The image of listing.rows[i]: an image file's bytes, as many as the row's size says; its pixels as uint8
        (height, width, 3); or a PIL image.

        It gives the same each time, and nobody else changes what it gave. Raises IndexError for an index that the
        listing lacks, UnreadableImage for an image that cannot be read for good, SourceError, OSError as the disk does.
        """
        ...

    def locate(self, i: int) -> Location | None:
        """Where the image's bytes lie in a file that is best read in its order, None where the order is free."""
        ...


class Source(Protocol):
    """A dataset to extract.

    name: letters, digits, "_", "-" and ".", what its stores are called by; classes: what labels index; pixels: 8-bit
    RGB; official: whether the files are those published, None where nobody can say; splits: by name. One called
    "unlabeled" is extracted when it is asked for by name, and not otherwise.

    More may be there. `parallel`: "threads" where several threads may call its parts at once, "processes" where it can
    be pickled for other processes too, by default "none": one call at a time. `options`: what shapes its rows and
    tells it from others of its name, a dict of what JSON knows, kept in the store beside `name` and `official`;
    `root`: the folder of its files; `warnings`: sentences for the user; `default_size`: pixels that images are cropped
    to where nobody says.
    """

    @property
    def name(self) -> str: ...
    @property
    def classes(self) -> Sequence[str]: ...
    @property
    def pixels(self) -> Pixels: ...
    @property
    def official(self) -> bool | None: ...
    @property
    def splits(self) -> Mapping[str, Part]: ...
