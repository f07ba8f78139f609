"""One fault in one run: what it leaves is read back, the same command is given again, and both are judged."""

import dataclasses
import errno
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import scatcache
from scatcache.durable import TEMPORARY_SUFFIX
from tests.faults.children import fork, shorten_pauses
from tests.faults.scenarios import Inputs, Scenario
from tests.faults.shim import Control, Injection, Step, arm, read_steps
from tests.runs import call, find_differences, list_receipts, list_shard_files

READ_ERRORS = (scatcache.StoreDamaged, scatcache.NotAStore, scatcache.StoreIncomplete)
EXIT_FAILED, EXIT_VERIFY, EXIT_SETTINGS = 1, 4, 5
# Of the faults that a drill finds; each is a failure of the campaign.
KINDS = ("not reached", "hung", "crashed", "wrong", "told wrong", "lost", "not healed", "left behind")


@dataclass
class Verdict:
    """faults: (kind, what was seen); survived: the run went on to the whole store in spite of the fault."""

    scenario: str
    injection: Injection
    faults: list[tuple[str, str]] = field(default_factory=list)
    survived: bool = False


@dataclass(frozen=True)
class Drill:
    """The drills of one process, which runs under the shim. work: a folder of its own."""

    inputs: Inputs
    work: Path

    @property
    def place(self) -> Path:
        return self.work / "place"

    @property
    def store(self) -> Path:
        return self.place / "out" / "a.zarr"

    def rehearse(self, scenario: Scenario) -> None:
        """Runs, reads and heals once, undisturbed, so that it is known what all that imports."""
        self._set_out(scenario)
        call(*scenario.arguments(self.inputs, self.place))
        self._look_and_heal(scenario)

    def trace(self, scenario: Scenario) -> dict[Step, bool]:
        """The steps of an undisturbed run, in their order, and whether a worker process took them.

        Raises RuntimeError where the run does not end in the straight store.
        """
        self._set_out(scenario)
        trace = self.work / "trace"
        trace.unlink(missing_ok=True)
        ended = self._run(scenario, Control(self.work / "control"), trace)
        if ended.value is None or ended.value["code"] != 0:
            raise RuntimeError(f"{scenario.name} does not run undisturbed: {ended.text} {ended.value}")
        if differing := find_differences(self.inputs.store(scenario.straight), self.store):
            raise RuntimeError(f"{scenario.name} ends in another store undisturbed: {differing[:3]}")
        return {step: process != ended.value["process"] for step, process in read_steps(trace)}

    def judge(self, scenario: Scenario, injection: Injection) -> Verdict:
        """Runs the scenario with one fault, and all that follows."""
        self._set_out(scenario)
        verdict = Verdict(scenario.name, injection)
        straight = self.inputs.store(scenario.straight)
        finished, hollow = find_finished(self.store, straight), find_hollow(self.store, straight)
        control = Control(self.work / "control", injection)
        ended = self._run(scenario, control)
        verdict.faults += judge_end(ended, control, injection)
        if ended.value is not None:
            verdict.faults += self._judge_words(scenario, ended.value)
            verdict.survived = ended.value["code"] == 0
        verdict.faults += find_lost(finished, find_finished(self.store, straight), "by the run")
        if new := sorted(find_hollow(self.store, straight) - hollow):
            verdict.faults.append(("wrong", f"a receipt without the files that it is for: {new[0]}"))
        after = fork(lambda: self._look_and_heal(scenario), self.work)
        if after.value is None:
            verdict.faults.append(("crashed", f"reading or healing: hung {after.hung}, {after.text[-2000:]}"))
        else:
            verdict.faults += [(kind, text) for kind, text in after.value]
        return verdict

    def _set_out(self, scenario: Scenario) -> None:
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir(parents=True)
        scenario.set_out(self.inputs, self.place)

    def _run(self, scenario: Scenario, control: Control, trace: Path | None = None) -> Any:
        def command() -> dict[str, Any]:
            shorten_pauses()
            arm(self.place, control, trace)
            done = call(*scenario.arguments(self.inputs, self.place))
            return {**dataclasses.asdict(done), "process": os.getpid()}

        return fork(command, self.work)

    def _judge_words(self, scenario: Scenario, value: dict[str, Any]) -> Iterator[tuple[str, str]]:
        """What is wrong with how a run that was not killed ended."""
        text = value["out"] + value["err"]
        if "Traceback" in text:
            yield "told wrong", f"a traceback: {text[-500:]}"
        if value["code"] == 0:
            straight = self.inputs.store(scenario.straight)
            if not is_whole(self.store, straight):
                yield "told wrong", f"exit 0, and the store differs: {find_differences(straight, self.store)[:3]}"
            if '"state": "complete"' not in value["out"]:
                yield "told wrong", f"exit 0 without a complete store: {value['out']}"
        elif value["code"] != EXIT_FAILED:
            yield "told wrong", f"exit {value['code']}: {value['err'][-300:]}"
        elif "error: " not in value["err"]:
            yield "told wrong", f"exit 1 without a reason: {value['err'][-300:]}"

    def _look_and_heal(self, scenario: Scenario) -> list[tuple[str, str]]:
        """In a child: the store as it was left is read and verified, then the command is given again."""
        shorten_pauses()
        references = [self.inputs.store(name) for name in (scenario.straight, *scenario.before)]
        found = [("wrong", text) for text in read_back(self.store, references)]
        whole = any(is_whole(self.store, reference) for reference in references)
        verified = call("verify", self.store, "--json")
        if verified.code == 0 and not whole:
            found.append(("wrong", "verify says ok of a store that is not whole and right"))
        if "Traceback" in verified.err:
            found.append(("told wrong", f"verify: {verified.err[-500:]}"))
        return found + list(self._heal(scenario))

    def _heal(self, scenario: Scenario) -> Iterator[tuple[str, str]]:
        straight = self.inputs.store(scenario.straight)
        finished = find_finished(self.store, straight)
        done = call(*scenario.arguments(self.inputs, self.place, again=True))
        if done.code == EXIT_SETTINGS and scenario.again is not None:
            # The store of before stands: what is given again is all of the command.
            done = call(*scenario.arguments(self.inputs, self.place))
        if done.code != 0:
            yield "not healed", f"exit {done.code}: {done.err[-500:]}"
            return
        if not is_whole(self.store, straight):
            differing = find_differences(straight, self.store)
            yield "not healed", f"the store differs: {differing[:3]}"
        yield from find_lost(finished, find_finished(self.store, straight), "by healing")
        if (after := call("verify", self.store, "--json")).code != 0:
            yield "not healed", f"verify: exit {after.code}: {after.out[-300:]}{after.err[-300:]}"
        expected = list_names(straight.parent) | {f"data/{name}" for name in self._list_data(scenario)}
        if left := sorted(list_names(self.place / "out") - expected):
            yield "left behind", ", ".join(left[:5])
        data = list_names(self.place / "data") if (self.place / "data").exists() else set()
        if left := sorted(data - self._list_data(scenario)):
            yield "left behind", ", ".join(f"data/{name}" for name in left[:5])

    def _list_data(self, scenario: Scenario) -> set[str]:
        return list_names(self.inputs.folder / "unpacked") if scenario.source == "cifar10" else set()


