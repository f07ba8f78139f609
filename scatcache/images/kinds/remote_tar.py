"""A tar of webdataset's samples at a URL, read by ranges: of its headers what is needed, images that lie close at once.

What a server says of its version tells a tar that has changed from the one that was indexed.
"""

import logging
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from pathlib import Path
from urllib.parse import unquote, urlsplit

from scatcache.errors import SourceError, UnreadableImage
from scatcache.images.archives.tar_members import TarMember
from scatcache.images.archives.tar_table import INDEX_FORMAT, KeptTable, TarTable, keep_table
from scatcache.images.archives.unpack import OnArchive, tell_nobody
from scatcache.images.keys import show_path
from scatcache.images.kinds.arrays.image_array import OpenedHere
from scatcache.images.kinds.webdataset_samples import FirstLook, OpenTar, SampleParts, list_samples, look_into_tar
from scatcache.images.limits import TooLarge, check_image_bytes
from scatcache.remote.objects import ObjectFiles

logger = logging.getLogger(__name__)

# What one request reads of the headers: at first, and where large images lie between them; twice as much each time, up
# to so much, where the next header is close.
HEADER_BYTES, AHEAD_BYTES = 2**14, 2**20
# What may lie between two headers or images that one request reads: less than what goes by while it is on its way.
GAP_BYTES = 2**16
# Images that start within so much of a tar are read together. Blocks are read at once by several threads: in larger
# ones images would wait for each other.
BLOCK_BYTES = 2**20
# Members that are looked at: each may be a request.
_N_LOOKED_AT = 50
_REQUESTS_BETWEEN_TELLING = 20


@dataclass(frozen=True)
class RemoteTar:
    """One tar by its URL. files: of the folder that it lies in; among: for messages, what other tars were given."""

    url: str
    files: OpenedHere[ObjectFiles] = field(repr=False, compare=False)
    among: str = field(default="", compare=False)

    @property
    def path(self) -> Path:
        """What its name and folders are called, on no disk."""
        parts = urlsplit(self.url)
        return Path(f"/{parts.netloc}{parts.path if parts.scheme == 's3' else unquote(parts.path)}")

    @property
    def where(self) -> str:
        return show_path(self.url)

    def look(self) -> FirstLook:
        """See look_into_tar; not as many members are read."""
        return look_into_tar(_HeaderReader(self).as_tar(), _N_LOOKED_AT)

    def index_samples(self, parts: SampleParts, work_dir: Path | None, on_archive: OnArchive) -> "RemoteTarIndex":
        """Where the images lie that list_samples gives, from an earlier run where it left that in work_dir."""
        headers = _HeaderReader(self, on_archive)
        name, crc = self.url.rpartition("/")[2], zlib.crc32(self.url.encode(errors="surrogateescape"))
        saved = None if work_dir is None else work_dir / f"{name}-{crc:08x}.index.npz"
        stamp = (INDEX_FORMAT, *headers.version, zlib.crc32(repr(parts).encode()))

        def list_files() -> Iterator[TarMember]:
            logger.info("indexing %s", self.url)
            yield from list_samples(headers.as_tar(), parts)
            headers.tell_end()

        kept = keep_table(saved, stamp, self.where, list_files)
        return RemoteTarIndex(self, kept)

    def fetch(self, start: int, stop: int) -> tuple[bytes, tuple[int, int]]:
        """(those bytes, cut where the tar ends; its version: its size, and a number of what the server says of it).

        Raises SourceError where it is gone, or the server does not answer ranges; ScatcacheError as ObjectFiles does.
        """
        name = self.path.name
        try:
            found = self.files.get().fetch_marked(name, (start, stop))
        except FileNotFoundError:
            found = b"", -1, ""
        if found is None:
            raise SourceError(
                f"{self.where}: the server does not answer byte ranges, by which images are read: copy the tar to a "
                f"local folder"
            )
        data, n_bytes, mark = found
        if n_bytes < 0:
            raise SourceError(f"{self.where} does not exist{self.among}")
        return data, (n_bytes, int.from_bytes(blake2b(mark.encode(), digest_size=7).digest()))


