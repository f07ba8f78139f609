"""Damages the files of stores, one at a time: it is told by every reading or by verify, and the same command heals it.

    python -m tests.faults.corruptions [--n 5000] [--seed 0] [--kind KIND] [--jobs 2] [--log FILE]

Every file of a store of each encoding is damaged in turn, in ways that are drawn from the seed. Prints counts; exit
code 1 where a damage went unnoticed, was told by another error than ours, or was not healed.
"""

import argparse
import json
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scatcache.store.documents import simplify
from tests.faults.children import fork
from tests.faults.pool import Findings, open_folder, open_pool, prepare_inputs, show

# The stores that are damaged, by what their encoding and reduction are.
ENCODINGS = {
    **{name: ("--encoding", name) for name in ("float16", "float16raw", "float32", "quantised")},
    "reduced": ("--encoding", "quantised", "--pool", "2", "--angles", "mean"),
}
SETTINGS = ("--L", "2", "--shard-images", "3", "--workers", "1", "-q")
LIMIT_S = 10.0
# Rounds of verify, deletion of what it names, and the same command.
N_ROUNDS = 3
# Damage that makes a record's checksum fit, and what a summary alone says.
FORGERIES = ("edit_json",)
SUMMED = ("other channel_mean", "other channel_std", "other readable")
EXIT_UNREADABLE, EXIT_VERIFY = 3, 4


@dataclass(frozen=True)
class Corruption:
    """number: in the campaign, which with seed draws the rest; damage: of DAMAGES; name: the file, in one of the stores
    of ENCODINGS."""

    number: int
    seed: int
    encoding: str
    name: str
    damage: str

    def __str__(self) -> str:
        return f"{self.number}: {self.damage} of {self.encoding}/{self.name}"


def make(folder: Path) -> None:
    """Images, a store of each encoding, and others that are made otherwise, from which files are taken."""
    from tests.runs import call, make_images

    images = folder / "images"
    make_images(images / "train", 8, seed=1)
    make_images(images / "val", 4, seed=2)
    (images / "train" / "class0" / "0002.png").write_bytes(b"no image")

    def extract(name: str, *more: str) -> None:
        done = call("extract", images, "--out", folder / f"{name}.zarr", *SETTINGS, *more)
        assert done.code in (0, EXIT_UNREADABLE), done.err

    for encoding, options in ENCODINGS.items():
        extract(encoding, "--J", "2", *options)
        extract(f"{encoding}-J1", "--J", "1", *options)
        extract(f"{encoding}-seed", "--J", "2", *options, "--seed", "1")
        extract(f"{encoding}-early", "--J", "2", *options, "--split", "train")


