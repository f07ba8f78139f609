"""What verify finds wrong, and what it finds beside that."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Failure:
    """split, shard: where, None where it concerns all; path: relative to the store; reason: one line."""

    split: str | None
    shard: int | None
    path: str
    reason: str


@dataclass(frozen=True)
class VerifyReport:
    """ok: no failure; checked: shards; recomputed: rows compared with their images; notes: what is no failure, yet
    worth a line, such as what other programs put into the store."""

    ok: bool
    checked: int
    failures: tuple[Failure, ...]
    recomputed: int = 0
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {"ok": self.ok, "checked": self.checked, "failures": [asdict(failure) for failure in self.failures]}
