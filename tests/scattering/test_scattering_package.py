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


def test_dynamo_is_loaded_by_no_transform():
    """torch._dynamo takes about a second to import: it comes with the user's own torch.compile."""
    program = (
        "import sys, numpy as np, torch\n"
        "from scatcache.scattering import Scattering2D, open_transform\n"
        "from scatcache.spec import ScatteringSpec\n"
        "for dtype in (torch.uint8, torch.float64):\n"
        "    Scattering2D(J=2, shape=(16, 16))(torch.zeros(1, 16, 16, dtype=dtype))\n"
        "images = np.zeros((1, 16, 16, 3), np.uint8)\n"
        "open_transform(ScatteringSpec(J=2), (16, 16)).start(images, np.dtype(np.float16))()\n"
        "print(*(name for name in sys.modules if name == 'torch._dynamo'))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == []
