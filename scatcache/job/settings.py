"""The one table of extract's, plan's and resume's options.

From it come their signatures and docstrings, the command line's options, what a store fixes, and docs/reference.md.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from scatcache.errors import UsageError
from scatcache.job.events import Event
from scatcache.job.options import Options, list_options, option, setting
from scatcache.job.watching import PATIENCE_S
from scatcache.spec import GRIDS, MAX_SEED, RANGES, ScatteringSpec

if TYPE_CHECKING:
    from scatcache.store.format.manifest import Manifest

ALL_VIEWS = "all"
FROM_1 = (1, MAX_SEED)


def _list_encodings() -> Sequence[str]:
    from scatcache.store.format.encodings import ENCODINGS

    return tuple(ENCODINGS)


@dataclass(frozen=True, kw_only=True)
class Settings(Options):
    """What shapes a store's bytes; None: taken from the store, else the default."""

    J: int | None = setting(
        "log2 of the largest scale; needed for a new store", stored="spec.J", within=RANGES["J"], metavar="N"
    )
    L: int | None = setting(
        "number of angles", default=ScatteringSpec.L, stored="spec.L", within=RANGES["L"], metavar="N"
    )
    max_order: int | None = setting(
        "largest order of the paths",
        default=ScatteringSpec.max_order,
        stored="spec.max_order",
        within=RANGES["max_order"],
        metavar="N",
    )
    grid: str | None = setting(
        "centered: mirror images are exact", default=ScatteringSpec.grid, stored="spec.grid", choices=GRIDS
    )
    size: int | None = setting(
        "resize and centre-crop to this many pixels",
        otherwise="as is, or what the dataset is known by",
        stored="size",
        within=FROM_1,
        metavar="N",
    )
    limit: int | None = setting(
        "a fair sample of this many images of each split", stored="limit", within=FROM_1, metavar="N"
    )
    encoding: str | None = setting(
        "how a coefficient is stored", default="float16", stored="encoding", choices=_list_encodings, metavar="NAME"
    )
    views: int | str | None = setting(
        "store this many views of each image: the plain one, then random crops and flips, or all that there are",
        default=1,
        stored="n_views",
        within=FROM_1,
        words=(ALL_VIEWS,),
        metavar="K|all",
    )
    view_padding: int | None = setting(
        "reflect-padding of those crops",
        otherwise="an eighth of the shorter side, at most 8",
        stored="views.padding",
        within=(0, MAX_SEED),
        metavar="PIXELS",
    )
    shard_images: int | None = setting(
        "rows per shard",
        otherwise="128 MiB of them at most",
        stored="shard_images",
        within=FROM_1,
        metavar="N",
    )
    seed: int | None = setting(
        "of the order of rows on disk, and of the views", default=0, stored="seed", within=(0, MAX_SEED), metavar="N"
    )

    def merge(self, stored: "Manifest | None", **defaults: Any) -> "Settings":
        """These settings, each that is None taken from the store, or for a new store from defaults or the table.

        Raises UsageError where a new store has no J, or a padding is typed that nothing is padded by.
        """
        if stored is None:
            require_J(self.J)
        known = {
            entry.name: defaults.get(entry.name, entry.default) if stored is None else _look_up(stored, entry.stored)
            for entry in list_options(type(self))
            if entry.stored
        }
        merged = replace(self, **{name: value for name, value in known.items() if getattr(self, name) is None})
        if merged.views == 1 and self.view_padding is not None:
            raise UsageError("view_padding is given for one view, the plain image: give views too")
        return merged

    def within(self, part: str) -> dict[str, Any]:
        """The settings that a manifest holds in one part of its own, "spec" or "" for those beside the parts."""
        split = {entry.name: entry.stored.rpartition(".") for entry in list_options(type(self)) if entry.stored}
        return {place: getattr(self, name) for name, (found, _, place) in split.items() if found == part}


def _look_up(record: Any, dotted: str) -> Any:
    """An attribute, and of that an attribute; None where there is none."""
    for name in dotted.split("."):
        record = None if record is None else getattr(record, name)
    return record


def require_J(J: int | None) -> int:
    """Raises UsageError where J is not given."""
    if J is None:
        raise UsageError("a new store needs J (the log2 of the largest scale): give --J 2")
    return J


@dataclass(frozen=True, kw_only=True)
class Reading(Options):
    """What of a source is read, from where, and who is told of it."""

    root: str | os.PathLike[str] | None = option(
        "where the source's files are",
        otherwise="looked for in $SCATCACHE_DATA and ./data; of a store, where the last run found them",
        metavar="DIR",
    )
    split: str | Sequence[str] | None = option(
        "which split (may be repeated)",
        otherwise="all but unlabeled; of a store to resume, those it has",
        metavar="NAME",
    )
    download: bool = option(
        "fetch the official archive where the dataset is not found, and take no other; `scatcache sources` names them",
        default=False,
    )
    on_event: Callable[[Event], None] | None = option(
        "called with ArchiveProgress, JobPlanned, StoreReplaced, ClusterWaiting, ShardFinished, JobFinished",
        in_python=True,
    )

    @property
    def splits(self) -> tuple[str, ...] | None:
        """The splits asked for; None: the default ones."""
        return (self.split,) if isinstance(self.split, str) else tuple(self.split or ()) or None


@dataclass(frozen=True, kw_only=True)
class Target(Options):
    """The store that is made, and what a dataset object is called in it."""

    name: str | None = option("what a dataset object is called; it needs one", in_python=True)
    version: str | None = option(
        "what tells a dataset object's pixels from another version's, which its length and labels do not",
        in_python=True,
    )
    out: str | os.PathLike[str] | None = option(
        "the store", otherwise="SOURCE-J2.zarr, with J as given", metavar="STORE"
    )
    overwrite: bool = option("delete the store first (only one of ours)", default=False)


@dataclass(frozen=True, kw_only=True)
class RunOptions(Options):
    """How a job runs; nothing here shapes a store's bytes."""

    device: str = option("what computes", default="auto", choices=("auto", "cpu", "cuda"))
    backend: str = option("which code computes", default="auto", choices=("auto", "fused", "native", "torch"))
    workers: int | None = option(
        "shards computed at once", otherwise="usable cores, or GPUs", within=FROM_1, metavar="N"
    )
    processes: bool = option(
        f"worker processes instead of threads; one silent for {PATIENCE_S:.0f} s is replaced", default=False
    )
    decode_threads: int | None = option("decoding threads per process", within=FROM_1, metavar="N")
    scheduler: str | None = option(
        f"run on the Dask cluster at this address; ends after {PATIENCE_S:.0f} s without an answer from it, without a "
        f"worker, or without a sign of any",
        metavar="ADDRESS",
    )
    on_error: str = option("an unreadable image is recorded, or ends the run", default="skip", choices=("skip", "fail"))
    retry_unreadable: bool = option("compute the shards again that hold unreadable images", default=False)


@dataclass(frozen=True, kw_only=True)
class ExtractOptions(RunOptions, Target, Reading, Settings):
    """What extract takes, and plan."""


@dataclass(frozen=True, kw_only=True)
class ResumeOptions(RunOptions, Reading):
    """What resume takes: every option of extract that is no setting and names no store."""

    def extend(self, **changes: Any) -> ExtractOptions:
        """The same for extract, with no setting given."""
        return ExtractOptions(**{entry.name: getattr(self, entry.name) for entry in fields(self)} | changes)
