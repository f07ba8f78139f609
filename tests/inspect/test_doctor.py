import json
import platform

import pytest

import scatcache
from scatcache.inspect import doctor as doctor_module


@pytest.fixture(scope="module")
def report():
    return scatcache.doctor().to_dict()


def test_report_has_the_promised_shape(report):
    assert set(report) == {"versions", "cpu", "backends", "cuda", "memory_bytes", "disk"}
    cpu = {"model", "architecture", "cores", "usable_cores", "instruction_sets", "memory_bytes"}
    assert set(report["cpu"]) == cpu
    disk = {"path", "free_bytes", "total_bytes", "fsync_mb_s", "fsync_ms", "fsync_reason"}
    assert set(report["disk"]) == disk
    assert {"usable", "reason", "devices"} == set(report["cuda"])
    assert all(set(backend) == {"usable", "reason"} for backend in report["backends"].values())
    assert json.loads(json.dumps(report)) == report


def test_report_tells_of_this_machine(report):
    assert report["versions"]["scatcache"] == scatcache.__version__
    assert report["versions"]["python"] == platform.python_version()
    assert report["versions"]["zarr"] is not None
    assert 1 <= report["cpu"]["usable_cores"] <= report["cpu"]["cores"]
    assert 0 < report["memory_bytes"] <= report["cpu"]["memory_bytes"]
    assert 0 < report["disk"]["free_bytes"] <= report["disk"]["total_bytes"]


def test_backend_that_runs_is_usable(report):
    assert report["backends"]["torch"]["usable"] is True


def test_backend_that_fails_is_not_usable_and_says_why(monkeypatch):
    import scatcache.scattering.scattering2d as module

    def fail(*arguments, **keywords):
        raise RuntimeError("no kernel image\nand more")

    monkeypatch.setattr(module, "Scattering2D", fail)
    assert scatcache.doctor().backends["torch"] == {"usable": False, "reason": "no kernel image"}


def test_package_that_is_not_installed_has_no_version(monkeypatch):
    monkeypatch.setattr(doctor_module, "PACKAGES", ("no-such-package",))
    assert scatcache.doctor().versions["no-such-package"] is None


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("processor : 0\nflags\t\t: fpu avx avx2 avx512f\n\nflags : fma\n", ["avx", "avx2", "avx512f"]),
        ("processor : 0\nFeatures\t: fp asimd sve crc32\n", ["asimd", "sve"]),
        ("processor : 0\n", []),
        (None, []),
    ],
    ids=["x86", "arm64", "silent", "absent"],
)
def test_instruction_sets_are_those_of_the_first_core(tmp_path, monkeypatch, cpuinfo, expected):
    if cpuinfo is not None:
        (tmp_path / "cpuinfo").write_text(cpuinfo)
    monkeypatch.setattr(doctor_module, "CPUINFO", tmp_path / "cpuinfo")
    report = scatcache.doctor()
    assert report.cpu["instruction_sets"] == expected and report.cpu["model"]


def test_syncing_is_measured_in_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    disk = scatcache.doctor().disk
    assert disk["path"] == str(tmp_path) and list(tmp_path.iterdir()) == []
    assert 0.01 < disk["fsync_mb_s"] < 1e5 and 1e-4 < disk["fsync_ms"] < 1e4


def test_a_folder_that_cannot_be_written_to_is_no_failure(monkeypatch):
    monkeypatch.chdir("/proc")
    disk = scatcache.doctor().disk
    assert (disk["fsync_mb_s"], disk["fsync_ms"]) == (None, None) and disk["fsync_reason"]
