"""One image's coefficients as one picture: the image, its low-pass, a disk for each order, and where the energy is."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from scatcache.inspect.disk_figure import COLOURS, HOW_TO_READ, draw_disk
from scatcache.inspect.disks import FAINT_ENERGY
from scatcache.inspect.energy import energy_map, energy_of_orders, energy_of_paths, show_shares
from scatcache.inspect.page import (
    FONT_SIZE,
    GREY,
    PALE,
    add_axes,
    encode_png,
    make_drawable,
    make_page,
    plain_matplotlib,
    write,
)
from scatcache.scattering.paths import path_table
from scatcache.spec import Pixels, ScatteringSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARGIN = 48
# Of the columns: images, order 1, order 2.
LEFTS = (MARGIN, 458, 1046)
IMAGE, MAP = 340, 216
DISK_TOP, MAP_TOP = 178, 752
LARGEST_UINT8 = 255
# Of the largest order 0 squared, for samples of any size: what rounding leaves of a flat image is 1e-14.
FAINT_PART = 1e-10


@dataclass(frozen=True)
class Portrait:
    """What is drawn of one row. title, key, label, settings: any text; coefficients: (n_channels, h, w);
    image: (height, width, bands) of pixels.dtype, or None, and then image_note says why; pixels: what entered the
    transform, 8 bits drawn from 0 to 255, other samples from the least to the largest there is."""

    title: str
    key: str
    label: str
    settings: str
    spec: ScatteringSpec
    coefficients: npt.NDArray[np.floating]
    image: npt.NDArray[np.generic] | None
    image_note: str = ""
    pixels: Pixels = field(default_factory=Pixels)

    @property
    def low_pass(self) -> npt.NDArray[np.float32]:
        """(h, w, colours): the coefficients of order 0."""
        planes = self.coefficients.reshape(self.spec.colours, self.spec.n_paths, *self.coefficients.shape[1:])
        return planes[:, 0].transpose(1, 2, 0).astype(np.float32)


def render(portrait: Portrait) -> bytes:
    """The picture as a PNG of 1600 x 1000 pixels; the same bytes for an equal portrait and matplotlib."""
    mean_squares = np.square(portrait.coefficients.astype(np.float64)).mean(axis=(1, 2))
    energies = energy_of_paths(portrait.spec, mean_squares)
    with plain_matplotlib():
        figure = make_page()
        _write_header(figure, portrait)
        _draw_image(figure, portrait)
        _draw_shares(figure, energy_of_orders(portrait.spec, mean_squares))
        _draw_low_pass(figure, portrait)
        for order in (1, 2):
            draw_disk(
                *(figure, LEFTS[order], DISK_TOP),
                spec=portrait.spec,
                order=order,
                energies=energies,
                faint=_find_faint(portrait),
            )
            _draw_map(figure, portrait, order)
        return encode_png(figure)


def _write_header(figure: "Figure", portrait: Portrait) -> None:
    write(figure, MARGIN, 22, make_drawable(portrait.title), size=16, weight="bold")
    write(figure, MARGIN, 58, make_drawable(portrait.key), size=12)
    write(figure, MARGIN, 82, make_drawable(portrait.label), size=12)
    write(figure, MARGIN, 108, make_drawable(portrait.settings, longest=165), colour=GREY)


def _draw_image(figure: "Figure", portrait: Portrait) -> None:
    axes = add_axes(figure, MARGIN, DISK_TOP, IMAGE, IMAGE)
    size = ""
    if portrait.image is None:
        axes.set_facecolor(PALE)
        axes.text(0.5, 0.5, portrait.image_note, ha="center", va="center", fontsize=12, color=GREY)
    else:
        limits = (0, LARGEST_UINT8) if portrait.image.dtype == np.uint8 else None
        note = _draw_planes(axes, portrait.image, limits=limits)
        _write_below(figure, DISK_TOP, IMAGE, portrait.image.shape, note)
        size = ", {} x {} pixels".format(*portrait.image.shape)
        if band := _name_band(portrait.image):
            size += f", {band}"
    write(figure, MARGIN, DISK_TOP - 30, f"Image{size}", size=12, weight="bold")


def _draw_shares(figure: "Figure", energies: tuple[float, ...]) -> None:
    """The share of each order in the energy, as bars with numbers."""
    top, n_orders = DISK_TOP + IMAGE + 60, len(energies)
    write(figure, MARGIN, top - 30, "Energy of each order", size=12, weight="bold")
    axes = add_axes(figure, MARGIN + 66, top, 130, 32 * n_orders)
    axes.barh(range(n_orders), np.array(energies) / (sum(energies) or 1.0), height=0.6, color="#b5367a")
    axes.set(xlim=(0, 1), ylim=(n_orders - 0.5, -0.5), facecolor=PALE)
    axes.spines[:].set_visible(False)
    axes.set_yticks(range(n_orders), [f"order {order}" for order in range(n_orders)], fontsize=FONT_SIZE)
    axes.tick_params(length=0)
    for order, (energy, share) in enumerate(zip(energies, show_shares(energies), strict=True)):
        axes.text(1.06, order, f"{share}  ({energy:.2g})", va="center", fontsize=FONT_SIZE)


def _draw_low_pass(figure: "Figure", portrait: Portrait) -> None:
    """The coefficients of order 0 as an image of their own."""
    axes, low_pass = add_axes(figure, MARGIN, MAP_TOP, MAP, MAP), portrait.low_pass
    limits = (0, _find_largest(portrait.pixels)) if portrait.pixels.dtype == "uint8" else None
    note = _draw_planes(axes, low_pass, limits=limits, interpolation="nearest")
    _write_below(figure, MAP_TOP, MAP, low_pass.shape, _name_band(low_pass), note)
    name = "Order 0: low-pass, {} x {} positions".format(*low_pass.shape)
    write(figure, MARGIN, MAP_TOP - 26, name, weight="bold")


def _find_largest(pixels: Pixels) -> float:
    """What the largest 8-bit sample is in the transform."""
    return LARGEST_UINT8 / pixels.scale


def _find_faint(portrait: Portrait) -> float:
    """The energy that is not worth a bright colour in a disk."""
    if portrait.pixels.dtype == "uint8":
        return FAINT_ENERGY * _find_largest(portrait.pixels) ** 2
    largest = float(np.abs(portrait.low_pass).max())
    return FAINT_PART * largest**2 or FAINT_ENERGY


def _name_band(planes: npt.NDArray[np.generic]) -> str:
    """Which band is drawn, where it is not all of them."""
    return "" if planes.shape[2] in (1, 3) else f"band 1 of {planes.shape[2]}"


def _draw_planes(
    axes: "Axes",
    planes: npt.NDArray[np.generic],
    *,
    limits: tuple[float, float] | None,
    interpolation: str | None = None,
) -> str:
    """Planes (height, width, bands), three as RGB, of other numbers the first in grey, from black to white by limits.

    limits: None for those of what is drawn. Returns these in words, "" where limits were given.
    """
    drawn = planes if planes.shape[2] == 3 else planes[..., 0]
    if drawn.ndim == 3 and drawn.dtype == np.uint8:
        axes.imshow(drawn, interpolation=interpolation)
        return ""
    values = drawn.astype(np.float64)
    low, high = limits or (float(values.min()), float(values.max()))
    shades = ((values - low) / (high - low or 1.0)).clip(0, 1).astype(np.float32)
    axes.imshow(shades, cmap="gray", vmin=0, vmax=1, interpolation=interpolation)
    return "" if limits else f"black: {low:.4g}, white: {high:.4g}"


def _write_below(figure: "Figure", top: int, side: int, shape: tuple[int, ...], *notes: str) -> None:
    """What there is of notes, below an image of a shape in the square with this top and side."""
    below = top + side * min(1.0, shape[0] / shape[1]) + 5
    write(figure, MARGIN, below, ", ".join(filter(None, notes)), size=9.5, colour=GREY)


def _draw_map(figure: "Figure", portrait: Portrait, order: int) -> None:
    """Where in the image the energy of an order is, and how to read its disk."""
    left = LEFTS[order]
    if not np.any(path_table(portrait.spec)["order"] == order):
        return
    amplitudes = np.sqrt(energy_map(portrait.spec, portrait.coefficients, order))
    axes = add_axes(figure, left, MAP_TOP, MAP, MAP)
    axes.imshow(amplitudes, cmap=COLOURS, vmin=0, vmax=amplitudes.max() or 1.0, interpolation="nearest")
    write(figure, left, MAP_TOP - 26, f"Order {order}: where it is", weight="bold")
    write(figure, left + MAP + 24, MAP_TOP - 26, "How to read the disk", weight="bold")
    write(figure, left + MAP + 24, MAP_TOP, HOW_TO_READ[order], size=10)
