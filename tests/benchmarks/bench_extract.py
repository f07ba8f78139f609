"""How close the whole command comes to the transform alone, on the same cores, and where the time goes.

    python -m tests.benchmarks.bench_extract [--cifar10 ROOT] [--imagenet FOLDER] [--rounds N] [--workers N]

Each round measures, one after the other: the transform alone (as many threads as the command has workers, one intra-op
thread each, real images already decoded), then `scatcache extract` as a user types it, start-up included, into an empty
folder. Ratios are within a round, since these machines' speed drifts. Without data of your own it runs on `photos`.
"""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scatcache.images.catalogue import open_source
from scatcache.images.decode import decode
from scatcache.resources import count_cores
from scatcache.scattering.batched import open_transform
from scatcache.scattering.channel_sums import find_adder
from scatcache.spec import ScatteringSpec
from scatcache.store.format.encodings import find_encoding
from tests.benchmarks.machine import describe_machine
from tests.images.parts import read_key

ALONE_S = 12.0
N_SAMPLE = 128


@dataclass(frozen=True)
class Case:
    """arguments: of the command; size: crop in pixels, None for images as they are."""

    name: str
    source: str
    root: Path | None
    size: int | None
    limit: int | None

    @property
    def arguments(self) -> list[str]:
        options = {"--root": self.root, "--size": self.size, "--limit": self.limit}
        typed = [text for name, value in options.items() if value is not None for text in (name, str(value))]
        return [self.source, "--J", "2", *typed]


def read_sample(case: Case) -> tuple[Any, str, list[str]]:
    source = open_source(case.source, root=case.root)
    split = source.default_splits[0]
    rows = source.find(split).listing.rows
    picked = np.linspace(0, len(rows) - 1, min(N_SAMPLE, len(rows))).astype(int)
    return source, split, [rows[index].key for index in picked]


def time_transform(images: np.ndarray, n_threads: int) -> float:
    """Images/s of the transform alone over n_threads threads."""
    spec = ScatteringSpec(J=2)
    counts = [0] * n_threads
    stop = time.monotonic() + ALONE_S

    def work(position: int) -> None:
        torch.set_num_threads(1)
        transform = open_transform(spec, shape=images.shape[1:3])
        out = np.empty((transform.batch_images, *transform.output_shape), np.float16)
        start = position
        while time.monotonic() < stop:
            batch = images[start % len(images) :][: transform.batch_images]
            transform(batch, out[: len(batch)])
            counts[position] += len(batch)
            start += transform.batch_images

    threads = [threading.Thread(target=work, args=(position,)) for position in range(n_threads)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.monotonic() - started)


@contextlib.contextmanager
def empty_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="bench-extract-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def time_command(case: Case, n_workers: int) -> dict[str, float]:
    """Images/s of the whole command, from start to exit, and of the job within it."""
    with empty_folder() as folder:
        command = [sys.executable, "-m", "scatcache.commands", "extract", *case.arguments]
        command += ["--out", str(folder / "store.zarr"), "--workers", str(n_workers), "--json", "-q"]
        started = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        elapsed_s = time.monotonic() - started
        steady = time_receipts(folder)
    report = json.loads(done.stdout)
    n_images = sum(split["rows"] for split in report["splits"].values())
    return {"images": n_images, "images_per_s": n_images / elapsed_s, "job_images_per_s": report["images_per_s"],
            "steady_images_per_s": steady, "elapsed_s": elapsed_s, "bytes": report["bytes"]}  # fmt: skip


def time_receipts(folder: Path) -> float:
    """Images/s between the first shard's receipt and the last one's: without start and end; 0 for a single shard."""
    receipts = sorted(
        folder.glob("store.zarr/*/coefficients/receipts/[0-9]*.json"), key=lambda path: path.stat().st_mtime
    )
    elapsed_s = receipts[-1].stat().st_mtime - receipts[0].stat().st_mtime
    n_rows = sum(json.loads(path.read_text())["n_rows"] for path in receipts[1:])
    return n_rows / elapsed_s if elapsed_s else 0.0


def time_stages(case: Case) -> dict[str, float]:
    """Milliseconds of one core that each stage takes per image, each by itself."""
    source, split, keys = read_sample(case)
    torch.set_num_threads(1)
    started = time.perf_counter()
    raw = [read_key(source, split, key) for key in keys]
    read_s = time.perf_counter() - started
    started = time.perf_counter()
    images = np.stack([decode(data, size=case.size) for data in raw])
    decode_s = time.perf_counter() - started
    transform = open_transform(ScatteringSpec(J=2), shape=images.shape[1:3])
    coefficients = np.empty((len(images), *transform.output_shape), np.float16)
    transform(images[: transform.batch_images], coefficients[: transform.batch_images])
    started = time.perf_counter()
    for start in range(0, len(images), transform.batch_images):
        stop = start + transform.batch_images
        transform(images[start:stop], coefficients[start:stop])
    transform_s = time.perf_counter() - started
    encode_s, sums_s, write_s = time_writing(coefficients)
    stages = {"read": read_s, "decode": decode_s, "transform": transform_s, "sums": sums_s, "encode": encode_s,
              "write and fsync": write_s}  # fmt: skip
    return {name: 1e3 * seconds / len(images) for name, seconds in stages.items()}


