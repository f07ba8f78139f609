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
    assert set(report["cpu"]) == {"model", "architecture", "cores", "usable_cores"}
    assert set(report["disk"]) == {"path", "free_bytes", "total_bytes"}
    assert {"usable", "reason", "devices"} == set(report["cuda"])
    assert all(set(backend) == {"usable", "reason"} for backend in report["backends"].values())
    assert json.loads(json.dumps(report)) == report


def test_report_tells_of_this_machine(report):
    assert report["versions"]["scatcache"] == scatcache.__version__
    assert report["versions"]["python"] == platform.python_version()
    assert report["versions"]["zarr"] is not None
    assert 1 <= report["cpu"]["usable_cores"] <= report["cpu"]["cores"]
    assert report["memory_bytes"] > 0 and 0 < report["disk"]["free_bytes"] <= report["disk"]["total_bytes"]


def test_backend_that_runs_is_usable(report):
    assert report["backends"]["torch"]["usable"] is True


def test_backend_that_fails_is_not_usable_and_says_why(monkeypatch):
    import scatcache.scattering.module as module

    def fail(*arguments, **keywords):
        raise RuntimeError("no kernel image\nand more")

    monkeypatch.setattr(module, "Scattering2D", fail)
    assert scatcache.doctor().backends["torch"] == {"usable": False, "reason": "no kernel image"}


def test_package_that_is_not_installed_has_no_version(monkeypatch):
    monkeypatch.setattr(doctor_module, "PACKAGES", ("no-such-package",))
    assert scatcache.doctor().versions["no-such-package"] is None
