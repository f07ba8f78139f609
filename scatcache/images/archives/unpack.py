"""Unpacking the files wanted from a tar.gz, whole or not at all."""

import contextlib
import errno
import fcntl
import gzip
import logging
import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any, cast

from scatcache.durable import NewFile, publish, sync
from scatcache.errors import SourceError
from scatcache.images.archives.staging import choose_staging, stage
from scatcache.images.archives.tar_members import ForwardReader
from scatcache.images.keys import show_path

# (what is being done, file, bytes so far, bytes in all or None): called as an archive is downloaded or indexed.
OnArchive = Callable[[str, str, int, int | None], None]

READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
_BLOCK_BYTES = 1 << 20
# What a malformed compressed tar is known to raise; gzip's and zlib's own are no OSErrors of the machine.
MALFORMED = (EOFError, tarfile.TarError, zlib.error, gzip.BadGzipFile)
_logger = logging.getLogger(__name__)


def tell_nobody(action: str, file: str, done: int, total: int | None) -> None:
    """The OnArchive of whoever does not care."""


def unpack_folder(
    archive: Path,
    folder: str,
    *,
    required: Collection[str],
    optional: Collection[str] = (),
    max_bytes: int,
    work_dir: Path | None,
    beside: bool = True,
) -> Path:
    """Unpacks `folder/name` for each of these names of a tar.gz, beside it, or in work_dir where that is read-only
    or not wanted (beside=False).

    Nothing else in the archive is unpacked, and no folder bears the final name before all of it is on disk. Until then
    it lies in work_dir, where that is on the same file system. An earlier call's folder is taken as it is. max_bytes:
    of all that the archive holds, more than any official one.

    Returns the folder unpacked.

    Raises SourceError where the archive is malformed, truncated or larger, lacks a required file, or there is no place
    to write; OSError as the disk does.
    """
    if work_dir is not None and (work_dir / folder).is_dir():
        return work_dir / folder
    with contextlib.ExitStack() as staged:
        content = _stage_folder(staged, archive, folder, work_dir, beside)
        try:
            _logger.info("unpacking %s into %s", archive, content.parent)
            _extract(archive, folder, {*required, *optional}, content, max_bytes)
        except MALFORMED as error:
            raise SourceError(f"{show_path(archive)} is truncated or no tar.gz ({error}): fetch it again") from error
        missing = [name for name in required if not (content / name).is_file()]
        if missing:
            raise SourceError(
                f"{show_path(archive)} is truncated or another archive: it lacks {folder}/{missing[0]}; fetch it again"
            )
        targets = [archive.parent] * beside + [work_dir] * (work_dir is not None)
        return _publish(content, [target / folder for target in targets if target is not None])


def _stage_folder(
    staged: contextlib.ExitStack, archive: Path, folder: str, work_dir: Path | None, beside: bool
) -> Path:
    """An empty folder to unpack into, under the umask, which goes with `staged`."""
    parent = archive.parent
    if work_dir is not None:
        parent = choose_staging(archive.parent, work_dir) if beside else work_dir
    try:
        content = staged.enter_context(stage(parent, folder)) / folder
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise
        if work_dir is None:
            raise SourceError(
                f"{show_path(archive)} cannot be unpacked, for its folder is read-only: unpack it elsewhere and give "
                f"that folder as --root DIR"
            ) from error
        content = staged.enter_context(stage(work_dir, folder)) / folder
    content.mkdir()
    return content


def _extract(archive: Path, folder: str, wanted: set[str], target: Path, max_bytes: int) -> None:
    """Writes the wanted regular files of an archive into target, and reads on to its end, where the checksum is."""
    with gzip.open(archive) as stream:
        reader: Any = ForwardReader(cast(IO[bytes], stream), max_bytes=max_bytes)
        with tarfile.open(fileobj=reader, mode="r:") as tar:
            for member in tar:
                parent, _, name = member.name.removeprefix("./").rpartition("/")
                if parent == folder and name in wanted and member.isreg() and not member.issparse():
                    _write_member(tar, member, target / name)
        while reader.read(_BLOCK_BYTES):
            pass


def inflate(
    archive: Path, open_stream: Callable[[], AbstractContextManager[IO[bytes]]], path: Path, *, max_bytes: int
) -> None:
    """Writes what a compressed stream of an archive holds to path, whole or not at all, on to the stream's checksum.

    Raises SourceError where the archive is damaged or holds more than max_bytes; OSError as the disk does.
    """
    with stage(path.parent, path.name) as folder, NewFile(path, temporary=folder / path.name) as new:
        try:
            with open_stream() as stream:
                shutil.copyfileobj(ForwardReader(stream, max_bytes=max_bytes), new.file, _BLOCK_BYTES)
        except (*MALFORMED, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
            raise SourceError(
                f"{show_path(archive)} is truncated or no official archive ({error}): fetch it again"
            ) from error
        new.commit()


def unpack_once(archive: Path, folder: Path, name: str, unpack: Callable[[Path], None]) -> Path:
    """The file of an archive that unpack(path) makes: an earlier call's where the archive is still the same.

    folder: where it is kept; name: what it is called, apart from the archive's size and time. One process or thread
    unpacks, the others wait for it. Raises as unpack does, OSError as the disk does.
    """
    with open(archive, "rb") as file:
        # Where locks do not work, several unpack, each on its own, into the same.
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        status = os.fstat(file.fileno())
        stem, suffix = os.path.splitext(name)
        path = folder / f"{stem}-{status.st_size:x}-{status.st_mtime_ns:x}{suffix}"
        if not path.is_file():
            unpack(path)
    return path


def _write_member(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    content = tar.extractfile(member)
    assert content is not None, "only regular files come here"
    with content, open(path, "wb") as file:
        shutil.copyfileobj(content, file, _BLOCK_BYTES)
        sync(file)


def _publish(content: Path, targets: list[Path]) -> Path:
    """Moves an unpacked folder to the first of these names where that is allowed; returns it."""
    for final in targets[:-1]:
        try:
            return _move(content, final)
        except OSError as error:
            if error.errno not in READ_ONLY:
                raise
    return _move(content, targets[-1])


def _move(content: Path, final: Path) -> Path:
    try:
        publish(content, final)
    except OSError as error:
        # Another process was faster: both unpacked the same archive.
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
    return final
