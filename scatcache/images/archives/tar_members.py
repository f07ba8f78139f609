"""The files of an uncompressed tar by their headers alone, of hostile ones too: what they say is never trusted."""

import os
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO, Any, NamedTuple

from scatcache.errors import SourceError
from scatcache.images.keys import escape_name

# Long names and pax records are headers with contents, which tarfile reads whole whatever size they claim.
MAX_HEADER_BYTES = 2**20
_BLOCK = tarfile.BLOCKSIZE

# Of (n_bytes, offset): those bytes of a file, fewer where it ends.
ReadAt = Callable[[int, int], bytes]


class TarMember(NamedTuple):
    """A regular file of a tar. key: its path there, escaped; offset, n_bytes: where its bytes are in the whole file;
    label, targets: what files beside it say of it, -1 and () where none does."""

    key: str
    offset: int
    n_bytes: int
    label: int = -1
    targets: tuple[float, ...] = ()


def list_members(
    file: int | ReadAt, start: int, n_bytes: int, *, name: str, advice: str = "it is not the official archive"
) -> Iterator[TarMember]:
    """Every regular file of the tar that lies at start .. start + n_bytes of a file, in its order there.

    Reads the headers alone, about one kilobyte a member. file: a descriptor, or how to read it; name: of the tar, for
    messages; advice: what to do about a member that is no plain file.

    Raises SourceError where the tar is truncated or damaged, or holds a link, a device, a sparse file, or a path that
    leads outside of it; OSError as the disk does.
    """
    window: Any = _Window(partial(os.pread, file) if isinstance(file, int) else file, start, n_bytes)
    end = 0
    try:
        with tarfile.open(fileobj=window, mode="r:", encoding="utf-8", errors="surrogateescape") as tar:
            while (member := tar.next()) is not None:
                # tarfile keeps every member it has met; an archive may have millions.
                tar.members = []  # type: ignore[attr-defined]
                if member.offset < end or member.size < 0:
                    raise tarfile.ReadError("a member's size is negative")
                end = member.offset_data + member.size
                if not member.isdir():
                    yield _check_member(member, start, name, advice)
            window.seek(tar.offset)
    except SourceError:
        raise
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise SourceError(f"{name} is truncated or no tar ({error}): fetch it again") from error
    # tarfile takes a damaged header, or the end of the file, for the end of the archive.
    if end > n_bytes or window.read(_BLOCK) != bytes(_BLOCK):
        raise SourceError(f"{name} is truncated or damaged at byte {start + min(end, n_bytes)}: fetch it again")


def _check_member(member: tarfile.TarInfo, start: int, name: str, advice: str) -> TarMember:
    parts = [part for part in member.name.split("/") if part not in ("", ".")]
    shown = escape_name(member.name)
    if member.issym() or member.islnk():
        raise SourceError(f"{name} holds the link {shown}: expected files alone; {advice}")
    if not member.isreg() or member.issparse():
        raise SourceError(f"{name} holds {shown}, which is no plain file: {advice}")
    if member.name.startswith("/") or ".." in parts or not parts:
        raise SourceError(f"{name} holds {shown}, which leads outside of it: {advice}")
    return TarMember(escape_name("/".join(parts)), start + member.offset_data, member.size)


class ForwardReader:
    """A stream as tarfile wants a file to be, read once from its start to its end and never beyond max_bytes.

    What a compressed stream grows to is known only by reading it: a bomb raises tarfile.ReadError instead.
    """

    def __init__(self, stream: IO[bytes], *, max_bytes: int):
        self._stream, self._max_bytes, self._position = stream, max_bytes, 0

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> int:
        while self._position < position and self.read(min(position - self._position, MAX_HEADER_BYTES)):
            pass
        if self._position > position:
            raise tarfile.ReadError(f"a header points back to byte {position}")
        return self._position

    def read(self, n_bytes: int = -1) -> bytes:
        check_header_bytes(n_bytes)
        data = self._stream.read(n_bytes)
        self._position += len(data)
        if self._position > self._max_bytes:
            raise tarfile.ReadError(f"it grows to more than the {self._max_bytes} bytes allowed")
        return data

    def close(self) -> None:
        """The stream is its opener's."""


def check_header_bytes(n_bytes: int) -> None:
    """Raises tarfile.ReadError where tarfile is about to take so many bytes, or all, into memory at once."""
    if not 0 <= n_bytes <= MAX_HEADER_BYTES:
        raise tarfile.ReadError(f"a header of {n_bytes} bytes, more than the {MAX_HEADER_BYTES} allowed")


class _Window:
    """A part of a file as tarfile wants a file to be, read by position, so that threads may share the descriptor."""

    def __init__(self, read_at: ReadAt, start: int, n_bytes: int):
        self._read_at, self._start, self._n_bytes, self._position = read_at, start, n_bytes, 0

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> int:
        if position < 0:
            raise tarfile.ReadError(f"a header points to byte {position}")
        self._position = position
        return position

    def read(self, n_bytes: int = -1) -> bytes:
        check_header_bytes(n_bytes)
        n_bytes = max(0, min(n_bytes, self._n_bytes - self._position))
        data = self._read_at(n_bytes, self._start + self._position) if n_bytes else b""
        self._position += len(data)
        return data

    def close(self) -> None:
        """The file is its opener's."""
