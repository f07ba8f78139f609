"""A training under way on disk: written whole or not at all, and read only by the run that wrote it."""

import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import scatcache
from pipelines.recipe import say


def load_weights(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """What torch.save wrote there, tensors and plain values alone. Raises ScatcacheError for any other file."""
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except (pickle.UnpicklingError, LookupError, EOFError, RuntimeError, ValueError) as error:
        raise scatcache.ScatcacheError(
            f"{path.name} does not hold what torch.save writes, or is damaged: delete it, or name another"
        ) from error


class Checkpoint:
    """The file of one run. identity: what must be equal to go on from it; interval_s: between two writings."""

    def __init__(self, path: Path, identity: dict[str, Any], interval_s: float):
        self.path, self.identity, self.interval_s = path, identity, interval_s
        self._written_s = time.monotonic()

    def read(self, device: torch.device) -> dict[str, Any] | None:
        """What an interrupted run left, None where there is nothing. Raises SettingsDiffer for another run's."""
        if not self.path.exists():
            return None
        kept = load_weights(self.path, device)
        differing = sorted(key for key, value in self.identity.items() if kept["identity"].get(key) != value)
        if differing:
            raise scatcache.SettingsDiffer(
                f"{self.path.name} in --results was left by a run that differs in {', '.join(differing)}: give that "
                f"command again to finish it, or delete the file",
                tuple(differing),
            )
        return kept["state"]

    def write_when_due(self, make_state: Callable[[], dict[str, Any]]) -> None:
        """Replaces the file if interval_s have passed since it was written, or the run began."""
        if time.monotonic() - self._written_s >= self.interval_s:
            self.write(make_state())

    def write(self, state: dict[str, Any]) -> None:
        """Replaces the file by a whole new one; a disk that refuses is told of, and training goes on."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with scatcache.durable.NewFile(self.path) as new:
                torch.save({"identity": self.identity, "state": state}, new.file)
                new.commit()
        except (OSError, RuntimeError) as error:  # torch.save turns a full disk into a RuntimeError
            say(f"{self.path.name} could not be written, an interruption now would cost what it held: {error}")
        self._written_s = time.monotonic()
