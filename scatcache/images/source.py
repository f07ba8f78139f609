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
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, Protocol, overload

import numpy as np

from scatcache.errors import SourceError
from scatcache.images.keys import is_safe
from scatcache.spec import MAX_TARGETS, Pixels

if TYPE_CHECKING:
    from PIL.Image import Image

# Blocks keep what is made of rows near 1 MB, however long the listing is.
ROWS_PER_BLOCK = 10_000
# Keys that are numbers have as many digits as the largest needs, but not fewer than this.
MIN_DIGITS = 5


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

    @classmethod
    def numbered(cls, n_rows: int, *, labels: np.ndarray | None = None, size: int = 0) -> "ListedRows":
        """Rows whose keys are their numbers in as many digits as the largest needs, at least MIN_DIGITS.

        labels: integers (n_rows,), by default -1; size: of each.
        """
        n_digits = max(MIN_DIGITS, len(str(n_rows - 1)))
        found = cls(())
        starts = range(0, n_rows, ROWS_PER_BLOCK)
        blocks = (range(start, min(start + ROWS_PER_BLOCK, n_rows)) for start in starts)
        found._text = "".join("".join(map(f"{{:0{n_digits}d}}".format, block)) for block in blocks)
        found._ends = np.arange(1, n_rows + 1, dtype=np.int64) * n_digits
        found.labels = np.full(n_rows, -1, np.int64) if labels is None else labels.astype(np.int64)
        found.sizes = np.full(n_rows, size, np.int64)
        return found

    @property
    def keys(self) -> list[str]:
        """All keys, made anew with each call."""
        return self._cut(0, len(self))

    def pick(self, indices: np.ndarray) -> list[str]:
        """The keys of some rows, in the order of indices."""
        if 2 * len(indices) > len(self):
            keys = self.keys
            return [keys[i] for i in indices.tolist()]
        starts = np.where(indices > 0, self._ends[indices - 1], 0).tolist()
        return [self._text[start:end] for start, end in zip(starts, self._ends[indices].tolist(), strict=True)]

    def _cut(self, start: int, stop: int) -> list[str]:
        """The keys of some rows in a row."""
        ends = self._ends[start:stop].tolist()
        begin = int(self._ends[start - 1]) if start else 0
        return [self._text[begin:end] for begin, end in zip([begin, *ends], ends, strict=False)]

    def blocks(self) -> Iterator[list[tuple[str, int, int]]]:
        """All rows in order, ROWS_PER_BLOCK at a time: many at once would be many objects."""
        for start in range(0, len(self), ROWS_PER_BLOCK):
            part = slice(start, stop := min(start + ROWS_PER_BLOCK, len(self)))
            columns = self._cut(start, stop), self.labels[part].tolist(), self.sizes[part].tolist()
            yield list(zip(*columns, strict=True))

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
        return (Row(*row) for block in self.blocks() for row in block)

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


class Listing:
    """Every row of one split, sorted by the code points of the keys, which are unique; it never changes.

    rows: given as ListedRows, or as any (key, label, size); n_ignored: files in the split's folder that are no images
    by name; n_by_machines: files in folders that machines make, by the folder's name; folds: the dataset's own, each
    the indices of its rows, None where it has none; targets: float32 (n, k), numbers to be stored with each row, None
    where there are none; facts: what else tells these images from others, such as the dtype of an array.

    Raises SourceError where keys are unsorted, repeated or not printable, or targets are not of these rows, TypeError
    where labels or sizes are no integers.
    """

    def __init__(
        self,
        rows: Iterable[tuple[str, int, int]],
        n_ignored: int = 0,
        n_by_machines: Mapping[str, int] | None = None,
        folds: tuple[tuple[int, ...], ...] | None = None,
        targets: np.ndarray | None = None,
        facts: str = "",
    ):
        self.rows = rows if isinstance(rows, ListedRows) else ListedRows(rows)
        self.n_ignored = n_ignored
        self.n_by_machines = n_by_machines or {}
        self.folds = folds
        self.targets = targets
        self.facts = facts
        if targets is not None and not (
            targets.dtype == np.float32
            and targets.ndim == 2
            and len(targets) == len(self.rows)
            and 1 <= targets.shape[1] <= MAX_TARGETS
        ):
            raise SourceError(
                f"targets are {targets.dtype} {targets.shape}: expected float32 ({len(self.rows)}, k), a row for each "
                f"image, k from 1 to {MAX_TARGETS}"
            )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Listing):
            return NotImplemented
        beside = (self.n_ignored, self.n_by_machines, self.folds)
        return self.hash == other.hash and beside == (other.n_ignored, other.n_by_machines, other.folds)

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def hash(self) -> str:
        """ "sha256:" and the hex digest over key, label and size of every row, targets and facts; times and folders do
        not enter."""
        digest = hashlib.sha256()
        for block in self.rows.blocks():
            # The key's length first, so that no key can pass for the end of one row and the start of the next.
            text = "".join(f"{len(key)} {label} {size} {key}\n" for key, label, size in block)
            digest.update(text.encode())
        if self.facts:
            # No row begins so.
            digest.update(f"facts {self.facts}\n".encode())
        if self.targets is not None:
            digest.update(f"targets {self.targets.shape[1:]}\n".encode())
            digest.update(np.ascontiguousarray(self.targets, "<f4").tobytes())
        return f"sha256:{digest.hexdigest()}"


class Part(Protocol):
    """One split of a source.

    More may be there. `shape(i) -> (height, width)` of one image, which a header may give for less than reading;
    `image_shape`, (height, width) where all images are known to share it. By default images are read to see.

    Where images lie in blocks that are read as a whole, such as the chunks of an array: `block(i) -> int`, which block
    an image lies in, numbered in the order of the storage, and `read_block(indices)`, what read gives of images of one
    block, a list in their order, an UnreadableImage in the place of one that cannot be read for good. Images of one
    block are read together then, and no block twice where it can be helped.
    """

    @property
    def listing(self) -> Listing:
        """The rows, the same object each time. Raises SourceError, and OSError as the disk does."""
        ...

    def read(self, i: int) -> "bytes | np.ndarray | Image":
        """The image of listing.rows[i]: an image file's bytes, as many as the row's size says; its samples, (height,
        width) or (height, width, bands), uint8 of 1 or 3 bands unless the source's pixels are native; or a PIL image.

        It gives the same each time, and nobody else changes what it gave. Raises IndexError for an index that the
        listing lacks, UnreadableImage for an image that cannot be read for good, SourceError, OSError as the disk does.
        """
        ...

    def locate(self, i: int) -> Location | None:
        """Where the image's bytes lie in a file that is best read in its order, None where the order is free."""
        ...


class Source(Protocol):
    """A dataset to extract.

    name: letters, digits, "_", "-" and ".", what its stores are called by; classes: what labels index; pixels: what
    its images are by default, such as Pixels() for 8-bit RGB; official: whether the files are those published, None
    where nobody can say; splits: by name. One called "unlabeled" is extracted when it is asked for by name, and not
    otherwise.

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
