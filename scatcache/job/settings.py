"""The one table of extract's, plan's and resume's options: the settings of a store, and what never shapes its bytes.

From it come their signatures and docstrings, the command line's options, what a store fixes, and docs/reference.md.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from scatcache.images.contents import ARRAY_AXES, FILE_AXES, Contents
from scatcache.job.events import Event
from scatcache.job.watching import PATIENCE_S
from scatcache.options import Options, option
from scatcache.store.format.store_settings import FROM_1, Settings


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

    name: str | None = option("name of a dataset object, which needs one", in_python=True)
    version: str | None = option(
        "version of a dataset object: give another one when its pixels change",
        in_python=True,
    )
    out: str | os.PathLike[str] | None = option(
        "the store", otherwise="SOURCE-J2.zarr, with J as given", metavar="STORE"
    )
    overwrite: bool = option("delete the store first; any other folder is refused", default=False)


@dataclass(frozen=True, kw_only=True)
class ContentsOptions(Options):
    """What of a file of arrays or of a table is read; a store remembers it."""

    array: str | None = option(
        "the array in the file, or the column of the table, that holds the images",
        otherwise="the only one that can be",
        metavar="NAME",
    )
    axes: str | None = option(
        "how the axes of the arrays stand: N images, C bands, H rows, W columns",
        otherwise="as their shape says",
        choices=(*ARRAY_AXES, *FILE_AXES),
    )
    labels: Any = option(
        "an integer for each image: a .npy or .csv file, or a name in the file or table; in Python also the integers",
        otherwise="of a table its label column",
        metavar="FILE|NAME",
    )
    targets: Any = option(
        "a number or several for each image, to be stored beside the labels: a .npy or .csv file, or a name in the "
        "file or table; in Python also an array (n,) or (n, k)",
        metavar="FILE|NAME",
    )

    @property
    def contents(self) -> Contents:
        return Contents(self.array, self.axes, self.labels, self.targets)


@dataclass(frozen=True, kw_only=True)
class RunOptions(Options):
    """How a job runs; nothing here shapes a store's bytes."""

    device: str = option("device that computes the transform", default="auto", choices=("auto", "cpu", "cuda"))
    backend: str = option(
        "code that computes the transform", default="auto", choices=("auto", "fused", "native", "torch")
    )
    workers: int | None = option(
        "shards computed at once", otherwise="usable cores, or GPUs", within=FROM_1, metavar="N"
    )
    processes: bool = option(
        f"worker processes instead of threads; one silent for {PATIENCE_S:.0f} s is replaced", default=False
    )
    decode_threads: int | None = option(
        "decoding threads per process",
        otherwise="one for each of its workers; with GPUs, its share of the usable cores",
        within=FROM_1,
        metavar="N",
    )
    scheduler: str | None = option(
        f"run on the Dask cluster at this address; the run ends after {PATIENCE_S:.0f} s in which its scheduler does "
        f"not answer, has no worker, or hears from none",
        metavar="ADDRESS",
    )
    on_error: str = option(
        "whether an unreadable image is recorded (skip) or ends the run (fail)",
        default="skip",
        choices=("skip", "fail"),
    )
    retry_unreadable: bool = option("compute shards with unreadable images again", default=False)


@dataclass(frozen=True, kw_only=True)
class ExtractOptions(RunOptions, ContentsOptions, Target, Reading, Settings):
    """What extract takes, and plan."""


@dataclass(frozen=True, kw_only=True)
class PlanOptions(ExtractOptions):
    """What plan takes: every option of extract, and what stands for a source where there is none yet."""

    images: int | None = option(
        "plan for this many images of image_shape, without a source", within=FROM_1, metavar="N"
    )
    image_shape: str | tuple[int, int] | None = option(
        "height and width of these images in pixels, such as 375x500", metavar="HxW"
    )
    quick: bool = option("say what is known without measuring anything", default=False)


@dataclass(frozen=True, kw_only=True)
class ResumeOptions(RunOptions, Reading):
    """What resume takes: every option of extract that is no setting and names no store."""

    def extend(self, **changes: Any) -> ExtractOptions:
        """The same for extract, with no setting given."""
        return ExtractOptions(**{entry.name: getattr(self, entry.name) for entry in fields(self)} | changes)
