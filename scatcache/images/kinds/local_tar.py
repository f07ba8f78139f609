"""A tar of webdataset's samples on this disk."""

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scatcache.images.archives.tar_index import TarIndex, index_tar
from scatcache.images.archives.unpack import OnArchive
from scatcache.images.keys import show_path
from scatcache.images.kinds.webdataset_samples import FirstLook, OpenTar, SampleParts, list_samples, look_into_tar


@dataclass(frozen=True)
class LocalTar:
    """One tar, by its absolute path."""

    path: Path

    @property
    def where(self) -> str:
        return show_path(self.path)

    def look(self) -> FirstLook:
        """See look_into_tar."""
        with _open_tar(self.path) as tar:
            return look_into_tar(tar)

    def index_samples(self, parts: SampleParts, work_dir: Path | None, on_archive: OnArchive) -> TarIndex:
        """Where the images lie that list_samples gives, from an earlier run where it left that in work_dir."""
        return index_tar(
            self.path,
            work_dir,
            lambda descriptor: list_samples(_wrap(descriptor, self.where), parts),
            on_archive,
            # Tars of two folders may share a name.
            called=f"{self.path.name}-{zlib.crc32(os.fsencode(self.path)):08x}",
            asked=repr(parts),
        )


@contextmanager
def _open_tar(path: Path) -> Iterator[OpenTar]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield _wrap(descriptor, show_path(path))
    finally:
        os.close(descriptor)


def _wrap(descriptor: int, where: str) -> OpenTar:
    return OpenTar(where, os.fstat(descriptor).st_size, partial(os.pread, descriptor))
