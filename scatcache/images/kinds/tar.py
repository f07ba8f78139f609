"""The images of one split inside an uncompressed tar, listed and read as a folder of them would be."""

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scatcache.errors import SourceError
from scatcache.images.archives.tar_index import TarIndex
from scatcache.images.decode import read_shape
from scatcache.images.keys import has_image_name, show_path
from scatcache.images.kinds.folder import NO_LABEL, WHOLE
from scatcache.images.kinds.walk import find_machine_folder, is_made_by_machine
from scatcache.images.listing import Listing, Row
from scatcache.images.native_shape import find_native_shape


@dataclass(frozen=True)
class TarSource:
    """Image files of a tar; keys are their paths in it, labels index classes, the first folders of the paths.

    left_out: class folders that do not count.
    """

    name: str
    index: TarIndex
    classes: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    splits: tuple[str, ...] = (WHOLE,)
    warnings: tuple[str, ...] = ()
    default_size: None = None
    official: None = None
    in_process: bool = False

    @property
    def base_name(self) -> str:
        return self.name

    @property
    def root(self) -> Path:
        return self.index.tar.parent

    @property
    def options(self) -> dict[str, Any]:
        return {}

    @property
    def default_splits(self) -> tuple[str, ...]:
        return self.splits

    def list_rows(self, split: str) -> Listing:
        """Every image file, none of them hidden."""
        labels = {name: label for label, name in enumerate(self.classes)}
        rows: list[Row] = []
        n_ignored, n_by_machines = 0, Counter[str]()
        table = self.index.table
        for encoded, n_bytes in zip(table.keys.tolist(), table.sizes.tolist(), strict=True):
            key = encoded.decode()
            folder, _, _ = key.rpartition("/")
            if folder.partition("/")[0] in self.left_out:
                continue
            if machine := find_machine_folder(key):
                n_by_machines[machine] += 1
                continue
            if not is_image_path(key):
                n_ignored += 1
                continue
            rows.append(Row(key, labels[folder.partition("/")[0]] if folder else NO_LABEL, n_bytes))
        return Listing(tuple(rows), n_ignored, n_by_machines)

    def native_shape(self, split: str, rows: Sequence[Row]) -> tuple[int, int]:
        """(height, width) all images of the rows share. Raises SourceError where they share none."""
        return find_native_shape(rows, lambda key: read_shape(io.BytesIO(self.index.read(key))))

    def read(self, split: str, key: str) -> bytes:
        """The bytes of one image file; see TarIndex.read."""
        return self.index.read(key)

    def locate(self, split: str, key: str) -> tuple[int, int]:
        """(offset, bytes) in the tar."""
        return self.index.locate(key)


def find_tar_classes(index: TarIndex, *, left_out: tuple[str, ...] = ()) -> set[str]:
    """Names of the top folders of a tar that hold images.

    Raises SourceError where there is no image, a folder without images, or an image beside the folders.
    """
    keys = [key.decode() for key in index.table.keys.tolist()]
    images = [key for key in keys if is_image_path(key)]
    classes = {key.partition("/")[0] for key in images if "/" in key} - {*left_out}
    flat = [key for key in images if "/" not in key]
    if not images:
        raise SourceError(f"{show_path(index.tar)} holds no image: it is not the official archive")
    if classes and flat:
        raise SourceError(f"{show_path(index.tar)} holds class folders and beside them the image {flat[0]}")
    return classes


def is_image_path(key: str) -> bool:
    """Whether a path in an archive counts as an image: by its name, and in no folder that is hidden or a machine's."""
    *folders, name = key.split("/")
    return has_image_name(name) and not any(folder.startswith(".") or is_made_by_machine(folder) for folder in folders)
