"""One image's coefficients as one picture: the image, its low-pass, a disk for each order, and where the energy is."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from scatcache.inspect.disk_figure import COLOURS, HOW_TO_READ, draw_disk
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
from scatcache.spec import ScatteringSpec

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARGIN = 48
# Of the columns: images, order 1, order 2.
LEFTS = (MARGIN, 458, 1046)
IMAGE, MAP = 340, 216
DISK_TOP, MAP_TOP = 178, 752


@dataclass(frozen=True)
class Portrait:
    """What is drawn of one row. title, key, label, settings: any text; coefficients: (n_channels, h, w);
    image: uint8 (height, width, 3), or None, and then image_note says why."""

    title: str
    key: str
    label: str
    settings: str
    spec: ScatteringSpec
    coefficients: npt.NDArray[np.floating]
    image: npt.NDArray[np.uint8] | None
    image_note: str = ""


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
            draw_disk(figure, LEFTS[order], DISK_TOP, spec=portrait.spec, order=order, energies=energies)
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
        axes.imshow(portrait.image)
        size = ", {} x {} pixels".format(*portrait.image.shape)
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
    spec = portrait.spec
    planes = portrait.coefficients.reshape(spec.colours, spec.n_paths, *portrait.coefficients.shape[1:])
    low_pass = planes[:, 0].transpose(1, 2, 0).astype(np.float32).clip(0, 1)
    add_axes(figure, MARGIN, MAP_TOP, MAP, MAP).imshow(low_pass, interpolation="nearest")
    name = "Order 0: low-pass, {} x {} positions".format(*low_pass.shape)
    write(figure, MARGIN, MAP_TOP - 26, name, weight="bold")


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
