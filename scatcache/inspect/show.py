"""A picture of one row: the image, and its coefficients as scattering disks."""

import operator
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from scatcache.errors import ScatcacheError, SourceError, UnreadableImage, UsageError
from scatcache.images.decode import decode_noted
from scatcache.images.keys import show_path
from scatcache.inspect.picture import Portrait, render
from scatcache.job.pixels import check_form, decoding_of
from scatcache.job.stored_source import open_source_of
from scatcache.load.cache import Cache, open_cache
from scatcache.scattering.reduction import spread_angles
from scatcache.views import ViewedImage

NO_IMAGE = "image not at hand:\ngive --root"


def show(
    store: str | os.PathLike[str],
    index: int,
    *,
    split: str | None = None,
    root: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
) -> Path:
    """Draws one source row of a store into a PNG, and returns its path.

    index: as in cache[index], negative ones count from the end; split: needed where the store has several; root: where
    the images are (by default where the last run found them; without them the picture has a note in the image's place);
    out: by default STORE-SPLIT-INDEX.png in the working folder. Raises IndexError, UnreadableImage for a row without
    coefficients, ScatcacheError for an out that cannot be, and as open_cache() does.
    """
    cache = open_cache(store, split, allow_partial=True)
    row = _find_row(cache, index)
    name = os.path.basename(os.path.abspath(store))
    png = _check_out(Path(out) if out is not None else Path(f"{name}-{cache.split_name}-{row}.png"))
    # Of averaged angles a disk shows each mean at all of its angles.
    by_colour = cache.coefficients([row])[0].reshape(cache.spec.colours, cache.spec.n_paths, *cache.row_shape[1:])
    coefficients = np.concatenate(spread_angles(by_colour, cache.spec))
    image, note = _find_image(store, cache, row, root=Path(root) if root is not None else None)
    portrait = Portrait(
        title=f"{name}, split {cache.split_name}, row {row} of {len(cache):,}",
        key=_name_image(cache, row),
        label=_describe_label(cache, row),
        settings=_describe_settings(cache),
        spec=cache.spec.whole,
        coefficients=coefficients,
        image=image,
        image_note=note,
        pixels=cache.manifest.pixels,
    )
    png.write_bytes(render(portrait))
    return png


def _find_row(cache: Cache, index: int) -> int:
    row, n_rows = operator.index(index), len(cache)
    if not -n_rows <= row < n_rows:
        raise IndexError(
            f"row {row} is out of range: split {cache.split_name} has {n_rows:,} rows: give 0 to {n_rows - 1}, or "
            f"-{n_rows} to -1 to count from the end"
        )
    return row % n_rows


def _check_out(out: Path) -> Path:
    """Before anything is computed. Raises UsageError for what is no .png, ScatcacheError."""
    if out.is_dir():
        raise ScatcacheError(f"{show_path(out)} is a folder: name a file in it, such as --out {show_path(out)}/row.png")
    if out.suffix.lower() not in ("", ".png"):
        raise UsageError(f"{show_path(out)} does not end in .png: show writes PNG: choose another --out")
    if not out.parent.is_dir():
        raise ScatcacheError(f"{show_path(out)}: folder {show_path(out.parent)} does not exist: choose another --out")
    return out


def _name_image(cache: Cache, row: int) -> str:
    view = _find_view(cache, row)
    return f"{cache.keys[row]}, view {view} of {cache.manifest.n_views}" if cache.manifest.views else cache.keys[row]


def _find_view(cache: Cache, row: int) -> int:
    return row % cache.manifest.n_views


def _find_image(
    store: str | os.PathLike[str], cache: Cache, row: int, *, root: Path | None
) -> tuple[npt.NDArray[np.generic] | None, str]:
    """(the image as the transform saw it, "") or (None, why it is not there)."""
    manifest, key = cache.manifest, cache.keys[row]
    try:
        part = open_source_of(store, manifest, root=root).find(cache.split_name)
        i = part.listing.rows.find(key)
        if i is None:
            return None, NO_IMAGE
        image = decode_noted(part.read(i), decoding_of(manifest)).pixels
        check_form(image, manifest, cache.layout.image_shape)
    except (SourceError, OSError):
        return None, NO_IMAGE
    except UnreadableImage:
        return None, "image not at hand:\nits file does not decode now"
    return ViewedImage(image, manifest.views, key=key, seed=manifest.seed).cut(_find_view(cache, row)), ""


def _describe_label(cache: Cache, row: int) -> str:
    label = int(cache.labels[row])
    return f"class {label}: {cache.classes[label]}" if label >= 0 else "no class"


def _describe_settings(cache: Cache) -> str:
    height, width = cache.layout.image_shape
    channels, h, w = cache.row_shape
    colours = "1 colour" if cache.spec.colours == 1 else f"{cache.spec.colours} colours"
    shape = f"{channels} channels ({colours} x {cache.spec.n_paths} paths) of {h} x {w}"
    return f"{cache.manifest.describe()}: images of {height} x {width} -> {shape}"
