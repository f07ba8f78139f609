"""Unpickling the Python archives, which may come from anywhere, without running anything they say."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from scatcache.errors import SourceError
from scatcache.images.keys import show_path


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """What Python 3's pickles call on bytes; any other encoding would let a pickle choose what code runs."""
    if encoding not in ("latin1", "latin-1", "iso-8859-1"):
        raise pickle.UnpicklingError(f"encoding {encoding!r}: expected latin1")
    return text.encode("latin1")


# How NumPy pickles an array, under the names of NumPy 1 and 2, protocols 0 to 5; taken from NumPy itself.
_RECONSTRUCT = np.empty(0).__reduce__()[0]
_FROM_BUFFER = np.empty(0).__reduce_ex__(5)[0]
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy.core.numeric", "_frombuffer"): _FROM_BUFFER,
    ("numpy._core.numeric", "_frombuffer"): _FROM_BUFFER,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode,
}
# What a malformed pickle is known to raise from the unpickler and from the callables above.
_MALFORMED = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    RecursionError,
    TypeError,
    ValueError,
)


class _ArrayUnpickler(pickle.Unpickler):
    """Finds nothing but what arrays, and Python's own containers, numbers and strings, are made of."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no archive of images needs")
        return _ALLOWED[module, name]


def load_pickled_fields(path: Path) -> dict[str, Any]:
    """The dict a file pickles, its keys as text: lists, strings, numbers and NumPy arrays alone.

    Raises SourceError where the file is no such pickle or asks for anything else; OSError as the disk does.
    """
    with open(path, "rb") as file:
        try:
            # latin1 because NumPy needs it for arrays pickled by Python 2, as the official ones are.
            fields = _ArrayUnpickler(file, encoding="latin1").load()
        except _MALFORMED as error:
            raise SourceError(f"{show_path(path)} is not a pickle that can be trusted: {error}") from error
    if not isinstance(fields, dict):
        raise SourceError(f"{show_path(path)} pickles a {type(fields).__name__}: expected a dict")
    return {key.decode("latin1") if isinstance(key, bytes) else str(key): value for key, value in fields.items()}
