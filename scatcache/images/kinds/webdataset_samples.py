"""The samples of a webdataset tar: files that share a name up to its first dot, an image and what is said of it."""

import json
import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from scatcache.errors import SourceError, UsageError
from scatcache.images.archives.tar_members import ReadAt, TarMember, list_members
from scatcache.images.contents import Contents
from scatcache.images.image_source import NO_LABEL
from scatcache.images.keys import IMAGE_EXTENSIONS, escape_name
from scatcache.images.kinds.tar import is_in_sight

# Members of which a tar's headers are read to see what its samples are made of.
N_LOOKED_AT = 1000
# Of their extensions and fields, so many are shown.
_N_SHOWN = 20
# Files of more are no label and no JSON of one.
_MAX_SIDE_BYTES = 2**20
_IMAGES = IMAGE_EXTENSIONS | {"npy"}
_JSON, _CLASS = "json", "cls"
_LABEL_FIELDS = ("label", "cls", "class")
ADVICE = "pack plain files alone"


class OpenTar(NamedTuple):
    """A tar that is read by position. where: what messages call it; n_bytes: of all of it."""

    where: str
    n_bytes: int
    read_at: ReadAt


class FirstLook(NamedTuple):
    """What the first members of a tar are. extensions: in the order met; fields: of the first JSON file; is_flat:
    whether no image lies in a folder; has_pairs: whether something else shares an image's name."""

    extensions: tuple[str, ...]
    fields: dict[str, Any]
    is_flat: bool
    has_pairs: bool

    @property
    def label(self) -> str | None:
        """The extension or field that is a label without being asked for."""
        if _CLASS in self.extensions:
            return _CLASS
        return _find_label(self.fields)

    @property
    def are_samples(self) -> bool:
        """Whether they are webdataset's, and not image files in class folders, with something beside them or not."""
        # Names with dots in them, which have no pairs, have labels nonetheless.
        has_labels = any(extension.rpartition(".")[2] == _CLASS for extension in self.extensions)
        return has_labels or (self.has_pairs and (self.is_flat or self.label is not None))


@dataclass(frozen=True)
class SampleParts:
    """What of a sample is read, each an extension, or a field of its JSON file. image: None for any that is an image
    file's; labels, targets: None for none."""

    image: str | None
    labels: str | None
    targets: str | None

    @property
    def options(self) -> dict[str, str]:
        """What a store keeps of it."""
        found = {"array": self.image, "labels": self.labels, "targets": self.targets}
        return {name: part for name, part in found.items() if part is not None}


def look_into_tar(tar: OpenTar, n_members: int = N_LOOKED_AT) -> FirstLook:
    """Reads the headers of the first members of a tar. Raises SourceError as list_members does; OSError."""
    extensions: dict[str, None] = {}
    fields: dict[str, Any] = {}
    with_image: set[str] = set()
    with_other: set[str] = set()
    for member in islice(_list_visible(tar), n_members):
        key, extension = _split_name(member.key)
        (with_image if extension in _IMAGES else with_other).add(key)
        if extension == _JSON and _JSON not in extensions:
            found = _read_side(tar, member)
            fields = found if isinstance(found, dict) else {}
        extensions[extension] = None
    is_flat = not any("/" in key for key in with_image)
    return FirstLook(tuple(extensions), fields, is_flat, not with_image.isdisjoint(with_other))


def choose_parts(look: FirstLook, contents: Contents, where: str) -> SampleParts:
    """What of the samples is read. Raises UsageError for what is asked for and not there."""
    known = (*look.extensions, *look.fields)
    for option in ("array", "labels", "targets"):
        name = getattr(contents, option)
        if name is not None and name not in (look.extensions if option == "array" else known):
            shown = ", ".join(escape_name(str(part)) for part in known[:_N_SHOWN])
            raise UsageError(f"--{option} is {name!a}: the samples of {where} have {shown}")
    return SampleParts(contents.array, contents.labels or look.label, contents.targets)


