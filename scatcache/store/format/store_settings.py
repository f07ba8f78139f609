"""The settings of a store, one entry each: typed once, fixed by the first run, kept in the root's metadata."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, get_type_hints

from scatcache.errors import UsageError
from scatcache.options import Options, list_options, setting
from scatcache.spec import ANGLES, GRIDS, KINDS, MAX_SEED, RANGES, Reduction, ScatteringSpec
from scatcache.typed import check

ALL_VIEWS = "all"
FROM_1 = (1, MAX_SEED)


def _list_encodings() -> Sequence[str]:
    from scatcache.store.format.encodings import ENCODINGS

    return tuple(ENCODINGS)


@dataclass(frozen=True, kw_only=True)
class Settings(Options):
    """What shapes a store's bytes; None: taken from the store, else the default."""

    J: int | None = setting(
        "log2 of the largest scale; needed for a new store", stored="spec.J", within=RANGES["J"], metavar="N"
    )
    L: int | None = setting(
        "number of angles", default=ScatteringSpec.L, stored="spec.L", within=RANGES["L"], metavar="N"
    )
    max_order: int | None = setting(
        "largest order of the paths",
        default=ScatteringSpec.max_order,
        stored="spec.max_order",
        within=RANGES["max_order"],
        metavar="N",
    )
    grid: str | None = setting(
        "where maps are sampled; on centered, mirror images are exact",
        default=ScatteringSpec.grid,
        stored="spec.grid",
        choices=GRIDS,
    )
    pixels: str | None = setting(
        "what enters the transform: the picture in 8 bits, in colour (rgb) or grey (grey), or the samples as the file "
        "or array holds them, of any number of bands (native)",
        otherwise="rgb; native for arrays; grey for datasets known as grey",
        stored="pixels.kind",
        choices=KINDS,
    )
    scale: float | None = setting(
        "what samples are divided by",
        otherwise="255 for 8-bit samples, 65535 for 16-bit ones, 1 for others",
        stored="pixels.scale",
        above=0,
        metavar="X",
    )
    size: int | None = setting(
        "resize and centre-crop to this many pixels",
        otherwise="as is, or what the dataset is known by",
        stored="preprocessing.size",
        within=FROM_1,
        metavar="N",
    )
    pool: int | None = setting(
        "keep the means of each map over a grid of G x G cells; 1 gives one vector an image",
        otherwise="whole maps",
        stored="reduction.pool",
        within=FROM_1,
        metavar="G",
    )
    angles: str | None = setting(
        "keep the paths of every angle, or their mean over all turns of the wavelets",
        default=Reduction.angles,
        stored="reduction.angles",
        choices=ANGLES,
    )
    limit: int | None = setting(
        "a fair sample of this many images of each split", stored="limit", within=FROM_1, metavar="N"
    )
    encoding: str | None = setting(
        "how a coefficient is stored",
        otherwise="float16 for 8-bit pixels, float32 for others",
        stored="encoding.name",
        choices=_list_encodings,
        metavar="NAME",
    )
    step: float | None = setting(
        "what quantised coefficients are rounded to multiples of, in standard deviations of their channel",
        otherwise="0.45 where coefficients are quantised",
        stored="encoding.step",
        above=0,
        metavar="S",
    )
    views: int | str | None = setting(
        "store this many views of each image: the plain one, then random crops and flips, or all that there are",
        default=1,
        stored="views.n",
        within=FROM_1,
        words=(ALL_VIEWS,),
        metavar="K|all",
    )
    view_padding: int | None = setting(
        "reflect-padding of those crops",
        otherwise="an eighth of the shorter side, at most 8",
        stored="views.padding",
        within=(0, MAX_SEED),
        metavar="PIXELS",
    )
    shard_images: int | None = setting(
        "rows per shard",
        otherwise="128 MiB of them at most",
        stored="shard_images",
        within=FROM_1,
        metavar="N",
    )
    seed: int | None = setting(
        "seed of the order of rows on disk, and of the views",
        default=0,
        stored="seed",
        within=(0, MAX_SEED),
        metavar="N",
    )

    def merge(self, stored: "Settings | None", **defaults: Any) -> "Settings":
        """These settings, each that is None taken from the store, or for a new store from defaults or the table.

        Raises UsageError where a new store has no J, or a padding is typed that nothing is padded by.
        """
        if stored is None:
            require_J(self.J)
        known = {
            entry.name: defaults.get(entry.name, entry.default) if stored is None else getattr(stored, entry.name)
            for entry in list_options(type(self))
            if entry.stored
        }
        merged = replace(self, **{name: value for name, value in known.items() if getattr(self, name) is None})
        if merged.views == 1 and self.view_padding is not None:
            raise UsageError("view_padding is given for one view, the plain image: give views too")
        return merged

    def within(self, part: str) -> dict[str, Any]:
        """The settings that lie in one part of the root's metadata, by their names there."""
        split = {entry.name: entry.stored.rpartition(".") for entry in list_options(type(self)) if entry.stored}
        return {place: getattr(self, name) for name, (found, _, place) in split.items() if found == part}

    def to_dict(self) -> dict[str, Any]:
        """As the root's metadata holds them, each at its place."""
        placed: dict[str, Any] = {}
        for entry in list_options(type(self)):
            if entry.stored:
                part, _, name = entry.stored.rpartition(".")
                (placed.setdefault(part, {}) if part else placed)[name] = getattr(self, entry.name)
        return placed

    @classmethod
    def from_dict(cls, placed: dict[str, Any]) -> "Settings":
        """The settings at their places in a root's metadata; what else lies there is passed over.

        Raises KeyError, TypeError, ValueError for those that are missing, of another type or out of range.
        """
        hints, values = get_type_hints(cls), {}
        for entry in list_options(cls):
            if entry.stored:
                part, _, name = entry.stored.rpartition(".")
                value = (placed[part] if part else placed)[name]
                values[entry.name] = check(hints[entry.name], value, entry.stored)
                if value in entry.words or (value is None and entry.default is not None):
                    raise ValueError(f"{entry.stored} is {value!r}, which no store has")
        return cls(**values)


def require_J(J: int | None) -> int:
    """Raises UsageError where J is not given."""
    if J is None:
        raise UsageError("a new store needs J (the log2 of the largest scale): give --J 2")
    return J
