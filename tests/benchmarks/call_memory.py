"""By how much one call of an implementation raises this process's memory: bytes of each THREADS:IMAGES, as JSON.

    python -m tests.benchmarks.call_memory torch --J 2 --size 224 1:8 2:32

Run as a process of its own, where no other implementation has left memory behind. The peak includes the coefficients
and excludes the input and the filters. Linux only.
"""

import argparse
import ctypes
import gc
import json
import subprocess
import sys
from pathlib import Path

import torch

from tests.benchmarks.transforms import BUILDERS, Call, Images, make_images

ROOT = Path(__file__).resolve().parents[2]


def run_in_child(implementation: str, J: int, size: int, cases: list[tuple[int, int]]) -> list[int]:
    """Peak bytes of each case (n_threads, n_images), measured by this module in a fresh process."""
    words = [f"{n_threads}:{n_images}" for n_threads, n_images in cases]
    command = [sys.executable, "-m", "tests.benchmarks.call_memory", implementation, "--J", str(J), "--size", str(size)]
    done = subprocess.run([*command, *words], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def measure_peak(call: Call, images: Images, n_threads: int) -> int:
    """Bytes of one call, after an untimed call of one image has started what stays: threads, plans."""
    torch.set_num_threads(n_threads)
    call(images[:1].copy(), n_threads)
    gc.collect()
    trim_heap()
    before = reset_peak()
    coefficients = call(images, n_threads)
    peak = read_status("VmHWM")
    del coefficients
    return max(0, peak - before)


def trim_heap() -> None:
    """Gives freed memory back, which the next call would otherwise use unseen."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def reset_peak() -> int:
    """Makes VmHWM start again from VmRSS, and returns that; where it may not, the peak so far: a lower bound then."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return read_status("VmHWM")
    return read_status("VmRSS")


def read_status(name: str) -> int:
    """Bytes of a line of /proc/self/status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise KeyError(name)


def parse_case(word: str) -> tuple[int, int]:
    n_threads, n_images = word.split(":")
    return int(n_threads), int(n_images)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("implementation", choices=BUILDERS)
    parser.add_argument("--J", type=int, required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("cases", nargs="+", type=parse_case, metavar="THREADS:IMAGES")
    options = parser.parse_args()
    call = BUILDERS[options.implementation](options.J, options.size)
    images = make_images(max(n_images for _, n_images in options.cases), options.size)
    peaks = [measure_peak(call, images[:n_images], n_threads) for n_threads, n_images in options.cases]
    print(json.dumps(peaks))


if __name__ == "__main__":
    main()
