"""A store on this machine, and STORE.job beside it: what runs of it leave for one another."""

import os
from collections.abc import Iterable
from pathlib import Path

from scatcache.remote.urls import is_url
from scatcache.store.places.files import append_line
from scatcache.store.places.local import LocalPlace
from scatcache.store.places.place import refuse_writing
from scatcache.store.writer import StoreWriter


class StoreFolder:
    """Where one store and its STORE.job lie; holds no open file.

    path: absolute and without links, so that a store has one STORE.job whichever way it is named, and is found after a
    change of the working folder; job: STORE.job, everything volatile: deleting it loses only comfort; notes: the files
    in it; writer, records: the store for writing and for reading. Raises ScatcacheError for a URL.
    """

    def __init__(self, path: str | os.PathLike[str]):
        if is_url(path):
            raise refuse_writing(path)
        self.path = Path(os.path.realpath(path))
        self.job = self.path.with_name(self.path.name + ".job")
        self.notes = LocalPlace(self.job)
        self.writer = StoreWriter(LocalPlace(self.path))
        self.records = self.writer.records

    def log(self, line: str) -> None:
        """Adds a line to STORE.job/log.jsonl. Raises OSError."""
        append_line(self.job / "log.jsonl", line)

    def clean(self, splits: Iterable[str]) -> None:
        """Removes what killed runs left, in splits that nobody asked for too; call it holding the lock."""
        self.writer.clean(splits)
        self.notes.sweep("")
