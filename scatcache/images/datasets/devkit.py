"""The development kit of ILSVRC 2012: which class each validation image is of, which its archive does not say."""

import gzip
import io
import re
import struct
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from scatcache.errors import SourceError
from scatcache.images.archives.tar_members import MAX_HEADER_BYTES, ForwardReader
from scatcache.images.archives.unpack import MALFORMED
from scatcache.images.keys import show_path

ARCHIVE = "ILSVRC2012_devkit_t12.tar.gz"
FOLDER = "ILSVRC2012_devkit_t12"
META = "data/meta.mat"
GROUND_TRUTH = "data/ILSVRC2012_validation_ground_truth.txt"
# The official archive unpacks to some megabytes.
MAX_BYTES = 2**26
_NUMBER = re.compile(r"ILSVRC2012_val_(\d{8})\.[A-Za-z]+")
_WNID = re.compile(r"n\d{8}")
# Of MATLAB's level 5 format: where the version and byte order stand, and the type of a compressed element.
_MAT_HEADER_BYTES, _MAT_VERSION, _MI_COMPRESSED = 128, slice(124, 128), 15


@dataclass(frozen=True)
class Devkit:
    """path: its archive or folder; wnids: of the validation images in the order of their names."""

    path: Path
    wnids: tuple[str, ...]

    def sort(self, names: Sequence[str]) -> dict[str, str]:
        """wnid by name of validation images: by the number in each official name, else by their order.

        Raises SourceError where names are neither official nor as many as the ground truth has lines.
        """
        numbers = [_NUMBER.fullmatch(name) for name in names]
        if all(number and 1 <= int(number[1]) <= len(self.wnids) for number in numbers):
            return {name: self.wnids[int(number[1]) - 1] for name, number in zip(names, numbers, strict=True) if number}
        if len(names) != len(self.wnids):
            raise SourceError(
                f"{show_path(self.path)} gives the classes of {len(self.wnids)} validation images, but there are "
                f"{len(names)} and not all are called ILSVRC2012_val_00000001.JPEG and so on: fetch both again"
            )
        return dict(zip(sorted(names), self.wnids, strict=True))


def find_devkit(root: Path) -> Path | None:
    """The unpacked folder or the archive of the devkit in root, None where there is neither."""
    if (root / FOLDER / META).is_file():
        return root / FOLDER
    return root / ARCHIVE if (root / ARCHIVE).is_file() else None


def read_devkit(path: Path) -> Devkit:
    """Reads the devkit from its archive, in memory, or from its folder.

    Raises SourceError where it is truncated, malformed, or its two files contradict each other; OSError as the disk
    does.
    """
    meta, truth = _read_folder(path) if path.is_dir() else _read_archive(path)
    wnids = parse_meta(meta, show_path(path))
    try:
        return Devkit(path, tuple(wnids[int(line)] for line in truth.split()))
    except (ValueError, KeyError) as error:
        raise SourceError(f"{show_path(path)}: {GROUND_TRUTH} names a class that {META} has not ({error})") from error


def _read_folder(path: Path) -> tuple[bytes, bytes]:
    try:
        files = [open(path / name, "rb") for name in (META, GROUND_TRUTH)]  # noqa: SIM115, closed below
    except FileNotFoundError as error:
        raise SourceError(f"{show_path(path)} lacks {show_path(error.filename)}: fetch {ARCHIVE} again") from error
    contents = []
    for file in files:
        with file:
            contents.append(_check_size(file.read(MAX_BYTES + 1), path))
    return contents[0], contents[1]


def _check_size(data: bytes, path: Path) -> bytes:
    if len(data) > MAX_BYTES:
        raise SourceError(f"{show_path(path)} holds more than {MAX_BYTES} bytes: it is not the official devkit")
    return data


def _read_archive(path: Path) -> tuple[bytes, bytes]:
    contents = {}
    try:
        with gzip.open(path) as stream:
            reader: Any = ForwardReader(cast(IO[bytes], stream), max_bytes=MAX_BYTES)
            with tarfile.open(fileobj=reader, mode="r:") as tar:
                for member in tar:
                    name = member.name.removeprefix("./").partition("/")[2]
                    is_plain = member.isreg() and not member.issparse()
                    if name in (META, GROUND_TRUTH) and is_plain and (content := tar.extractfile(member)):
                        contents[name] = content.read(MAX_BYTES)
            # On to the end, where the checksum is.
            while reader.read(MAX_HEADER_BYTES):
                pass
    except MALFORMED as error:
        raise SourceError(f"{show_path(path)} is truncated or no tar.gz ({error}): fetch it again") from error
    missing = [name for name in (META, GROUND_TRUTH) if name not in contents]
    if missing:
        raise SourceError(f"{show_path(path)} is truncated or another archive: it lacks {missing[0]}; fetch it again")
    return contents[META], contents[GROUND_TRUTH]


def parse_meta(data: bytes, name: str) -> dict[int, str]:
    """wnid by ILSVRC2012_ID from the bytes of meta.mat. Raises SourceError where they are anything else."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    _check_mat(data, name)
    try:
        synsets = loadmat(io.BytesIO(data), squeeze_me=True, variable_names=["synsets"])["synsets"].reshape(-1)
        wnids = dict(zip(map(int, synsets["ILSVRC2012_ID"]), map(str, synsets["WNID"]), strict=True))
    except (MatReadError, ValueError, TypeError, LookupError, OSError, EOFError, AttributeError, zlib.error) as error:
        raise SourceError(f"{name}: {META} does not list the classes ({error}): fetch the devkit again") from error
    wrong = [wnid for wnid in wnids.values() if not _WNID.fullmatch(wnid)]
    if wrong or not wnids:
        raise SourceError(f"{name}: {META} does not list classes such as n01440764: fetch the devkit again")
    return wnids


def _check_mat(data: bytes, name: str) -> None:
    """Refuses whatever is not MATLAB's level 5 format, and elements that would inflate without end."""
    if data[_MAT_VERSION] not in (b"\x00\x01IM", b"\x01\x00MI"):
        raise SourceError(f"{name}: {META} is no MATLAB 5 file: fetch the devkit again")
    order = "<" if data[_MAT_VERSION].endswith(b"IM") else ">"
    position, inflated = _MAT_HEADER_BYTES, 0
    while position + 8 <= len(data):
        kind, n_bytes = struct.unpack_from(f"{order}II", data, position)
        if kind == _MI_COMPRESSED:
            inflated += _count_inflated(data[position + 8 : position + 8 + n_bytes], name)
        position += 8 + n_bytes
    if inflated > MAX_BYTES:
        raise SourceError(f"{name}: {META} inflates to more than {MAX_BYTES} bytes: it is not the official devkit")


def _count_inflated(data: bytes, name: str) -> int:
    try:
        return len(zlib.decompressobj().decompress(data, MAX_BYTES + 1))
    except zlib.error as error:
        raise SourceError(f"{name}: {META} is damaged ({error}): fetch the devkit again") from error
