"""SciPy writes the files, and reads those that are sound."""

import io
import zlib

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from scatcache.images.archives.mat_file import MALFORMED_MAT, read_variables

VARIABLES = {
    "X": np.random.default_rng(1).integers(0, 256, (32, 32, 3, 200), dtype=np.uint8),
    "tiny": np.array([[7], [8], [9]], np.uint8),
    "a_rather_long_name": np.arange(9, dtype=np.uint8)[None],
    "text": "words",
    "numbers": np.eye(3),
    "fields": {"a": 1},
    "cells": np.array([["a", "b"]], object),
}
KINDS = {"text": "char", "numbers": "double", "fields": "struct", "cells": "cell"}


def make_mat(*, compressed: bool) -> bytes:
    stream = io.BytesIO()
    savemat(stream, VARIABLES, do_compression=compressed)
    return stream.getvalue()


def read_all(content: bytes) -> dict[str, tuple[str, tuple[int, ...], bytes | None]]:
    """name -> kind, shape, and the values of uint8."""
    return {
        found.name: (found.kind, found.shape, b"".join(found.read_blocks()) if found.kind == "uint8" else None)
        for found in read_variables(io.BytesIO(content))
    }


@pytest.mark.parametrize("compressed", [False, True])
def test_every_variable_is_what_scipy_reads(compressed):
    content = make_mat(compressed=compressed)
    theirs = loadmat(io.BytesIO(content))
    ours = read_all(content)
    assert list(ours) == list(VARIABLES)
    for name, (kind, shape, values) in ours.items():
        assert (kind, shape) == (KINDS.get(name, "uint8"), theirs[name].shape if name != "text" else (1, 5))
        assert values is None or values == theirs[name].tobytes(order="F")


def swap(content: bytes) -> bytes:
    """A file of one uint8 (3, 1) array, made big endian by hand."""
    parts = [(6, np.array([9, 0], ">u4").tobytes()), (5, np.array([3, 1], ">i4").tobytes())]
    body = b"".join(np.array([kind, len(data)], ">u4").tobytes() + data for kind, data in parts)
    body += np.array([1 << 16 | 1], ">u4").tobytes() + b"y\0\0\0" + np.array([3 << 16 | 2], ">u4").tobytes() + content
    return b" " * 124 + b"\x01\x00MI" + np.array([14, len(body)], ">u4").tobytes() + body


def test_a_big_endian_file_is_what_scipy_reads():
    content = swap(b"\x07\x08\x09\x00")
    assert read_all(content) == {"y": ("uint8", (3, 1), b"\x07\x08\x09")}
    assert loadmat(io.BytesIO(content))["y"].tolist() == [[7], [8], [9]]


@pytest.mark.parametrize("compressed", [False, True])
def test_what_is_damaged_raises_or_gives_as_much_as_its_header_says(compressed):
    """Never anything else: not a crash, as of SciPy, and not more memory than a block."""
    content = make_mat(compressed=compressed)
    rng = np.random.default_rng(2)
    n_refused = 0
    for _ in range(300):
        damaged = bytearray(content[: rng.integers(len(content))] if rng.random() < 0.2 else content)
        for where in rng.integers(0, min(len(damaged), 400), 2) if len(damaged) else ():
            damaged[where] = rng.integers(256)
        try:
            found = read_all(bytes(damaged))
        except MALFORMED_MAT:
            n_refused += 1
            continue
        assert all(values is None or len(values) == np.prod(shape) for _, shape, values in found.values())
    assert n_refused > 50


def test_a_flipped_bit_of_compressed_values_is_noticed():
    content = bytearray(make_mat(compressed=True))
    content[50_000] ^= 1
    with pytest.raises(MALFORMED_MAT):
        read_all(bytes(content))


@pytest.mark.parametrize("n_more", [-1, 9])
def test_values_of_another_number_than_the_header_says_are_refused(n_more):
    stream = io.BytesIO()
    savemat(stream, {"X": np.zeros((8, 800), np.uint8)}, do_compression=True)
    content = stream.getvalue()
    inflated = zlib.decompress(content[136:])
    packed = zlib.compress(inflated[:n_more] if n_more < 0 else inflated + bytes(n_more))
    whole = content[:132] + np.array([len(packed)], "<u4").tobytes() + packed
    with pytest.raises(MALFORMED_MAT, match="it ends early" if n_more < 0 else "longer than its header says"):
        read_all(whole)
