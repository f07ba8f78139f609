"""What an extraction will cost and whether it pays: plain arithmetic on measured rates."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

# Machines like this one in the table of hours.
MACHINES = (1, 2, 4, 8, 16)
# A cache that pays only after more epochs than these does not pay.
MOST_EPOCHS = 100
# Reading must be faster than computing by this factor: an epoch that is hardly faster is not worth the disk.
LEAST_GAIN = 1.1
# A store that takes more of the free memory than this is read from the disk in each epoch.
MEMORY_SHARE = 0.5
# Bytes of a store that its rows share out: row arrays, receipts, index, documents.
EVERY_ROW_BYTES, EVERY_SHARD_BYTES, EVERY_STORE_BYTES = 75, 1200, 60_000
CHANNEL_BYTES = 22


@dataclass(frozen=True)
class Rates:
    """Measured on this machine. stage_s: seconds of an image in each stage on one thread, that of writing by a file of
    random bytes that is synced; extract_images_per_s: by the
    whole command with its workers; compute_images_per_s: read, decoded and transformed by as many, nothing stored;
    disk_rows_per_s, memory_rows_per_s: read by a loader; fixed_s: of a run, whatever the number of images; open_s: of
    an epoch, whatever the number of rows."""

    stage_s: Mapping[str, float]
    extract_images_per_s: float
    compute_images_per_s: float
    disk_rows_per_s: float | None
    memory_rows_per_s: float
    fixed_s: float
    open_s: float


@dataclass(frozen=True)
class Estimate:
    """images_left: to extract; extract_s: on this machine; machines_s: on so many
    like it; store_bytes: of the finished store; bytes: by encoding and reduction; epoch_rows, cached_epoch_s,
    computed_epoch_s: one epoch over the largest split, read from the store (is_in_memory: which then fits into the free
    memory) and computed on the fly; break_even_epochs:
    None where the cache never pays; memory_bytes: the most a run takes; advice: one sentence; code: what computes on
    the fly, where that is advised."""

    rates: Rates
    images_left: int
    extract_s: float
    machines_s: dict[int, float]
    store_bytes: int
    bytes: dict[str, dict[str, int]]
    epoch_rows: int
    cached_epoch_s: float
    is_in_memory: bool
    computed_epoch_s: float
    break_even_epochs: int | None
    memory_bytes: int
    advice: str
    code: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Weighed:
    """What recommend() weighs. store_bytes, free_bytes: of the store as asked for, and where it would lie; bytes: of
    other encodings and reductions, by their names."""

    extract_s: float
    cached_epoch_s: float
    computed_epoch_s: float
    store_bytes: int
    free_bytes: int
    bytes: Mapping[str, int]


def find_break_even(choice: Weighed) -> int | None:
    """After how many epochs extracting and reading have taken less than computing each time; None where never."""
    gain = choice.computed_epoch_s - choice.cached_epoch_s
    if choice.cached_epoch_s * LEAST_GAIN >= choice.computed_epoch_s:
        return None
    return max(1, math.ceil(choice.extract_s / gain))


def recommend(choice: Weighed) -> tuple[str, bool]:
    """(one sentence, whether it says to cache)."""
    epochs = find_break_even(choice)
    if epochs is None:
        return (
            f"Do not cache: an epoch read from the store takes {show_seconds(choice.cached_epoch_s)}, computing the "
            f"coefficients each time takes {show_seconds(choice.computed_epoch_s)}.",
            False,
        )
    if epochs > MOST_EPOCHS:
        return (
            f"Do not cache unless you train for more than {epochs} epochs: only then the "
            f"{show_seconds(choice.extract_s)} of the extraction are won back.",
            False,
        )
    if choice.store_bytes > choice.free_bytes:
        fitting = [name for name, n_bytes in choice.bytes.items() if n_bytes <= choice.free_bytes]
        if not fitting:
            return "Do not cache here: neither this store nor a narrower one fits into the free space.", False
        return f"Cache, but with {fitting[0]}: as asked for the store does not fit into the free space.", True
    return f"Cache: from {'the first epoch' if epochs == 1 else f'epoch {epochs}'} on it pays.", True


def show_seconds(seconds: float) -> str:
    """Seconds in the unit that suits them."""
    if seconds < 90:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def show_code(*, J: int, shape: tuple[int, int], options: str, device: str) -> str:
    """Three lines that compute coefficients of a batch `images` (B, C, H, W) in a training loop."""
    place = "" if device == "cpu" else f'.to("{device}")'
    return (
        "import scatcache\n"
        f"scattering = scatcache.Scattering2D(J={J}, shape={shape}{options}){place}\n"
        "S = scattering(images).flatten(1, 2)"
    )