class Bench:
    """Where one process damages copies of the stores in inputs. work: a folder of its own."""

    def __init__(self, inputs: Path, work: Path):
        self.inputs, self.work = inputs, work
        self.store = work / "place" / "a.zarr"

    def rehearse(self) -> None:
        self._copy(next(iter(ENCODINGS)))
        self._examine(Corruption(0, 0, next(iter(ENCODINGS)), "zarr.json", "none"), False)

    def _copy(self, encoding: str) -> None:
        shutil.rmtree(self.store.parent, ignore_errors=True)
        shutil.copytree(self.inputs / f"{encoding}.zarr", self.store)
        shutil.copytree(self.inputs / f"{encoding}.zarr.job", f"{self.store}.job")

    def judge(self, corruption: Corruption) -> tuple[Corruption, list[tuple[str, str]]]:
        """The faults found, none where all promises are kept."""
        from tests.faults.damage import DAMAGES, Target

        encoding = corruption.encoding
        self._copy(encoding)
        pristine = self.inputs / f"{encoding}.zarr"
        others = tuple(self.inputs / f"{name}.zarr" for name in ENCODINGS if name != encoding)
        others += tuple(self.inputs / f"{encoding}-{name}.zarr" for name in ("J1", "seed", "early"))
        dice = random.Random(f"{corruption.seed} {corruption.number}")
        target = Target(self.store, corruption.name, others)
        damage = DAMAGES[corruption.damage]
        damage(target, dice)
        while is_same(target.path, pristine / corruption.name):
            # As where zeros were cleared: another draw, another way.
            damage = DAMAGES[dice.choice(("flip_bit", "cut", "extend"))]
            damage(target, dice)
        means_the_same = is_same_json(target.path, pristine / corruption.name)
        ended = fork(lambda: self._examine(corruption, means_the_same), self.work, limit_s=LIMIT_S)
        if ended.value is not None:
            return corruption, [(kind, text) for kind, text in ended.value]
        return corruption, [("hung" if ended.hung else "crashed", f"signal {ended.signal}: {ended.text[-1500:]}")]

    def _examine(self, corruption: Corruption, means_the_same: bool) -> list[tuple[str, str]]:
        """In a child: reads all, verifies, deletes what verify names, gives the command again."""
        from tests.faults.drill import is_whole
        from tests.runs import call

        encoding = corruption.encoding
        pristine = self.inputs / f"{encoding}.zarr"
        faults, told = read_all(self.store, pristine)
        code, named, text = self._verify()
        if code == 0 and "attributes of another program, kept" in text:
            # What a user adds to an array is told, no failure, and stays.
            return []
        # Metadata that another program wrote in its own manner is told, and no failure.
        if code != EXIT_VERIFY and not (code == 0 and means_the_same and corruption.name in text):
            kind = "silent" if code == 0 and not told else "verify misses"
            faults.append((kind, f"verify: exit {code}: {text}"))
        if corruption.damage in FORGERIES and code == EXIT_VERIFY:
            # A record rewritten with a fitting checksum is believed by readers where no other record speaks against it.
            faults = [fault for fault in faults if fault[1].partition(": ")[2] not in SUMMED]
        if "Traceback" in text:
            faults.append(("raised", f"verify: {text}"))
        for round_number in range(N_ROUNDS):
            for name in named:
                self._remove(name)
            done = call(
                *("extract", self.inputs / "images", "--out", self.store, *SETTINGS, "--J", "2", *ENCODINGS[encoding])
            )
            if "Traceback" in done.err:
                faults.append(("raised", f"extract: {done.err[-500:]}"))
            if done.code == EXIT_UNREADABLE and is_whole(self.store, pristine):
                if round_number:
                    faults.append(("healed late", f"in round {round_number + 1}"))
                return faults
            _, named, text = self._verify()
        faults.append(("not healed", f"extract: exit {done.code}: {done.err[-300:]}; verify: {text}"))
        return faults

    def _remove(self, name: str) -> None:
        from tests.faults.damage import remove

        path = self.store / name
        # "." and what lies outside is no file to delete.
        if path != self.store and self.store in path.parents:
            remove(path)

    def _verify(self) -> tuple[int, list[str], str]:
        """(exit code, the paths named, what was said)."""
        from tests.runs import call

        done = call("verify", self.store, "--json")
        named = [failure["path"] for failure in json.loads(done.out)["failures"]] if done.out else []
        return done.code, named, (done.out + done.err)[-400:]


def read_all(store: Path, pristine: Path) -> tuple[list[tuple[str, str]], bool]:
    """(faults, whether any reading refused). All that is read is right, or one of our errors is raised."""
    import scatcache
    from scatcache.errors import ScatcacheError

    faults: list[tuple[str, str]] = []
    n_refused = 0
    for split in ("train", "val"):
        right = scatcache.open_cache(pristine, split=split)
        for partial in (False, True):
            for read in (read_rows, read_statistics):
                try:
                    cache = scatcache.open_cache(store, split=split, allow_partial=partial)
                    faults += [("wrong", f"{split}: {text}") for text in read(cache, right)]
                except ScatcacheError:
                    n_refused += 1
                except Exception as error:
                    faults.append(("raised", f"reading {split}: {error!r}"))
    try:
        scatcache.info(store)
    except ScatcacheError:
        n_refused += 1
    except Exception as error:
        faults.append(("raised", f"info: {error!r}"))
    return faults, n_refused > 0


