"""The ways in which a file of a store is damaged, each drawn from a generator of random numbers."""

import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scatcache.store.format.encodings import crc32c
from scatcache.store.format.json_text import to_json

VALUES = (None, True, -1, 0, 3, 2**70, 0.5, 1e300, "", "text", [], [1], {}, {"a": 1})


@dataclass(frozen=True)
class Target:
    """store: a copy to damage; name: of one of its files, relative to it; others: stores made otherwise."""

    store: Path
    name: str
    others: tuple[Path, ...]

    @property
    def path(self) -> Path:
        return self.store / self.name


def edit(target: Target, change: Callable[[bytes], bytes]) -> None:
    target.path.write_bytes(change(target.path.read_bytes()))


def flip_bit(target: Target, dice: random.Random) -> None:
    at, bit = dice.randrange(target.path.stat().st_size), 1 << dice.randrange(8)
    edit(target, lambda data: data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :])


def overwrite(target: Target, dice: random.Random) -> None:
    at, n_bytes = dice.randrange(target.path.stat().st_size), dice.choice((1, 2, 4, 64, 512))
    edit(target, lambda data: (data[:at] + dice.randbytes(n_bytes))[: len(data)] + data[at + n_bytes :])


def clear(target: Target, dice: random.Random) -> None:
    """Zeros, as a file system leaves them after a power cut: from a place on, in a part, or everywhere."""
    size = target.path.stat().st_size
    start = dice.choice((0, dice.randrange(size)))
    stop = dice.choice((size, dice.randrange(start, size) + 1))
    edit(target, lambda data: data[:start] + bytes(stop - start) + data[stop:])


def cut(target: Target, dice: random.Random) -> None:
    os.truncate(target.path, dice.randrange(target.path.stat().st_size))


def cut_front(target: Target, dice: random.Random) -> None:
    n_bytes = dice.randrange(target.path.stat().st_size) + 1
    edit(target, lambda data: data[n_bytes:])


def extend(target: Target, dice: random.Random) -> None:
    n_bytes = dice.choice((1, 4, 100, 5000))
    more = dice.choice((bytes(n_bytes), dice.randbytes(n_bytes), b"\n" * n_bytes, b" " * n_bytes))
    edit(target, lambda data: data + dice.choice((more, data)))


def empty(target: Target, dice: random.Random) -> None:
    os.truncate(target.path, 0)


def delete(target: Target, dice: random.Random) -> None:
    target.path.unlink()


def swap(target: Target, dice: random.Random) -> None:
    """Exchanges two files that have the same place in another shard, array or split."""
    kin = [path for path in list_files(target.store) if are_kin(path, target.name) and path != target.name]
    other = target.store / dice.choice(kin or [target.name])
    mine, theirs = target.path.read_bytes(), other.read_bytes()
    target.path.write_bytes(theirs)
    other.write_bytes(mine)


def copy_kin(target: Target, dice: random.Random) -> None:
    """Another shard's, array's or split's file stands in this one's place."""
    kin = [path for path in list_files(target.store) if are_kin(path, target.name) and path != target.name]
    target.path.write_bytes((target.store / dice.choice(kin or [target.name])).read_bytes())


def take_foreign(target: Target, dice: random.Random) -> None:
    """The file of the same name of a store made with other settings, or of an earlier state of this one."""
    there = [store / target.name for store in target.others if (store / target.name).is_file()]
    if there:
        target.path.write_bytes(dice.choice(there).read_bytes())


def become_folder(target: Target, dice: random.Random) -> None:
    target.path.unlink()
    target.path.mkdir()
    if dice.random() < 0.5:
        (target.path / "c.0").write_bytes(b"something")


def become_pipe(target: Target, dice: random.Random) -> None:
    target.path.unlink()
    os.mkfifo(target.path)


def become_link(target: Target, dice: random.Random) -> None:
    """A link to itself, to nothing, or to a folder."""
    target.path.unlink()
    target.path.symlink_to(dice.choice((target.path.name, "nothing", ".")))


def edit_json(target: Target, dice: random.Random) -> None:
    """One value of a JSON file, at any depth, is another; the crc32c is made to fit."""
    if target.path.suffix != ".json":
        return flip_bit(target, dice)
    data = target.path.read_bytes()
    document = json.loads(data)
    sealed = document.pop("crc32c", None) is not None
    places = list(list_roots(document))
    if "scatcache" in document.get("attributes", {}) and dice.random() < 0.7:
        places = list(list_roots(document["attributes"]))
    holder, key = dice.choice(places)
    if isinstance(holder, dict) and dice.random() < 0.3:
        del holder[key]
    else:
        holder[key] = dice.choice(VALUES)
    if sealed:
        document["crc32c"] = crc32c(to_json(document))
    indent = None if sealed else 2
    target.path.write_bytes(to_json(document, indent=indent))
    return None


def list_roots(value: Any) -> Any:
    """(container, key) of every value within a JSON document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield value, key
        yield from list_roots(inner)


def are_kin(name: str, other: str) -> bool:
    """Files of one suffix and kind: shards, receipts, chunks of arrays, metadata."""
    return kind_of(name) == kind_of(other)


def kind_of(name: str) -> str:
    """What a file of a store is."""
    parts = name.split("/")
    if name == "zarr.json":
        return "root"
    if parts[-1] == "zarr.json":
        return "metadata"
    if "receipts" in parts:
        return {"summary.json": "summary", "index.bin": "index"}.get(parts[-1], "receipt")
    if parts[-2] == "coefficients":
        return "shard"
    return "array"


def list_files(store: Path) -> list[str]:
    return sorted(str(path.relative_to(store)) for path in store.rglob("*") if path.is_file())


def remove(path: Path) -> None:
    """What a person does to a file or folder that verify names."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


DAMAGES = {
    damage.__name__: damage
    for damage in (
        *(flip_bit, overwrite, clear, cut, cut_front, extend, empty, delete, swap, copy_kin, take_foreign),
        *(become_folder, become_pipe, become_link, edit_json),
    )
}
