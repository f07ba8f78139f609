import subprocess
import sys

import pytest

import scatcache.scattering


def test_importing_the_package_imports_no_torch():
    code = "import sys, scatcache.scattering, scatcache.scattering.reference; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_is_found_and_no_other():
    assert all(hasattr(scatcache.scattering, name) for name in scatcache.scattering.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Scattering3D'"):
        _ = scatcache.scattering.Scattering3D
