"""How the energy of scattering coefficients is shared out: among paths, orders and positions.

Energies are squared coefficients averaged over positions and colours, and added up over the paths concerned: one unit
for all orders, and that of the mean squared sample, samples being divided by their scale: from 0 to 1 for 8 bits. The
transform keeps most of it and makes none.
"""

import numpy as np
import numpy.typing as npt

from scatcache.scattering.paths import path_table
from scatcache.spec import ScatteringSpec


def energy_of_paths(spec: ScatteringSpec, mean_squares: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """(n_paths,) energies from the mean squared coefficient of each channel, (n_channels,)."""
    return np.asarray(mean_squares, np.float64).reshape(spec.colours, spec.n_paths).mean(axis=0)


def energy_of_orders(spec: ScatteringSpec, mean_squares: npt.ArrayLike) -> tuple[float, ...]:
    """The energy of each order, 0 to max_order, from the mean squared coefficient of each channel, (n_channels,)."""
    energies, order = energy_of_paths(spec, mean_squares), path_table(spec)["order"]
    return tuple(float(energies[order == which].sum()) for which in range(spec.max_order + 1))


def energy_map(spec: ScatteringSpec, coefficients: npt.NDArray[np.floating], order: int) -> npt.NDArray[np.float64]:
    """(h, w) energy of one order at each position of one image's coefficients, (n_channels, h, w)."""
    planes = coefficients.reshape(spec.colours, spec.n_paths, *coefficients.shape[1:])
    chosen = planes[:, path_table(spec)["order"] == order].astype(np.float64)
    return np.square(chosen).sum(axis=1).mean(axis=0)


def show_shares(energies: tuple[float, ...]) -> tuple[str, ...]:
    """Each energy as a percentage of their sum: "96.1%"; two digits where it is below 0.1%, 0% of nothing."""
    total = sum(energies) or 1.0
    percentages = [100 * energy / total for energy in energies]
    return tuple(f"{value:.1f}%" if value >= 0.1 else f"{value:.2g}%" for value in percentages)
