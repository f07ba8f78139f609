"""How far results of each dtype may lie from an oracle's: ||found - expected|| / ||expected||, per order."""

import numpy as np
from numpy.typing import ArrayLike

from scatcache.scattering.paths import path_table
from scatcache.spec import ScatteringSpec

# Against Kymatio in float64 what remains is the float32 rounding of its filters: 1.2e-7 measured.
TOLERANCES = {"float64": 4e-7, "float32": 2e-6, "float16": 4e-4}


def relative_error(found: ArrayLike, expected: ArrayLike) -> float:
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def assert_orders_close(found: ArrayLike, expected: ArrayLike, spec: ScatteringSpec) -> None:
    """Compare coefficients (..., n_paths, h, w) order by order, within the tolerance of found's dtype."""
    found, expected = np.asarray(found), np.asarray(expected)
    order = path_table(spec)["order"]
    assert found.shape == expected.shape and found.shape[-3] == len(order)
    for m in np.unique(order):
        error = relative_error(found[..., order == m, :, :], expected[..., order == m, :, :])
        assert error <= TOLERANCES[str(found.dtype)], f"order {m}: {error}"
