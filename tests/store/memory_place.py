"""A place whose files are in memory: what Place asks for and nothing else."""

from collections.abc import Callable, Sequence
from typing import Self

import numpy as np


class MemoryFile:
    """One file open for reading; later changes do not reach it."""

    def __init__(self, data: bytes):
        self._data, self.file_bytes = data, len(data)

    def read_range(self, start: int, n_bytes: int) -> bytes:
        return self._data[start : start + n_bytes]


class NewMemoryFile:
    """One file in the making."""

    def __init__(self, files: dict[str, bytes], name: str):
        self._files, self._name, self._parts = files, name, []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self._parts.clear()

    def write(self, data: bytes) -> None:
        self._parts.append(bytes(data))

    def commit(self, check: Callable[[], None] = lambda: None) -> None:
        check()
        self._files[self._name] = b"".join(self._parts)


class MemoryPlace:
    """files: every file's bytes by its name; written: their names in the order in which they were put."""

    name, finish = "memory", "put what is missing"

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.written: list[str] = []

    def read(self, name: str) -> bytes:
        if name not in self.files:
            raise FileNotFoundError(name)
        return self.files[name]

    def open(self, name: str, *, tail_bytes: int) -> MemoryFile:
        return MemoryFile(self.read(name))

    def has(self, name: str) -> bool:
        return name in self.files

    def list_names(self, folder: str) -> list[str]:
        inner = self.list_sizes(folder)
        return sorted({name if "/" not in name else name.partition("/")[0] + "/" for name in inner})

    def list_sizes(self, folder: str) -> dict[str, int]:
        above = f"{folder}/" if folder else ""
        return {name.removeprefix(above): len(data) for name, data in self.files.items() if name.startswith(above)}

    def look(self) -> str:
        return f"{len(self.files)} files"

    def read_with_zarr(self, array: str, rows: Sequence[int]) -> list[np.ndarray] | None:
        return None

    def put(self, name: str, data: bytes) -> None:
        self.files[name] = data
        self.written.append(name)

    def put_stream(self, name: str) -> NewMemoryFile:
        self.written.append(name)
        return NewMemoryFile(self.files, name)

    def delete(self, name: str) -> None:
        for found in [found for found in self.files if found == name or found.startswith(f"{name}/")]:
            del self.files[found]

    def sweep(self, folder: str) -> None:
        """Nobody is killed in here."""
