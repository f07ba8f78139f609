"""What a source hands over: rows, listings, and the protocol every source follows."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from scatcache.errors import UnreadableImage

if TYPE_CHECKING:
    from PIL.Image import Image

# No image file that decodes needs more: it is what the pixels allowed take at a byte a colour.
MAX_IMAGE_BYTES = 2**29
# Blocks keep the text being hashed near 1 MB, however long the listing is.
ROWS_PER_HASH_BLOCK = 10_000


class TooLarge(UnreadableImage):
    """A file of more than MAX_IMAGE_BYTES, which is not read."""


class Row(NamedTuple):
    """One image of a split.

    key: its name in the split, valid UTF-8 without control characters; label: index into the source's classes, -1
    where there is none; size: bytes of the encoded image, or of the raw record.
    """

    key: str
    label: int
    size: int


@dataclass(frozen=True)
class Listing:
    """Every row of one split, sorted by the code points of the keys, which are unique.

    n_ignored: files in the split's folder that are no images by name; n_by_machines: files in folders that machines
    make, by the folder's name; folds: the dataset's own, each the indices of its rows, None where it has none.
    """

    rows: tuple[Row, ...]
    n_ignored: int = 0
    n_by_machines: Mapping[str, int] = field(default_factory=dict)
    folds: tuple[tuple[int, ...], ...] | None = None

    def __post_init__(self) -> None:
        assert all(row.key < following.key for row, following in pairwise(self.rows)), "keys unsorted or repeated"

    @cached_property
    def hash(self) -> str:
        """ "sha256:" and the hex digest over key, label and size of every row; times and folders do not enter."""
        digest = hashlib.sha256()
        for start in range(0, len(self.rows), ROWS_PER_HASH_BLOCK):
            block = self.rows[start : start + ROWS_PER_HASH_BLOCK]
            # The key's length first, so that no key can pass for the end of one row and the start of the next.
            text = "".join(f"{len(key)} {label} {size} {key}\n" for key, label, size in block)
            digest.update(text.encode())
        return f"sha256:{digest.hexdigest()}"


def check_image_bytes(n_bytes: int) -> None:
    """Raises TooLarge for a file too large to be an image: a sparse one of terabytes costs nothing to make."""
    if n_bytes > MAX_IMAGE_BYTES:
        raise TooLarge(f"a file of {n_bytes} bytes, more than the {MAX_IMAGE_BYTES} allowed")


class Source(Protocol):
    """A dataset to extract: small, picklable, and safe to read from several threads at once.

    name: as the table of names has it ("folder" for a folder); base_name: what a store is called by default; root:
    absolute, None where the data lies in a package; default_size: what `--size` is when not given, None for the
    images' own; default_splits: every split but "unlabeled"; official: whether the files have the published md5, None
    where nothing is published or it would take too long to see; options: what else the user chose of it that shapes its
    rows, for the manifest; warnings: sentences for the user; in_process: whether it can be read in this process alone.
    """

    @property
    def name(self) -> str: ...
    @property
    def base_name(self) -> str: ...
    @property
    def root(self) -> Path | None: ...
    @property
    def default_size(self) -> int | None: ...
    @property
    def splits(self) -> tuple[str, ...]: ...
    @property
    def default_splits(self) -> tuple[str, ...]: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def official(self) -> bool | None: ...
    @property
    def options(self) -> dict[str, Any]: ...
    @property
    def warnings(self) -> tuple[str, ...]: ...
    @property
    def in_process(self) -> bool: ...

    def list_rows(self, split: str) -> Listing:
        """Lists one split. Raises SourceError for a split there is not, and OSError where the disk fails."""
        ...

    def native_shape(self, split: str, rows: Sequence[Row]) -> tuple[int, int]:
        """(height, width) that all readable images of the rows share. Raises SourceError where they share none."""
        ...

    def read(self, split: str, key: str) -> "bytes | np.ndarray | Image":
        """One image: its encoded bytes, its pixels as uint8 (height, width, 3), or a PIL image.

        Raises UnreadableImage, and OSError as the disk does.
        """
        ...

    def locate(self, split: str, key: str) -> tuple[int, int] | None:
        """(offset, bytes) of an image in a large file that is best read in its own order, None where order is free."""
        ...
