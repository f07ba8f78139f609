"""The settings of a store, kept as the root group's attributes; no time, host, path or credential is among them."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from scatcache.errors import NotAStore, StoreDamaged
from scatcache.spec import MAX_SEED, ScatteringSpec
from scatcache.store.format.encodings import ENCODINGS
from scatcache.store.format.json_text import to_json
from scatcache.store.format.layout import SplitLayout
from scatcache.typed import build
from scatcache.views import Views

FORMAT = 1
# No later version gets there; a number beyond is damage.
MAX_FORMAT = 9999
# uint8 pixels are divided by this before the transform; S(255 x) = 255 S(x), so a slip would be silent.
PIXEL_SCALE = 255.0
DECODER = "pillow-rgb-2"
EARLIER_DECODERS = ("pillow-rgb-1",)
# 64 GiB of float16 in one row: what claims more is damaged.
MAX_ROW_VALUES = 2**35


@dataclass(frozen=True)
class Manifest:
    """What made a store. spec and filter_bank: the transform; size: crop in pixels or None for native sizes;
    limit: rows kept of each split or None; encoding: a name of ENCODINGS; seed: of the storage order; shard_images:
    as typed or None; source, official, source_options: where pixels came from, and what else was chosen of it;
    classes: names that labels index; splits: every split of the source, stored or not; views: rows of each image,
    None for the plain image alone.
    """

    spec: ScatteringSpec
    filter_bank: str
    encoding: str
    size: int | None
    limit: int | None
    seed: int
    shard_images: int | None
    source: str
    official: bool | None
    classes: tuple[str, ...]
    splits: dict[str, SplitLayout]
    source_options: dict[str, Any] = field(default_factory=dict)
    views: Views | None = None

    @property
    def n_views(self) -> int:
        """Rows of each image."""
        return 1 if self.views is None else self.views.n

    def to_dict(self) -> dict[str, Any]:
        """Views only where there are any."""
        views = {} if self.views is None else {"views": self.views.to_dict()}
        return {
            "format": FORMAT,
            "spec": self.spec.to_dict(),
            "filter_bank": self.filter_bank,
            "pixel_scale": PIXEL_SCALE,
            "preprocessing": {"size": self.size},
            "decoder": DECODER,
            "source": {**self.source_options, "name": self.source, "official": self.official},
            "encoding": self.encoding,
            "seed": self.seed,
            "limit": self.limit,
            "shard_images": self.shard_images,
            "classes": list(self.classes),
            "splits": {name: layout.to_dict() for name, layout in sorted(self.splits.items())},
            **views,
        }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Manifest":
        """Raises NotAStore for another format, StoreDamaged for missing or malformed fields."""
        check_format(fields)
        try:
            source, preprocessing = fields["source"], fields["preprocessing"]
            known = ("spec", "filter_bank", "encoding", "limit", "seed", "shard_images", "classes", "splits")
            manifest = build(
                cls,
                {name: fields[name] for name in (*known, *(["views"] if "views" in fields else []))}
                | {"size": preprocessing["size"], "source": source["name"], "official": source["official"]}
                | {"source_options": {k: v for k, v in source.items() if k not in ("name", "official")}},
            )
            manifest.check_numbers()
            for layout in manifest.splits.values():
                manifest.check_split(layout)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise StoreDamaged(f"the manifest in zarr.json is malformed ({reason}): restore it") from error
        if manifest.encoding not in ENCODINGS or manifest.to_dict() != fields:
            raise StoreDamaged("the manifest in zarr.json holds values that this version never writes: restore it")
        return manifest

    def check_numbers(self) -> None:
        """Raises ValueError for numbers that no run takes."""
        for name in ("size", "limit", "shard_images"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= MAX_SEED:
                raise ValueError(f"{name} is {value}, expected at least 1")
        if self.seed > MAX_SEED:
            raise ValueError(f"seed is {self.seed}, expected at most {MAX_SEED}")
        for name in self.splits:
            if not is_split_name(name):
                raise ValueError(f"{name!r} is no name of a split")

    def check_split(self, layout: SplitLayout) -> None:
        """Raises ValueError for a split whose images or rows these settings cannot have."""
        if layout.image_shape is not None:
            self.spec.check_shape(*layout.image_shape)
            if self.views is not None:
                self.views.check_shape(*layout.image_shape)
            row_values = math.prod(self.spec.output_shape(*layout.image_shape))
            if row_values > MAX_ROW_VALUES:
                raise ValueError(f"a row of {row_values} coefficients is more than there can be")
        if layout.n_rows % self.n_views:
            raise ValueError(f"{layout.n_rows} rows are no multiple of {self.n_views} views")

    def describe(self) -> str:
        """The settings in one line, those of them that have no default only where they are set."""
        spec, unset = self.spec, {"size": self.size, "limit": self.limit, "shard_images": self.shard_images}
        if self.views is not None:
            unset |= {"views": self.views.n, "view_padding": self.views.padding}
        given = {"encoding": self.encoding, "seed": self.seed, **unset}
        words = {**spec.to_dict(), **{name: value for name, value in given.items() if value is not None}}
        return ", ".join(f"{name}={value}" for name, value in words.items())

    @property
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
    if type(found) is not int or found != FORMAT:
        shown = ascii(found)[:60] if not isinstance(found, int) or found.bit_length() < 64 else "beyond reason"
        raise StoreDamaged(f"the manifest in zarr.json states format {shown}, expected {FORMAT}: restore it")
    if fields.get("decoder") in EARLIER_DECODERS:
        raise NotAStore(
            f"the store was made by an earlier scatcache, which read images otherwise (decoder {fields['decoder']}, "
            f"now {DECODER}): extract to another --out, or anew with --overwrite"
        )


def differing_fields(stored: Any, wanted: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(dotted field, stored value, wanted value) for each leaf in which two manifests' dictionaries differ."""
    if isinstance(stored, dict) and isinstance(wanted, dict):
        for key in sorted(stored.keys() | wanted.keys()):
            dotted = f"{prefix}.{key}" if prefix else key
            yield from differing_fields(stored.get(key), wanted.get(key), dotted)
    elif stored != wanted:
        yield prefix, stored, wanted
