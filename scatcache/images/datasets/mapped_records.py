"""Images of one size that lie one after the other in a file, which is mapped."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scatcache.errors import SourceError
from scatcache.images.archives.stamps import Stamp, check_stamp
from scatcache.images.forms import Decoding, ImageForm
from scatcache.images.keys import show_path
from scatcache.images.source import MIN_DIGITS, Listing


class Layout(NamedTuple):
    """Where images are in a file. offset: of the first, in bytes; shape: of a record of uint8; axes: its axes in the
    order y, x, band."""

    offset: int
    shape: tuple[int, ...]
    axes: tuple[int, ...]

    @property
    def record_bytes(self) -> int:
        return int(np.prod(self.shape))


@dataclass(frozen=True)
class RecordsPart:
    """Images of one file, keys file stem / record. stamp: of the file as it was published, when it was checked; unpack:
    gives the file to map, made of that one where it is packed; read_labels: int64 (n,). Both can be pickled."""

    stem: str
    stamp: Stamp
    layout: Layout
    unpack: Callable[[], Path]
    read_labels: Callable[[], np.ndarray]
    # Mapped by each process for itself, and never pickled.
    _mapped: list[np.ndarray] = field(default_factory=list, init=False, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_mapped": []}

    @cached_property
    def listing(self) -> Listing:
        """Every record. Raises SourceError for damaged labels."""
        check_stamp(self.stamp)
        labels = self.read_labels().tolist()
        n_digits = max(MIN_DIGITS, len(str(len(labels) - 1)))
        n_bytes = self.layout.record_bytes
        return Listing((f"{self.stem}/{i:0{n_digits}d}", label, n_bytes) for i, label in enumerate(labels))

    @property
    def image_form(self) -> ImageForm:
        height, width, bands = (*(self.layout.shape[axis] for axis in self.layout.axes), 1)[:3]
        return ImageForm(height, width, bands, "uint8")

    def form(self, i: int, how: Decoding) -> ImageForm:
        """That of all."""
        return self.image_form

    def read(self, i: int) -> np.ndarray:
        """One image, uint8 (height, width) or (height, width, bands)."""
        # Before anything is unpacked of it: every row is checked, for a mapped file that shrinks would end the process.
        check_stamp(self.stamp)
        return np.ascontiguousarray(self.map_records()[range(len(self.listing.rows))[i]].transpose(self.layout.axes))

    def locate(self, i: int) -> None:
        """Files are mapped."""

    def map_records(self) -> np.ndarray:
        """uint8 (n, *shape), mapped. Raises SourceError where they are not as many as the labels."""
        if not self._mapped:
            # The labels first: they cost little, and unpacking for nothing much.
            n_records, layout = len(self.listing.rows), self.layout
            path = self.unpack()
            n_bytes = path.stat().st_size - layout.offset
            if n_bytes != n_records * layout.record_bytes:
                raise SourceError(
                    f"{show_path(self.stamp.path)} holds {n_bytes / layout.record_bytes:.2f} images of "
                    f"{layout.record_bytes} bytes, its labels are {n_records}: fetch both again"
                )
            records = np.memmap(path, np.uint8, "r", layout.offset, (n_records, *layout.shape))
            self._mapped.append(records.view(np.ndarray))
        return self._mapped[0]
