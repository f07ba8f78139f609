"""Fetching a dataset's official archive: resumable, checked by its md5, and under its name only when it is whole."""

import contextlib
import fcntl
import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scatcache.errors import ScatcacheError, SourceError
from scatcache.images.archives.checksums import hash_md5
from scatcache.images.archives.staging import choose_place
from scatcache.images.archives.unpack import OnArchive, tell_nobody
from scatcache.images.keys import show_path

if TYPE_CHECKING:
    import requests

logger = logging.getLogger(__name__)

PAUSES_S = (1.0, 3.0, 6.0)
TIMEOUT_S = (20, 60)
_BLOCK_BYTES = 2**18
_PARTIAL, _CONTENT, _UNSATISFIABLE = 206, 200, 416


@dataclass(frozen=True)
class Archive:
    """One file that holds a whole dataset."""

    name: str
    url: str
    md5: str


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
    staging = choose_place(folder, work_dir) / f".{archive.name}.part"
    staging.mkdir(parents=True, exist_ok=True)
    with _lock(staging):
        try:
            _fetch(archive, staging, folder, on_archive or tell_nobody)
            folder.mkdir(parents=True, exist_ok=True)
            os.replace(staging / archive.name, path)
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


def _fetch(archive: Archive, staging: Path, folder: Path, on_archive: OnArchive) -> None:
    import pooch
    import requests

    partial = staging / "partial"
    for left in staging.glob("tmp*"):  # pooch's, of a killed run
        left.unlink()

    def fetch(url: str, output: Any, _: Any) -> None:
        _fetch_with_retries(url, partial, archive.name, on_archive)
        os.replace(partial, output)

    try:
        with _quiet_pooch():
            pooch.retrieve(archive.url, f"md5:{archive.md5}", fname=archive.name, path=str(staging), downloader=fetch)
    except requests.RequestException as error:
        raise SourceError(
            f"{archive.url} could not be fetched ({_describe(error)}): give the same command again, it goes on from "
            f"here; or put {archive.name} into {show_path(folder)} by other means"
        ) from error
    except ValueError as error:
        # pooch's word for another md5; the file is gone already.
        raise SourceError(
            f"{archive.url} sent something else than {archive.name} of md5 {archive.md5}, and it was thrown away: give "
            f"the same command again, or put {archive.name} into {show_path(folder)} by other means"
        ) from error


def _fetch_with_retries(url: str, partial: Path, name: str, on_archive: OnArchive) -> None:
    import requests

    for pause_s in (*PAUSES_S, None):
        try:
            _fetch_rest(url, partial, name, on_archive)
            return
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            if pause_s is None:
                raise
            logger.info("%s: %s, trying again", url, _describe(error))
            time.sleep(pause_s)


def _fetch_rest(url: str, partial: Path, name: str, on_archive: OnArchive) -> None:
    """Appends to partial what is missing of it, or starts again where the server cannot go on."""
    import requests
    import urllib3

    done = partial.stat().st_size if partial.exists() else 0
    # The bytes as they are: a server may call an archive's own gzip a content encoding.
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={done}-"} if done else {})}
    with requests.get(url, stream=True, timeout=TIMEOUT_S, headers=headers) as response:
        total = _find_total(response)
        if response.status_code == _UNSATISFIABLE:
            if done == total:
                return
            partial.unlink()
            raise requests.ConnectionError(f"the server has {total} bytes, {done} were there: starting again")
        response.raise_for_status()
        if response.status_code not in (_CONTENT, _PARTIAL):
            raise requests.HTTPError(f"status {response.status_code}", response=response)
        resumed = response.status_code == _PARTIAL and _starts_at(response, done)
        with open(partial, "ab" if resumed else "wb") as file:
            try:
                for block in response.raw.stream(_BLOCK_BYTES, decode_content=False):
                    file.write(block)
                    on_archive("downloading", name, file.tell(), total)
            except urllib3.exceptions.HTTPError as error:
                # What requests makes of it only where it decodes the content.
                raise requests.ConnectionError(str(error)) from error
            found = file.tell()
        if total is not None and found < total:
            raise requests.ConnectionError(f"the connection ended after {found} of {total} bytes")


def _find_total(response: "requests.Response") -> int | None:
    """Bytes of the whole file, None where the server does not say."""
    _, _, total = response.headers.get("Content-Range", "").partition("/")
    if not total and response.status_code == _CONTENT:
        total = response.headers.get("Content-Length", "")
    return int(total) if total.isdecimal() else None


def _starts_at(response: "requests.Response", position: int) -> bool:
    return response.headers.get("Content-Range", "").startswith(f"bytes {position}-")


def _describe(error: Exception) -> str:
    """The innermost reason, in one line."""
    while error.__cause__ is not None or error.__context__ is not None:
        inner = error.__cause__ or error.__context__
        if not isinstance(inner, Exception) or isinstance(inner, ScatcacheError):
            break
        error = inner
    return " ".join(str(error).split())[:200] or type(error).__name__


_pooch_lock = threading.Lock()


@contextlib.contextmanager
def _quiet_pooch() -> Iterator[None]:
    """Keeps pooch from printing, which it does unless told otherwise; the caller's own level comes back afterwards."""
    import pooch

    pooch_logger = pooch.get_logger()
    with _pooch_lock:
        level = pooch_logger.level
        pooch_logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            pooch_logger.setLevel(level)
