"""Files of one NumPy array, .npy: read by their header's rules, and only as large as the header says."""

import io
import re
from math import prod
from typing import BinaryIO

import numpy as np

from scatcache.errors import UnreadableImage
from scatcache.images.decoding.sample_types import SampleFile, find_sample_type

NPY_SIGNATURE = b"\x93NUMPY"
# NumPy reads no longer ones either.
_MOST_HEADER_BYTES = 10_000
# A header is a dict of three entries in any order, as Python writes it. It is not evaluated: what is no plain array has
# no such header.
_ENTRIES = (
    r"""(?P<Q>['"])descr(?P=Q)\s*:\s*(?P<q>['"])(?P<descr>[<>|=]?[A-Za-z][0-9]*)(?P=q)""",
    r"""['"]fortran_order['"]\s*:\s*(?P<fortran_order>True|False)""",
    r"""['"]shape['"]\s*:\s*\((?P<shape>[0-9L,\s]*)\)""",
)
_ITEM = re.compile("|".join(_ENTRIES))
_REST = re.compile(r"\{[\s,]*\}\s*")


def open_numpy(file: BinaryIO, axes: str | None) -> SampleFile:
    """The array of a .npy file, (height, width) or with bands, which are the last axis or the first.

    axes: "HW", "HWC" or "CHW"; None where the shape says it. Raises UnreadableImage where it does not, and for files
    that are no such array whole.
    """
    n_bytes = file.seek(0, io.SEEK_END)
    start, header = _read_header(file)
    shape, dtype, is_fortran = _parse_header(header)
    find_sample_type(dtype)
    if n_bytes - start != prod(shape) * dtype.itemsize:
        raise UnreadableImage(
            f"its header says {dtype} {shape}, {prod(shape) * dtype.itemsize} bytes, and {n_bytes - start} follow it"
        )
    order = _order_axes(shape, axes)

    def load() -> np.ndarray:
        file.seek(start)
        # Arrays over a bytearray may be written to.
        data = bytearray(file.read(n_bytes - start))
        if len(data) != n_bytes - start:
            raise ValueError(f"{len(data)} bytes where {n_bytes - start} were")
        found = np.frombuffer(data, dtype).reshape(shape, order="F" if is_fortran else "C")
        return found.transpose(order)

    return SampleFile(tuple(shape[axis] for axis in order), dtype, load)


def _read_header(file: BinaryIO) -> tuple[int, str]:
    """Where the data begins, and the text before it."""
    file.seek(0)
    head = file.read(len(NPY_SIGNATURE) + 2)
    version = tuple(head[len(NPY_SIGNATURE) :])
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise UnreadableImage(f".npy of version {'.'.join(map(str, version))}: expected 1.0, 2.0 or 3.0")
    length = file.read(2 if version == (1, 0) else 4)
    n_bytes = int.from_bytes(length, "little")
    if n_bytes > _MOST_HEADER_BYTES:
        raise UnreadableImage(f"a .npy header of {n_bytes} bytes: expected at most {_MOST_HEADER_BYTES}")
    header = file.read(n_bytes)
    if len(header) != n_bytes:
        raise UnreadableImage("a .npy file that ends in its header")
    return file.tell(), header.decode("latin1")


def _parse_header(header: str) -> tuple[tuple[int, ...], np.dtype, bool]:
    """Shape, dtype, and whether the first axis runs fastest."""
    found = {name: text for item in _ITEM.finditer(header) for name, text in item.groupdict().items() if text}
    if not _REST.fullmatch(_ITEM.sub("", header)) or not {"descr", "fortran_order"} <= found.keys():
        raise UnreadableImage("a .npy header that is none of a plain array: objects, structures and texts are refused")
    shape = tuple(int(number) for number in re.findall(r"[0-9]+", found.get("shape", "")))
    return shape, np.dtype(found["descr"]), found["fortran_order"] == "True"


def _order_axes(shape: tuple[int, ...], axes: str | None) -> tuple[int, ...]:
    """The axes of the array as height, width and, where it has them, bands."""
    if len(shape) not in (2, 3) or (axes is not None and len(axes) != len(shape)):
        raise UnreadableImage(f"an array of {shape}: expected {axes or 'HW, HWC or CHW'}")
    if len(shape) == 2:
        return (0, 1)
    if axes is not None:
        return (1, 2, 0) if axes == "CHW" else (0, 1, 2)
    first, middle, last = shape
    if first == last or min(first, last) > middle:
        raise UnreadableImage(
            f"an array of {shape}, whose shape does not say where its bands are: give --axes HWC or CHW"
        )
    return (1, 2, 0) if first < last else (0, 1, 2)