def judge_end(ended: Any, control: Control, injection: Injection) -> Iterator[tuple[str, str]]:
    """Whether the fault came, and the run ended as it may."""
    if not control.n_hits:
        yield "not reached", str(injection.step)
    elif ended.hung:
        yield "hung", ended.text[-1000:]
    elif injection.mode in ("kill", "tear"):
        if ended.value is not None:
            yield "crashed", "the run outlived its kill"
    elif ended.value is None:
        yield "crashed", f"signal {ended.signal}: {ended.text[-2000:]}"
    elif "Traceback" in ended.text:
        yield "told wrong", f"a traceback: {ended.text[-500:]}"


def find_finished(store: Path, straight: Path) -> dict[str, tuple[int, int]]:
    """(inode, mtime) of the files of the shards that are finished and right."""
    found = {}
    for receipt in list_receipts(store):
        files = list(list_shard_files(receipt))
        if all(is_right(path, store, straight) for path in files):
            stats = {str(path.relative_to(store)): path.stat() for path in files}
            found |= {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in stats.items()}
    return found


def find_hollow(store: Path, straight: Path) -> set[Path]:
    """The receipts that are right and whose shard's other files are not: a receipt is written last."""
    receipts = [receipt for receipt in list_receipts(store) if is_right(receipt, store, straight)]
    return {
        receipt
        for receipt in receipts
        if not all(is_right(path, store, straight) for path in list_shard_files(receipt))
    }


def is_right(path: Path, store: Path, straight: Path) -> bool:
    return same_bytes(path, straight / path.relative_to(store))


def same_bytes(path: Path, other: Path) -> bool:
    return path.is_file() and other.is_file() and path.read_bytes() == other.read_bytes()


def find_lost(
    before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]], by: str
) -> Iterator[tuple[str, str]]:
    if lost := sorted(name for name, identity in before.items() if after.get(name) != identity):
        yield "lost", f"{by}: {', '.join(lost[:3])}"


def is_whole(store: Path, reference: Path) -> bool:
    """Whether all files of the reference are there with the same bytes, and no others but temporaries.

    A split is made file by file, so that folders without any are nothing of it yet.
    """
    names = {name for name in list_files(store) if TEMPORARY_SUFFIX not in name}
    return names == list_files(reference) and all(same_bytes(store / name, reference / name) for name in names)


def list_names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def list_files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def read_back(store: Path, references: list[Path]) -> Iterator[str]:
    """Every row that is read otherwise than in the undisturbed store of the same settings, however it is opened."""
    for split in sorted({path.parent.name for reference in references for path in reference.glob("*/zarr.json")}):
        for partial in (False, True):
            try:
                cache = scatcache.open_cache(store, split=split, allow_partial=partial)
            except READ_ERRORS:
                continue
            yield from compare_cache(cache, find_reference(cache, split, references))


def find_reference(cache: Any, split: str, references: list[Path]) -> Any:
    for reference in references:
        opened = scatcache.open_cache(reference, split=split) if (reference / split).exists() else None
        if opened is not None and opened.manifest.digest == cache.manifest.digest:
            return opened
    raise AssertionError(f"split {split} opens with settings that no run here had")


def compare_cache(cache: Any, right: Any) -> Iterator[str]:
    if not np.array_equal(cache.labels, right.labels) or list(cache.keys) != list(right.keys):
        yield f"{right}: other labels or keys"
    for row in range(len(right)):
        try:
            values = cache.coefficients([row])
        except READ_ERRORS:
            continue
        expected = right.coefficients([row])
        if values.dtype != expected.dtype or not np.array_equal(values, expected, equal_nan=True):
            yield f"row {row} reads other values"


def modes_of(step: Step) -> list[tuple[str, int]]:
    """(mode, error) of all that may happen at a step."""
    modes = [] if step.operation in ("read", "look") else [("kill", 0)]
    if step.operation == "write":
        modes.append(("tear", 0))
    if step.operation in ("open", "write", "mkdir", "link", "rename", "fsync", "allocate"):
        modes += [("once", errno.ENOSPC), ("room", errno.ENOSPC)]
    return [*modes, ("once", errno.EIO), ("path", errno.EIO)]
