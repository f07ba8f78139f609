"""From what was asked to an opened source: a dataset object, a named dataset, a folder, or what a store remembers."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scatcache.errors import SourceError
from scatcache.images.archives.unpack import OnArchive, tell_nobody
from scatcache.images.catalogue import KINDS, explain_clash, is_known_source, name_object, open_object, open_source
from scatcache.images.image_source import ImageSource
from scatcache.images.keys import show_path
from scatcache.job.store_folder import StoreFolder
from scatcache.store.format.json_text import parse_json, to_json
from scatcache.store.format.manifest import Manifest
from scatcache.store.places.files import exists
from scatcache.store.places.place import is_url
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


@dataclass(frozen=True)
class NamedObject:
    """What extract was given to read from: an object in Python with its name and version, or a source's name or path.

    Raises SourceError where the arguments do not go together.
    """

    source: Any
    name: str | None = None
    version: str | None = None
    root: Path | None = None

    def __post_init__(self) -> None:
        if self.is_object:
            name_object(self.source, self.name)
            if self.root is not None:
                raise SourceError("a dataset object has no files of its own: leave root out")
        elif self.name is not None or self.version is not None:
            raise SourceError(f"name and version go with dataset objects, {self.source} is none: leave them out")
        elif self.root is not None and not is_known_source(self.source):
            raise SourceError(f"{self.source} is a folder, and its own root: leave --root out")
        elif clash := explain_clash(self.source, self.root):
            raise SourceError(clash)

    @property
    def is_object(self) -> bool:
        return not isinstance(self.source, str | os.PathLike)

    @property
    def store_name(self) -> Any:
        """What a store is called after by default."""
        return name_object(self.source, self.name) if self.is_object else self.source

    def open(
        self,
        work_dir: Path,
        *,
        beside: bool = True,
        fetch: bool = False,
        on_archive: OnArchive = tell_nobody,
    ) -> ImageSource:
        """The source; see open_source and open_object, and what they raise."""
        if not self.is_object:
            return open_source(
                self.source, root=self.root, work_dir=work_dir, beside=beside, fetch=fetch, on_archive=on_archive
            )
        if fetch:
            raise SourceError("a dataset object is taken as it is: leave download out")
        return open_object(self.source, name=self.name, version=self.version)


def open_source_of(store: str | os.PathLike[str], manifest: Manifest, *, root: Path | None) -> ImageSource:
    """open_stored_source by a store's path or URL; a store at a URL remembers nothing."""
    return open_stored_source(None if is_url(store) else StoreFolder(store), manifest, root=root)


def open_stored_source(
    folder: StoreFolder | None,
    manifest: Manifest,
    *,
    root: Path | None,
    fetch: bool = False,
    on_archive: OnArchive = tell_nobody,
) -> ImageSource:
    """The source a store was made from, found under root, or where the last run found it.

    folder: None where the store is not on this machine. Raises SourceError where neither is known, or it was a dataset
    object.
    """
    known = None if folder is None else recall(folder).get("root")
    if root is None and isinstance(known, str) and known:
        root = Path(known)
    if is_known_source(manifest.source):
        return open_source(
            manifest.source,
            root=root,
            work_dir=None if folder is None else folder.job,
            fetch=fetch,
            on_archive=on_archive,
        )
    if manifest.source not in {kind.name for kind in KINDS}:
        name = manifest.source
        raise SourceError(
            f"the store was made from a dataset object: go on with scatcache.extract(dataset, name={name!r}, ...)"
        )
    if root is None:
        raise SourceError("the store does not remember where its images are: name their folder with --root")
    if not exists(root):
        raise SourceError(f"the images were in {show_path(root)}, which is gone: name their folder with --root")
    return open_source(root)
