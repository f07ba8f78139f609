"""extract() and resume(): the whole job, from a source's name to a finished store."""

import contextlib
import errno
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from scatcache.errors import ScatcacheError
from scatcache.images.sources import Source, open_source
from scatcache.job.events import Event
from scatcache.job.options import RunOptions
from scatcache.job.preparation import Prepared, Settings, check_out, name_store, open_stored_source, prepare
from scatcache.job.report import ExtractReport
from scatcache.job.run import JobRun
from scatcache.store.folder import StoreFolder
from scatcache.store.lock import WriterLock
from scatcache.store.manifest import Manifest


def extract(
    source: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    J: int | None = None,
    L: int | None = None,
    max_order: int | None = None,
    size: int | None = None,
    limit: int | None = None,
    encoding: str | None = None,
    shard_images: int | None = None,
    seed: int | None = None,
    split: str | Sequence[str] | None = None,
    device: str = "auto",
    backend: str = "auto",
    workers: int | None = None,
    processes: bool = False,
    decode_threads: int | None = None,
    scheduler: str | None = None,
    on_error: str = "skip",
    overwrite: bool = False,
    on_event: Callable[[Event], None] | None = None,
) -> ExtractReport:
    """Computes the scattering coefficients of a dataset into a Zarr store, or goes on where an earlier run stopped.

    source: a name that `scatcache sources` lists, or a folder of images; root: where a named source's files are; out:
    the store, SOURCE-J2.zarr in the working folder by default (with the J given).

    Settings, fixed by a store's first run and taken from it when None: J (log2 of the largest scale; needed for a new
    store), L (angles), max_order (0, 1, 2), size (crop in pixels), limit (rows per split), encoding (float16,
    float16raw, float32), shard_images (images per shard), seed (of the storage order).

    The rest may change from run to run: split (which to add or resume; the source's default ones), device (auto, cpu,
    cuda), backend (auto, torch), workers (shards at once), processes (worker processes, not threads), decode_threads
    (per process), scheduler (address of a Dask scheduler), on_error (skip records an unreadable image, fail raises),
    overwrite (delete the store first), on_event (called with JobPlanned, ShardFinished, JobFinished).

    Raises SourceError, SettingsDiffer, StoreLocked, StoreDamaged, NotAStore, BackendUnavailable, UnreadableImage
    (on_error="fail"), ScatcacheError (no space, I/O), ValueError (a value out of range, J missing).
    """
    settings = Settings(J, L, max_order, size, limit, encoding, shard_images, seed)
    options = RunOptions(device, backend, workers, processes, decode_threads, scheduler, on_error)
    root = Path(root) if root is not None else None
    splits = (split,) if isinstance(split, str) else tuple(split) if split is not None else None
    with contextlib.ExitStack() as held:
        if out is None:
            out = name_store(find_base_name(source), J)
        folder = check_out(out)
        stored = read_stored(folder, overwrite=overwrite)
        if stored is None and J is None:
            name_store("", J)
        opened = open_source(source, root=root, work_dir=folder.job)
        return _run(held, opened, folder, settings, options, splits, stored, overwrite, on_event)


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
    on_event: Callable[[Event], None] | None = None,
) -> ExtractReport:
    """Goes on with a store by its own settings; the arguments and errors are those of extract().

    root: where the source is now, by default where the last run found it; split: by default those the store has.
    """
    options = RunOptions(device, backend, workers, processes, decode_threads, scheduler, on_error)
    folder = StoreFolder(os.path.abspath(store))
    manifest = folder.read_manifest()
    splits = (split,) if isinstance(split, str) else tuple(split) if split is not None else None
    source = open_stored_source(folder, manifest, root=Path(root) if root is not None else None)
    with contextlib.ExitStack() as held:
        present = tuple(folder.splits(manifest)) or None
        return _run(held, source, folder, Settings(), options, splits or present, manifest, False, on_event)


def find_base_name(source: str | os.PathLike[str]) -> str:
    """What a source's default store is called after: its name, or a folder's own name."""
    return Path(os.path.abspath(source)).name


def read_stored(folder: StoreFolder, *, overwrite: bool) -> Manifest | None:
    """The manifest to go on with, None for a new store (or one that is to be overwritten)."""
    if overwrite or folder.read_root() is None:
        return None
    return folder.read_manifest()


def _run(
    held: contextlib.ExitStack,
    source: Source,
    folder: StoreFolder,
    settings: Settings,
    options: RunOptions,
    splits: tuple[str, ...] | None,
    stored: Manifest | None,
    overwrite: bool,
    on_event: Callable[[Event], None] | None,
) -> ExtractReport:
    """Prepares, locks, runs and reports; turns the machine's errors into ScatcacheError."""
    started = time.monotonic()

    def prepare_with(manifest: Manifest | None) -> Prepared:
        return prepare(
            source,
            folder,
            settings=settings,
            stored=manifest,
            splits=splits,
            device=options.device,
            backend=options.backend,
        )

    prepared = prepare_with(stored)
    try:
        held.enter_context(WriterLock(folder.job / "lock"))
        held.callback(_forget_unborn, folder)  # while the lock is held: another's lock file stays
        current = read_stored(folder, overwrite=overwrite)
        if current != stored:
            prepared = prepare_with(current)
        if overwrite and folder.read_root() is not None:
            folder.delete()
        run = JobRun(prepared, options, on_event or (lambda event: None))
        run.execute()
        return run.report(time.monotonic() - started)
    except OSError as error:
        if isinstance(error, ScatcacheError):
            raise
        raise _explain(error, folder) from error


def _forget_unborn(folder: StoreFolder) -> None:
    # A run that is refused before the store exists leaves nothing behind, STORE.job included.
    if not folder.path.exists():
        with contextlib.suppress(OSError):
            (folder.job / "job.json").unlink(missing_ok=True)
            (folder.job / "lock").unlink()
            folder.job.rmdir()


def _explain(error: OSError, folder: StoreFolder) -> ScatcacheError:
    place = error.filename or folder.path
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ScatcacheError(
            f"{folder.path}: {error.strerror}: free some space, then give the same command again: it goes on from here"
        )
    return ScatcacheError(f"{place}: {error.strerror or error}: mend it, then give the same command again")
