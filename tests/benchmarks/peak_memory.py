"""Peak memory of a command and all its processes, as proportional set size (PSS, /proc/PID/smaps_rollup), and its time.

python -m tests.benchmarks.peak_memory scatcache extract photos --J 2
"""

import contextlib
import subprocess
import sys
import time

import psutil

SAMPLE_EVERY_S = 0.2


def measure_pss(process: psutil.Process) -> int:
    """Bytes of PSS of a process and its descendants."""
    total = 0
    for member in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            total += member.memory_full_info().pss
    return total


def main() -> int:
    started = time.monotonic()
    child = subprocess.Popen(sys.argv[1:])
    peak = 0
    while child.poll() is None:
        with contextlib.suppress(psutil.Error):
            peak = max(peak, measure_pss(psutil.Process(child.pid)))
        time.sleep(SAMPLE_EVERY_S)
    print(f"peak PSS {peak / 1e9:.2f} GB, {time.monotonic() - started:.1f} s, exit {child.returncode}", file=sys.stderr)
    return child.returncode


if __name__ == "__main__":
    sys.exit(main())
