"""Fetching a dataset's official archive: resumable, checked by its md5, and under its name only when it is whole."""

import contextlib
import fcntl
import http.client
import logging
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from scatcache.durable import publish, sync
from scatcache.errors import SourceError
from scatcache.images.archives.checksums import hash_md5
from scatcache.images.archives.staging import choose_staging
from scatcache.images.archives.unpack import OnArchive, tell_nobody
from scatcache.images.keys import show_path
from scatcache.trust import find_trust
from scatcache.version import __version__

logger = logging.getLogger(__name__)

PAUSES_S = (1.0, 3.0, 6.0)
TIMEOUT_S = 30
_BLOCK_BYTES = 2**18
_PARTIAL, _CONTENT, _UNSATISFIABLE = 206, 200, 416
# The bytes as they are: a server may call an archive's own gzip a content encoding.
_HEADERS = {"User-Agent": f"scatcache/{__version__}", "Accept-Encoding": "identity"}


class Refused(Exception):
    """No archive came, and asking again would bring none; str: why."""


class CutOff(Refused):
    """No archive came, or not all of it: asking again may help."""


@dataclass(frozen=True)
class Archive:
    """One file that a dataset is published in; split: the one that it holds, where no other needs it."""

    name: str
    url: str
    md5: str
    split: str | None = None


def check_archive(path: Path, archive: Archive) -> None:
    """Raises SourceError where a file that is there already has not the official md5."""
    if (md5 := hash_md5(path)) != archive.md5:
        raise SourceError(
            f"{show_path(path)} is not the official archive: its md5 is {md5}, published is {archive.md5}: move it "
            f"away, then give the same command again"
        )


def download(
    archive: Archive, folder: Path, on_archive: OnArchive | None = None, *, work_dir: Path | None = None
) -> Path:
    """Fetches an archive into folder, going on where an earlier try was cut off; returns its path.

    Everything before the last step lies in `.NAME.part`, in work_dir where that is on the same file system, else in
    folder. An archive that is there already is checked.

    Raises SourceError where the server does not answer, refuses, or sends something of another md5, and where another
    process is downloading the same; OSError as the disk does.
    """
    path = folder / archive.name
    if path.exists():
        check_archive(path, archive)
        return path
    staging = choose_staging(folder, work_dir) / f".{archive.name}.part"
    staging.mkdir(parents=True, exist_ok=True)
    with _lock(staging):
        try:
            _fetch(archive, staging / "partial", folder, on_archive or tell_nobody)
            folder.mkdir(parents=True, exist_ok=True)
            publish(staging / "partial", path)
        finally:
            # What a later try can go on from stays, and nothing else.
            if not _has_bytes(staging):
                shutil.rmtree(staging, ignore_errors=True)
    return path


def _has_bytes(staging: Path) -> bool:
    return any(file.name != "lock" and file.stat().st_size for file in staging.iterdir())


@contextlib.contextmanager
def _lock(staging: Path) -> Iterator[None]:
    with open(staging / "lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SourceError(
                f"another process is downloading into {show_path(staging.parent)}: wait for it"
            ) from error
        yield


def _fetch(archive: Archive, partial: Path, folder: Path, on_archive: OnArchive) -> None:
    """Leaves the whole archive at partial, synced and checked."""
    try:
        _fetch_with_retries(archive.url, partial, archive.name, on_archive)
    except Refused as error:
        raise SourceError(
            f"{archive.url} could not be fetched ({error}): give the same command again, it goes on from here; or put "
            f"{archive.name} into {show_path(folder)} by other means"
        ) from error
    if hash_md5(partial) != archive.md5:
        partial.unlink()
        raise SourceError(
            f"{archive.url} sent something else than {archive.name} of md5 {archive.md5}, and it was thrown away: give "
            f"the same command again, or put {archive.name} into {show_path(folder)} by other means"
        )


def _fetch_with_retries(url: str, partial: Path, name: str, on_archive: OnArchive) -> None:
    for pause_s in (*PAUSES_S, None):
        try:
            _fetch_rest(url, partial, name, on_archive)
            return
        except CutOff as error:
            if pause_s is None:
                raise
            logger.info("%s: %s, trying again", url, error)
            time.sleep(pause_s)


def _fetch_rest(url: str, partial: Path, name: str, on_archive: OnArchive) -> None:
    """Appends to partial what is missing of it, or starts again where the server cannot go on."""
    done = partial.stat().st_size if partial.exists() else 0
    with contextlib.closing(_ask(url, done)) as response:
        total = _find_total(response)
        if response.status == _UNSATISFIABLE:
            if done == total:
                return
            partial.unlink()
            raise CutOff(f"the server has {total} bytes, {done} were there: starting again")
        resumed = response.status == _PARTIAL and _starts_at(response, done)
        with open(partial, "ab" if resumed else "wb") as file:
            found = _copy(response, file, lambda found: on_archive("downloading", name, found, total))
    if total is not None and found < total:
        raise CutOff(f"the connection ended after {found} of {total} bytes")


def _ask(url: str, done: int) -> http.client.HTTPResponse:
    """The server's answer: the file, what is missing of it, or that there is no more. Raises Refused, CutOff."""
    headers = {**_HEADERS, **({"Range": f"bytes={done}-"} if done else {})}
    with _network_failures():
        try:
            request = urllib.request.Request(url, headers=headers)
            response = urllib.request.urlopen(request, timeout=TIMEOUT_S, context=find_trust())
        except urllib.error.HTTPError as error:
            response = error
    if response.status not in (_CONTENT, _PARTIAL, _UNSATISFIABLE if done else _CONTENT):
        response.close()
        raise Refused(f"the server answers {response.status} {response.reason}")
    return response


def _copy(response: http.client.HTTPResponse, file: BinaryIO, tell: Callable[[int], None]) -> int:
    """Writes what comes and syncs it, that of a connection that breaks too; returns the size of the file."""
    try:
        while True:
            with _network_failures():
                block = response.read1(_BLOCK_BYTES)
            if not block:
                return file.tell()
            file.write(block)
            tell(file.tell())
    finally:
        sync(file)


@contextlib.contextmanager
def _network_failures() -> Iterator[None]:
    """What the network raises as CutOff: it must not pass for a failure of the disk."""
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise CutOff(" ".join(str(reason).split())[:200] or type(error).__name__) from error


def _find_total(response: http.client.HTTPResponse) -> int | None:
    """Bytes of the whole file, None where the server does not say."""
    _, _, total = response.headers.get("Content-Range", "").partition("/")
    if not total and response.status == _CONTENT:
        total = response.headers.get("Content-Length", "")
    return int(total) if total.isdecimal() else None


def _starts_at(response: http.client.HTTPResponse, position: int) -> bool:
    return response.headers.get("Content-Range", "").startswith(f"bytes {position}-")
