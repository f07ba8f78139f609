"""From what was asked to an opened source: a dataset object, a named dataset, a folder, or what a store remembers."""

import os
from pathlib import Path
from typing import Any

from scatcache.errors import SourceError
from scatcache.images.archives.unpack import OnArchive, tell_nobody
from scatcache.images.catalogue import KINDS, is_known_source, open_source, source_exists
from scatcache.images.contents import Contents
from scatcache.images.image_source import ImageSource
from scatcache.images.keys import show_path
from scatcache.job.store_folder import StoreFolder
from scatcache.remote.urls import is_url
from scatcache.store.format.json_text import parse_json, to_json
from scatcache.store.format.manifest import Manifest
from scatcache.store.places.files import exists
from scatcache.typed import check


def remember(folder: StoreFolder, **values: Any) -> None:
    """Keeps comfort for later runs (the source's root, times, host) in STORE.job/job.json."""
    known = recall(folder)
    folder.notes.put("job.json", to_json({**known, **values}, indent=2))


def recall(folder: StoreFolder) -> dict[str, Any]:
    """What remember() kept, {} where it is gone or not readable."""
    try:
        known = parse_json(folder.notes.read("job.json"))
    except (OSError, ValueError):
        return {}
    if not isinstance(known, dict):
        return {}
    return {name: value for name, value in known.items() if _is_memory(value)}


def _is_memory(value: Any) -> bool:
    """Whether a value may be one of remember()'s: a text that is a path's, or a finite number."""
    try:
        check(str | int | float | None, value, "value")
    except (TypeError, ValueError):
        return False
    return not (isinstance(value, str) and "\0" in value)


def open_source_of(store: str | os.PathLike[str], manifest: Manifest, *, root: Path | None) -> ImageSource:
    """open_stored_source by a store's path or URL; a store at a URL remembers nothing."""
    return open_stored_source(None if is_url(store) else StoreFolder(store), manifest, root=root)


def open_stored_source(
    folder: StoreFolder | None,
    manifest: Manifest,
    *,
    root: Path | None,
    fetch: bool = False,
    splits: tuple[str, ...] | None = None,
    on_archive: OnArchive = tell_nobody,
) -> ImageSource:
    """The source a store was made from, found under root, or where the last run found it.

    folder: None where the store is not on this machine; splits: see open_source. Raises SourceError where neither is
    known, or it was a dataset object.
    """
    memory = {} if folder is None else recall(folder)
    known = memory.get("root")
    url = known if root is None and isinstance(known, str) and is_url(known) else None
    if root is None and url is None and isinstance(known, str) and known:
        root = Path(known)
    if is_known_source(manifest.source):
        return open_source(
            manifest.source,
            root=root,
            work_dir=None if folder is None else folder.job,
            fetch=fetch,
            splits=splits,
            on_archive=on_archive,
        )
    if manifest.source not in {kind.name for kind in KINDS}:
        name = manifest.source
        raise SourceError(
            f"the store was made from a dataset object: go on with scatcache.extract(dataset, name={name!r}, ...)"
        )
    if root is None and url is None:
        raise SourceError("the store does not remember where its images are: name their folder or file with --root")
    if root is not None and not exists(root) and not source_exists(root):
        raise SourceError(f"the images were in {show_path(root)}, which is gone: name their folder or file with --root")
    contents = Contents().or_else(memory, manifest.source_options)
    work_dir = None if folder is None else folder.job
    # A path: the same text may be a dataset's name.
    return open_source(url or root or "", contents=contents, work_dir=work_dir, on_archive=on_archive)
