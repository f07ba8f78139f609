"""Augmented views of an image: reflect-padded crops and their mirror images, drawn from the seed and the key alone."""

import hashlib
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from scatcache.typed import build

# What the poster's authors pad by: 4 at 32 px, 8 at 96 px.
MAX_DEFAULT_PADDING = 8
# A view's number is stored as uint16.
MAX_VIEWS = 2**16
WORDS_PER_BLOCK = 16


class Window(NamedTuple):
    """One view: top, left: of the crop in the padded image, 0 .. 2 * padding; mirrored: left and right exchanged."""

    top: int
    left: int
    mirrored: bool


@dataclass(frozen=True)
class Views:
    """n: views of each image, the plain one first; padding: pixels by which the others' crops may be moved."""

    n: int
    padding: int

    def __post_init__(self) -> None:
        if self.padding < 0:
            raise ValueError(f"view_padding is {self.padding}: expected at least 0")
        most = min(count_windows(self.padding), MAX_VIEWS)
        if not 2 <= self.n <= most:
            raise ValueError(f"views is {self.n}: expected 1 to {most}, which are all with view_padding {self.padding}")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Views":
        """Raises KeyError, TypeError, ValueError for missing, malformed or contradictory fields."""
        return build(cls, fields)

    def check_shape(self, height: int, width: int) -> None:
        """Raises ValueError for images that a reflection cannot pad by so much."""
        if min(height, width) <= self.padding:
            raise ValueError(
                f"images of {height}x{width} pixels cannot be padded by {self.padding}: give a smaller view_padding"
            )


def count_windows(padding: int) -> int:
    """How many different views there are: a crop at each offset, and its mirror image."""
    return 2 * (2 * padding + 1) ** 2


def choose_padding(height: int, width: int) -> int:
    """The default padding of images of this size: an eighth of the shorter side, MAX_DEFAULT_PADDING at most."""
    return min(MAX_DEFAULT_PADDING, min(height, width) // 8)


def draw_windows(views: Views, *, key: str, seed: int) -> list[Window]:
    """The views of one image: the plain one, then others without repetition, drawn from (seed, key).

    The first n are the same however many there are. docs/format.md says how they are drawn.
    """
    side = 2 * views.padding + 1
    plain = views.padding * side + views.padding
    left_over = [index for index in range(count_windows(views.padding)) if index != plain]
    for position, word in enumerate(_draw_words(key, seed, views.n - 1)):
        chosen = position + word % (len(left_over) - position)
        left_over[position], left_over[chosen] = left_over[chosen], left_over[position]
    windows = []
    for index in (plain, *left_over[: views.n - 1]):
        mirrored, offset = divmod(index, side * side)
        windows.append(Window(*divmod(offset, side), bool(mirrored)))
    return windows


def _draw_words(key: str, seed: int, n: int) -> list[int]:
    """n integers of 32 bits from blake2b of the key, keyed by the seed, its salt counting blocks of 16 of them."""
    blocks = [
        hashlib.blake2b(
            key.encode("utf-8"), digest_size=64, key=seed.to_bytes(8, "little"), salt=block.to_bytes(16, "little")
        ).digest()
        for block in range(-(-n // WORDS_PER_BLOCK))
    ]
    words = b"".join(blocks)[: 4 * n]
    return [int.from_bytes(words[at : at + 4], "little") for at in range(0, len(words), 4)]


class ViewedImage:
    """One decoded image, (height, width, bands) of any dtype, from which its views are cut."""

    def __init__(self, image: npt.NDArray[Any], views: Views | None, *, key: str, seed: int):
        self._image, self._windows = image, None
        if views is not None:
            self._windows = draw_windows(views, key=key, seed=seed)
            border = (views.padding, views.padding)
            self._padded = np.pad(image, (border, border, (0, 0)), mode="reflect")

    def cut(self, view: int) -> npt.NDArray[Any]:
        """(height, width, bands), one view by its number; 0 is the image itself."""
        if self._windows is None or view == 0:
            return self._image
        height, width = self._image.shape[:2]
        top, left, mirrored = self._windows[view]
        crop = self._padded[top : top + height, left : left + width]
        return crop[:, ::-1] if mirrored else crop