def list_samples(tar: OpenTar, parts: SampleParts) -> Iterator[TarMember]:
    """The image of every sample of a tar, its key the sample's, with its label and targets.

    Raises SourceError where a sample lacks its image, or what others have, has two images, or lies in two places; as
    list_members does.
    """
    images: dict[str, TarMember] = {}
    said: dict[str, dict[str, Any]] = {}
    for member in _list_visible(tar):
        key, extension = _split_name(member.key)
        if extension == parts.image or (parts.image is None and extension in _IMAGES):
            if key in images:
                raise SourceError(
                    f"{tar.where}: sample {key} has two images: give --array, the extension of one, or name the "
                    f"samples apart"
                )
            images[key] = member
        elif extension == _CLASS and parts.labels is None:
            raise SourceError(
                f"{tar.where}: sample {key} has {_CLASS}, and those of the first tar have none: give tars alike"
            )
        elif extension in (parts.labels, parts.targets):
            said.setdefault(key, {})[extension] = _read_side(tar, member)
        elif extension == _JSON:
            fields = _read_fields(tar, member)
            said.setdefault(key, {}).update((n, fields[n]) for n in (parts.labels, parts.targets) if n in fields)
            if parts.labels is None and (field := _find_label(fields)) is not None:
                raise SourceError(
                    f"{tar.where}: sample {key} has the label {field}, and the first has none: give all samples theirs"
                )
    if lacking := next((key for key in said if key not in images), None):
        wanted = parts.image or "an image"
        raise SourceError(f"{tar.where}: sample {lacking} lacks {wanted}: add or remove it")
    if not images:
        raise SourceError(
            f"{tar.where} holds no sample with {parts.image or 'an image'}: what is behind the first dot of a name is "
            f"its extension; give --array for another, or names without other dots"
        )
    length: int | None = None
    for key, image in images.items():
        found = said.get(key, {})
        where = f"{tar.where}: sample {key}"
        label = NO_LABEL if parts.labels is None else _check_label(found.get(parts.labels), parts.labels, where)
        targets = () if parts.targets is None else _check_targets(found.get(parts.targets), parts.targets, where)
        length = len(targets) if length is None else length
        if len(targets) != length:
            raise SourceError(f"{where} has {len(targets)} targets, another {length}: expected as many in each")
        yield image._replace(key=key, label=label, targets=targets)


def _find_label(fields: dict[str, Any]) -> str | None:
    """The field of a sample's JSON file that is a label without being asked for."""
    return next((field for field in _LABEL_FIELDS if isinstance(fields.get(field), int)), None)


def _list_visible(tar: OpenTar) -> Iterator[TarMember]:
    """The members but for hidden files and what machines put among them."""
    for member in list_members(tar.read_at, 0, tar.n_bytes, name=tar.where, advice=ADVICE):
        if is_in_sight(member.key):
            yield member


def _split_name(key: str) -> tuple[str, str]:
    """(sample, extension) of a member, both as webdataset has them."""
    folder, slash, name = key.rpartition("/")
    stem, _, extension = name.partition(".")
    return f"{folder}{slash}{stem}", extension.lower()


def _read_side(tar: OpenTar, member: TarMember) -> Any:
    """What a small text file says: JSON, which a bare number is too; else the text itself."""
    if member.n_bytes > _MAX_SIDE_BYTES:
        raise SourceError(
            f"{tar.where}: {member.key} has {member.n_bytes} bytes, more than the {_MAX_SIDE_BYTES} allowed"
        )
    data = tar.read_at(member.n_bytes, member.offset)
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return data.decode(errors="replace").strip()


def _read_fields(tar: OpenTar, member: TarMember) -> dict[str, Any]:
    found = _read_side(tar, member)
    if not isinstance(found, dict):
        raise SourceError(f"{tar.where}: {member.key} is no JSON object: expected {{...}}")
    return found


def _check_label(label: Any, name: str, where: str) -> int:
    if label is None:
        raise SourceError(f"{where} lacks {escape_name(name)}, its label, which others have: add it, or remove it")
    if isinstance(label, bool) or not isinstance(label, int) or not NO_LABEL <= label < 2**63:
        raise SourceError(
            f"{where}: its label {escape_name(name)} is {_show(label)}: expected an integer from 0, or -1 for none"
        )
    return label


def _check_targets(found: Any, name: str, where: str) -> tuple[float, ...]:
    targets = found if isinstance(found, list) else [found]
    if not targets or not all(isinstance(target, int | float) and not isinstance(target, bool) for target in targets):
        raise SourceError(f"{where}: its targets {escape_name(name)} are {_show(found)}: expected a number, or a list")
    rounded = tuple(map(_round_target, targets))
    if any(abs(new) == math.inf != abs(old) for new, old in zip(rounded, targets, strict=True)):
        raise SourceError(f"{where}: its targets {escape_name(name)} are {_show(found)}: beyond float32")
    return rounded


def _round_target(target: float) -> float:
    """As float32 holds it, infinity where it is beyond that."""
    with np.errstate(over="ignore"), suppress(OverflowError):
        return float(np.float32(target))
    return math.inf


def _show(value: Any) -> str:
    return "missing" if value is None else ascii(value)[:40]
