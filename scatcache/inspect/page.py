"""A page of the picture that show makes: where things stand, in pixels, and matplotlib kept quiet and neutral."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT, DPI = 1600, 1000, 100
FONT, FONT_SIZE = "DejaVu Sans", 10.5
INK, GREY, PALE = "#222222", "#666666", "#eeeeee"
ELLIPSIS = " ... "


@contextmanager
def plain_matplotlib() -> Iterator[None]:
    """matplotlib in its own style, not the user's, taking no text for mathematics, silent about its caches."""
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        from matplotlib import rc_context, style

        with style.context("default"), rc_context({"text.parse_math": False, "text.color": INK}):
            yield
    finally:
        logger.setLevel(level)


def make_page() -> "Figure":
    """An empty figure of WIDTH x HEIGHT pixels, known to no pyplot."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor="white")


def encode_png(figure: "Figure") -> bytes:
    """The PNG of a page; no date and no version is in it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    png = io.BytesIO()
    # Pillow's optimised RGB has two thirds of the bytes of matplotlib's RGBA.
    Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).save(png, format="PNG", optimize=True)
    return png.getvalue()


def write(
    figure: "Figure",
    left: float,
    top: float,
    text: str,
    *,
    size: float = FONT_SIZE,
    weight: str = "normal",
    colour: str = INK,
    align: str = "left",
    turned: bool = False,
) -> None:
    """Text whose first line begins (or is centred, or ends: align) at these pixels from the top left.

    turned: it runs upwards instead, and is centred there.
    """
    place = {"va": "center", "rotation": 90} if turned else {"va": "top"}
    x, y = left / WIDTH, 1 - top / HEIGHT
    figure.text(x, y, text, ha=align, fontsize=size, weight=weight, color=colour, **place)


def add_axes(figure: "Figure", left: float, top: float, width: float, height: float) -> "Axes":
    """Axes without ticks on these pixels, counted from the top left; an image in them keeps to their top left."""
    axes = figure.add_axes((left / WIDTH, 1 - (top + height) / HEIGHT, width / WIDTH, height / HEIGHT), anchor="NW")
    axes.set_xticks([])
    axes.set_yticks([])
    return axes


def make_drawable(text: str, *, longest: int = 95) -> str:
    """Text with its middle left out beyond a length; a character the font has no glyph for is written `\\uNNNN`."""
    from matplotlib import font_manager

    glyphs = font_manager.get_font(font_manager.findfont(FONT)).get_charmap()
    drawable = "".join(c if c.isprintable() and ord(c) in glyphs else f"\\u{ord(c):04x}" for c in text)
    if len(drawable) <= longest:
        return drawable
    kept = longest - len(ELLIPSIS)
    return drawable[: kept - kept // 2] + ELLIPSIS + drawable[-(kept // 2) :]
