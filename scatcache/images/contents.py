"""What is asked of a file that holds many images: which of its arrays or columns, and what goes with them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from scatcache.errors import UsageError

# How the axes of an array of images may stand; of a file for each image, the same without N.
ARRAY_AXES, FILE_AXES = ("NHW", "NHWC", "NCHW"), ("HW", "HWC", "CHW")


@dataclass(frozen=True)
class Contents:
    """array: name of the array or column of images; axes: one of ARRAY_AXES or FILE_AXES; labels, targets: a .npy or
    .csv file, a name in the file, or, of arrays in Python, the numbers themselves. None: what the file says, or none.
    """

    array: str | None = None
    axes: str | None = None
    labels: Any = None
    targets: Any = None

    @property
    def given(self) -> tuple[str, ...]:
        """The names of those that somebody gave."""
        return tuple(entry.name for entry in fields(self) if getattr(self, entry.name) is not None)

    def or_else(self, *known: Mapping[str, Any]) -> "Contents":
        """The same, what was not given taken from the first of known that has it."""
        found = {entry.name: next((k[entry.name] for k in known if k.get(entry.name)), None) for entry in fields(self)}
        return replace(self, **{name: value for name, value in found.items() if name not in self.given})


def check_file_axes(axes: str) -> str:
    """Raises UsageError for axes that no file of one image has."""
    if axes not in FILE_AXES:
        raise UsageError(f"axes is {axes!r}: of a file for each image expected one of {', '.join(FILE_AXES)}")
    return axes
