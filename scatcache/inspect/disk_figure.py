"""One scattering disk on a page: painted cells, their axes, the colour bar, and how to read it."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from scatcache.inspect.disks import find_colour_limits, find_paths, find_ring_edges, list_rings
from scatcache.inspect.page import GREY, PALE, add_axes, write
from scatcache.scattering.paths import path_table
from scatcache.spec import ScatteringSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DISK = 468
# Disks are computed finer than they are shown, and averaged.
OVERSAMPLING = 3
COLOURS = "magma"
# With more angles, the lines between their sectors would hide the cells.
MOST_LINED_ANGLES = 16
SUPERSCRIPTS = str.maketrans("-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")
HOW_TO_READ = {
    1: "Angle: the direction in which the image\noscillates, which is across its stripes.\n"
    "  vertical stripes: left and right\n  horizontal stripes: top and bottom\n"
    "  stripes like /: upper left, lower right\n  stripes like \\: upper right, lower left\n"
    "Radius: the scale, from coarse inside\nto the finest, j1 = 0, at the rim.\n"
    "Opposite sectors are equal.",
    2: "The sectors of order 1, each divided by\nhow its response |x * ψ(j1, θ1)| varies.\n"
    "  outwards: the scale, coarse to j1 + 1\n  across: the direction θ2, along θ1 in\n"
    "    the middle, at right angles to it at\n    both edges of the sector\n"
    "Bright in the middle: straight lines.\nAt the edges too: lines that bend or end.",
}


def draw_disk(
    figure: "Figure",
    left: float,
    top: float,
    *,
    spec: ScatteringSpec,
    order: int,
    energies: npt.NDArray[np.float64],
    faint: float,
) -> None:
    """The disk of order 1 or 2 with its name above, its scales below and its colour bar on the right.

    energies: (n_paths,); faint: what is not worth a bright colour. Where the spec has no such paths, a note stands
    there instead.
    """
    chosen = energies[path_table(spec)["order"] == order]
    if not chosen.size:
        _draw_absence(figure, left, top, spec, order)
        return
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm

    colours = ScalarMappable(LogNorm(*find_colour_limits(chosen, faint=faint), clip=True), colormaps[COLOURS])
    name = f"Order {order}: mean squared coefficient of {chosen.size:,} {'path' if chosen.size == 1 else 'paths'}"
    write(figure, left, top - 30, name, size=12, weight="bold")
    axes = add_axes(figure, left, top, DISK, DISK)
    axes.imshow(_paint(spec, order, colours.to_rgba(energies)), extent=(-1, 1, 1, -1), interpolation="nearest")
    axes.set_axis_off()
    _draw_lines(axes, spec, order)
    _label_axes(figure, left, top, spec, order)
    _add_colour_bar(figure, left + DISK + 12, top, colours)


def _draw_absence(figure: "Figure", left: float, top: float, spec: ScatteringSpec, order: int) -> None:
    reason = f"max_order={spec.max_order}" if spec.max_order < order else f"J={spec.J}: there is no j2 > j1"
    write(figure, left, top - 30, f"Order {order}: no paths", size=12, weight="bold")
    axes = add_axes(figure, left, top, DISK, DISK)
    axes.set_axis_off()
    axes.set(xlim=(-1, 1), ylim=(-1, 1))
    axes.fill(*_circle(1.0), color=PALE)
    axes.text(0, 0, f"the store has none\n({reason})", ha="center", va="center", fontsize=12, color=GREY)


def _paint(spec: ScatteringSpec, order: int, colours: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(DISK, DISK, 4) RGBA of a disk from those of its paths, (n_paths, 4); white where there is none."""
    n_points = DISK * OVERSAMPLING
    axis = (np.arange(n_points) + 0.5) / n_points * 2 - 1
    palette = np.concatenate([colours, np.ones((1, 4))])  # the last is that of path -1
    rows = []
    for y in np.split(axis, DISK):
        painted = palette[find_paths(spec, order, *np.meshgrid(axis, y))]
        rows.append(painted.reshape(OVERSAMPLING, DISK, OVERSAMPLING, 4).mean(axis=(0, 2)))
    return np.stack(rows)


def _circle(radius: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    angle = np.linspace(0, 2 * np.pi, 361)
    return radius * np.cos(angle), radius * np.sin(angle)


def _draw_lines(axes: "Axes", spec: ScatteringSpec, order: int) -> None:
    """White lines between the scales j1 and between the angles theta1."""
    rings = list_rings(spec, order)
    edges = find_ring_edges(len(rings))
    style: dict[str, Any] = {"color": "white", "linewidth": 0.8, "alpha": 0.55}
    for ring in range(1, len(rings)):
        if rings[ring][0] != rings[ring - 1][0]:
            axes.plot(*_circle(edges[ring]), **style)
    if spec.L > MOST_LINED_ANGLES:
        return
    # Halfway between neighbouring angles: found on the disk, not by another formula than the cells'.
    angle = np.linspace(0, 2 * np.pi, 7201)
    theta1 = path_table(spec)["theta1"][find_paths(spec, 1, 0.99 * np.cos(angle), 0.99 * np.sin(angle))]
    for between in angle[1:][np.diff(theta1) != 0]:
        axes.plot(np.cos(between) * edges[[0, -1]], np.sin(between) * edges[[0, -1]], **style)


def _label_axes(figure: "Figure", left: float, top: float, spec: ScatteringSpec, order: int) -> None:
    """The names of the axes and, under the right half of the disk, the scale of each ring."""
    rings, bottom = np.array(list_rings(spec, order)), top + DISK + 6
    write(figure, left - 18, top + DISK / 2, "vertical frequency", size=9.5, colour=GREY, turned=True)
    write(figure, left, bottom, "horizontal frequency", size=9.5, colour=GREY)
    edges = find_ring_edges(len(rings))
    centres = left + DISK / 2 * (1 + (edges[:-1] + edges[1:]) / 2)
    for line, name in enumerate(["j2", "j1"] if order == 2 else ["j1"]):
        height, scales = bottom + 17 * line, rings[:, 1 if name == "j2" else 0]
        write(figure, left + DISK / 2 + 8, height, name, size=9.5, colour=GREY, align="right")
        # One label for neighbouring rings of one scale.
        for group in np.split(np.arange(len(rings)), np.flatnonzero(np.diff(scales)) + 1):
            write(figure, centres[group].mean(), height, str(scales[group[0]]), size=9.5, align="center")


def _add_colour_bar(figure: "Figure", left: float, top: float, colours: Any) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    bar = add_axes(figure, left, top + 30, 14, DISK - 60)
    few_decades = colours.norm.vmax < 100 * colours.norm.vmin
    ticks = LogLocator(subs=(1, 2, 5) if few_decades else (1,))
    figure.colorbar(colours, cax=bar, extend="min", ticks=ticks, format=FuncFormatter(_show_power))
    bar.yaxis.set_minor_locator(NullLocator())
    bar.tick_params(labelsize=9.5)


def _show_power(value: float, position: object = None) -> str:
    digit, _, exponent = f"{value:.0e}".partition("e")
    power = "10" + str(int(exponent)).translate(SUPERSCRIPTS)
    return power if digit == "1" else f"{digit}\u00b7{power}"
