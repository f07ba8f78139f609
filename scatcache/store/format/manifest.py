"""The settings of a store, kept as the root group's attributes; no time, host, path or credential is among them."""

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, get_type_hints

import numpy as np

from scatcache.errors import NotAStore, StoreDamaged
from scatcache.options import list_options
from scatcache.spec import ALL_ANGLES, GREY, NATIVE, RGB, WHOLE, Pixels, Reduction, ScatteringSpec
from scatcache.store.format.encodings import ENCODINGS, Calibration, Encoding, find_encoding
from scatcache.store.format.json_text import to_json
from scatcache.store.format.layout import SplitLayout
from scatcache.store.format.store_settings import Settings
from scatcache.typed import build, check
from scatcache.views import Views

FORMAT = 2
# No later version gets there; a number beyond is damage.
MAX_FORMAT = 9999
# What made pixels of images, by their kind; another one gives other pixels.
DECODERS = {RGB: "pillow-rgb-2", GREY: "pillow-grey-1", NATIVE: "native-1"}
# The coordinate of quantised coefficients.
STEP = "step"
# 64 GiB of float16 in one row: what claims more is damaged.
MAX_ROW_VALUES = 2**35


@dataclass(frozen=True)
class Manifest:
    """What made a store and never changes. settings: merged, none of them open; filter_bank: hash of the transform's
    wavelets; source, official, source_options: where pixels came from, and what else was chosen of it; classes: names
    that labels index; colours, dtype: of the pixels that enter the transform, see Pixels; calibration: of quantised
    coefficients, None for others.
    """

    settings: Settings
    filter_bank: str
    source: str
    official: bool | None
    classes: tuple[str, ...]
    source_options: dict[str, Any] = field(default_factory=dict)
    colours: int = Pixels.colours
    dtype: str = Pixels.dtype
    calibration: Calibration | None = None

    @cached_property
    def pixels(self) -> Pixels:
        """What enters the transform."""
        return Pixels(**self.settings.within("pixels"), colours=self.colours, dtype=self.dtype)

    @cached_property
    def spec(self) -> ScatteringSpec:
        reduction = Reduction(**self.settings.within("reduction"))
        return ScatteringSpec(**self.settings.within("spec"), colours=self.colours, reduction=reduction)

    @cached_property
    def views(self) -> Views | None:
        """How the rows of an image are drawn; None for the plain image alone."""
        return None if self.settings.views == 1 else Views(**self.settings.within("views"))

    @property
    def n_views(self) -> int:
        """Rows of each image."""
        return 1 if self.views is None else self.views.n

    @property
    def encoding(self) -> str:
        """The name of stored_as."""
        return str(self.settings.encoding)

    @cached_property
    def stored_as(self) -> Encoding:
        """How coefficients are stored."""
        encoding = find_encoding(self.encoding)
        return encoding if self.calibration is None else encoding.calibrated(self.calibration)

    def add_step(self, channels: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The coordinates of the channels, with `step` where coefficients are quantised: S = step * stored."""
        steps = self.stored_as.steps
        return {**channels} if steps is None else {**channels, STEP: steps}

    @property
    def seed(self) -> int:
        return int(self.settings.seed or 0)

    def to_dict(self) -> dict[str, Any]:
        placed = self.settings.to_dict()
        return {
            **placed,
            "format": FORMAT,
            "pixels": self.pixels.to_dict(),
            "reduction": None if self.spec.reduction == WHOLE else placed["reduction"],
            "filter_bank": self.filter_bank,
            "decoder": DECODERS[self.pixels.kind],
            "source": {**self.source_options, "name": self.source, "official": self.official},
            "encoding": self.stored_as.to_dict(),
            "views": None if self.views is None else placed["views"],
            "classes": list(self.classes),
        }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Manifest":
        """Raises NotAStore for another format, StoreDamaged for missing or malformed fields."""
        check_format(fields)
        try:
            views = {"n": 1, "padding": None} if fields["views"] is None else fields["views"]
            reduction = {"pool": None, "angles": ALL_ANGLES} if fields["reduction"] is None else fields["reduction"]
            encoding, source = {"step": None, **fields["encoding"]}, fields["source"]
            placed = {**fields, "views": views, "reduction": reduction, "encoding": encoding}
            facts = {
                "filter_bank": fields["filter_bank"],
                "source": source["name"],
                "official": source["official"],
                "classes": fields["classes"],
                "source_options": {k: v for k, v in source.items() if k not in ("name", "official")},
                "colours": fields["pixels"]["colours"],
                "dtype": fields["pixels"]["dtype"],
            }
            checked = {name: check(get_type_hints(cls)[name], value, name) for name, value in facts.items()}
            calibration = None
            if ENCODINGS[encoding["name"]].quantised:
                known = {name: encoding[name] for name in ("step", "dtype", "steps")}
                calibration = build(Calibration, known)
            manifest = cls(settings=Settings.from_dict(placed), **checked, calibration=calibration)
            manifest.check_calibration()
            is_ours = manifest.to_dict() == fields
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise StoreDamaged(f"the manifest in zarr.json is malformed ({reason}): restore it") from error
        if not is_ours:
            raise StoreDamaged("the manifest in zarr.json holds values that this version never writes: restore it")
        return manifest

    def check_calibration(self) -> None:
        """Raises ValueError where there is not one step for each channel of quantised coefficients."""
        n_steps = None if self.stored_as.steps is None else len(self.stored_as.steps)
        if n_steps != (self.spec.n_channels if self.stored_as.quantised else None):
            raise ValueError(f"there are {n_steps} steps for {self.spec.n_channels} channels")

    def check_split(self, layout: SplitLayout) -> None:
        """Raises ValueError for a split whose images or rows these settings cannot have."""
        self.spec.check_shape(*layout.image_shape)
        if self.views is not None:
            self.views.check_shape(*layout.image_shape)
        row_values = math.prod(self.spec.output_shape(*layout.image_shape))
        if row_values > MAX_ROW_VALUES:
            raise ValueError(f"a row of {row_values} coefficients is more than there can be")
        if any(generation.n_rows % self.n_views for generation in layout.generations):
            raise ValueError(f"{layout.n_rows} rows are no multiple of {self.n_views} views")

    def describe(self) -> str:
        """The settings in one line, without those that are nothing or of the plain image alone."""
        left_out: tuple[str, ...] = ("views", "view_padding") if self.views is None else ()
        if not self.spec.reduction.averages_angles:
            left_out += ("angles",)
        given = {entry.name: getattr(self.settings, entry.name) for entry in list_options(Settings)}
        return ", ".join(f"{k}={v}" for k, v in given.items() if v is not None and k not in left_out)

    @cached_property
    def digest(self) -> str:
        """Hash of every field; each receipt carries it, so that a foreign shard or an edited manifest shows."""
        return "sha256:" + hashlib.sha256(to_json(self.to_dict())).hexdigest()


def is_split_name(name: str) -> bool:
    """Whether a name is that of a folder in the store: a split is one."""
    return bool(name) and "/" not in name and "\0" not in name and name not in (".", "..")


def check_format(fields: Any) -> None:
    """Raises NotAStore unless this version reads the format that fields state."""
    found = fields.get("format") if isinstance(fields, dict) else None
    if type(found) is int and FORMAT < found <= MAX_FORMAT:
        raise NotAStore(
            f"the store has format {found}, this scatcache reads format {FORMAT}: install a newer scatcache"
        )
    if type(found) is int and 0 < found < FORMAT:
        raise NotAStore(
            f"the store has format {found}, of an earlier scatcache, this one reads format {FORMAT}: extract to "
            f"another --out, or anew with --overwrite"
        )
    if type(found) is not int or found != FORMAT:
        shown = ascii(found)[:60] if not isinstance(found, int) or found.bit_length() < 64 else "beyond reason"
        raise StoreDamaged(f"the manifest in zarr.json states format {shown}, expected {FORMAT}: restore it")


def differing_fields(stored: Any, wanted: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(dotted field, stored value, wanted value) for each leaf in which two manifests' dictionaries differ."""
    if isinstance(stored, dict) and isinstance(wanted, dict):
        for key in sorted(stored.keys() | wanted.keys()):
            dotted = f"{prefix}.{key}" if prefix else key
            yield from differing_fields(stored.get(key), wanted.get(key), dotted)
    elif stored != wanted:
        yield prefix, stored, wanted
