"""The images of one split inside an uncompressed tar, listed and read as a folder of them would be."""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from scatcache.errors import SourceError
from scatcache.images.archives.tar_index import TarIndex
from scatcache.images.decode import read_form
from scatcache.images.forms import Decoding, ImageForm
from scatcache.images.image_source import NO_LABEL
from scatcache.images.keys import has_image_name, show_path
from scatcache.images.kinds.walk import find_machine_folder, is_made_by_machine
from scatcache.images.source import Listing, Location


@dataclass(frozen=True)
class TarPart:
    """Image files of a tar; keys are their paths in it, labels index classes, the first folders of the paths.

    left_out: class folders that do not count; sorted_by: for flat files, the class of each; keys are CLASS/FILE then;
    prefix: of the paths in the tar that are taken, and not of their keys; labelled: whether folders are classes.
    """

    index: TarIndex
    classes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    sorted_by: Mapping[str, str] | None = field(default=None, repr=False)
    prefix: str = ""
    labelled: bool = True
    image_form: None = None

    @cached_property
    def listing(self) -> Listing:
        """Every image file, none of them hidden."""
        labels = {name: label for label, name in enumerate(self.classes)}
        rows: list[tuple[str, int, int]] = []
        n_ignored, n_by_machines = 0, Counter[str]()
        table = self.index.table
        for encoded, n_bytes in zip(table.keys.tolist(), table.sizes.tolist(), strict=True):
            key = encoded.decode()
            if not key.startswith(self.prefix):
                continue
            key = key.removeprefix(self.prefix)
            if key.partition("/")[0] in self.left_out:
                continue
            if machine := find_machine_folder(key):
                n_by_machines[machine] += 1
                continue
            if not is_image_path(key):
                n_ignored += 1
                continue
            if self.sorted_by is not None:
                key = f"{self.sorted_by[key]}/{key}"
            folder, slash, _ = key.partition("/")
            rows.append((key, labels[folder] if slash and self.labelled else NO_LABEL, n_bytes))
        return Listing(sorted(rows), n_ignored, n_by_machines)

    def _find_file(self, i: int) -> str:
        key = self.listing.rows[i].key
        return self.prefix + (key if self.sorted_by is None else key.partition("/")[2])

    def form(self, i: int, how: Decoding) -> ImageForm:
        """What one image is by its header."""
        return read_form(self.read(i), how)

    def read(self, i: int) -> bytes:
        """The bytes of one image file; see TarIndex.read."""
        return self.index.read(self._find_file(i))

    def locate(self, i: int) -> Location:
        """Where the image lies in the tar."""
        return Location(os.fspath(self.index.tar), *self.index.locate(self._find_file(i)))


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
    return has_image_name(key.rpartition("/")[2]) and is_in_sight(key)


def is_in_sight(key: str) -> bool:
    """Whether a path in an archive is hidden neither by its name, nor by a folder's, and in no machine's folder."""
    *folders, name = key.split("/")
    return not any(part.startswith(".") for part in (*folders, name)) and not any(map(is_made_by_machine, folders))
