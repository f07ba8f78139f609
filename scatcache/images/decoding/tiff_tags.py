"""The directory of tags at the head of a TIFF file, which EXIF blocks are too."""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

# Type of a tag's values -> struct format of one; bytes (1, 7) and text (2) are no numbers.
_NUMBERS = {
    3: "H", 4: "I", 5: "II", 6: "b", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d", 13: "I", 16: "Q", 17: "q", 18: "Q"
}  # fmt: skip
_RATIONALS = (5, 10)
_INTEGERS = (1, 3, 4, 6, 8, 9, 13, 16, 17, 18)
_BYTES = (1, 2, 7)
# A byte order, then the number 42 in that order, or in the other; BigTIFF has 43.
_SIGNATURES = {
    b"II*\0": "<", b"MM\0*": ">", b"II\0*": "<", b"MM*\0": ">", b"II+\0": "<", b"MM\0+": ">"
}  # fmt: skip


@dataclass(frozen=True)
class Form:
    """order: "<" or ">"; big: BigTIFF, whose counts and offsets have 8 bytes."""

    order: str
    big: bool

    @property
    def count_bytes(self) -> int:
        return 8 if self.big else 2

    @property
    def offset_bytes(self) -> int:
        return 8 if self.big else 4

    @property
    def entry_bytes(self) -> int:
        return 20 if self.big else 12

    def number(self, data: bytes) -> int:
        return int.from_bytes(data, "little" if self.order == "<" else "big")

    def write(self, number: int, n_bytes: int) -> bytes:
        return number.to_bytes(n_bytes, "little" if self.order == "<" else "big")


@dataclass(frozen=True)
class Directory:
    """start: offset in the file; entries: tag and bytes of each, in order, as many as the file has; next: offset of the
    following directory, 0 where there is none."""

    file: BinaryIO
    form: Form
    start: int
    entries: tuple[tuple[int, bytes], ...]
    next: int

    def has(self, tag: int) -> bool:
        return any(found == tag for found, _ in self.entries)

    def numbers(self, tag: int, *, most: int = 8) -> tuple[float, ...]:
        """The first values of a tag; none where it is missing, no number, or lies beyond the end of the file."""
        entry = next((entry for found, entry in self.entries if found == tag), None)
        if entry is None or self._type(entry) not in _NUMBERS:
            return ()
        kind = self.form.order + _NUMBERS[self._type(entry)]
        each = struct.calcsize(kind)
        n_values = min(most, self._count(entry))
        data = self._data(entry, n_values * each, self._count(entry) * each)
        values = list(struct.iter_unpack(kind, data[: len(data) // each * each]))
        if self._type(entry) in _RATIONALS:
            return tuple(above / below if below else math.nan for above, below in values)
        return tuple(value for (value,) in values)

    def number(self, tag: int, default: float = 0) -> float:
        return next(iter(self.numbers(tag, most=1)), default)

    def text(self, tag: int, *, most: int) -> bytes:
        """The first bytes of a tag of bytes or text."""
        entry = next((entry for found, entry in self.entries if found == tag), None)
        if entry is None or self._type(entry) not in _BYTES:
            return b""
        return self._data(entry, min(most, self._count(entry)), self._count(entry))

    def counts(self) -> Iterator[tuple[int, int]]:
        """Each tag and the number of its values, as it claims."""
        return ((tag, self._count(entry)) for tag, entry in self.entries)

    def is_one_integer(self, tag: int) -> bool:
        """Whether a tag, wherever it stands, is a single integer; also where it is missing."""
        found = [entry for known, entry in self.entries if known == tag]
        return all(self._count(entry) == 1 and self._type(entry) in _INTEGERS for entry in found)

    def _type(self, entry: bytes) -> int:
        return self.form.number(entry[2:4])

    def _count(self, entry: bytes) -> int:
        return self.form.number(entry[4 : 4 + self.form.offset_bytes])

    def _data(self, entry: bytes, n_bytes: int, total_bytes: int) -> bytes:
        """The first n_bytes of an entry's total_bytes, which lie in it where they fit."""
        field = entry[-self.form.offset_bytes :]
        if total_bytes <= self.form.offset_bytes:
            return field[:n_bytes]
        offset = self.form.number(field)
        if offset >= 2**63:
            return b""
        self.file.seek(offset)
        return self.file.read(n_bytes)


def read_directory(file: BinaryIO) -> Directory | None:
    """The first directory of a TIFF file, None where there is none."""
    file.seek(0)
    head = file.read(16)
    order = _SIGNATURES.get(head[:4])
    if order is None:
        return None
    form = Form(order, head[:4] in (b"II+\0", b"MM\0+"))
    offset = head[8:16] if form.big else head[4:8]
    return _read_directory(file, form, form.number(offset)) if len(offset) == form.offset_bytes else None


def _read_directory(file: BinaryIO, form: Form, start: int) -> Directory | None:
    if start >= 2**63:
        return None
    file.seek(start)
    n_entries = file.read(form.count_bytes)
    if len(n_entries) < form.count_bytes:
        return None
    data = file.read(min(form.number(n_entries), 2**16) * form.entry_bytes)
    n_whole = len(data) // form.entry_bytes
    entries = [data[at * form.entry_bytes : (at + 1) * form.entry_bytes] for at in range(n_whole)]
    following = file.read(form.offset_bytes) if n_whole == form.number(n_entries) else b""
    following_offset = form.number(following) if len(following) == form.offset_bytes else 0
    tagged = tuple((form.number(entry[:2]), entry) for entry in entries)
    return Directory(file, form, start, tagged, following_offset)


def following_directories(first: Directory) -> Iterator[Directory]:
    """Those after the first, each once."""
    seen, current = {first.start}, first
    while current.next and current.next not in seen:
        found = _read_directory(first.file, first.form, current.next)
        if found is None:
            return
        seen.add(found.start)
        yield found
        current = found


def write_directory(directory: Directory, tags: frozenset[int]) -> bytes:
    """The directory's bytes with the entries of these tags alone."""
    form = directory.form
    kept = [entry for tag, entry in directory.entries if tag in tags]
    following = form.write(directory.next, form.offset_bytes)
    return form.write(len(kept), form.count_bytes) + b"".join(kept) + following
