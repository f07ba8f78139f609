"""What extract would do and cost; writes nothing."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scatcache.job.opening import NamedObject
from scatcache.job.planning import bound_bytes
from scatcache.job.preparation import Prepared, Settings, check_out, name_splits, name_store, prepare, read_stored
from scatcache.job.stored import confirm_manifest
from scatcache.resources import free_disk_bytes


@dataclass(frozen=True)
class SplitPlan:
    """images: rows, each view of an image counted; views: rows of each image; output_shape: (n_channels, h, w); bytes:
    at most, before compression."""

    images: int
    image_shape: tuple[int, int]
    output_shape: tuple[int, int, int]
    bytes: int
    shards: int
    shard_images: int
    views: int


@dataclass(frozen=True)
class JobPlan:
    """The same totals; output_shape: of the first split; free_bytes: where the store would be."""

    store: str
    images: int
    output_shape: tuple[int, int, int]
    bytes: int
    free_bytes: int
    shards: int
    device: str
    backend: str
    backend_reason: str
    splits: dict[str, SplitPlan]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name not in ("store", "warnings")}


def plan(
    source: Any,
    *,
    name: str | None = None,
    version: str | None = None,
    root: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    J: int | None = None,
    L: int | None = None,
    max_order: int | None = None,
    grid: str | None = None,
    size: int | None = None,
    limit: int | None = None,
    encoding: str | None = None,
    shard_images: int | None = None,
    seed: int | None = None,
    keep_background: bool | None = None,
    views: int | str | None = None,
    view_padding: int | None = None,
    split: str | Sequence[str] | None = None,
    device: str = "auto",
    backend: str = "auto",
    overwrite: bool = False,
) -> JobPlan:
    """Says what extract() with the same arguments would do; arguments and errors are those of extract().

    An archive that is still packed is unpacked, a tar indexed, into a temporary folder and forgotten. Nothing is
    downloaded.
    """
    settings = Settings(
        J, L, max_order, grid, size, limit, encoding, shard_images, seed, keep_background, views, view_padding
    )
    named = NamedObject(source, name, version, None if root is None else Path(root))
    folder = check_out(out if out is not None else name_store(named.store_name, J))
    stored = read_stored(folder, J, overwrite=overwrite)
    splits = name_splits(split)
    with tempfile.TemporaryDirectory(prefix="scatcache-plan-") as scratch:
        opened = named.open(Path(scratch), beside=False)
        prepared = prepare(
            opened, folder, settings=settings, stored=stored, splits=splits, device=device, backend=backend
        )
        if not overwrite:
            confirm_manifest(folder, prepared.manifest)
        return _report(prepared)


def _report(prepared: Prepared) -> JobPlan:
    splits = {split: _plan_split(prepared, split) for split in prepared.splits}
    first = splits[prepared.splits[0]]
    return JobPlan(
        store=str(prepared.folder.path),
        images=sum(entry.images for entry in splits.values()),
        output_shape=first.output_shape,
        bytes=prepared.bound_bytes,
        free_bytes=free_disk_bytes(prepared.folder.path),
        shards=sum(entry.shards for entry in splits.values()),
        device=prepared.device,
        backend=prepared.backend,
        backend_reason=prepared.reason,
        splits=splits,
        warnings=prepared.warnings,
    )


def _plan_split(prepared: Prepared, split: str) -> SplitPlan:
    layout = prepared.layouts[split]
    return SplitPlan(
        images=layout.n_rows,
        image_shape=layout.image_shape,
        output_shape=prepared.manifest.spec.output_shape(*layout.image_shape),
        bytes=bound_bytes(prepared.manifest, [layout]),
        shards=layout.n_shards,
        shard_images=layout.shard_images,
        views=prepared.manifest.n_views,
    )
