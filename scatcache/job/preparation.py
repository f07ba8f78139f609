"""From what was asked to what will be done: the source listed, the manifest made and compared, nothing written."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from scatcache.errors import UsageError
from scatcache.images.forms import Decoding, ImageForm
from scatcache.images.image_source import ImageSource
from scatcache.images.source import Listing
from scatcache.job.calibration import calibrate
from scatcache.job.comparison import Listed, compare
from scatcache.job.layouts import find_forms, make_layout
from scatcache.job.pixels import decoding_for, settle_pixels
from scatcache.job.planned import Job, JobPlan, plan_splits
from scatcache.job.planning import bound_bytes, order_rows
from scatcache.job.request import check_place
from scatcache.job.settings import RunOptions
from scatcache.job.store_folder import StoreFolder
from scatcache.job.workers import check_workers, choose_backend
from scatcache.options import list_options
from scatcache.resources import free_disk_bytes
from scatcache.retries import with_retries
from scatcache.scattering.filters import filter_bank_hash
from scatcache.spec import Pixels, ScatteringSpec
from scatcache.store.format.encodings import DEFAULT_STEP, ENCODING_OF, ENCODINGS, QUANTISED, Calibration
from scatcache.store.format.layout import SplitLayout
from scatcache.store.format.manifest import Manifest
from scatcache.store.format.row_arrays import RowTable
from scatcache.store.format.store_settings import ALL_VIEWS, Settings
from scatcache.views import Views, choose_padding, count_windows


def prepare(
    source: ImageSource,
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
    chosen = choose_splits(source, splits)
    # Of a new store all, asked for or not, so that the order in which they are added never shows.
    listed = source.splits if stored is None else chosen
    listings = {split: with_retries(partial(getattr, source.find(split), "listing")) for split in listed}
    records = {split: folder.records.find_layouts(stored, split) for split in chosen} if stored is not None else {}
    merged = settings.merge(None if stored is None else stored.settings, size=source.default_size)
    how = decoding_for(source, {split: listings[split] for split in chosen}, merged)
    forms = find_forms(source, listings, how, stored=stored, records=records, wanted=chosen)
    manifest = make_manifest(
        source, merged, {split: form for split, form in forms.items() if form is not None}, how, wanted=chosen
    )
    backend = choose_backend(options)
    if settings.step is not None and not manifest.stored_as.quantised:
        raise UsageError(
            f"step is given, encoding {manifest.encoding} has none: give --encoding {QUANTISED} too, or leave it out"
        )
    if manifest.stored_as.quantised:
        manifest = replace(
            manifest, calibration=_settle_steps(source, manifest, stored, listings, forms, backend, chosen)
        )
    layouts = {}
    for split in chosen:
        form = forms[split]
        assert form is not None
        layouts[split] = make_layout(manifest, split, listings[split], shape=form.shape)
    if stored is not None:
        compare(folder, stored, manifest, Listed(listings, records, layouts))
    rows = {split: _order(listings[split], manifest) for split in chosen}
    left_out = [warning for split in chosen for warning in count_left_out(split, listings[split])]
    plan = _make_plan(folder, manifest, layouts, backend, warnings=(*source.warnings, *left_out))
    return Job(replace(plan, is_new=stored is None), folder, manifest, layouts, source, rows)


def _order(listing: Listing, manifest: Manifest) -> RowTable:
    """A split's rows in storage order."""
    return order_rows(
        listing.rows,
        seed=manifest.seed,
        limit=manifest.settings.limit,
        n_views=manifest.n_views,
        targets=listing.targets,
    )


def _settle_steps(
    source: ImageSource,
    manifest: Manifest,
    stored: Manifest | None,
    listings: Mapping[str, Listing],
    forms: Mapping[str, ImageForm | None],
    backend: tuple[str, str, str],
    chosen: Sequence[str],
) -> Calibration | None:
    """The store's own calibration; of a new one, what a sample of its largest split gives."""
    if stored is not None:
        # Where the settings differ, compare() says so.
        return stored.calibration
    split = max(chosen, key=lambda split: len(listings[split].rows))
    form = forms[split]
    assert form is not None
    return calibrate(
        source.find(split), split, manifest=manifest, shape=form.shape, device=backend[0], backend=backend[1]
    )


def _make_plan(
    folder: StoreFolder,
    manifest: Manifest,
    layouts: Mapping[str, SplitLayout],
    chosen: tuple[str, str, str],
    *,
    warnings: tuple[str, ...],
) -> JobPlan:
    """The plan of a new store. chosen: of choose_backend."""
    device, backend, reason = chosen
    return JobPlan(
        store=str(folder.path),
        is_new=True,
        settings=manifest.describe(),
        splits=plan_splits(manifest, layouts),
        bytes=bound_bytes(manifest, layouts.values()),
        free_bytes=with_retries(partial(free_disk_bytes, folder.path)),
        device=device,
        backend=backend,
        backend_reason=reason,
        warnings=warnings,
    )


def count_left_out(split: str, listing: Listing) -> Iterator[str]:
    """What to warn of: the files of a split that are no rows, and why."""
    if listing.n_ignored:
        yield f"split {split}: files left out because their extension is not that of an image: {listing.n_ignored}"
    if listing.n_by_machines:
        folders = ", ".join(f"{n} in {folder}" for folder, n in sorted(listing.n_by_machines.items()))
        yield f"split {split}: files left out because they lie in folders that machines make: {folders}"


def choose_splits(source: ImageSource, splits: tuple[str, ...] | None) -> tuple[str, ...]:
    """The splits asked for, in the source's order. Raises SourceError for one that the source has not."""
    for split in splits or ():
        source.find(split)
    chosen = splits or source.default_splits
    return tuple(split for split in source.splits if split in chosen)


def make_manifest(
    source: ImageSource, merged: Settings, forms: Mapping[str, ImageForm], how: Decoding, wanted: Sequence[str]
) -> Manifest:
    """The manifest of a source under merged settings. forms: of the splits whose images are alike; how: those were
    found; wanted: the splits that are asked for, which decide."""
    views = make_views(merged, [form.shape for form in forms.values()])
    pixels = settle_pixels(source, merged, {split: forms[split] for split in wanted}, how)
    resolved = {entry.name: getattr(merged, entry.name) for entry in list_options(Settings)}
    resolved |= {"step": choose_step(merged, pixels)}
    resolved |= {"pixels": pixels.kind, "scale": pixels.scale, "encoding": merged.encoding or ENCODING_OF[pixels.dtype]}
    resolved |= {"view_padding": None} if views is None else {"views": views.n, "view_padding": views.padding}
    settings = Settings(**resolved)
    return Manifest(
        settings=settings,
        filter_bank=filter_bank_hash(ScatteringSpec(**settings.within("spec"))),
        source=source.name,
        official=source.official,
        classes=source.classes,
        source_options=dict(source.options),
        colours=pixels.colours,
        dtype=pixels.dtype,
    )


def choose_step(merged: Settings, pixels: Pixels) -> float | None:
    """The step of quantised coefficients, None of others."""
    if ENCODINGS[merged.encoding or ENCODING_OF[pixels.dtype]].quantised:
        return DEFAULT_STEP if merged.step is None else merged.step
    return None


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
