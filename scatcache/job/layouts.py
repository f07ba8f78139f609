"""How the splits of a job are laid out: the form of their images, their shards and chunks."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial

from scatcache.errors import SourceError, UsageError
from scatcache.images.forms import Decoding, ImageForm
from scatcache.images.image_source import ImageSource
from scatcache.images.native_form import find_form
from scatcache.images.source import Listing
from scatcache.job.planning import choose_folds, lay_out
from scatcache.retries import with_retries
from scatcache.store.format.layout import SplitLayout
from scatcache.store.format.manifest import Manifest


def find_forms(
    source: ImageSource,
    listings: Mapping[str, Listing],
    how: Decoding,
    *,
    stored: Manifest | None,
    records: Mapping[str, Sequence[SplitLayout]],
    wanted: Collection[str],
) -> dict[str, ImageForm | None]:
    """What each split's images enter the transform as; None for mixed ones in a split that nobody asked for.

    stored, records: what the store says of itself and its splits, which spares looking at every image again. Raises
    SourceError for mixed images in a split that was asked for.
    """
    forms: dict[str, ImageForm | None] = {}
    for split, listing in listings.items():
        known = {record.image_shape for record in records.get(split, ()) if record.listing == listing.hash}
        if stored is not None and stored.pixels.kind == how.kind and len(known) == 1:
            found: ImageForm | None = ImageForm(*known.pop(), stored.colours, stored.dtype)
        else:
            found = _find_form(source, split, how, is_wanted=split in wanted)
        if found is not None and how.size is not None:
            found = found._replace(height=how.size, width=how.size)
        forms[split] = found
    return forms


def _find_form(source: ImageSource, split: str, how: Decoding, *, is_wanted: bool) -> ImageForm | None:
    try:
        return with_retries(partial(find_form, source.find(split), how))
    except SourceError:
        if is_wanted:
            raise
        return None


def make_layout(manifest: Manifest, split: str, listing: Listing, *, shape: tuple[int, int]) -> SplitLayout:
    """The layout of a split that is asked for. Raises UsageError where the transform or the views cannot take its
    images."""
    return lay_out(
        manifest.spec,
        manifest.stored_as,
        n_listed=len(listing.rows),
        listing=listing.hash,
        image_shape=_check_shape(manifest, split, shape),
        limit=manifest.settings.limit,
        shard_images=manifest.settings.shard_images,
        folds=choose_folds(listing, seed=manifest.seed, limit=manifest.settings.limit, n_views=manifest.n_views),
        n_views=manifest.n_views,
        n_targets=0 if listing.targets is None else listing.targets.shape[1],
    )


def _check_shape(manifest: Manifest, split: str, shape: tuple[int, int]) -> tuple[int, int]:
    try:
        manifest.spec.check_shape(*shape)
        if manifest.views is not None:
            manifest.views.check_shape(*shape)
    except ValueError as error:
        raise UsageError(f"split {split}: {error}") from error
    return shape
