"""Tars for the tests of this folder: official ones in small, and hostile ones."""

import gzip
import io
import os
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

# (name, content) for a file, or a TarInfo as it is.
Entry = tuple[str, bytes] | tarfile.TarInfo


def draw_jpeg(seed: int, *, size: tuple[int, int] = (40, 36), **options: object) -> bytes:
    """A JPEG of noise, (height, width)."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", **options)
    return file.getvalue()


def make_tar(entries: Iterable[Entry], *, form: int = tarfile.GNU_FORMAT) -> bytes:
    """An uncompressed tar."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form, encoding="utf-8", errors="surrogateescape") as tar:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                tar.addfile(entry)
            else:
                member = tarfile.TarInfo(entry[0])
                member.size = len(entry[1])
                tar.addfile(member, io.BytesIO(entry[1]))
    return file.getvalue()


def make_entry(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    """A member that is no file."""
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


def make_header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """One raw header that claims a size, nothing behind it; sizes beyond 8 GiB and below 0 in base 256."""
    member = tarfile.TarInfo(name)
    member.type = kind
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = (0xFF if size < 0 else 0x80).to_bytes(1) + size.to_bytes(11, "big", signed=True)
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header[:512]):06o}\0 ".encode()
    return bytes(header[:512])


def make_bomb(n_bytes: int) -> bytes:
    """A gzip of zeros."""
    return gzip.compress(bytes(n_bytes), 1)


def system_tar(tar: Path, folder: Path, *names: str) -> Path:
    """A tar that the system's own tar makes of what lies in a folder, as the official ones were made."""
    subprocess.run(["tar", "-cf", tar, "-C", folder, *(names or sorted(os.listdir(folder)))], check=True)
    return tar
