"""extract() and resume(): the whole job, from a source's name to a finished store."""

import contextlib
import errno
import logging
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scatcache.errors import ScatcacheError
from scatcache.images.image_source import ImageSource
from scatcache.job.events import ClusterWaiting, Event, JobFinished, JobPlanned, StoreReplaced, tell_archive
from scatcache.job.planned import Job
from scatcache.job.preparation import prepare
from scatcache.job.report import ExtractReport
from scatcache.job.request import check_request, open_asked, open_target, read_stored
from scatcache.job.run import JobRun
from scatcache.job.settings import ExtractOptions, ResumeOptions
from scatcache.job.store_folder import StoreFolder
from scatcache.job.stored import confirm_manifest, find_stored, require_stored
from scatcache.job.stored_source import open_stored_source
from scatcache.job.takeover import take_over
from scatcache.options import describe
from scatcache.signatures import takes
from scatcache.store.format.manifest import Manifest
from scatcache.store.lock import WriterLock
from scatcache.store.places.files import exists

logger = logging.getLogger(__name__)


@takes(ExtractOptions, describe=describe)
def extract(source: Any, options: ExtractOptions) -> ExtractReport:
    """Computes the scattering coefficients of a dataset into a Zarr store, or goes on where an earlier run stopped.

    source: a name that `scatcache sources` lists; the path of a folder of images, of a file that holds an array, of
    parquet files or of tars, or a URL of a Zarr array or of tars; an implementation of scatcache.Source; an array or
    tensor (N, H, W), (N, H, W, C) or (N, C, H, W); a datasets.Dataset; a dataset object, with `__len__` and
    `__getitem__(index) -> (image, label)` or `-> {"image": ..., "label": ...}`, image a PIL image or an array (H, W)
    or (H, W, C), which is read in this process, one item at a time; or a mapping of these by split. Objects need a
    name. docs/data.md says what becomes of the values.

    J to seed are settings: a store's first run fixes them, and where they are None they are taken from it. The rest may
    change from run to run.

    Raises UsageError (a value out of range, J missing, what does not go together), SourceError, SettingsDiffer,
    StoreLocked, StoreDamaged, NotAStore, BackendUnavailable, UnreadableImage (on_error="fail"), ScatcacheError (no
    space, I/O).
    """
    check_request(source, options)
    folder = open_target(source, options)
    kept = list_kept(folder)
    with explain_failures(folder), _forget_index(folder, kept):
        stored = read_stored(folder, options.J, overwrite=options.overwrite)
        on_archive = tell_archive(options.on_event)
        opened = open_asked(
            source,
            options,
            folder,
            stored=stored,
            work_dir=folder.job,
            beside=True,
            fetch=options.download,
            on_archive=on_archive,
        )
        return _run(opened, folder, options=options, stored=stored, kept=kept)


@takes(ResumeOptions, describe=describe)
def resume(store: str | os.PathLike[str], options: ResumeOptions) -> ExtractReport:
    """Goes on with a store by its own settings; the options and errors are those of extract()."""
    folder = StoreFolder(store)
    with explain_failures(folder):
        manifest = require_stored(folder)
        # Those too whose making was cut off, or whose zarr.json is gone.
        splits = options.splits or tuple(folder.records.begun_splits()) or None
        source = open_stored_source(
            folder,
            manifest,
            root=Path(options.root) if options.root is not None else None,
            fetch=options.download,
            splits=splits,
            on_archive=tell_archive(options.on_event),
        )
        extended = options.extend(split=splits)
        return _run(source, folder, options=extended, stored=manifest, kept=list_kept(folder))


def _run(
    source: ImageSource, folder: StoreFolder, *, options: ExtractOptions, stored: Manifest | None, kept: frozenset[str]
) -> ExtractReport:
    """Prepares, locks, runs and reports. kept: of list_kept."""
    started = time.monotonic()
    tell = options.on_event or _log_warnings
    job = _prepare(source, folder, options=options, stored=stored)
    with WriterLock(folder.job / "lock"), _forget_unborn(folder, kept):
        # Another process may have made or changed the store before we had the lock.
        current = None if options.overwrite else find_stored(folder)
        if current != stored:
            job = _prepare(source, folder, options=options, stored=current)
        token = take_over(folder)
        if options.overwrite:
            tell(StoreReplaced(str(folder.path), deleted=False))
            if folder.writer.is_started():
                folder.writer.delete()
            tell(StoreReplaced(str(folder.path), deleted=True))
        else:
            confirm_manifest(folder, job.manifest)
        run = JobRun(job, options, tell, job_id=token, is_watched=options.on_event is not None)
        run.execute()
        return run.report(time.monotonic() - started)


def _prepare(source: ImageSource, folder: StoreFolder, *, options: ExtractOptions, stored: Manifest | None) -> Job:
    return prepare(source, folder, settings=options, options=options, stored=stored, splits=options.splits)


def _log_warnings(event: Event) -> None:
    if isinstance(event, JobPlanned | JobFinished):
        for warning in event.plan.warnings if isinstance(event, JobPlanned) else event.warnings:
            logger.warning(warning)
    elif isinstance(event, ClusterWaiting):
        logger.warning(event.text)


# What sources keep in STORE.job: indices of tars, tars and arrays that were inflated, copies of parquet's row groups.
_MADE = ("*.index.npz", "*.tar", "*.inflated.npy", "*.images")


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
    return ScatcacheError(f"{place}: {error.strerror or error}: remove the cause, then give the same command again")
