"""The headers of a FITS file (FITS standard 4.0, section 4), as far as they say where its units lie.

They are looked at before astropy sees them: it believes what a header claims, and takes memory for it.
"""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import BinaryIO

from scatcache.errors import UnreadableImage

BLOCK = 2880
_CARD = 80
_MOST_HEADER_BLOCKS = 300
MOST_UNITS = 1000
# The standard allows NAXIS to be 999; images have two or three.
_MOST_AXES, _MOST_COLUMNS = 9, 999
_VALUE = re.compile(rb"([A-Z0-9_-]{1,8}) *= *('[^']*'|[^ /]+)")
_END = re.compile(rb"END *")


@dataclass(frozen=True)
class FitsUnit:
    """A header and the data behind it: bytes start to end of the file, the header's up to data; cards: values by
    keyword, the first of several, as they are written."""

    start: int
    data: int
    end: int
    cards: dict[str, str]

    def number(self, keyword: str, default: int = 0) -> int:
        text = self.cards.get(keyword, str(default))
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
            raise UnreadableImage(f"{keyword} is {text!a} in a FITS header: expected an integer")
        return int(text)

    def sizes(self, prefix: str) -> tuple[int, ...]:
        """NAXISn or ZNAXISn, the axis that runs slowest first."""
        return tuple(self.number(f"{prefix}{axis}") for axis in range(self.number(prefix), 0, -1))

    @property
    def is_compressed(self) -> bool:
        return self.cards.get("ZIMAGE") == "T"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the image here; of tables without one, nothing."""
        if self.is_compressed:
            return self.sizes("ZNAXIS")
        is_image = self.start == 0 or self.cards.get("XTENSION", "").strip("' ") == "IMAGE"
        return self.sizes("NAXIS") if is_image else ()

    @property
    def holds_image(self) -> bool:
        return len(self.shape) in (2, 3) and 0 not in self.shape


def find_units(file: BinaryIO) -> Iterator[FitsUnit]:
    """The units of a FITS file in order, each wholly in it. Raises UnreadableImage where one is not."""
    n_bytes = file.seek(0, io.SEEK_END)
    start = 0
    for _ in range(MOST_UNITS):
        unit = _read_unit(file, start, n_bytes)
        yield unit
        start = unit.end
        if n_bytes - start < BLOCK:
            return


def _read_unit(file: BinaryIO, start: int, n_bytes: int) -> FitsUnit:
    cards: dict[str, str] = {}
    file.seek(start)
    for number in range(_MOST_HEADER_BLOCKS):
        block = file.read(BLOCK)
        if len(block) < BLOCK:
            raise UnreadableImage("a FITS file that ends in a header")
        for at in range(0, BLOCK, _CARD):
            card = block[at : at + _CARD]
            if _END.fullmatch(card):
                return _place(FitsUnit(start, start + (number + 1) * BLOCK, 0, cards), n_bytes)
            if found := _VALUE.match(card):
                cards.setdefault(found[1].decode("ascii"), found[2].decode("latin1"))
    raise UnreadableImage(f"a FITS header of more than {_MOST_HEADER_BLOCKS} blocks")


def _place(unit: FitsUnit, n_bytes: int) -> FitsUnit:
    """The unit with its end."""
    for keyword, most in (("NAXIS", _MOST_AXES), ("ZNAXIS", _MOST_AXES), ("TFIELDS", _MOST_COLUMNS)):
        if not 0 <= unit.number(keyword) <= most:
            raise UnreadableImage(f"{keyword} is {unit.number(keyword)} in a FITS header: expected at most {most}")
    sizes = unit.sizes("NAXIS")
    n_values = unit.number("GCOUNT", 1) * (unit.number("PCOUNT") + prod(sizes)) if sizes else 0
    data_bytes = abs(unit.number("BITPIX", 8)) // 8 * n_values
    if data_bytes < 0 or min((*sizes, *unit.sizes("ZNAXIS"), 0)) < 0:
        raise UnreadableImage("sizes below 0 in a FITS header")
    if unit.data + data_bytes > n_bytes:
        raise UnreadableImage(f"FITS data up to byte {unit.data + data_bytes} of a file of {n_bytes}")
    end = min(unit.data + -(-data_bytes // BLOCK) * BLOCK, n_bytes)
    return FitsUnit(unit.start, unit.data, end, unit.cards)
