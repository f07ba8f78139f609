"""For those who implement scatcache's protocols: what is promised there, checked on theirs."""

import json
import os
import pickle
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from PIL.Image import Image

from scatcache.errors import ScatcacheError, UnreadableImage
from scatcache.images.catalogue import open_object
from scatcache.images.decode import decode
from scatcache.images.image_source import PARALLEL, ImageSource, check_split_names
from scatcache.images.keys import is_safe
from scatcache.images.source import Listing, Part, Source
from scatcache.spec import Pixels

N_THREADS = 8


def check_source(source: Source, *, n_images: int = 100) -> None:
    """Checks a source against every promise of the protocols Source and Part, for the tests of whoever implements them.

    n_images: how many images of each split are read, spread over it; each is read several times.

    Raises AssertionError naming the promise that is broken, and what was found instead.
    """
    parallel = _check_statements(source)
    for split, part in source.splits.items():
        where = f"split {split}"
        _check_listing(where, part, n_classes=len(source.classes))
        chosen = _spread(len(part.listing.rows), n_images)
        first = {i: part.read(i) if _is_readable(part, i) else None for i in chosen}
        frozen = {i: _freeze(where, i, found) for i, found in first.items()}
        for i in chosen:
            _check_image(where, part, i, first[i], kind=source.pixels.kind)
        _check_blocks(where, part, frozen)
        again = {i: _look(where, part, i) for i in chosen[::-1]}
        _compare(f"{where}: reading gives the same each time", frozen, again)
        kept = {i: _freeze(where, i, found) for i, found in first.items()}
        _compare(f"{where}: nobody changes what reading gave", frozen, kept)
        _check_beyond(where, part)
        if parallel != "none":
            with ThreadPoolExecutor(N_THREADS) as pool:
                found = dict(zip(chosen * 2, pool.map(partial(_look, where, part), chosen * 2), strict=True))
            _compare(f"{where}: several threads read the same (parallel is {parallel!r})", frozen, found)
        if parallel == "processes":
            copy = _copy(source).splits[split]
            _promise(copy.listing == part.listing, f"{where}: a pickled copy lists the same", _differ(copy, part))
            _compare(f"{where}: a pickled copy reads the same", frozen, {i: _look(where, copy, i) for i in chosen})


def _promise(kept: object, promise: str, found: object) -> None:
    if not kept:
        raise AssertionError(f"{promise}: found {found}")


def _check_statements(source: Source) -> str:
    """What a source says of itself; returns how it may be read."""
    name, classes, splits = source.name, source.classes, source.splits
    _promise(isinstance(name, str) and name and is_safe(name), "name is a printable text", repr(name))
    named = isinstance(classes, Sequence) and all(isinstance(entry, str) and is_safe(entry) for entry in classes)
    _promise(named, "classes are printable texts", repr(classes))
    _promise(len({*classes}) == len(classes), "classes differ", repr(classes))
    _promise(isinstance(source.pixels, Pixels), "pixels is a scatcache.Pixels", repr(source.pixels))
    _promise(source.official in (None, True, False), "official is True, False or None", repr(source.official))
    _promise(isinstance(splits, Mapping) and splits, "splits is a mapping, and not empty", repr(splits))
    try:
        check_split_names(splits, name)
    except ScatcacheError as error:
        raise AssertionError(f"splits bear names fit for folders: {error}") from error
    parallel = getattr(source, "parallel", "none")
    _promise(parallel in PARALLEL, f"parallel is one of {', '.join(PARALLEL)}", repr(parallel))
    options = getattr(source, "options", {})
    try:
        same = json.loads(json.dumps(dict(options), allow_nan=False)) == dict(options)
    except (TypeError, ValueError) as error:
        raise AssertionError(f"options is a dict of what JSON knows: {error}") from error
    _promise(same, "options is a dict of what JSON knows", repr(options))
    try:
        # Ours bear names that others may not.
        if not isinstance(source, ImageSource):
            open_object(source)
    except ScatcacheError as error:
        raise AssertionError(f"extract() takes the source for one: {error}") from error
    return parallel


def _check_listing(where: str, part: Part, *, n_classes: int) -> None:
    listing = part.listing
    _promise(isinstance(listing, Listing), f"{where}: listing is a Listing", type(listing).__name__)
    _promise(part.listing is listing, f"{where}: listing is the same object each time", "another one")
    rows = listing.rows
    _promise(len(rows), f"{where}: there is an image", "none")
    labels, sizes = rows.labels, rows.sizes
    wrong = labels[(labels < -1) | (labels >= n_classes)]
    _promise(not len(wrong), f"{where}: labels are -1 to {n_classes - 1}", wrong[:1])
    _promise(sizes.min() >= 0, f"{where}: sizes are 0 or more", sizes.min())
    folded = [i for fold in listing.folds or () for i in fold]
    beyond = [i for i in folded if not 0 <= i < len(rows)]
    _promise(not beyond, f"{where}: folds hold indices of rows", beyond[:1])


