"""Waiting for shards that other processes compute, and telling when these have stopped: nothing waits for ever."""

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scatcache.errors import ScatcacheError

if TYPE_CHECKING:
    from distributed import Client, as_completed

# What ends a run: a scheduler without a worker, one that does not answer, workers none of which sends a heartbeat (due
# every 0.5 s, or every few seconds in large clusters), for so long. A worker process of our own is replaced instead.
PATIENCE_S = 60.0
# Shards that a silent worker holds while others are alive: Dask's scheduler gives it up after 5 minutes, by default.
HANDOVER_S = 600.0
LOOK_EVERY_S = 2.0
# One look must not make a Ctrl-C wait.
ANSWER_S = 5.0
# Between looking for finished shards: at first, and at most.
MIN_PAUSE_S, MAX_PAUSE_S = 0.001, 0.025
N_NAMES = 5
AGAIN = "then give the same command again: it goes on from here"
LOST = f"the connection to the Dask scheduler was lost: start it again, {AGAIN}"


@dataclass(frozen=True)
class Watched:
    """client: connected to the scheduler; name: of the scheduler, for messages; start: what to type for a worker;
    replace: ends a worker process of our own by its address, None where they are not ours."""

    client: "Client"
    name: str
    start: str
    replace: Callable[[str], None] | None = None


class Watch:
    """Looks after the workers while their shards are waited for. n_threads: tasks they run at once, as last seen.

    All times are this machine's own, by a clock that stands still while it sleeps.
    """

    def __init__(self, watched: Watched, on_wait: Callable[[str], None]):
        self._watched, self._on_wait = watched, on_wait
        self._next_look = self._answered = self._had_worker = self._progressed = time.monotonic()
        self._heartbeats: dict[str, tuple[float, float]] = {}
        self._told: set[str] = set()
        self.n_threads = 0

    def next(self, running: "as_completed", keys: Collection[Any], on_look: Callable[[], None]) -> Any:
        """What as_completed gives next once it has it. keys: of the running futures; on_look: called when n_threads may
        have changed. Raises ScatcacheError where nothing can come any more.
        """
        pause_s = MIN_PAUSE_S
        # Whoever takes the shards may have been busy for long, and nobody has looked meanwhile.
        self._answered = self._had_worker = self._progressed = time.monotonic()
        while not running.has_ready():
            if time.monotonic() >= self._next_look:
                self.look(keys)
                on_look()
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, MAX_PAUSE_S)
        self._told.clear()
        return next(running)

    def look(self, keys: Collection[Any]) -> None:
        """Asks the scheduler for its workers, and judges by them. keys: of the tasks that are waited for."""
        if self._watched.client.status != "running":
            raise ScatcacheError(LOST)
        found = self._ask("identity")
        now = time.monotonic()
        self._next_look = now + LOOK_EVERY_S
        if found is None:
            self._judge_scheduler(now)
            return
        self._answered = now
        workers: dict[str, dict[str, Any]] = found["workers"]
        self.n_threads = sum(worker["nthreads"] for worker in workers.values())
        if not workers:
            self._judge_absence(now)
            return
        self._had_worker = now
        silent = self._find_silent(workers, now)
        if silent:
            self._judge_silence(silent, workers, keys, now)

    def _ask(self, question: str) -> Any:
        """What the scheduler answers, None where it does not: a time that ran out is an OSError too."""
        client = self._watched.client
        try:
            return client.sync(getattr(client.scheduler, question), callback_timeout=ANSWER_S)
        except OSError:
            return None

    def _judge_scheduler(self, now: float) -> None:
        name = self._watched.name
        if now - self._answered < PATIENCE_S:
            self._tell("scheduler", f"{name} does not answer: waiting for it for up to {PATIENCE_S:.0f} s")
            return
        raise ScatcacheError(f"{name} has not answered for {PATIENCE_S:.0f} s: see whether its machine runs, {AGAIN}")

    def _judge_absence(self, now: float) -> None:
        name, start = self._watched.name, self._watched.start
        self._heartbeats.clear()
        # A cluster that grows with its work may start them now.
        if now - self._had_worker < PATIENCE_S:
            self._tell("absence", f"{name} has no worker: {start}; waiting for one for up to {PATIENCE_S:.0f} s")
            return
        raise ScatcacheError(f"{name} has had no worker for {PATIENCE_S:.0f} s: {start}, {AGAIN}")

    def _find_silent(self, workers: dict[str, dict[str, Any]], now: float) -> list[str]:
        """Addresses of those whose last heartbeat has been the same for PATIENCE_S."""
        known = self._heartbeats
        self._heartbeats = {
            address: known[address] if address in known and known[address][0] == worker["last_seen"]
            else (worker["last_seen"], now)
            for address, worker in workers.items()
        }  # fmt: skip
        return [address for address, (_, since) in self._heartbeats.items() if now - since >= PATIENCE_S]

    def _judge_silence(self, silent: list[str], workers: Iterable[str], keys: Collection[Any], now: float) -> None:
        name = self._watched.name
        if self._watched.replace is not None:
            for address in silent:
                self._tell(
                    address,
                    f"worker {address} has been silent for {PATIENCE_S:.0f} s: it is replaced, its shard redone",
                )
                self._watched.replace(address)
            return
        if now - self._progressed < PATIENCE_S:
            return
        if len(silent) == len(list(workers)):
            raise ScatcacheError(
                f"{name}: no worker has been heard of for {PATIENCE_S:.0f} s ({_list_names(silent)}): see whether "
                f"their machines run, {AGAIN}"
            )
        processing = self._ask("processing") or {}
        holders = {address for address, theirs in processing.items() if not set(keys).isdisjoint(theirs)}
        if not holders or not holders <= set(silent):
            return
        if now - self._progressed >= HANDOVER_S:
            raise ScatcacheError(
                f"{name}: the shards that are left are with workers not heard of for {HANDOVER_S:.0f} s "
                f"({_list_names(sorted(holders))}): stop these, {AGAIN}"
            )
        self._tell(
            "handover",
            f"{name}: not heard of for {PATIENCE_S:.0f} s: {_list_names(sorted(holders))}; their shards go to others "
            f"when the scheduler gives them up (by default after 5 minutes); waiting for up to {HANDOVER_S:.0f} s",
        )

    def _tell(self, topic: str, text: str) -> None:
        """Once for each topic until a shard comes."""
        if topic not in self._told:
            self._told.add(topic)
            self._on_wait(text)


def _list_names(addresses: list[str]) -> str:
    more = f" and {len(addresses) - N_NAMES} more" if len(addresses) > N_NAMES else ""
    return ", ".join(addresses[:N_NAMES]) + more
