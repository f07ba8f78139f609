"""What enters the transform of a store: chosen once from the source's images, the same for every image after that."""

from collections.abc import Mapping

import numpy as np

from scatcache.errors import SourceError, UnreadableImage
from scatcache.images.forms import Decoding, ImageForm
from scatcache.images.image_source import ImageSource
from scatcache.images.keys import holds_samples
from scatcache.images.source import Listing
from scatcache.spec import NATIVE, RGB, SCALES, Pixels
from scatcache.store.format.manifest import Manifest
from scatcache.store.format.store_settings import Settings

# Of a source's options: how the axes of its arrays stand.
AXES = "axes"


def decoding_for(source: ImageSource, listings: Mapping[str, Listing], merged: Settings) -> Decoding:
    """How the images of a source are decoded under merged settings; listings: of the splits asked for.

    Files that hold samples rather than pictures are native where nobody says otherwise.
    """
    kind = merged.pixels
    if kind is None and source.pixels.kind == RGB:
        kind = NATIVE if all(_hold_samples(listing) for listing in listings.values()) else RGB
    return Decoding(kind or source.pixels.kind, merged.size, source.options.get(AXES))


def _hold_samples(listing: Listing) -> bool:
    """Whether all files of a listing do; of a few thousand pictures one is met at once."""
    return all(holds_samples(key) for block in listing.rows.blocks() for key, *_ in block)


def decoding_of(manifest: Manifest) -> Decoding:
    """How the images of a store are decoded."""
    return Decoding(manifest.pixels.kind, manifest.settings.size, manifest.source_options.get(AXES))


def settle_pixels(source: ImageSource, merged: Settings, forms: Mapping[str, ImageForm], how: Decoding) -> Pixels:
    """What enters the transform, the same for all splits. forms: of find_forms, for the splits that decide.

    Raises SourceError where they differ in bands or dtype.
    """
    first, *others = forms
    form = forms[first]
    for split in others:
        if forms[split][2:] != form[2:]:
            here, there = (f"{found.bands} x {found.dtype}" for found in (form, forms[split]))
            raise SourceError(
                f"the images of split {first} are {here} (bands x samples), those of split {split} {there}: give "
                f"--split {first}, and extract the others to another --out"
            )
    known = source.pixels.scale if source.pixels.kind == how.kind == NATIVE else SCALES[form.dtype]
    # Scaled in size, samples lie between those of the file.
    dtype = "float32" if how.kind == NATIVE and how.size is not None else form.dtype
    return Pixels(how.kind, form.bands, dtype, known if merged.scale is None else merged.scale)


def check_form(image: np.ndarray, manifest: Manifest, image_shape: tuple[int, int]) -> None:
    """Raises UnreadableImage for a decoded image that is none of a split's."""
    if image.shape[:2] != image_shape:
        found, wanted = ("x".join(map(str, shape)) for shape in (image.shape[:2], image_shape))
        raise UnreadableImage(f"it is {found} pixels, the split is {wanted}")
    found, wanted = f"{image.shape[2]} x {image.dtype}", f"{manifest.colours} x {manifest.dtype}"
    if found != wanted:
        raise UnreadableImage(f"it is {found} (bands x samples), the split is {wanted}")
