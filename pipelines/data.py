"""From a recipe's options to the rows it trains and is tested on; a store that is not finished is extracted first."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import scatcache
from pipelines.pixels import PixelRows
from pipelines.recipe import SECONDS_BETWEEN_LINES, SMOKE_IMAGES, Options, say

# Of the training rows, with --validate; of the photographs, the test part of --smoke.
HELD_OUT, SMOKE_TEST = 0.1, 0.25


@dataclass(frozen=True)
class Wanted:
    """A store that a recipe needs.

    source: a name or a folder; size: pixels a side, checked against the store, and given to the extraction where crop;
    splits: in the order in which the recipe opens them; views: of each image, as extract takes them; limit: images of
    each split, None for all; encoding: None for extract's default.
    """

    source: str
    spec: scatcache.ScatteringSpec
    size: int
    splits: tuple[str, ...] = ("train", "test")
    crop: bool = False
    views: int | str | None = None
    limit: int | None = None
    encoding: str | None = None


@dataclass(frozen=True)
class Part:
    """Rows to train or to test on. name: "train", "test" or "held_out"; rows: int64 source rows of the cache; labels:
    int64 (len(cache),), by source row, which permuted training labels are too."""

    name: str
    cache: scatcache.Cache | PixelRows
    rows: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def digest(self) -> str:
        """Tells store, rows and labels from others."""
        origin = self.cache.manifest.digest if isinstance(self.cache, scatcache.Cache) else self.cache.digest
        content = origin.encode() + self.rows.tobytes() + self.labels[self.rows].tobytes()
        return hashlib.sha256(content).hexdigest()[:16]


@dataclass(frozen=True)
class Data:
    """What one run is trained and tested on."""

    train: Part
    test: Part

    def __post_init__(self) -> None:
        """Raises ScatcacheError where there is nothing to learn from, or images are both trained and tested on."""
        labels, test = self.train.labels[self.train.rows], self.test.cache
        if len(self.train) < 2 or len(np.unique(labels)) < 2 or labels.min() < 0:
            raise scatcache.ScatcacheError(
                f"{len(self.train)} rows of {len(np.unique(labels))} labels to train on: expected two rows and two "
                f"labels at least, and none without: give other images, or a larger --limit"
            )
        if len(self.test) == 0:
            raise scatcache.ScatcacheError(f"no rows for the part {self.test.name}: give more images")
        if isinstance(test, scatcache.Cache) and is_same_split(self.train.cache, test):
            tested = test.image_index[self.test.rows]
            both = np.intersect1d(self.train.cache.image_index[self.train.rows], tested)
            if len(both):
                raise scatcache.ScatcacheError(f"{len(both)} images are both trained and tested on")

    @property
    def n_classes(self) -> int:
        return len(self.train.cache.classes)


def is_same_split(a: scatcache.Cache | PixelRows, b: scatcache.Cache) -> bool:
    """Whether both read the same split of the same store, or of two that were made of the same images alike."""
    return isinstance(a, scatcache.Cache) and (a.manifest, a.split_name) == (b.manifest, b.split_name)


@dataclass(frozen=True)
class Store:
    """A finished store. path: its folder; caches: the splits that the recipe wants, opened."""

    path: Path
    caches: tuple[scatcache.Cache, ...]

    @property
    def spec(self) -> scatcache.ScatteringSpec:
        return self.caches[0].spec

    def describe(self) -> dict[str, Any]:
        """Facts for the report: name, source, settings, rows by split, bytes on disk."""
        info = scatcache.info(self.path)
        splits = {cache.split_name: {"rows": len(cache), "readable": len(cache.readable)} for cache in self.caches}
        return {
            "store": self.path.name,
            "source": info.source,
            "settings": info.settings,
            "row_shape": list(self.caches[0].row_shape),
            "splits": splits,
            "bytes": info.bytes,
        }


def open_store(options: Options, wanted: Wanted, *, keep: bool = True) -> Store:
    """The store of that name under options.stores, extracted first where it is missing or unfinished.

    keep: its coefficients in memory where they fit, for recipes that go over them again and again.
    With --smoke: one of 64 photographs at the size wanted, whose only split is both. Raises SettingsDiffer for a store
    made with other settings, and what scatcache.extract and open_cache raise.
    """
    if options.smoke:
        wanted = replace(wanted, source="photos", splits=("all",), crop=True, limit=SMOKE_IMAGES)
    else:
        wanted = replace(wanted, limit=options.limit)
    path = options.stores / name_store(wanted)

    def extract() -> None:
        scatcache.extract(
            wanted.source,
            root=None if options.smoke else options.root,
            out=path,
            J=wanted.spec.J,
            L=wanted.spec.L,
            max_order=wanted.spec.max_order,
            grid=wanted.spec.grid,
            pixels="grey" if wanted.spec.colours == 1 else None,
            size=wanted.size if wanted.crop else None,
            limit=wanted.limit,
            views=wanted.views,
            encoding=wanted.encoding,
            split=wanted.splits,
            device=options.device,
            on_event=tell_extraction(path),
        )

    return open_or_make(path, wanted, extract, device=options.device if keep else None)


def open_or_make(path: Path, wanted: Wanted, extract: Callable[[], object], *, device: str | None) -> Store:
    """The store at path, its splits in the device's memory where they fit; extract() is called where they are missing.

    device: None leaves them on the disk.

    Raises SettingsDiffer for a store made with other settings than wanted.
    """
    try:
        caches = [scatcache.open_cache(path, split) for split in wanted.splits]
    except (scatcache.NotAStore, scatcache.StoreIncomplete):
        caches = []
    if not caches:
        path.parent.mkdir(parents=True, exist_ok=True)
        extract()
        caches = [scatcache.open_cache(path, split) for split in wanted.splits]
    for cache in caches:
        check_cache(cache, wanted, name=path.name)
        n_unreadable = len(cache) - len(cache.readable)
        if n_unreadable:
            of_all = f"{n_unreadable} of {len(cache)}"
            say(f"{path.name}, split {cache.split_name}: {of_all} rows are unreadable, and left out")
    return Store(path, tuple(cache if device is None else cache.preload(device, if_fits=True) for cache in caches))


def name_store(wanted: Wanted) -> str:
    """cifar10-J2.zarr, and whatever else tells it from other stores: cifar10-J2-centered-limit64.zarr."""
    grid = "" if wanted.spec.grid == "kymatio" else f"-{wanted.spec.grid}"
    size = f"-{wanted.size}px" if wanted.crop else ""
    views = "" if wanted.views is None else f"-views{wanted.views}"
    limit = "" if wanted.limit is None else f"-limit{wanted.limit}"
    encoding = "" if wanted.encoding is None else f"-{wanted.encoding}"
    return f"{Path(wanted.source).resolve().name}-J{wanted.spec.J}{grid}{size}{views}{encoding}{limit}.zarr"


def check_cache(cache: scatcache.Cache, wanted: Wanted, *, name: str) -> None:
    """Raises SettingsDiffer where the store of that name was made of another source or with other settings.

    Of a folder its images' names, labels and sizes are compared too, if it is there.
    """
    manifest, row_shape = cache.manifest, wanted.spec.output_shape(wanted.size, wanted.size)
    is_folder = manifest.source == "folder" and wanted.source not in scatcache.sources()
    source = "folder" if is_folder else wanted.source
    expected = {"source": source, "spec": wanted.spec, "row_shape": row_shape, "limit": wanted.limit}
    found = {
        "source": manifest.source,
        "spec": cache.spec,
        "row_shape": cache.row_shape,
        "limit": manifest.settings.limit,
    }
    expected["views"], found["views"] = wanted.views or 1, cache.n_views
    if wanted.encoding is not None:
        expected["encoding"], found["encoding"] = wanted.encoding, manifest.encoding
    if wanted.views == "all" and manifest.views is not None:
        expected["views"] = 2 * (2 * manifest.views.padding + 1) ** 2
    if is_folder and Path(wanted.source).is_dir():
        expected["images"] = scatcache.open_source(wanted.source).splits[cache.split_name].listing.hash
        found["images"] = cache.layout.listing
    for field, value in expected.items():
        if found[field] != value:
            raise scatcache.SettingsDiffer(
                f"{name}, split {cache.split_name}, has {field} {found[field]}, this recipe needs {value}: give "
                f"another --stores, or move the store away",
                (field,),
            )


def tell_extraction(path: Path) -> Callable[[scatcache.Event], None]:
    """An on_event for extract that says on stderr how far it is, every ten seconds."""
    n_done, said_s = 0, time.monotonic()

    def tell(event: scatcache.Event) -> None:
        nonlocal n_done, said_s
        match event:
            case scatcache.JobPlanned():
                n_done = event.plan.images_done
                say(f"extracting {path.name}: {event.plan.images} rows, {n_done} done, backend {event.plan.backend}")
            case scatcache.ShardFinished():
                n_done += event.receipt.n_rows
                if time.monotonic() - said_s >= SECONDS_BETWEEN_LINES:
                    said_s = time.monotonic()
                    say(f"extracting {path.name}: {n_done} rows done")

    return tell


def divide(
    options: Options,
    train: scatcache.Cache,
    test: scatcache.Cache | None = None,
    *,
    seed: int,
    rows: np.ndarray | None = None,
) -> Data:
    """The training and the test rows of one run.

    rows: those to train on, all readable ones by default. test None, as with --smoke: a quarter of the images is the
    test part; with --validate a tenth of the training images, and test is left alone. Of several views of an image the
    plain one is tested. Which images are held out, and how --permute-labels deals the training labels, is drawn from
    seed.
    """
    rows = train.readable if rows is None else np.intersect1d(rows, train.readable)
    if options.validate or options.smoke or test is None:
        fraction = HELD_OUT if options.validate else SMOKE_TEST
        rows, tested = hold_out(train.image_index, rows, fraction, seed=seed)
        name, test = "held_out" if options.validate else "test", train
    else:
        name, tested = "test", test.readable
    tested = tested[test.views[tested] == 0]
    labels = permute(train.labels, train.image_index, rows, seed=seed) if options.permute_labels else train.labels
    return Data(Part("train", train, rows, labels), Part(name, test, tested, test.labels))


def hold_out(image_index: np.ndarray, rows: np.ndarray, fraction: float, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(kept, held out) of rows: the last `fraction` of a permutation of their images, at least one, with all views."""
    images = np.random.default_rng(seed).permutation(np.unique(image_index[rows]))
    n_kept = len(images) - max(1, round(fraction * len(images)))
    kept = np.isin(image_index[rows], images[:n_kept])
    return rows[kept], rows[~kept]


def permute(labels: np.ndarray, image_index: np.ndarray, rows: np.ndarray, *, seed: int) -> np.ndarray:
    """labels, int64, those of rows dealt among their images at random, one for all views of an image; others stay."""
    images, first, image = np.unique(image_index[rows], return_index=True, return_inverse=True)
    permuted = labels.copy()
    permuted[rows] = labels[rows[first]][np.random.default_rng([seed, 1]).permutation(len(images))][image]
    return permuted
