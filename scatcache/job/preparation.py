"""From what was asked to what will be done: the source listed, the manifest made and compared, nothing written."""

import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from scatcache.durable import is_own_temporary
from scatcache.errors import ScatcacheError, StoreDamaged
from scatcache.images.image_source import ImageSource
from scatcache.images.kinds.folder import FOLDER_NAME
from scatcache.images.source import Listing
from scatcache.job.comparison import Listed, compare
from scatcache.job.layouts import find_shapes, make_layout
from scatcache.job.planning import bound_bytes, order_rows
from scatcache.job.store_folder import StoreFolder
from scatcache.job.stored import find_stored, refuse_newer
from scatcache.retries import with_retries
from scatcache.scattering.filters import filter_bank_hash
from scatcache.spec import ScatteringSpec, check_grid
from scatcache.store.format.encodings import DEFAULT_ENCODING, find_encoding
from scatcache.store.format.layout import SplitLayout
from scatcache.store.format.manifest import MAX_SEED, Manifest
from scatcache.store.format.rows import RowTable
from scatcache.store.places.files import exists, is_folder
from scatcache.views import Views, choose_padding, count_windows

DEFAULT_SEED = 0
ALL_VIEWS = "all"


@dataclass(frozen=True)
class Settings:
    """What shapes a store's bytes, as typed; None: taken from the store, else the default (J and its kin:
    ScatteringSpec; size: the source's; seed: DEFAULT_SEED; limit, shard_images: none; keep_background: no; views: 1,
    "all" that there are; view_padding: choose_padding)."""

    J: int | None = None
    L: int | None = None
    max_order: int | None = None
    grid: str | None = None
    size: int | None = None
    limit: int | None = None
    encoding: str | None = None
    shard_images: int | None = None
    seed: int | None = None
    keep_background: bool | None = None
    views: int | str | None = None
    view_padding: int | None = None

    def __post_init__(self) -> None:
        for name, low in (
            ("J", 1),
            ("L", 1),
            ("max_order", 0),
            ("size", 1),
            ("limit", 1),
            ("shard_images", 1),
            ("seed", 0),
            ("views", 1),
            ("view_padding", 0),
        ):
            value = getattr(self, name)
            if value is None or (name, value) == ("views", ALL_VIEWS):
                continue
            # NumPy's integers too, as Python's; a float or a text is a TypeError.
            object.__setattr__(self, name, operator.index(value))
            if not low <= value <= MAX_SEED:
                raise ValueError(f"{name} is {value}: expected an integer from {low}")
        if self.grid is not None:
            check_grid(self.grid)
        if self.encoding is not None:
            find_encoding(self.encoding)


@dataclass(frozen=True)
class Prepared:
    """A job ready to run. splits: those asked for; layouts, rows: theirs by split; is_new: there is no store yet;
    device, backend, reason: what computes, and why; warnings: sentences for the user."""

    folder: StoreFolder
    manifest: Manifest
    source: ImageSource
    splits: tuple[str, ...]
    layouts: dict[str, SplitLayout]
    rows: dict[str, RowTable]
    is_new: bool
    device: str
    backend: str
    reason: str
    warnings: tuple[str, ...] = ()

    @property
    def bound_bytes(self) -> int:
        """Bytes of the splits asked for, at most."""
        return bound_bytes(self.manifest, self.layouts.values())


def require_J(J: int | None) -> int:
    """Raises ValueError where J is not given."""
    if J is None:
        raise ValueError("a new store needs J (the log2 of the largest scale): give --J 2")
    return J


def name_store(source: str | os.PathLike[str], J: int | None) -> Path:
    """The default store of a source, called after its name or the folder's own. Raises ValueError without J."""
    return Path(f"{Path(os.path.abspath(source)).name}-J{require_J(J)}.zarr")


def read_stored(folder: StoreFolder, J: int | None, *, overwrite: bool = False) -> Manifest | None:
    """The manifest to go on with, None for a new store, or one to be overwritten or mended, which needs J.

    Raises ValueError without it, and as find_stored does.
    """
    stored = None if overwrite else find_stored(folder)
    if stored is None and J is None and not overwrite and folder.writer.is_started():
        refuse_newer(folder)
        raise StoreDamaged(
            f"{folder.path}: its zarr.json is lost or damaged: give every setting of the first run again, --J too"
        )
    if stored is None:
        require_J(J)
    return stored


