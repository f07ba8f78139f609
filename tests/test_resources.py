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


@pytest.fixture
def cgroup(tmp_path, monkeypatch):
    """A control group's folder, empty."""
    monkeypatch.setattr(resources, "CGROUP", tmp_path)
    return tmp_path


def test_without_a_control_group_the_affinity_counts(cgroup):
    assert count_cores() == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("quota", "n_cores"), [("max 100000", 64), ("250000 100000", 2), ("50000 100000", 1), ("12800000 100000", 64)]
)
def test_cores_are_cut_to_the_control_groups_quota(cgroup, monkeypatch, quota, n_cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))
    (cgroup / "cpu.max").write_text(quota + "\n")
    assert count_cores() == n_cores


def test_affinity_cuts_the_cores(cgroup, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3})
    (cgroup / "cpu.max").write_text("800000 100000\n")
    assert count_cores() == 1


def write_memory(cgroup, *, limit, current, inactive_file=0):
    (cgroup / "memory.max").write_text(f"{limit}\n")
    (cgroup / "memory.current").write_text(f"{current}\n")
    (cgroup / "memory.stat").write_text(f"anon 1\nfile {inactive_file}\ninactive_file {inactive_file}\n")


def test_memory_is_cut_to_the_control_groups_limit(cgroup, monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 100 * GIB}))
    assert free_memory_bytes() == 100 * GIB
    write_memory(cgroup, limit=8 * GIB, current=5 * GIB)
    assert free_memory_bytes() == 3 * GIB
    write_memory(cgroup, limit=8 * GIB, current=9 * GIB)
    assert free_memory_bytes() == 0
    write_memory(cgroup, limit="max", current=9 * GIB)
    assert free_memory_bytes() == 100 * GIB


def test_the_page_cache_counts_as_free_memory(cgroup, monkeypatch):
    # A container that has read a whole dataset is "full" of it; its workers must not be cut for that.
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 100 * GIB}))
    write_memory(cgroup, limit=8 * GIB, current=8 * GIB, inactive_file=6 * GIB)
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


@pytest.mark.parametrize("limit", ["max", 2**60, GIB // 4, None])
def test_total_memory_is_cut_to_the_control_groups_limit(cgroup, limit):
    if limit is not None:
        (cgroup / "memory.max").write_text(f"{limit}\n")
    assert total_memory_bytes() == (GIB // 4 if limit == GIB // 4 else psutil.virtual_memory().total)
