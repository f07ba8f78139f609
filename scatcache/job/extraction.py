"""extract() and resume(): the whole job, from a source's name to a finished store."""

import contextlib
import errno
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scatcache.errors import ScatcacheError
from scatcache.images.archives.unpack import OnArchive
from scatcache.images.image_source import ImageSource
from scatcache.job.events import ArchiveProgress, ClusterWaiting, Event, JobFinished, JobPlanned, StoreReplaced
from scatcache.job.opening import NamedObject, open_stored_source
from scatcache.job.preparation import Prepared, Settings, check_out, name_splits, name_store, prepare, read_stored
from scatcache.job.report import ExtractReport
from scatcache.job.run import JobRun
from scatcache.job.settings import RunOptions
from scatcache.job.store_folder import StoreFolder
from scatcache.job.stored import confirm_manifest, find_stored, require_stored
from scatcache.job.takeover import take_over
from scatcache.store.format.manifest import Manifest
from scatcache.store.lock import WriterLock
from scatcache.store.places.files import exists

logger = logging.getLogger(__name__)


def extract(
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
    workers: int | None = None,
    processes: bool = False,
    decode_threads: int | None = None,
    scheduler: str | None = None,
    on_error: str = "skip",
    retry_unreadable: bool = False,
    download: bool = False,
    overwrite: bool = False,
    on_event: Callable[[Event], None] | None = None,
) -> ExtractReport:
    """Computes the scattering coefficients of a dataset into a Zarr store, or goes on where an earlier run stopped.

    source: a name that `scatcache sources` lists, a folder of images, or a dataset object, with `__len__` and
    `__getitem__(index) -> (PIL image or uint8 (H, W, 3), label)` or `-> {"image": ..., "label": ...}`, or a mapping of
    such objects by split. An object needs a name, and is read in this process, one item at a time; version: what tells
    its pixels from those of another version, for the listing covers its length and labels alone. root: where a named
    source's files are; out: the store, SOURCE-J2.zarr in the working folder by default (with the J given).

    Settings, fixed by a store's first run and taken from it when None: J (log2 of the largest scale; needed for a new
    store), L (angles), max_order (0, 1, 2), grid (kymatio, centered), size (crop in pixels), limit (rows per split),
    encoding (float16, float16raw, float32), shard_images (rows per shard), seed (of the storage order and the views),
    keep_background (of caltech101, its pictures of no class too), views (rows for each image: the plain one, then
    reflect-padded crops and mirror images drawn without repetition; or "all" that there are), view_padding (pixels by
    which those crops may be moved, by default an eighth of the shorter side, 8 at most).

    The rest may change from run to run: split (which to add or resume; the source's default ones), device (auto, cpu,
    cuda), backend (auto, fused, native, torch), workers (shards at once), processes (worker processes, not threads),
    decode_threads (per process), scheduler (address of a Dask scheduler), on_error (skip records an unreadable image,
    fail raises), retry_unreadable (compute the shards again that hold unreadable images), download (fetch the official
    archive where the dataset is not found, and take no other), overwrite (delete the store first), on_event (called
    with ArchiveProgress, JobPlanned, ShardFinished, JobFinished).

    Raises SourceError, SettingsDiffer, StoreLocked, StoreDamaged, NotAStore, BackendUnavailable, UnreadableImage
    (on_error="fail"), ScatcacheError (no space, I/O), ValueError (a value out of range, J missing).
    """
    settings = Settings(
        J, L, max_order, grid, size, limit, encoding, shard_images, seed, keep_background, views, view_padding
    )
    options = RunOptions(device, backend, workers, processes, decode_threads, scheduler, on_error, retry_unreadable)
    named = NamedObject(source, name, version, None if root is None else Path(root))
    folder = check_out(out if out is not None else name_store(named.store_name, J))
    kept = list_kept(folder)
    with explain_failures(folder), _forget_index(folder, kept):
        stored = read_stored(folder, J, overwrite=overwrite)
        opened = named.open(
            folder.job,
            fetch=download,
            on_archive=_tell_archive(on_event),
        )
        asked = Asked(settings, name_splits(split), options, overwrite, kept)
        return _run(opened, folder, asked=asked, stored=stored, on_event=on_event)


def resume(
    store: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    split: str | Sequence[str] | None = None,
    device: str = "auto",
    backend: str = "auto",
    workers: int | None = None,
    processes: bool = False,
    decode_threads: int | None = None,
    scheduler: str | None = None,
    on_error: str = "skip",
    retry_unreadable: bool = False,
    download: bool = False,
    on_event: Callable[[Event], None] | None = None,
) -> ExtractReport:
    """Goes on with a store by its own settings; the arguments and errors are those of extract().

    root: where the source is now, by default where the last run found it; split: by default those the store has.
    """
    options = RunOptions(device, backend, workers, processes, decode_threads, scheduler, on_error, retry_unreadable)
    folder = StoreFolder(store)
    with explain_failures(folder):
        manifest = require_stored(folder)
        source = open_stored_source(
            folder,
            manifest,
            root=Path(root) if root is not None else None,
            fetch=download,
            on_archive=_tell_archive(on_event),
        )
        splits = name_splits(split) or tuple(folder.records.splits()) or None
        asked = Asked(Settings(), splits, options, kept=list_kept(folder))
        return _run(source, folder, asked=asked, stored=manifest, on_event=on_event)


