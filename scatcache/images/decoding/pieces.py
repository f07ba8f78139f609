"""A file put together from pieces of another, read without copying it."""

import bisect
import io
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, BinaryIO


def join_pieces(file: BinaryIO, pieces: Sequence[range | bytes]) -> BinaryIO:
    """A file open for reading that consists of the pieces: ranges of the other file's bytes, or bytes."""
    merged: list[range | bytes] = []
    for piece in filter(len, pieces):
        last = merged[-1] if merged else b""
        if isinstance(piece, range) and isinstance(last, range) and last.stop == piece.start:
            merged[-1] = range(last.start, piece.stop)
        else:
            merged.append(piece)
    if merged == [range(file.seek(0, io.SEEK_END))]:
        return file
    return io.BufferedReader(_Pieces(file, merged))


class _Pieces(io.RawIOBase):
    def __init__(self, file: BinaryIO, pieces: list[range | bytes]):
        self._file, self._pieces = file, pieces
        self._ends = list(accumulate(map(len, pieces)))
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        size = self._ends[-1] if self._ends else 0
        position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: size}[whence]
        if position < 0:
            raise ValueError(f"negative seek value {position}")
        self._position = position
        return position

    def readinto(self, buffer: Any) -> int:
        number = bisect.bisect_right(self._ends, self._position)
        if number == len(self._pieces):
            return 0
        piece = self._pieces[number]
        start = self._position - (self._ends[number] - len(piece))
        wanted = piece[start : start + len(buffer)]
        if isinstance(wanted, range):
            self._file.seek(wanted.start)
            wanted = self._file.read(len(wanted))
        buffer[: len(wanted)] = wanted
        self._position += len(wanted)
        return len(wanted)
