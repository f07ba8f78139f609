"""The zarr.json documents that a store should have: ours, and with them what other programs added to it.

Another program may put arrays, groups and attributes into a store, and write the metadata anew in its own manner. Runs
keep such members and attributes, and change what is ours alone.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scatcache.durable import is_temporary
from scatcache.errors import StoreDamaged
from scatcache.store.format.json_text import parse_json, to_json
from scatcache.store.format.layout import SplitLayout
from scatcache.store.format.manifest import Manifest
from scatcache.store.format.metadata import describe_group, describe_root, describe_split
from scatcache.store.places.place import Place

ROOT = "zarr.json"
# Groups within groups of other programs, and what is nested in their attributes.
MAX_DEPTH = 16

Document = dict[str, Any]


@dataclass(frozen=True)
class Expected:
    """documents: what each zarr.json should hold, by its folder relative to the store ("" is the root's), foreign
    members' not among them; ours: the same without anything foreign; members: folders of other programs' arrays and
    groups; attributes: the names of theirs, by the folder of ours that holds them."""

    documents: dict[str, Document]
    ours: dict[str, Document]
    members: tuple[str, ...] = ()
    attributes: dict[str, tuple[str, ...]] = field(default_factory=dict)


def expect(
    place: Place, manifest: Manifest, layouts: Mapping[str, SplitLayout], *, channels: Mapping[str, np.ndarray]
) -> Expected:
    """Every document of the root and of these splits, with what others have added to it at this place.

    channels: (n_channels,) coordinates by name.
    """
    found_root = read_document(place, "")
    own_names = {split: describe_split(manifest, layout, channels=channels) for split, layout in layouts.items()}
    foreign = _find_foreign(place, found_root, {split: set(own_names[split]) for split in layouts})
    ours, documents, attributes = {}, {}, {}
    merged_splits = {}
    for split in layouts:
        found = {name: read_document(place, _join(split, name)) for name in own_names[split]}
        inner = {name.removeprefix(f"{split}/"): foreign[name] for name in foreign if name.startswith(f"{split}/")}
        merged_splits[split] = merged = _merge_split(own_names[split], found, inner)
        for name, document in own_names[split].items():
            path = _join(split, name)
            ours[path], documents[path] = document, merged[name]
            if extra := merged[name]["attributes"].keys() - document["attributes"].keys():
                attributes[path] = tuple(sorted(extra))
    ours[""] = describe_root(manifest, own_names)
    outer = {name: document for name, document in foreign.items() if name.split("/")[0] not in own_names}
    root = merge(describe_root(manifest, merged_splits), found_root)
    metadata = {**outer, **root["consolidated_metadata"]["metadata"]}
    documents[""] = describe_group(root["attributes"], metadata)
    if extra := root["attributes"].keys() - ours[""]["attributes"].keys():
        attributes[""] = tuple(sorted(extra))
    return Expected(documents, ours, tuple(sorted(foreign)), attributes)


def encode_document(document: Document) -> bytes:
    """The text of a zarr.json."""
    return to_json(document, indent=2, allow_nan=True)


def read_document(place: Place, folder: str) -> Document:
    """What the zarr.json in a folder of a store holds, {} where it is missing or holds no object."""
    try:
        found = parse_json(place.read(_join(folder, ROOT)))
        _check_depth(found.get("attributes"))
    except (FileNotFoundError, StoreDamaged, ValueError, AttributeError):
        return {}
    return dict(found)


def find_consolidated(document: Any) -> dict[str, Document]:
    """The consolidated metadata in a group's document, {} where there is none."""
    with contextlib.suppress(AttributeError, TypeError):
        found = document["consolidated_metadata"]["metadata"] if "consolidated_metadata" in document else {}
        return {name: entry for name, entry in found.items() if isinstance(entry, dict)}
    return {}


def simplify(document: Document) -> Document:
    """A document without what Zarr's programs may write or leave out, all meaning the same."""
    simple = {name: value for name, value in document.items() if name != "consolidated_metadata"}
    simple.setdefault("attributes", {})
    if simple.get("storage_transformers") == []:
        del simple["storage_transformers"]
    return {name: _simplify_codecs(value) if name == "codecs" else value for name, value in simple.items()}


def _simplify_codecs(value: Any) -> Any:
    if isinstance(value, list):
        return [_simplify_codecs(entry) for entry in value]
    if isinstance(value, dict):
        kept = {name: _simplify_codecs(entry) for name, entry in value.items()}
        return {name: entry for name, entry in kept.items() if (name, entry) != ("configuration", {})}
    return value


def find_altered(found: Document, ours: Document) -> list[str]:
    """What of ours a document lacks or states otherwise, in words; what others added does not count."""
    theirs, mine = simplify(found), simplify(ours)
    is_sound = isinstance(theirs["attributes"], dict)
    attributes = theirs["attributes"] if is_sound else {}
    altered = [name for name in sorted(theirs.keys() | mine.keys()) if theirs.get(name) != mine.get(name)]
    altered = [name for name in altered if name != "attributes" or not is_sound]
    altered += [f"attribute {name}" for name, value in mine["attributes"].items() if attributes.get(name) != value]
    if "consolidated_metadata" in ours:
        if _wrapper(found) != _wrapper(ours):
            return [*altered, "consolidated metadata"]
        members = find_consolidated(found)
        for name, member in find_consolidated(ours).items():
            if name not in members or find_altered(members[name], member):
                altered.append(f"consolidated metadata of {name}")
    return altered


def _wrapper(document: Document) -> Any:
    """What surrounds the members in the consolidated metadata."""
    found = document.get("consolidated_metadata")
    return {name: value for name, value in found.items() if name != "metadata"} if isinstance(found, dict) else None


def merge(ours: Document, found: Document) -> Document:
    """Our document with the attributes that the one found has beside ours.

    None of a document that is not ours in the rest, nor what holds our own value under a damaged name.
    """
    theirs = found.get("attributes")
    if not isinstance(theirs, dict) or _without_attributes(found) != _without_attributes(ours):
        return ours
    own = list(ours["attributes"].values())
    return {
        **ours,
        "attributes": {name: value for name, value in theirs.items() if value not in own} | ours["attributes"],
    }


def _without_attributes(document: Document) -> Document:
    return {name: value for name, value in simplify(document).items() if name != "attributes"}


def _merge_split(
    ours: dict[str, Document], found: dict[str, Document], members: dict[str, Document]
) -> dict[str, Document]:
    """Our documents of a split and its foreign members', the group's own listing all of them."""
    merged = {**members, **{name: merge(document, found[name]) for name, document in ours.items() if name}}
    attributes = merge(ours[""], found[""])["attributes"]
    return {"": describe_group(attributes, merged), **merged}


def _find_foreign(place: Place, root: Document, own: dict[str, set[str]]) -> dict[str, Document]:
    """Documents of other programs' arrays and groups by folder; where looking costs requests, those listed."""
    if place.list_names("") is None:
        listed = find_consolidated(root)
        return {name: document for name, document in listed.items() if not _is_own(name, own)}
    found = {}
    for folder in _walk_foreign(place, "", own):
        if document := read_document(place, folder):
            found[folder] = {name: value for name, value in document.items() if name != "consolidated_metadata"}
    return found


def _is_own(name: str, own: dict[str, set[str]]) -> bool:
    split, _, inner = name.partition("/")
    return split in own and inner in own[split]


def _walk_foreign(place: Place, folder: str, own: dict[str, set[str]], depth: int = 0) -> Iterator[str]:
    """Folders with a zarr.json that are not ours; what lies in an array of ours is looked at by nobody."""
    # A link may lead to a folder, so every name is looked at.
    names = [name.removesuffix("/") for name in place.list_names(folder) or ()]
    for path in [_join(folder, name) for name in names if not is_temporary(name)]:
        if path in own:
            yield from _walk_foreign(place, path, own, depth + 1)
        elif not _is_own(path, own) and place.has(f"{path}/{ROOT}"):
            yield path
            if depth < MAX_DEPTH:
                yield from _walk_foreign(place, path, own, depth + 1)


def _check_depth(value: Any, depth: int = 0) -> None:
    """Raises ValueError for what cannot be written again: json's own writer gives up on deep nesting."""
    if depth > MAX_DEPTH:
        raise ValueError(f"it is nested more than {MAX_DEPTH} deep")
    entries = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for entry in entries:
        _check_depth(entry, depth + 1)


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder and name else folder or name
