"""What the images of a split have in common, and what is to be made of them."""

from dataclasses import dataclass
from typing import NamedTuple

from scatcache.spec import RGB


class ImageForm(NamedTuple):
    """height, width: in pixels; bands: samples of a pixel; dtype: of a sample as it enters the transform, "uint8",
    "uint16" or "float32"."""

    height: int
    width: int
    bands: int
    dtype: str

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width


@dataclass(frozen=True)
class Decoding:
    """What is made of an image. kind: "rgb", "grey" or "native", see Pixels; size: None leaves it as it is, N scales
    and crops it to N x N pixels; axes: of .npy files with bands, "HWC" or "CHW", None where their shape says it."""

    kind: str = RGB
    size: int | None = None
    axes: str | None = None