def _tell_archive(on_event: Callable[[Event], None] | None) -> OnArchive:
    def on_archive(action: str, file: str, done: int, total: int | None) -> None:
        if on_event is not None:
            on_event(ArchiveProgress(action, file, done, total))

    return on_archive


@dataclass(frozen=True)
class Asked:
    """What a run was asked to do. splits: None takes the source's default ones; overwrite: the store goes first;
    kept: of list_kept."""

    settings: Settings
    splits: tuple[str, ...] | None
    options: RunOptions
    overwrite: bool = False
    kept: frozenset[str] = frozenset()


def _run(
    source: ImageSource,
    folder: StoreFolder,
    *,
    asked: Asked,
    stored: Manifest | None,
    on_event: Callable[[Event], None] | None,
) -> ExtractReport:
    """Prepares, locks, runs and reports."""
    started = time.monotonic()
    tell = on_event or _log_warnings
    prepared = _prepare(source, folder, asked=asked, stored=stored)
    with WriterLock(folder.job / "lock"), _forget_unborn(folder, asked.kept):
        # Another process may have made or changed the store before we had the lock.
        current = None if asked.overwrite else find_stored(folder)
        if current != stored:
            prepared = _prepare(source, folder, asked=asked, stored=current)
        token = take_over(folder)
        if asked.overwrite:
            tell(StoreReplaced(str(folder.path), deleted=False))
            if folder.writer.is_started():
                folder.writer.delete()
            tell(StoreReplaced(str(folder.path), deleted=True))
        else:
            confirm_manifest(folder, prepared.manifest)
        run = JobRun(prepared, asked.options, tell, job_id=token)
        run.execute()
        return run.report(time.monotonic() - started)


def _prepare(source: ImageSource, folder: StoreFolder, *, asked: Asked, stored: Manifest | None) -> Prepared:
    options = asked.options
    return prepare(
        source,
        folder,
        settings=asked.settings,
        stored=stored,
        splits=asked.splits,
        device=options.device,
        backend=options.backend,
    )


def _log_warnings(event: Event) -> None:
    if isinstance(event, JobPlanned | JobFinished):
        for warning in event.warnings:
            logger.warning(warning)
    elif isinstance(event, ClusterWaiting):
        logger.warning(event.text)


# What sources keep in STORE.job: the indices of tars, and tars that were inflated.
_MADE = ("*.index.npz", "*.tar")


def list_kept(folder: StoreFolder) -> frozenset[str]:
    """What lies in STORE.job before a run, and is not the run's to remove."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return frozenset(os.listdir(folder.job))
    return frozenset()


@contextlib.contextmanager
def _forget_index(folder: StoreFolder, kept: frozenset[str]) -> Iterator[None]:
    """A source that is refused before there is a lock leaves no STORE.job behind either."""
    try:
        yield
    finally:
        if exists(folder.job) and not exists(folder.path) and not exists(folder.job / "lock"):
            _remove_made(folder, kept, _MADE)


@contextlib.contextmanager
def _forget_unborn(folder: StoreFolder, kept: frozenset[str]) -> Iterator[None]:
    """A run that is refused before the store exists leaves nothing behind, STORE.job included."""
    try:
        yield
    finally:
        if not exists(folder.path):
            _remove_made(folder, kept, ("job.json", "manifest.json", "run", "lock", *_MADE))


def _remove_made(folder: StoreFolder, kept: frozenset[str], patterns: Sequence[str]) -> None:
    """Removes what this run made in STORE.job, and the folder once nothing else is in it."""
    with contextlib.suppress(OSError):
        for path in (path for pattern in patterns for path in folder.job.glob(pattern)):
            if path.name not in kept:
                path.unlink(missing_ok=True)
        folder.job.rmdir()


@contextlib.contextmanager
def explain_failures(folder: StoreFolder) -> Iterator[None]:
    """Turns the machine's errors into ScatcacheErrors that say what to do."""
    try:
        yield
    except OSError as error:
        if isinstance(error, ScatcacheError):
            raise
        raise _explain(error, folder) from error


def _explain(error: OSError, folder: StoreFolder) -> ScatcacheError:
    # Of a renaming the name that was to be.
    place = error.filename2 or error.filename or folder.path
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ScatcacheError(
            f"{folder.path}: {error.strerror}: free some space, then give the same command again: it goes on from here"
        )
    if error.errno in (errno.EISDIR, errno.ENOTEMPTY):
        return ScatcacheError(
            f"{place}: a folder lies where a file of the store belongs: move it away, then give the same command again"
        )
    return ScatcacheError(f"{place}: {error.strerror or error}: mend it, then give the same command again")
