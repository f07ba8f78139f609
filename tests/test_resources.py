import os
import shutil
from pathlib import Path

import psutil
import pytest

from scatcache import resources
from scatcache.resources import (
    count_cores,
    folder_bytes,
    free_disk_bytes,
    free_memory_bytes,
    total_memory_bytes,
)

GIB = 2**30


class Machine:
    """A fake /proc/self and fake control groups, of one version, the process being in the group `own`."""

    def __init__(self, folder: Path, *, version: int = 2, own: str = "/", root: str = "/") -> None:
        self.folder, self.version, self.own = folder, version, own
        (folder / "cgroup").write_text(f"0::{own}\n" if version == 2 else f"7:pids:/\n4:cpu,memory:{own}\n0::/\n")
        kind, options = ("cgroup2", "rw") if version == 2 else ("cgroup", "rw,cpu,memory")
        mounts = ["31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755", "9 1 0:9 / /data rw - nfs x: rw,hard"]
        mounts.append(f"36 31 0:33 {root} {folder / 'top'} rw,relatime shared:9 - {kind} {kind} {options}")
        (folder / "mountinfo").write_text("\n".join(mounts) + "\n")

    def limit(self, group: str, **files: object) -> None:
        """Writes files of one group; "_" of a name stands for ".": cpu_max, memory_current..."""
        (self.folder / "top" / group).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (self.folder / "top" / group / name.replace("_", ".", 1)).write_text(f"{text}\n")

    def memory(self, group: str, *, limit: object, used: int, cache: int = 0) -> None:
        if self.version == 2:
            self.limit(group, memory_max=limit, memory_current=used, memory_stat=f"anon 1\ninactive_file {cache}")
        else:
            stat = f"inactive_file 1\ntotal_inactive_file {cache}"
            self.limit(group, memory_limit_in_bytes=limit, memory_usage_in_bytes=used, memory_stat=stat)


@pytest.fixture(params=[1, 2], ids=["v1", "v2"])
def machine(request, tmp_path, monkeypatch):
    """A process in the group /outer/inner, no group limited, on 64 cores with 100 GiB of memory."""
    monkeypatch.setattr(resources, "PROCESS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("M", (), {"available": 90 * GIB, "total": 100 * GIB}))
    return Machine(tmp_path, version=request.param, own="/outer/inner")


def limit_cores(machine: Machine, group: str, *, quota: int | None, period: int = 100_000) -> None:
    if machine.version == 2:
        machine.limit(group, cpu_max=f"{'max' if quota is None else quota} {period}")
    else:
        machine.limit(group, cpu_cfs_quota_us=-1 if quota is None else quota, cpu_cfs_period_us=period)


def test_without_control_groups_the_affinity_and_the_machine_count(tmp_path, monkeypatch):
    monkeypatch.setattr(resources, "PROCESS", tmp_path / "absent")
    assert count_cores() == len(os.sched_getaffinity(0))
    assert total_memory_bytes() == psutil.virtual_memory().total
    assert 0 < free_memory_bytes() <= total_memory_bytes()


@pytest.mark.parametrize(("quota", "n_cores"), [(None, 64), (250_000, 2), (50_000, 1), (12_800_000, 64)])
def test_cores_are_cut_to_the_quota(machine, quota, n_cores):
    limit_cores(machine, "outer/inner", quota=quota)
    assert count_cores() == n_cores


@pytest.mark.parametrize("group", ["outer/inner", "outer", ""])
def test_a_limit_of_a_group_around_holds_too(machine, group):
    for other in ("outer/inner", "outer", ""):
        limit_cores(machine, other, quota=None)
        machine.memory(other, limit=80 * GIB, used=GIB)
    limit_cores(machine, group, quota=300_000)
    machine.memory(group, limit=8 * GIB, used=5 * GIB)
    assert (count_cores(), free_memory_bytes(), total_memory_bytes()) == (3, 3 * GIB, 8 * GIB)


def test_the_smallest_of_several_limits_holds(machine):
    limit_cores(machine, "outer", quota=200_000)
    limit_cores(machine, "outer/inner", quota=600_000)
    machine.memory("outer", limit=10 * GIB, used=9 * GIB)
    machine.memory("outer/inner", limit=8 * GIB, used=5 * GIB)
    assert (count_cores(), free_memory_bytes(), total_memory_bytes()) == (2, GIB, 8 * GIB)


def test_the_limits_of_other_groups_do_not_count(machine):
    limit_cores(machine, "outer/inner/further", quota=100_000)
    limit_cores(machine, "other", quota=100_000)
    machine.memory("outer/beside", limit=GIB, used=0)
    assert (count_cores(), total_memory_bytes()) == (64, 100 * GIB)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("own", "root"), [("/docker/x", "/docker/x"), ("/", "/"), ("/../x", "/"), ("/x", "/y")])
def test_a_container_sees_its_own_group_as_the_topmost(machine, tmp_path, version, own, root):
    container = Machine(tmp_path, version=version, own=own, root=root)
    limit_cores(container, "", quota=200_000)
    container.memory("", limit=4 * GIB, used=GIB)
    assert (count_cores(), free_memory_bytes()) == (2, 3 * GIB)


def test_affinity_cuts_the_cores(machine, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3})
    limit_cores(machine, "outer/inner", quota=800_000)
    assert count_cores() == 1


def test_no_memory_is_left_rather_than_less_than_none(machine):
    machine.memory("outer/inner", limit=8 * GIB, used=9 * GIB)
    assert free_memory_bytes() == 0


@pytest.mark.parametrize("machine", [2], indirect=True)
def test_memory_without_a_limit_is_the_machines_and_a_threshold_is_a_limit(machine):
    machine.memory("outer/inner", limit="max", used=9 * GIB)
    assert (free_memory_bytes(), total_memory_bytes()) == (90 * GIB, 100 * GIB)
    machine.limit("outer/inner", memory_high=12 * GIB)
    assert (free_memory_bytes(), total_memory_bytes()) == (3 * GIB, 12 * GIB)


def test_the_page_cache_counts_as_free_memory(machine):
    # A container that has read a whole dataset is "full" of it; its workers must not be cut for that.
    machine.memory("outer/inner", limit=8 * GIB, used=8 * GIB, cache=6 * GIB)
    assert free_memory_bytes() == 6 * GIB


def test_free_bytes_are_those_of_the_file_system_the_store_will_be_on(tmp_path, monkeypatch):
    free = {tmp_path: 5, Path("/"): 7}
    monkeypatch.setattr(shutil, "disk_usage", lambda path: type("Usage", (), {"free": free[path]}))
    assert free_disk_bytes(tmp_path / "not" / "there" / "yet.zarr") == 5


def test_free_bytes_of_a_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert free_disk_bytes(Path("store.zarr")) > 0


def test_folder_bytes_counts_every_file_once(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "x").write_bytes(bytes(100))
    (tmp_path / "a" / "b" / "y").write_bytes(bytes(23))
    assert folder_bytes(tmp_path) == 123
    assert folder_bytes(tmp_path / "missing") == 0
