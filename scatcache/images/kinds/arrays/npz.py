"""Arrays as numpy.savez saves them, .npz: read where they lie, or, where compressed, inflated once to a file."""

import atexit
import errno
import lzma
import os
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from scatcache.durable import NewFile
from scatcache.errors import SourceError
from scatcache.images.archives.staging import stage
from scatcache.images.archives.stamps import Stamp, check_stamp
from scatcache.images.archives.unpack import READ_ONLY
from scatcache.images.keys import escape_name, show_path
from scatcache.images.kinds.arrays.image_array import ArrayHead, ImageArray, PlainArray, ScatteredArray, stamp_regular
from scatcache.images.kinds.arrays.npy import place_npy, read_npy_header, refuse_objects

_SUFFIX = ".npy"
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_BLOCK_BYTES = 1 << 20
# What zipfile is known to raise on bytes that are no sound archive, or that it cannot inflate.
_MALFORMED = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, struct.error),
    *(ValueError, LookupError, OverflowError),
)


def list_npz(path: Path, work_dir: Path | None) -> dict[str, ArrayHead]:
    """The arrays of a .npz file by name, their headers read. work_dir: where compressed ones are inflated to.

    Raises SourceError where it is none, OSError as the disk does.
    """
    where, stamp = show_path(path), stamp_regular(os.fspath(path))
    found: dict[str, ArrayHead] = {}
    with _explain(where), zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if not member.filename.endswith(_SUFFIX):
                continue
            name = member.filename.removesuffix(_SUFFIX)
            with archive.open(member) as file:
                shape, dtype, is_fortran = read_npy_header(f"{escape_name(name)} in {where}", file)
                n_before = file.tell()
            place = partial(_place, where, stamp, member, n_before, shape, dtype, is_fortran, work_dir)
            found[name] = ArrayHead(shape, dtype, place)
    return found


def _place(
    where: str,
    stamp: Stamp,
    member: zipfile.ZipInfo,
    n_before: int,
    shape: tuple[int, ...],
    dtype: np.dtype,
    is_fortran: bool,
    work_dir: Path | None,
) -> ImageArray:
    """The array of a member of the archive. n_before: bytes of its header."""
    shown = f"{escape_name(member.filename)} in {where}"
    refuse_objects(shown, dtype)
    n_bytes = n_before + int(np.prod(shape, dtype=object)) * dtype.itemsize
    if n_bytes != member.file_size:
        raise SourceError(f"{shown} is {member.file_size} bytes, its header says {n_bytes}: write the file again")
    if member.compress_type == zipfile.ZIP_STORED and member.compress_size == member.file_size:
        offset = _find_data(where, stamp, member) + n_before
        return place_npy(shown, stamp, offset, shape, dtype, is_fortran=is_fortran)
    inflated = _inflate(where, stamp, member, work_dir)
    array = place_npy(shown, stamp_regular(os.fspath(inflated)), n_before, shape, dtype, is_fortran=is_fortran)
    assert isinstance(array, PlainArray | ScatteredArray)
    return replace(array, n_bytes=stamp.n_bytes)


def _find_data(where: str, stamp: Stamp, member: zipfile.ZipInfo) -> int:
    """Where the bytes of a stored member begin: behind its own header, which the archive's directory does not size."""
    with open(stamp.path, "rb") as file:
        file.seek(member.header_offset)
        head = file.read(_LOCAL_HEADER.size)
    if len(head) != _LOCAL_HEADER.size or not head.startswith(b"PK\3\4"):
        raise SourceError(f"{where} is damaged at {escape_name(member.filename)}: write it again with numpy.savez")
    _, n_name, n_extra = _LOCAL_HEADER.unpack(head)
    return member.header_offset + _LOCAL_HEADER.size + n_name + n_extra


def _inflate(where: str, stamp: Stamp, member: zipfile.ZipInfo, work_dir: Path | None) -> Path:
    """A file in work_dir of what a member holds, whole or not at all; an earlier run's of the same content is taken."""
    name = f"{Path(stamp.path).stem}.{member.CRC:08x}-{member.file_size:x}.inflated.npy"
    for folder in [work_dir] * (work_dir is not None) + [None]:
        path = (folder or _make_temporary()) / name
        if path.is_file() and path.stat().st_size == member.file_size:
            return path
        try:
            _write(where, stamp, member, path)
        except OSError as error:
            if folder is None or isinstance(error, SourceError) or error.errno not in READ_ONLY:
                raise
        else:
            break
    return path


def _write(where: str, stamp: Stamp, member: zipfile.ZipInfo, path: Path) -> None:
    with stage(path.parent, path.name) as folder, NewFile(path, temporary=folder / path.name) as new:
        check_stamp(stamp)
        with _explain(where), zipfile.ZipFile(stamp.path) as archive, archive.open(member) as stream:
            # On to the end, where the checksum is compared.
            shutil.copyfileobj(stream, new.file, _BLOCK_BYTES)
        new.commit()


@lru_cache(maxsize=1)
def _make_temporary() -> Path:
    """A folder that goes with this process, for whoever has no other."""
    folder = tempfile.TemporaryDirectory(prefix="scatcache-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


@contextmanager
def _explain(where: str) -> Iterator[None]:
    """Turns what zipfile raises on a file that is none of its own into SourceError."""
    try:
        yield
    except SourceError:
        raise
    except (OSError, *_MALFORMED) as error:
        # An offset before the file's start is EINVAL to the system.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise SourceError(
            f"{where} is truncated, damaged or no .npz ({type(error).__name__}): write it again with numpy.savez"
        ) from error
