"""From what was asked to what will be done: the source listed, the manifest made and compared, nothing written."""

from collections.abc import Iterator, Sequence
from functools import partial

from scatcache.errors import SourceError, UsageError
from scatcache.images.catalogue import FOLDER_NAME, Listing, Source
from scatcache.images.keys import show_path
from scatcache.job.comparison import compare
from scatcache.job.planned import Job, JobPlan, plan_splits
from scatcache.job.planning import bound_bytes, choose_folds, lay_out, order_rows
from scatcache.job.request import check_place
from scatcache.job.settings import ALL_VIEWS, RunOptions, Settings
from scatcache.job.workers import check_workers, choose_backend
from scatcache.resources import free_disk_bytes
from scatcache.retries import with_retries
from scatcache.scattering.filters import filter_bank_hash
from scatcache.spec import ScatteringSpec
from scatcache.store.format.encodings import find_encoding
from scatcache.store.format.manifest import Manifest
from scatcache.store.writer import StoreFolder
from scatcache.views import Views, choose_padding, count_windows


def prepare(
    source: Source,
    folder: StoreFolder,
    *,
    settings: Settings,
    options: RunOptions,
    stored: Manifest | None,
    splits: tuple[str, ...] | None,
) -> Job:
    """Lists the source, makes the manifest, compares it with the stored one; reads, writes nothing.

    splits: None takes the source's default ones. Raises UsageError, SourceError, SettingsDiffer, BackendUnavailable.
    """
    check_place(source, folder)
    check_workers(source, options)
    chosen = check_splits(source, splits)
    listings = {split: with_retries(partial(source.list_rows, split)) for split in source.splits}
    manifest = make_manifest(source, listings, settings=settings, stored=stored, splits=chosen)
    if stored is not None:
        compare(folder, stored, manifest, listings)
    rows = {
        split: order_rows(listings[split].rows, seed=manifest.seed, limit=manifest.limit, n_views=manifest.n_views)
        for split in chosen
    }
    device, backend, reason = choose_backend(options)
    left_out = [warning for split in chosen for warning in count_left_out(split, listings[split])]
    plan = JobPlan(
        store=str(folder.path),
        is_new=stored is None,
        settings=manifest.describe(),
        splits=plan_splits(manifest, chosen),
        bytes=bound_bytes(manifest, chosen),
        free_bytes=with_retries(partial(free_disk_bytes, folder.path)),
        device=device,
        backend=backend,
        backend_reason=reason,
        warnings=(*source.warnings, *left_out),
    )
    return Job(plan, folder, manifest, source, rows)


def count_left_out(split: str, listing: Listing) -> Iterator[str]:
    """What to warn of: the files of a split that are no rows, and why."""
    if listing.n_ignored:
        yield f"split {split}: files left out because their names are no image's: {listing.n_ignored}"
    if listing.n_by_machines:
        folders = ", ".join(f"{n} in {folder}" for folder, n in sorted(listing.n_by_machines.items()))
        yield f"split {split}: files left out because they lie in folders that machines make: {folders}"


def check_splits(source: Source, splits: tuple[str, ...] | None) -> tuple[str, ...]:
    """The splits asked for, in the source's order. Raises SourceError for one that the source has not."""
    unknown = [split for split in splits or () if split not in source.splits]
    if unknown:
        name = show_path(source.root or "") if source.name == FOLDER_NAME else source.name
        raise SourceError(f"{name} has no split {unknown[0]!r}: expected one of {', '.join(source.splits)}")
    chosen = splits or source.default_splits
    return tuple(split for split in source.splits if split in chosen)


def make_manifest(
    source: Source,
    listings: dict[str, Listing],
    *,
    settings: Settings,
    stored: Manifest | None,
    splits: tuple[str, ...],
) -> Manifest:
    """The manifest that these settings give, what is not typed taken from the stored one."""
    merged = settings.merge(stored, size=source.default_size)
    spec = ScatteringSpec(**merged.within("spec"))
    plain = {name: value for name, value in merged.within("").items() if name != "n_views"}
    size, shapes = plain["size"], {}
    for split, listing in listings.items():
        shapes[split] = _find_shape(source, split, listing, size=size, stored=stored, wanted=split in splits)
    # Of all splits, asked for or not, so that the order in which they are added never shows.
    views = make_views(merged, [shape for shape in shapes.values() if shape is not None])
    n_views = 1 if views is None else views.n
    layouts = {}
    for split, listing in listings.items():
        layouts[split] = lay_out(
            spec,
            find_encoding(plain["encoding"]),
            n_listed=len(listing.rows),
            listing=listing.hash,
            image_shape=_check_shape(spec, views, split, shapes[split], wanted=split in splits),
            limit=plain["limit"],
            shard_images=plain["shard_images"],
            folds=choose_folds(listing, seed=plain["seed"], limit=plain["limit"], n_views=n_views),
            n_views=n_views,
        )
    return Manifest(
        **plain,
        spec=spec,
        views=views,
        filter_bank=filter_bank_hash(spec),
        source=source.name,
        official=source.official,
        classes=source.classes,
        splits=layouts,
        source_options=source.options,
    )


def make_views(merged: Settings, image_shapes: Sequence[tuple[int, int]]) -> Views | None:
    """The views that merged settings ask for of images of these shapes; None for one. Raises UsageError."""
    if merged.views == 1:
        return None
    padding = merged.view_padding
    if padding is None:
        padding = min((choose_padding(*shape) for shape in image_shapes), default=0)
    n = count_windows(padding) if merged.views == ALL_VIEWS else merged.views
    assert isinstance(n, int)
    try:
        return Views(n, padding)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _find_shape(
    source: Source, split: str, listing: Listing, *, size: int | None, stored: Manifest | None, wanted: bool
) -> tuple[int, int] | None:
    """Pixels of a split's images; None for mixed sizes in a split that nobody asked for."""
    if size is not None:
        return size, size
    known = stored.splits.get(split) if stored is not None and stored.size is None else None
    if known is not None and known.listing == listing.hash and known.image_shape is not None:
        return known.image_shape
    try:
        return with_retries(lambda: source.native_shape(split, listing.rows))
    except SourceError:
        if wanted:
            raise
        return None


def _check_shape(
    spec: ScatteringSpec, views: Views | None, split: str, image_shape: tuple[int, int] | None, *, wanted: bool
) -> tuple[int, int] | None:
    """The shape where the transform and the views can take it; else None for a split that nobody asked for, which may
    be too small for this J, or odd, without stopping the others. Raises UsageError for one that was asked for."""
    try:
        if image_shape is not None:
            spec.check_shape(*image_shape)
            if views is not None:
                views.check_shape(*image_shape)
    except ValueError as error:
        if wanted:
            raise UsageError(f"split {split}: {error}") from error
        return None
    return image_shape
