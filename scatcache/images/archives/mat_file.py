"""Arrays of uint8 in MATLAB's level 5 files, block by block.

SciPy's reader ends the process with a segmentation fault where certain bytes of a file are damaged (1.17.1), and holds
whole arrays. The layout is that of "MAT-File Format", MathWorks, chapter 1.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

HEADER_BYTES = 128
_VERSION = slice(124, 128)
_MI_INT8, _MI_UINT8, _MI_INT32, _MI_UINT32, _MI_MATRIX, _MI_COMPRESSED = 1, 2, 5, 6, 14, 15
_IS_COMPLEX = 0x0800
# The first byte of an array's flags.
_KINDS = {1: "cell", 2: "struct", 3: "object", 4: "char", 5: "sparse", 6: "double", 7: "single", 8: "int8", 9: "uint8"}
_MAX_NAME_BYTES, _MAX_AXES = 64, 32
_BLOCK_BYTES = 2**18
# What malformed files raise here.
MALFORMED_MAT = (ValueError, EOFError, zlib.error)


class _Stream:
    """What an element of a file holds, inflated where it is compressed."""

    def __init__(self, file: IO[bytes], n_bytes: int, *, is_compressed: bool):
        self._file = file
        self._left = n_bytes
        self._inflater = zlib.decompressobj() if is_compressed else None
        self._packed = b""

    def read(self, n_bytes: int) -> bytes:
        """Exactly as many bytes. Raises EOFError where there are fewer, zlib.error where they are damaged."""
        found = b""
        while len(found) < n_bytes:
            block = self._read_some(n_bytes - len(found))
            if not block:
                raise EOFError("it ends early")
            found += block
        return found

    def _read_some(self, n_most: int) -> bytes:
        """At least one byte, b"" at the end."""
        if self._inflater is None:
            return self._read_file(n_most)
        while not self._inflater.eof:
            self._packed = self._packed or self._read_file(_BLOCK_BYTES)
            n_packed = len(self._packed)
            block = self._inflater.decompress(self._packed, n_most)
            self._packed = self._inflater.unconsumed_tail
            if block or not n_packed:
                return block
        return b""

    def _read_file(self, n_most: int) -> bytes:
        block = self._file.read(min(n_most, self._left))
        self._left -= len(block)
        return block

    def finish(self) -> None:
        """Reads what pads an element, and checks its checksum. Raises ValueError, EOFError, zlib.error."""
        if self._inflater is None:
            return
        padding = b""
        while block := self._read_some(8 - len(padding)):
            padding += block
            if len(padding) == 8:
                raise ValueError("an array is longer than its header says")
        if not self._inflater.eof:
            raise EOFError("it ends early")


@dataclass(frozen=True)
class MatVariable:
    """One array of a file. kind: MATLAB's class; it can be read until the next one is asked for."""

    name: str
    kind: str
    shape: tuple[int, ...]
    _stream: _Stream
    _order: str

    def read_blocks(self) -> Iterator[bytes]:
        """The values of real uint8, the first axis together. Raises MALFORMED_MAT."""
        n_bytes, inline = _read_tag(self._stream, self._order, _MI_UINT8)
        if n_bytes != math.prod(self.shape):
            raise ValueError(f"{self.name} has {n_bytes} bytes, its header says {math.prod(self.shape)}")
        if inline is not None:
            yield inline
        else:
            for start in range(0, n_bytes, _BLOCK_BYTES):
                yield self._stream.read(min(_BLOCK_BYTES, n_bytes - start))
        self._stream.finish()


def read_variables(file: IO[bytes]) -> Iterator[MatVariable]:
    """Every array of a file, by its header; of arrays of objects even that is skipped.

    Raises MALFORMED_MAT where the file is no such file, or damaged; OSError as the disk does.
    """
    file.seek(0)
    header = file.read(HEADER_BYTES)
    if header[_VERSION] not in (b"\x00\x01IM", b"\x01\x00MI"):
        raise ValueError("its header says something else")
    order = "<" if header.endswith(b"IM") else ">"
    position = HEADER_BYTES
    while tag := file.read(8):
        if len(tag) < 8:
            raise EOFError("it ends early")
        kind, n_bytes = struct.unpack(f"{order}II", tag)
        stream = _Stream(file, n_bytes, is_compressed=kind == _MI_COMPRESSED)
        if kind == _MI_COMPRESSED:
            kind, _ = struct.unpack(f"{order}II", stream.read(8))
        if kind == _MI_MATRIX and n_bytes and (found := _read_header(stream, order)):
            yield found
        position += 8 + n_bytes
        file.seek(position)


def _read_header(stream: _Stream, order: str) -> MatVariable | None:
    n_bytes, _ = _read_tag(stream, order, _MI_UINT32)
    if n_bytes != 8:
        raise ValueError(f"the flags of an array have {n_bytes} bytes")
    flags, _ = struct.unpack(f"{order}II", stream.read(8))
    if flags & 0xFF not in _KINDS:
        return None
    n_bytes, inline = _read_tag(stream, order, _MI_INT32)
    if n_bytes % 4 or not 8 <= n_bytes <= 4 * _MAX_AXES:
        raise ValueError(f"the sizes of an array have {n_bytes} bytes")
    shape = struct.unpack(f"{order}{n_bytes // 4}i", stream.read(-(-n_bytes // 8) * 8)[:n_bytes])
    if min(shape) < 0:
        raise ValueError(f"an array has the sizes {shape}")
    n_bytes, inline = _read_tag(stream, order, _MI_INT8)
    if n_bytes > _MAX_NAME_BYTES:
        raise ValueError(f"the name of an array has {n_bytes} bytes")
    name = inline if inline is not None else stream.read(-(-n_bytes // 8) * 8)[:n_bytes]
    kind = f"complex {_KINDS[flags & 0xFF]}" if flags & _IS_COMPLEX else _KINDS[flags & 0xFF]
    return MatVariable(name.decode("ascii", "backslashreplace"), kind, shape, stream, order)


def _read_tag(stream: _Stream, order: str, expected: int) -> tuple[int, bytes | None]:
    """Bytes of a part of an array, and these bytes themselves where they are so few that they stand in the tag."""
    tag = stream.read(8)
    kind, n_bytes = struct.unpack(f"{order}II", tag)
    inline = None
    if kind >> 16:
        kind, n_bytes = kind & 0xFFFF, kind >> 16
        inline = tag[4 : 4 + n_bytes]
    if kind != expected or (inline is not None and len(inline) < n_bytes):
        raise ValueError(f"a part of an array is of type {kind}")
    return n_bytes, inline
