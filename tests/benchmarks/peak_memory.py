"""Peak memory of a command and all its processes, and its time.

PSS: proportional set size (/proc/PID/smaps_rollup), where a page that n processes share counts 1/n for each; RSS:
resident set size, where it counts whole for each; both as the largest sum over the processes that a look every 0.2 s
finds. HWM: the kernel's own record of each process's largest RSS (VmHWM), added up: what no look misses.

python -m tests.benchmarks.peak_memory scatcache extract photos --J 2
"""

import contextlib
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

SAMPLE_EVERY_S = 0.2


@dataclass
class Peaks:
    """Bytes. pss, rss: largest sums so far; high_waters: VmHWM of each process that was seen, by process id."""

    pss: int = 0
    rss: int = 0
    high_waters: dict[int, int] = field(default_factory=dict)

    def look(self, process: psutil.Process) -> None:
        """One look at a process and its descendants."""
        pss = rss = 0
        for member in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.Error, OSError):
                memory = member.memory_full_info()
                pss, rss = pss + memory.pss, rss + memory.rss
                known = self.high_waters.get(member.pid, 0)
                self.high_waters[member.pid] = max(known, read_high_water(member.pid))
        self.pss, self.rss = max(self.pss, pss), max(self.rss, rss)

    def describe(self) -> str:
        high_water = sum(self.high_waters.values())
        return f"peak PSS {self.pss / 1e9:.2f} GB, peak RSS {self.rss / 1e9:.2f} GB, HWM {high_water / 1e9:.2f} GB"


def read_high_water(pid: int) -> int:
    """VmHWM of a process, in bytes; 0 where it has ended."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def main() -> int:
    started = time.monotonic()
    child = subprocess.Popen(sys.argv[1:])
    peaks = Peaks()
    while child.poll() is None:
        with contextlib.suppress(psutil.Error):
            peaks.look(psutil.Process(child.pid))
        time.sleep(SAMPLE_EVERY_S)
    print(f"{peaks.describe()}, {time.monotonic() - started:.1f} s, exit {child.returncode}", file=sys.stderr)
    return child.returncode


if __name__ == "__main__":
    sys.exit(main())
