"""A store in an S3 bucket or on a web server: the same calls as of a local folder, by range requests."""

import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, NoReturn

import numpy as np

from scatcache.remote.objects import ObjectFiles, Span
from scatcache.store.places.place import read_with_zarr, refuse_writing

logger = logging.getLogger(__name__)

ROOT = "zarr.json"
# Of a server without range requests, whole shards (of up to 128 MiB before compression) kept in memory.
MAX_WHOLE_FILES = 4


class Link:
    """What one process has of a place: its way to the files, and the whole files it holds where there are no ranges."""

    def __init__(self, url: str):
        self.pid = os.getpid()
        self.has_ranges = True
        self.files = ObjectFiles(url)
        self._lock = threading.Lock()
        self._whole: OrderedDict[str, Future[bytes]] = OrderedDict()

    def fetch(self, name: str, span: Span) -> tuple[bytes, int]:
        """(those bytes of a file, size of the whole file), cut where the file ends. Raises FileNotFoundError."""
        if self.has_ranges:
            found = self.files.fetch(name, span)
            if found is not None:
                return found
        data = self._fetch_whole(name)
        return data[-span:] if isinstance(span, int) else data[slice(*span)], len(data)

    def _fetch_whole(self, name: str) -> bytes:
        # The threads of one read mostly want the same file: one fetches it, and what that ends in is for all of them.
        with self._lock:
            is_first = name not in self._whole
            whole = self._whole.setdefault(name, Future())
            self._whole.move_to_end(name)
            while len(self._whole) > MAX_WHOLE_FILES:
                self._whole.popitem(last=False)
        if is_first:
            self._fill(whole, name)
        return whole.result()

    def _fill(self, whole: "Future[bytes]", name: str) -> None:
        try:
            found = self.files.fetch(name, None)
        except BaseException as error:
            with self._lock:
                if self._whole.get(name) is whole:
                    del self._whole[name]
            whole.set_exception(error)
            raise
        assert found is not None
        with self._lock:
            # An empty file has no range to answer with.
            is_news = self.has_ranges and bool(found[0])
            self.has_ranges = self.has_ranges and not is_news
        if is_news:
            logger.warning("%s: the server ignores ranges: each shard is fetched whole", self.files.url)
        whole.set_result(found[0])


class RemoteFile:
    """One file, its end fetched by the request that opened it; by none where no end is wanted."""

    def __init__(self, place: "RemotePlace", name: str, *, tail_bytes: int):
        self._place, self._file = place, name
        self._tail: bytes
        self.file_bytes: int | None
        self._tail, self.file_bytes = b"", None
        if tail_bytes:
            self._tail, self.file_bytes = place.link().fetch(name, tail_bytes)

    def read_range(self, start: int, n_bytes: int) -> bytes:
        if self.file_bytes is None:
            return self._place.link().fetch(self._file, (start, start + n_bytes))[0] if n_bytes else b""
        end, tail_start = min(start + n_bytes, self.file_bytes), self.file_bytes - len(self._tail)
        if start >= end:
            return b""
        if start >= tail_start:
            return self._tail[start - tail_start : end - tail_start]
        return self._place.link().fetch(self._file, (start, end))[0]


class RemotePlace:
    """A URL without a slash at its end; reaches nothing before it is read. See Place."""

    def __init__(self, url: str):
        self.name = url
        self.finish = "finish it where it was made with `scatcache resume`, then copy it again"
        self._link: Link | None = None
        self._root: bytes | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return RemotePlace, (self.name,)

    def link(self) -> Link:
        """This process's own; nothing of a link survives a fork."""
        link = self._link
        if link is None or link.pid != os.getpid():
            link = self._link = Link(self.name)
        return link

    def read(self, name: str) -> bytes:
        # Once: all that is read through one place is of one manifest.
        if name == ROOT and self._root is not None:
            return self._root
        found = self.link().files.fetch(name, None)
        assert found is not None
        if name == ROOT:
            self._root = found[0]
        return found[0]

    def open(self, name: str, *, tail_bytes: int) -> RemoteFile:
        return RemoteFile(self, name, tail_bytes=tail_bytes)

    def has(self, name: str) -> None:
        return None

    def list_names(self, folder: str) -> None:
        return None

    def list_sizes(self, folder: str) -> dict[str, int] | None:
        return self.link().files.list_sizes(folder)

    def look(self) -> str:
        return f"no {ROOT}" if self._root is None else f"a {ROOT} without our manifest"

    def read_with_zarr(self, array: str, rows: Sequence[int]) -> list[np.ndarray] | None:
        link = self.link()
        if not link.has_ranges:
            return None
        from scatcache.remote.zarr_files import ZarrFiles

        return read_with_zarr(ZarrFiles(link.files.fetch), array, rows)

    def put(self, name: str, data: bytes) -> NoReturn:
        raise refuse_writing(self.name)

    def put_stream(self, name: str) -> NoReturn:
        raise refuse_writing(self.name)

    def delete(self, name: str) -> NoReturn:
        raise refuse_writing(self.name)

    def sweep(self, folder: str) -> NoReturn:
        raise refuse_writing(self.name)