def time_writing(coefficients: np.ndarray) -> tuple[float, float, float]:
    """Seconds to encode, to add up, and to write and sync the sample's chunks."""
    encoding = find_encoding("float16")
    started = time.perf_counter()
    chunks = [encoding.encode(row[None])[0] for row in coefficients]
    encode_s = time.perf_counter() - started
    started = time.perf_counter()
    add = find_adder()
    sums, square_sums = np.zeros((2, coefficients.shape[1]))
    for row in coefficients:
        add(row, sums, square_sums)
    sums_s = time.perf_counter() - started
    started = time.perf_counter()
    with tempfile.TemporaryFile() as file:
        for chunk in chunks:
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return encode_s, sums_s, time.perf_counter() - started


def time_start() -> float:
    """Seconds of a command that has nothing to compute: imports, listing, a cluster of threads."""
    with empty_folder() as folder:
        command = [sys.executable, "-m", "scatcache.commands", "extract", "photos", "--J", "2", "--limit", "1"]
        started = time.monotonic()
        subprocess.run([*command, "--out", str(folder / "store.zarr"), "-q"], capture_output=True, check=True)
        return time.monotonic() - started


def measure(case: Case, rounds: int, n_workers: int) -> dict[str, Any]:
    source, split, keys = read_sample(case)
    images = np.stack([decode(read_key(source, split, key), size=case.size) for key in keys])
    time_transform(images, n_workers)
    results = []
    for _ in range(rounds):
        alone = time_transform(images, n_workers)
        command = time_command(case, n_workers)
        results.append({"transform_images_per_s": alone, **command, "ratio": command["images_per_s"] / alone})
        print(f"  {case.name}: {json.dumps(results[-1])}", file=sys.stderr)
    return {
        "command": " ".join(["scatcache", "extract", *case.arguments[:1], *case.arguments[1:]]),
        "workers": n_workers,
        "rounds": results,
        "ratio": statistics.median(result["ratio"] for result in results),
        "steady_ratio": statistics.median(
            result["steady_images_per_s"] / result["transform_images_per_s"] for result in results
        ),
        "stage_ms_per_image": time_stages(case),
    }


def show_table(cases: dict[str, dict[str, Any]], start_s: float) -> str:
    lines = []
    for name, case in cases.items():
        middle = sorted(case["rounds"], key=lambda result: result["ratio"])[len(case["rounds"]) // 2]
        whole = f"whole command {middle['images_per_s']:.1f} images/s over {middle['images']} images"
        alone = f"transform alone {middle['transform_images_per_s']:.1f} images/s"
        ratio = f"ratio {case['ratio']:.2f} (median of {len(case['rounds'])})"
        lines.append(f"{name}: {whole}, {alone}, {case['workers']} workers: {ratio}")
        steady = f"{middle['steady_images_per_s']:.1f} images/s, ratio {case['steady_ratio']:.2f}"
        lines.append(f"  between the first shard's receipt and the last one's: {steady}")
        total = sum(case["stage_ms_per_image"].values())
        for stage, ms in case["stage_ms_per_image"].items():
            lines.append(f"  {stage:<16} {ms:9.3f} ms of one core per image {100 * ms / total:5.1f}%")
    lines.append(f"start-up: {start_s:.1f} s for a command that computes one image")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", type=Path, help="folder of the CIFAR-10 archives")
    parser.add_argument("--imagenet", type=Path, help="class folders of photographs")
    parser.add_argument("--limit", type=int, help="images per split of CIFAR-10")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=count_cores(), help="threads on either side")
    parser.add_argument("--out", type=Path, help="where to write the JSON")
    options = parser.parse_args()
    cases = [Case("photos at 128", "photos", None, None, None)]
    if options.cifar10:
        cases.append(Case("cifar10 at 32", "cifar10", options.cifar10, None, options.limit))
    if options.imagenet:
        cases.append(Case("imagenet folders at 224", str(options.imagenet), None, 224, None))
    measured = {case.name: measure(case, options.rounds, options.workers) for case in cases}
    start_s = time_start()
    table = show_table(measured, start_s)
    if options.out:
        report = {
            "machine": describe_machine(),
            "start_s": start_s,
            "cases": measured,
        }
        # Paths of the machine are nobody's business.
        text = json.dumps(report, indent=1)
        for path in (options.cifar10, options.imagenet):
            text = text.replace(str(path), path.name) if path else text
        options.out.write_text(text + "\n")
    print(table)


if __name__ == "__main__":
    main()