def read_rows(cache, right) -> list[str]:
    from tests.faults.drill import compare_cache

    found = list(compare_cache(cache, right))
    # All at once, too: whether that refuses is asked for.
    cache.coefficients(right.readable)
    return found


def read_statistics(cache, right) -> list[str]:
    found = [name for name in ("classes", "keys", "spec") if getattr(cache, name) != getattr(right, name)]
    for name in ("readable", "labels", "channel_mean", "channel_std"):
        if not np.array_equal(getattr(cache, name), getattr(right, name)):
            found.append(name)
    return [f"other {name}" for name in found]


def is_same(path: Path, other: Path) -> bool:
    return path.is_file() and not path.is_symlink() and path.read_bytes() == other.read_bytes()


def is_same_json(path: Path, other: Path) -> bool:
    """Whether both are JSON files of the same meaning."""
    if path.suffix != ".json" or path.is_symlink() or not path.is_file():
        return False
    try:
        found, right = (json.loads(file.read_bytes()) for file in (path, other))
    except ValueError:
        return False
    # Of metadata Zarr lets some fields be left out.
    is_metadata = path.name == "zarr.json" and isinstance(found, dict)
    return found == right or (is_metadata and simplify(found) == simplify(right))


def draw(inputs: Path, n: int, seed: int, kind: str | None = None) -> Iterator[Corruption]:
    """n corruptions: by turns of every file of all stores, and of a file of each kind, of which some have few.

    kind: of files, to damage no others.
    """
    from tests.faults.damage import DAMAGES, kind_of, list_files

    dice = random.Random(seed)
    files = [(encoding, name) for encoding in ENCODINGS for name in list_files(inputs / f"{encoding}.zarr")]
    kinds = sorted({kind_of(name) for _, name in files} if kind is None else {kind})
    files = [file for file in files if kind_of(file[1]) in kinds]
    by_kind = {kind: [file for file in files if kind_of(file[1]) == kind] for kind in kinds}
    every: list[tuple[str, str]] = []
    damages: list[str] = []
    for number in range(n):
        every = every or dice.sample(files, len(files))
        damages = damages or dice.sample(list(DAMAGES), len(DAMAGES))
        encoding, name = every.pop() if number % 2 else dice.choice(by_kind[kinds[number // 2 % len(kinds)]])
        yield Corruption(number, seed, encoding, name, damages.pop())


_bench = None


def prepare(base: Path) -> None:
    global _bench
    inputs = base / "inputs"
    work = prepare_inputs(base, make=make, rehearse=lambda work: Bench(inputs, work).rehearse())
    _bench = Bench(inputs, work)


def ready() -> None:
    """Nothing: a process that answers has been prepared."""


def judge(corruption: Corruption):
    return _bench.judge(corruption)


def run_corruptions(base: Path, findings: Findings, options: argparse.Namespace) -> Counter[str]:
    """Corruptions by kind of file; faults go to findings."""
    from tests.faults.damage import kind_of

    files: Counter[str] = Counter()
    with open_pool(prepare, base, n_jobs=options.jobs) as pool:
        pool.submit(ready).result()
        drawn = draw(base / "inputs", options.n, options.seed, options.kind)
        for corruption, found in pool.map(judge, drawn, chunksize=4):
            files[kind_of(corruption.name)] += 1
            for kind, text in dict(reversed(found)).items():
                findings.add(kind, f"{corruption}: {kind}: {text}")
    return files


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", help="damage files of this kind alone: root, metadata, array, shard, receipt, ...")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--log", type=Path, help="a file that failures are added to as they come")
    options = parser.parse_args()
    findings, started = Findings(options.log), time.monotonic()
    with open_folder() as base:
        files = run_corruptions(base, findings, options)
    print(f"{sum(files.values())} corruptions of files that are {show(files)}")
    return findings.tell(time.monotonic() - started)


if __name__ == "__main__":
    sys.exit(main())
