"""What is run under faults: each scenario is a place as it is found, the command, and the store that it must end in."""

import io
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.runs import call, make_images

SETTINGS = ("--L", "2", "--shard-images", "2", "--workers", "1", "--json")
# With a run of worker processes, of which each start takes seconds.
FEW_SHARDS = ("--shard-images", "4")
REDUCED = ("--encoding", "quantised", "--pool", "2", "--angles", "mean")
STALE = "0123456789abcdef0123456789abcdef"


@dataclass(frozen=True)
class Inputs:
    """folder: made once, read only. images: 8 in train and 4 in val; array: 8 of two bands of uint16;
    targets: of these; archive: a CIFAR-10 of 12 images."""

    folder: Path

    @property
    def images(self) -> Path:
        return self.folder / "images"

    @property
    def array(self) -> Path:
        return self.folder / "array.npy"

    @property
    def targets(self) -> Path:
        return self.folder / "targets.npy"

    @property
    def archive(self) -> Path:
        return self.folder / "data" / "cifar-10-binary.tar.gz"

    def store(self, name: str) -> Path:
        """An undisturbed store: "straight", of the images; "train", of that split alone; "other", by another J;
        "few-shards"; "reduced", of REDUCED; "array", of the array and its targets; "unpacked", of the archive. Its
        STORE.job is beside it, and nothing else."""
        return self.folder / f"{name}-store" / "a.zarr"


@dataclass(frozen=True)
class Scenario:
    """A command and what it finds.

    set_out: fills a place, the folder that is watched, in which the store is out/a.zarr; source: what is extracted
    ("images" or "array" of the inputs, or "cifar10"); more: of the command; again: what heals, where it is not the same
    command; straight: name of the store it ends in; before: names of those that it may find or leave whole on the way.
    """

    name: str
    set_out: Callable[[Inputs, Path], None]
    source: str = "images"
    more: tuple[str, ...] = ()
    again: tuple[str, ...] | None = None
    straight: str = "straight"
    before: tuple[str, ...] = ()
    processes: bool = False

    def arguments(self, inputs: Inputs, place: Path, *, again: bool = False) -> list[str]:
        more = self.again if again and self.again is not None else self.more
        source = {
            "images": [str(inputs.images)],
            "array": [str(inputs.array), "--targets", str(inputs.targets)],
            "cifar10": ["cifar10", "--root", str(place / "data")],
        }[self.source]
        return ["extract", *source, "--J", "2", "--out", str(place / "out" / "a.zarr"), *SETTINGS, *more]


def make_inputs(folder: Path) -> Inputs:
    """Images, and the stores of runs that nothing disturbed."""
    inputs = Inputs(folder)
    make_images(inputs.images / "train", 8, seed=1)
    make_images(inputs.images / "val", 4, seed=2)
    samples = np.random.default_rng(3)
    np.save(inputs.array, samples.integers(0, 65536, (8, 32, 32, 2), dtype=np.uint16))
    np.save(inputs.targets, samples.random((8, 3), np.float32))
    _write_archive(inputs.archive)
    extract = ["extract", str(inputs.images)]
    _make_store(inputs.store("straight"), [*extract, "--J", "2"])
    _make_store(inputs.store("train"), [*extract, "--J", "2", "--split", "train"])
    _make_store(inputs.store("other"), [*extract, "--J", "1"])
    _make_store(inputs.store("few-shards"), [*extract, "--J", "2"], *FEW_SHARDS)
    _make_store(inputs.store("reduced"), [*extract, "--J", "2"], *REDUCED)
    _make_store(inputs.store("array"), ["extract", str(inputs.array), "--targets", str(inputs.targets), "--J", "2"])
    data = folder / "unpacked"
    shutil.copytree(inputs.archive.parent, data)
    _make_store(inputs.store("unpacked"), ["extract", "cifar10", "--root", str(data), "--J", "2"])
    return inputs


def _make_store(store: Path, arguments: list[str], *more: str) -> None:
    store.parent.mkdir()
    done = call(*arguments, "--out", store, *SETTINGS, *more)
    assert done.code == 0, done.err