def name_splits(split: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """One split or several, as typed; None: the default ones."""
    return (split,) if isinstance(split, str) else tuple(split) if split is not None else None


def check_place(source: ImageSource, folder: StoreFolder) -> None:
    """Raises ScatcacheError for a store among the images, which the next listing would take for a class."""
    if source.name == FOLDER_NAME and source.root is not None:
        root = Path(os.path.realpath(source.root))
        if folder.path == root or root in folder.path.parents:
            raise ScatcacheError(f"{folder.path} would lie among the images of {root}: choose an --out outside")


def check_out(out: str | os.PathLike[str]) -> StoreFolder:
    """The folder of --out, which must be absent, empty or a store of ours.

    Empty is also one with nothing but what a killed run left of its first file, or of the splits that it was deleting.
    Raises ScatcacheError, NotAStore, StoreDamaged.
    """
    folder = StoreFolder(out)
    if not exists(folder.path) or folder.records.own_splits() or folder.records.read_root() is not None:
        return folder
    if not is_folder(folder.path):
        raise ScatcacheError(f"{out} is a file, not a scatcache store: choose another --out")
    if not all(is_own_temporary(name) for name in with_retries(partial(os.listdir, folder.path))):
        raise ScatcacheError(f"{out} is a folder that is not empty and no scatcache store: choose another --out")
    return folder


def prepare(
    source: ImageSource,
    folder: StoreFolder,
    *,
    settings: Settings,
    stored: Manifest | None,
    splits: tuple[str, ...] | None,
    device: str,
    backend: str,
) -> Prepared:
    """Lists the source, makes the manifest, compares it with the stored one; reads, writes nothing.

    splits: None takes the source's default ones. Raises SourceError, SettingsDiffer, BackendUnavailable, ValueError.
    """
    check_place(source, folder)
    chosen = check_splits(source, splits)
    # Of a new store all, asked for or not, so that the order in which they are added never shows.
    listed = source.splits if stored is None else chosen
    listings = {split: with_retries(partial(getattr, source.find(split), "listing")) for split in listed}
    records = {split: folder.records.find_layouts(stored, split) for split in chosen} if stored is not None else {}
    size = _pick(settings.size, stored and stored.size, None if stored else source.default_size)
    shapes = find_shapes(source, listings, size=size, records=records, wanted=chosen)
    manifest = make_manifest(source, settings=settings, stored=stored, shapes=shapes)
    layouts = {split: make_layout(manifest, split, listings[split], shape=shapes[split]) for split in chosen}
    if stored is not None:
        compare(folder, stored, manifest, Listed(listings, records, layouts))
    rows = {
        split: order_rows(listings[split].rows, seed=manifest.seed, limit=manifest.limit, n_views=manifest.n_views)
        for split in chosen
    }
    device, backend, reason = choose_backend(device, backend)
    left_out = [warning for split in chosen for warning in count_left_out(split, listings[split])]
    warnings = (*source.warnings, *left_out)
    return Prepared(folder, manifest, source, chosen, layouts, rows, stored is None, device, backend, reason, warnings)


def count_left_out(split: str, listing: Listing) -> Iterator[str]:
    """What to warn of: the files of a split that are no rows, and why."""
    if listing.n_ignored:
        yield f"split {split}: files left out because their names are no image's: {listing.n_ignored}"
    if listing.n_by_machines:
        folders = ", ".join(f"{n} in {folder}" for folder, n in sorted(listing.n_by_machines.items()))
        yield f"split {split}: files left out because they lie in folders that machines make: {folders}"


def check_splits(source: ImageSource, splits: tuple[str, ...] | None) -> tuple[str, ...]:
    """The splits asked for, in the source's order. Raises SourceError for one that the source has not."""
    for split in splits or ():
        source.find(split)
    chosen = splits or source.default_splits
    return tuple(split for split in source.splits if split in chosen)


def make_manifest(
    source: ImageSource,
    *,
    settings: Settings,
    stored: Manifest | None,
    shapes: Mapping[str, tuple[int, int] | None],
) -> Manifest:
    """The manifest that these settings give, what is not typed taken from the stored one. shapes: find_shapes."""
    spec = make_spec(settings, stored)
    return Manifest(
        spec=spec,
        filter_bank=filter_bank_hash(spec),
        encoding=_pick(settings.encoding, stored and stored.encoding, DEFAULT_ENCODING),
        size=_pick(settings.size, stored and stored.size, None if stored else source.default_size),
        limit=_pick(settings.limit, stored and stored.limit, None),
        seed=_pick(settings.seed, stored and stored.seed, DEFAULT_SEED),
        shard_images=_pick(settings.shard_images, stored and stored.shard_images, None),
        source=source.name,
        official=source.official,
        classes=source.classes,
        source_options=dict(source.options),
        views=make_views(settings, stored, [shape for shape in shapes.values() if shape is not None]),
    )


def make_views(settings: Settings, stored: Manifest | None, image_shapes: Sequence[tuple[int, int]]) -> Views | None:
    """The views typed, else stored, of images of these shapes; None for one. Raises ValueError for too many of them."""
    known = stored.views if stored is not None else None
    n = _pick(settings.views, known and known.n, 1)
    if n == 1:
        if settings.view_padding is not None:
            raise ValueError("view_padding is given for one view, the plain image: give views too")
        return None
    chosen = min((choose_padding(*shape) for shape in image_shapes), default=0)
    padding = _pick(settings.view_padding, known and known.padding, chosen)
    return Views(count_windows(padding) if n == ALL_VIEWS else n, padding)


def make_spec(settings: Settings, stored: Manifest | None) -> ScatteringSpec:
    """Raises ValueError where J is neither typed nor stored."""
    names = ("J", "L", "max_order", "grid")
    typed = {name: getattr(settings, name) for name in names if getattr(settings, name) is not None}
    known = stored.spec.to_dict() if stored else {}
    require_J(typed.get("J", known.get("J")))
    return ScatteringSpec.from_dict({**known, **typed})


def _pick(typed: Any, stored: Any, default: Any) -> Any:
    return typed if typed is not None else stored if stored is not None else default


def choose_backend(device: str, backend: str) -> tuple[str, str, str]:
    """(device, backend, why). Raises BackendUnavailable for CUDA where there is none, ValueError for unknown names."""
    import torch

    from scatcache.scattering.backends import resolve_backend, resolve_device

    if device == "auto":
        device, why = ("cuda", "a CUDA device is visible") if torch.cuda.is_available() else ("cpu", "no CUDA device")
    else:
        why = f"{device} was asked for"
    resolve_device(device)
    name = resolve_backend(backend, device)
    return device, name, why if backend == "auto" else f"{why}, {backend} was asked for"
