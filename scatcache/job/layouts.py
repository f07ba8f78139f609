"""How the splits of a job are laid out: the shape of their images, their shards and chunks."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial

from scatcache.errors import SourceError, UsageError
from scatcache.images.image_source import ImageSource
from scatcache.images.native_shape import find_native_shape
from scatcache.images.source import Listing
from scatcache.job.planning import choose_folds, lay_out
from scatcache.retries import with_retries
from scatcache.store.format.encodings import find_encoding
from scatcache.store.format.layout import SplitLayout
from scatcache.store.format.manifest import Manifest


def find_shapes(
    source: ImageSource,
    listings: Mapping[str, Listing],
    *,
    size: int | None,
    records: Mapping[str, Sequence[SplitLayout]],
    wanted: Collection[str],
) -> dict[str, tuple[int, int] | None]:
    """(height, width) of each split's images; None for mixed sizes in a split that nobody asked for.

    records: what the store says of its splits, which spares looking at every image again. Raises SourceError for mixed
    sizes in a split that was asked for.
    """
    shapes: dict[str, tuple[int, int] | None] = {}
    for split, listing in listings.items():
        known = {record.image_shape for record in records.get(split, ()) if record.listing == listing.hash}
        if size is not None:
            shapes[split] = (size, size)
        elif len(known) == 1:
            shapes[split] = known.pop()
        else:
            shapes[split] = _find_native(source, split, is_wanted=split in wanted)
    return shapes


def _find_native(source: ImageSource, split: str, *, is_wanted: bool) -> tuple[int, int] | None:
    try:
        return with_retries(partial(find_native_shape, source.find(split)))
    except SourceError:
        if is_wanted:
            raise
        return None


def make_layout(manifest: Manifest, split: str, listing: Listing, *, shape: tuple[int, int] | None) -> SplitLayout:
    """The layout of a split that is asked for. Raises UsageError where the transform or the views cannot take its
    images."""
    assert shape is not None
    return lay_out(
        manifest.spec,
        find_encoding(manifest.encoding),
        n_listed=len(listing.rows),
        listing=listing.hash,
        image_shape=_check_shape(manifest, split, shape),
        limit=manifest.settings.limit,
        shard_images=manifest.settings.shard_images,
        folds=choose_folds(listing, seed=manifest.seed, limit=manifest.settings.limit, n_views=manifest.n_views),
        n_views=manifest.n_views,
    )


def _check_shape(manifest: Manifest, split: str, shape: tuple[int, int]) -> tuple[int, int]:
    try:
        manifest.spec.check_shape(*shape)
        if manifest.views is not None:
            manifest.views.check_shape(*shape)
    except ValueError as error:
        raise UsageError(f"split {split}: {error}") from error
    return shape