def _write_archive(path: Path) -> None:
    path.parent.mkdir(parents=True)
    dice = np.random.default_rng(3)
    with tarfile.open(path, "w:gz") as tar:
        for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"):
            records = dice.integers(0, 256, (2, 3073), dtype=np.uint8)
            records[:, 0] %= 10
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            member.size = records.nbytes
            tar.addfile(member, io.BytesIO(records.tobytes()))


def _copy_store(inputs: Inputs, name: str, place: Path) -> Path:
    shutil.copytree(inputs.store(name).parent, place / "out")
    return place / "out" / "a.zarr"


def set_out_fresh(inputs: Inputs, place: Path) -> None:
    (place / "out").mkdir(parents=True)


def set_out_resumed(inputs: Inputs, place: Path) -> None:
    """A run was killed: no summary, a shard without its receipt, one without anything, temporaries everywhere."""
    store = _copy_store(inputs, "straight", place)
    for split in ("train", "val"):
        coefficients = store / split / "coefficients"
        for path in (coefficients / "receipts" / "summary.json", coefficients / "receipts" / "index.bin"):
            path.unlink()
        (store / split / "status" / "c.0").unlink()
        (coefficients / "receipts" / "00001.json").unlink()
        (coefficients / f".c.1.0.0.0.{STALE}.tmp").write_bytes(b"half")
        (coefficients / "receipts" / f".00001.json.{STALE}.tmp").write_bytes(b"half")
        (store / split / "status" / f".c.0.{STALE}.tmp").write_bytes(b"half")
    coefficients = store / "train" / "coefficients"
    for path in (coefficients / "receipts" / "00002.json", coefficients / "c.2.0.0.0"):
        path.unlink()
    (store / f".zarr.json.{STALE}.tmp").write_bytes(b"half")
    (store / f".val.{STALE}.tmp" / "label").mkdir(parents=True)
    (store / f".val.{STALE}.tmp" / "label" / "c.0").write_bytes(b"half")


def set_out_reduced_resumed(inputs: Inputs, place: Path) -> None:
    """A run was killed, and what is given again does not state the steps: they come from the store."""
    store = _copy_store(inputs, "reduced", place)
    coefficients = store / "train" / "coefficients"
    for name in ("receipts/summary.json", "receipts/index.bin", "receipts/00001.json", "c.1.0.0.0"):
        (coefficients / name).unlink()
    (store / "train" / "status" / "c.0").unlink()


def set_out_mended(inputs: Inputs, place: Path) -> None:
    """Somebody deleted what verify named, and one file is damaged still."""
    store = _copy_store(inputs, "straight", place)
    for name in (
        "train/coefficients/c.0.0.0.0",
        "train/status/c.0",
        "train/key/c.0",
        "train/order/c.0",
        "train/coefficients/receipts/summary.json",
        "val/coefficients/receipts/00001.json",
        "val/label/zarr.json",
        "val/zarr.json",
    ):
        (store / name).unlink()
    (store / "val" / "view" / "c.0").write_bytes(b"damaged")


def set_out_rootless(inputs: Inputs, place: Path) -> None:
    """The root's zarr.json is gone."""
    (_copy_store(inputs, "straight", place) / "zarr.json").unlink()


def set_out_overwritten(inputs: Inputs, place: Path) -> None:
    _copy_store(inputs, "other", place)


def set_out_split_added(inputs: Inputs, place: Path) -> None:
    _copy_store(inputs, "train", place)


def set_out_unpacked(inputs: Inputs, place: Path) -> None:
    (place / "out").mkdir(parents=True)
    shutil.copytree(inputs.archive.parent, place / "data")


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("fresh", set_out_fresh),
        Scenario("resumed", set_out_resumed),
        Scenario("mended", set_out_mended),
        Scenario("rootless", set_out_rootless),
        Scenario("overwritten", set_out_overwritten, more=("--overwrite",), again=(), before=("other",)),
        Scenario("split-added", set_out_split_added, more=("--split", "val"), before=("train",)),
        Scenario("array", set_out_fresh, source="array", straight="array"),
        Scenario("reduced", set_out_fresh, more=REDUCED, straight="reduced"),
        Scenario("reduced-resumed", set_out_reduced_resumed, more=REDUCED, straight="reduced"),
        Scenario("unpacked", set_out_unpacked, source="cifar10", straight="unpacked"),
        Scenario("processes", set_out_fresh, more=("--processes", *FEW_SHARDS), straight="few-shards", processes=True),
    )
}