@dataclass(frozen=True)
class RemoteTarIndex:
    """The files of one tar at a URL; see TarIndex."""

    tar: RemoteTar
    kept: KeptTable

    @property
    def table(self) -> TarTable:
        return self.kept.get(self.tar.where)

    def read_at(self, offset: int, n_bytes: int) -> bytes:
        """The bytes of one file where it lies.

        Raises UnreadableImage beyond MAX_IMAGE_BYTES; SourceError where the tar has changed; see RemoteTar.fetch.
        """
        check_image_bytes(n_bytes)
        return self._fetch(offset, offset + n_bytes)

    def read_together(self, spans: Sequence[tuple[int, int]]) -> list[bytes | UnreadableImage]:
        """The bytes of several files by (offset, bytes), by a request for each run of those that lie close together."""
        found: list[bytes | UnreadableImage] = [b""] * len(spans)
        wanted: list[int] = []
        for number, (_, n_bytes) in enumerate(spans):
            try:
                check_image_bytes(n_bytes)
            except TooLarge as error:
                found[number] = error
            else:
                wanted.append(number)
        for run in _cut_runs(spans, wanted):
            start, stop = spans[run[0]][0], max(sum(spans[number]) for number in run)
            data = self._fetch(start, stop)
            for number in run:
                offset, n_bytes = spans[number]
                found[number] = data[offset - start : offset - start + n_bytes]
        return found

    def _fetch(self, start: int, stop: int) -> bytes:
        if start == stop:
            return b""
        data, version = self.tar.fetch(start, stop)
        _check_version(self.tar, version, self.kept.stamp[1:3])
        return data


def _cut_runs(spans: Sequence[tuple[int, int]], numbers: Sequence[int]) -> Iterator[list[int]]:
    """The numbers of spans in the order of the tar, GAP_BYTES at most between two of a run."""
    run: list[int] = []
    end = 0
    for number in sorted(numbers, key=spans.__getitem__):
        if run and spans[number][0] - end > GAP_BYTES:
            yield run
            run = []
        end = max(end, sum(spans[number]))
        run.append(number)
    if run:
        yield run


def _check_version(tar: RemoteTar, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if found != expected:
        raise SourceError(
            f"{tar.where} has changed since it was indexed: let whatever writes there finish, then give the same "
            f"command again"
        )


class _HeaderReader:
    """Reads a tar by position, about from its start to its end; what follows close comes with the same request.

    version: of the tar, see RemoteTar.fetch.
    """

    def __init__(self, tar: RemoteTar, on_archive: OnArchive = tell_nobody):
        self._tar, self._on_archive, self._n_requests = tar, on_archive, 0
        self._start, self._ahead = 0, HEADER_BYTES
        self._data, self.version = tar.fetch(0, HEADER_BYTES)

    def as_tar(self) -> OpenTar:
        return OpenTar(self._tar.where, self.version[0], self.read_at)

    def read_at(self, n_bytes: int, offset: int) -> bytes:
        end = min(offset + n_bytes, self.version[0])
        held = self._start + len(self._data)
        if offset >= end:
            return b""
        if not self._start <= offset <= end <= held:
            is_close = self._start <= offset <= held + GAP_BYTES
            self._ahead = min(2 * self._ahead, AHEAD_BYTES) if is_close else HEADER_BYTES
            self._tell(offset)
            self._data, version = self._tar.fetch(offset, max(end, offset + self._ahead))
            _check_version(self._tar, version, self.version)
            self._start = offset
        return self._data[offset - self._start : end - self._start]

    def _tell(self, offset: int) -> None:
        if self._n_requests % _REQUESTS_BETWEEN_TELLING == 0:
            self._on_archive("indexing", self._tar.path.name, offset, self.version[0])
        self._n_requests += 1

    def tell_end(self) -> None:
        """Tells that the tar is done."""
        self._on_archive("indexing", self._tar.path.name, self.version[0], self.version[0])


def list_remote_tars(urls: Sequence[str], pattern: str) -> list[RemoteTar]:
    """The tars of a pattern that stands for these URLs; those of one folder share their connections."""
    folders = {folder: OpenedHere(partial(ObjectFiles, folder)) for folder in {url.rpartition("/")[0] for url in urls}}
    among = f", one of the {len(urls)} of {show_path(pattern)}" if len(urls) > 1 else ""
    return [RemoteTar(url, folders[url.rpartition("/")[0]], among) for url in urls]