def _check_image(where: str, part: Part, i: int, found: Any, *, kind: str) -> None:
    """One image and what is said of it; found: what read gave, None where the image is unreadable."""
    key, _, size = part.listing.rows[i]
    here = f"{where}: {key}"
    location = part.locate(i)
    if isinstance(found, bytes):
        _promise(len(found) == size or not size, f"{here}: as many bytes as the row's size says ({size})", len(found))
    if location is not None:
        file, offset, n_bytes = location
        n_there = os.path.getsize(file) if os.path.isfile(file) else -1
        inside = offset >= 0 and n_bytes > 0 and offset + n_bytes <= n_there
        _promise(inside, f"{here}: locate names bytes within a file", f"{location} of {n_there} bytes")
        if isinstance(found, bytes):
            with open(file, "rb") as opened:
                opened.seek(offset)
                _promise(opened.read(n_bytes) == found, f"{here}: what lies at locate is what read gives", location)
    if found is None:
        return
    try:
        height, width, _ = decode(found, kind=kind).shape
    except UnreadableImage:
        return
    for name, said in (("shape", getattr(part, "shape", None)), ("image_shape", getattr(part, "image_shape", None))):
        told = said(i) if callable(said) else said
        same = told is None or tuple(told) == (height, width)
        _promise(same, f"{here}: {name} is that of the image, {height}x{width}", told)


def _check_beyond(where: str, part: Part) -> None:
    n_rows = len(part.listing.rows)
    try:
        found = part.read(n_rows)
    except IndexError:
        return
    except ScatcacheError as error:
        raise AssertionError(f"{where}: read({n_rows}), which is no row, raises IndexError: found {error!r}") from error
    raise AssertionError(f"{where}: read({n_rows}), which is no row, raises IndexError: found {type(found)}")


def _is_readable(part: Part, i: int) -> bool:
    try:
        part.read(i)
    except UnreadableImage:
        return False
    return True


def _look(where: str, part: Part, i: int) -> Any:
    return _freeze(where, i, part.read(i) if _is_readable(part, i) else None)


def _freeze(where: str, i: int, found: Any) -> Any:
    """What can be compared later. Raises AssertionError for what is no image at all."""
    if found is None or isinstance(found, bytes):
        return found
    if isinstance(found, Image):
        return found.mode, found.size, found.tobytes()
    right = isinstance(found, np.ndarray) and found.dtype.kind in "uif" and found.ndim in (2, 3)
    told = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else type(found).__name__
    _promise(right, f"{where}: read({i}) gives bytes, numbers (height, width[, bands]) or a PIL image", told)
    return str(found.dtype), found.shape, found.tobytes()


def _check_blocks(where: str, part: Any, expected: Mapping[int, Any]) -> None:
    """read_block gives what read gives, where there is one."""
    if getattr(part, "read_block", None) is None:
        return
    blocks: dict[int, list[int]] = {}
    for i in expected:
        if (block := part.block(i)) is not None:
            blocks.setdefault(block, []).append(i)
    for block, images in blocks.items():
        images = images[::-1]
        given = part.read_block(images)
        _promise(len(given) == len(images), f"{where}: read_block gives an image for each index", len(given))
        found = {
            i: _freeze(where, i, None if isinstance(image, UnreadableImage) else image)
            for i, image in zip(images, given, strict=True)
        }
        asked = {i: expected[i] for i in images}
        _compare(f"{where}: read_block gives what read gives (block {block})", asked, found)


def _compare(promise: str, expected: Mapping[int, Any], found: Mapping[int, Any]) -> None:
    differing = [i for i in expected if expected[i] != found[i]]
    _promise(not differing, promise, f"another image at read({differing[0]})" if differing else "")


def _copy(source: Source) -> Source:
    try:
        return pickle.loads(pickle.dumps(source))
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise AssertionError(f"parallel is 'processes': the source can be pickled: {error}") from error


def _differ(copy: Part, part: Part) -> str:
    return f"{len(copy.listing.rows)} rows, {len(part.listing.rows)} before, or others"


def _spread(n_rows: int, n_images: int) -> list[int]:
    return np.unique(np.linspace(0, n_rows - 1, min(n_rows, n_images)).astype(int)).tolist()
