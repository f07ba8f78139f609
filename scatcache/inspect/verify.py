"""Checks every byte of a store against its receipts, and on demand coefficients against the images."""

import hashlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from scatcache.errors import StoreDamaged, StoreIncomplete, UnreadableImage, UsageError
from scatcache.images.catalogue import Source
from scatcache.images.decode import decode
from scatcache.inspect.failures import Failure, VerifyReport
from scatcache.inspect.strangers import check_documents, check_files
from scatcache.job.opening import open_source_of
from scatcache.scattering.batched import BatchTransform, open_transform
from scatcache.scattering.paths import channel_table
from scatcache.store.documents import expect
from scatcache.store.evidence import confirms
from scatcache.store.format.manifest import Manifest
from scatcache.store.format.metadata import channel_chunk
from scatcache.store.format.receipts import Receipt, Unreadable, encode_receipt_status, summarize
from scatcache.store.format.rows import ROW_ARRAYS, with_crc
from scatcache.store.places.place import LocalPlace, OpenFile, is_url
from scatcache.store.reader import SplitReader
from scatcache.store.records import MEND_ROOT, StoreView, open_view, receipt_path, shard_path, status_path, summary_path
from scatcache.views import ViewedImage

logger = logging.getLogger(__name__)

# Few requests where the store is remote, and little memory.
READ_BYTES = 8 * 2**20
# ||stored - recomputed|| / ||recomputed|| of one row: the dtype's rounding, and room for another backend's.
RECOMPUTE_TOLERANCE = {"float16": 1e-3, "float32": 1e-5}


def verify(
    store: str | os.PathLike[str], *, recompute: float = 0.0, root: str | os.PathLike[str] | None = None
) -> VerifyReport:
    """Reads a whole store and compares it with its receipts, manifest and summaries; a local path or a URL.

    recompute: fraction, 0 to 1, of the rows to compute again from the images under root (by default where the last run
    found them, which a store at a URL does not remember). An incomplete split is a failure, rows recorded as unreadable
    are not, unless recompute finds that their images decode now.

    Raises NotAStore, SourceError where the images are not found, UsageError.
    """
    if not 0 <= recompute <= 1:
        raise UsageError(f"recompute is {recompute}: expected a fraction from 0 to 1")
    view = open_view(store)
    try:
        manifest = view.read_manifest()
        _check_receipts_are_of(view, manifest)
    except StoreDamaged as error:
        return VerifyReport(False, 0, (Failure(None, None, "zarr.json", _say(error, view)),))
    images = Path(root) if root is not None else None
    # A store at a URL is read for long before anybody misses its images.
    source = open_source_of(store, manifest, root=images) if recompute and is_url(store) else None
    splits = view.splits(manifest)
    lost = view.lost_splits(manifest)
    expected = expect(view.place, manifest, [*splits, *lost], channel_names=tuple(channel_table(manifest.spec)))
    found_in_documents, notes = check_documents(view, expected)
    strays, beside = check_files(view, manifest, [*splits, *lost], expected)
    failures = [failure for failure in found_in_documents if failure.split is None or failure.path in _paths_of(lost)]
    checked = recomputed = 0
    if not splits and not lost:
        failures.append(Failure(None, None, ".", "it holds no split yet"))
    sound = []
    for split in splits:
        inner, n_shards = _check_split(view, manifest, split)
        found = [failure for failure in found_in_documents if failure.split == split] + inner
        if not found and not failures:
            found = list(_check_with_zarr(SplitReader(view, manifest, split)))
        if not found:
            sound.append(split)
        failures += found
        checked += n_shards
    failures += strays
    # Afterwards, and only of a sound store: without the images there would be no report of the damage.
    for split in sound if recompute and not failures else []:
        source = source or open_source_of(store, manifest, root=images)
        bad, n_rows = _recompute(SplitReader(view, manifest, split), source, recompute)
        failures += bad
        recomputed += n_rows
    return VerifyReport(not failures, checked, tuple(failures), recomputed, (*notes, *beside))


def _paths_of(splits: list[str]) -> set[str]:
    return {f"{split}/zarr.json" for split in splits}


def _check_receipts_are_of(view: StoreView, manifest: Manifest) -> None:
    """Raises StoreDamaged where no receipt is of this manifest; at a URL the summary's own check has to do."""
    if isinstance(view.place, LocalPlace) and confirms(view.place.path, manifest.digest) is False:
        raise StoreDamaged(f"zarr.json was edited: no receipt was made under the settings that it states: {MEND_ROOT}")


def _check_split(view: StoreView, manifest: Manifest, split: str) -> tuple[list[Failure], int]:
    """(failures, shards checked) of one split."""
    failures = list(_check_small_files(view, manifest, split))
    try:
        reader = SplitReader(view, manifest, split, allow_partial=True)
    except StoreIncomplete as error:
        return [*failures, Failure(split, None, summary_path(split), _say(error, view))], 0
    except StoreDamaged as error:
        known = {summary_path(split), *(f"{split}/{name}/c.0" for name in ROW_ARRAYS)}
        if not known & {failure.path for failure in failures}:
            # The row arrays are sound, each for itself, and together not those of the receipts.
            failures.append(Failure(split, None, split, _say(error, view)))
        return failures, 0
    layout = manifest.splits[split]
    finished = reader.finished_shards()
    if reader.summary is None:
        reason = f"the split is incomplete: {len(finished)} of {layout.n_shards} shards are done, no summary"
        failures.append(Failure(split, None, summary_path(split), reason))
    receipts = []
    for shard in finished:
        try:
            receipt = reader.receipt(shard)
        except (StoreDamaged, StoreIncomplete) as error:
            failures.append(Failure(split, shard, receipt_path(split, shard), _say(error, view)))
            continue
        receipts.append(receipt)
        failures += _check_shard(view, manifest, reader, receipt)
    whole = reader.summary is not None and len(receipts) == layout.n_shards
    if whole and summarize(receipts) != reader.summary:
        failures.append(Failure(split, None, summary_path(split), "it is not the sum of the receipts"))
    return failures, len(finished)


def _say(error: Exception, view: StoreView) -> str:
    """What the reader said, without the store's path and the advice to run what is running."""
    return str(error).removeprefix(f"{view.name}: ").removesuffix(": see `scatcache verify`")


def _check_small_files(view: StoreView, manifest: Manifest, split: str) -> Iterator[Failure]:
    channels = channel_table(manifest.spec)
    expected = {f"{split}/{name}/c.0": with_crc(channel_chunk(values)) for name, values in channels.items()}
    try:
        summary = view.read_summary(split)
    except StoreDamaged as error:
        yield Failure(split, None, summary_path(split), _say(error, view))
    else:
        if summary is not None and summary.manifest != manifest.digest:
            reason = "it belongs to another store, or zarr.json was edited"
            yield Failure(split, None, summary_path(split), reason)
    for name in ROW_ARRAYS:
        try:
            view.read_row_array(manifest, split, name)
        except StoreDamaged as error:
            yield Failure(split, None, f"{split}/{name}/c.0", _say(error, view))
    for path, data in expected.items():
        try:
            if view.place.read(path) != data:
                yield Failure(split, None, path, "its bytes are not what the manifest gives")
        except (FileNotFoundError, StoreDamaged) as error:
            yield Failure(split, None, path, _say_unread(error))


def _say_unread(error: Exception) -> str:
    return "the file is missing" if isinstance(error, FileNotFoundError) else str(error)


def _check_shard(view: StoreView, manifest: Manifest, reader: SplitReader, receipt: Receipt) -> Iterator[Failure]:
    split, shard = receipt.split, receipt.shard
    layout = manifest.splits[split]
    span = layout.rows_of(shard)
    path = status_path(split, shard)
    try:
        if view.place.read(path) != encode_receipt_status(layout, receipt):
            yield Failure(split, shard, path, "the statuses are not those of the receipt")
    except (FileNotFoundError, StoreDamaged) as error:
        yield Failure(split, shard, path, _say_unread(error))
    path = shard_path(split, shard)
    try:
        found = hash_file(view.place.open(path, tail_bytes=READ_BYTES))
    except (FileNotFoundError, StoreDamaged) as error:
        yield Failure(split, shard, path, _say_unread(error))
        return
    if found != receipt.sha256:
        yield Failure(split, shard, path, _locate_damage(reader, span))


def _locate_damage(reader: SplitReader, span: range) -> str:
    """What the reader says of the first row that it refuses."""
    for row in span:
        try:
            reader.read(np.array([row]))
        except StoreDamaged as error:
            return _say(error, reader.view)
    return "its bytes are not those of the receipt (none of the rows is touched)"


def hash_file(file: OpenFile) -> str:
    """sha256 of a file's bytes, as receipts write it."""
    hashed = hashlib.sha256()
    for start in range(0, file.file_bytes, READ_BYTES):
        hashed.update(file.read_range(start, READ_BYTES))
    return "sha256:" + hashed.hexdigest()


def _check_with_zarr(reader: SplitReader) -> Iterator[Failure]:
    """The promise that any Zarr reader opens the store, kept on the first and the last row."""
    rows = (0, reader.layout.n_rows - 1)
    found = reader.view.place.read_with_zarr(f"{reader.split}/coefficients", rows)
    if found is None:
        logger.warning("%s: zarr-python has no way to read it, so that is not compared", reader.view.name)
        return
    for row, theirs in zip(rows, found, strict=True):
        ours = reader.read(np.array([row]))[0]
        if theirs.dtype != ours.dtype or not np.array_equal(theirs, ours, equal_nan=True):
            reason = f"zarr-python reads other values in row {row} than scatcache"
            yield Failure(reader.split, row // reader.layout.shard_images, f"{reader.split}/coefficients", reason)


def _recompute(reader: SplitReader, source: Source, fraction: float) -> tuple[list[Failure], int]:
    """(failures, rows compared) on rows spread evenly over the split."""
    split, layout = reader.split, reader.layout
    assert layout.image_shape is not None
    transform = open_transform(reader.manifest.spec, shape=layout.image_shape, device="cpu", backend="auto")
    unreadable = reader.unreadable()
    n_rows = max(1, round(fraction * layout.n_rows))
    spread = np.linspace(0, layout.n_rows - 1, n_rows).astype(int).tolist()
    chosen = [row for row in spread if row not in unreadable]
    failures = _find_mended(reader, [unreadable[row] for row in spread if row in unreadable], source)
    reasons: dict[int, str] = {}
    for start in range(0, len(chosen), transform.batch_images):
        reasons |= _compare_rows(reader, chosen[start : start + transform.batch_images], source, transform)
    for row, reason in sorted(reasons.items()):
        shard = row // layout.shard_images
        view = f", view {reader.rows.view[row]}" if reader.manifest.views else ""
        reason = f"row {row} ({reader.rows.key[row]}{view}): {reason}"
        failures.append(Failure(split, shard, shard_path(split, shard), reason))
    return failures, len(chosen)


def _find_mended(reader: SplitReader, recorded: list[Unreadable], source: Source) -> list[Failure]:
    """A failure for each image that was recorded as unreadable and now decodes."""
    failures = {}
    for entry in recorded:
        if entry.key in failures:
            continue
        try:
            image = decode(source.read(reader.split, entry.key), size=reader.manifest.size)
        except (UnreadableImage, OSError):
            continue
        if image.shape[:2] == reader.layout.image_shape:
            shard = entry.row // reader.layout.shard_images
            reason = (
                f"row {entry.row} ({entry.key}): recorded as unreadable ({entry.reason}), its image decodes now: give "
                f"`scatcache resume {reader.view.name} --retry-unreadable`"
            )
            failures[entry.key] = Failure(reader.split, shard, receipt_path(reader.split, shard), reason)
    return list(failures.values())


def _compare_rows(reader: SplitReader, rows: list[int], source: Source, transform: BatchTransform) -> dict[int, str]:
    """How each row differs from its image; nothing of those that do not."""
    manifest = reader.manifest
    images: dict[int, np.ndarray] = {}
    reasons: dict[int, str] = {}
    for row in rows:
        key = reader.rows.key[row]
        try:
            image = decode(source.read(reader.split, key), size=manifest.size)
        except (UnreadableImage, OSError) as error:
            reasons[row] = f"its image is unreadable now: {error}"
            continue
        if image.shape[:2] == reader.layout.image_shape:
            viewed = ViewedImage(image, manifest.views, key=key, seed=manifest.seed)
            images[row] = viewed.cut(int(reader.rows.view[row]))
        else:
            reasons[row] = f"its image has {image.shape[0]}x{image.shape[1]} pixels now"
    if not images:
        return reasons
    fresh = np.empty((len(images), *reader.row_shape), np.float32)
    transform(np.stack(list(images.values())), fresh)
    stored = reader.read(np.array(list(images)))
    for row, ours, theirs in zip(images, stored, fresh, strict=True):
        difference = np.linalg.norm(ours.astype(np.float64) - theirs) / max(float(np.linalg.norm(theirs)), 1e-30)
        # Not "greater than": NaN differs.
        if not difference <= RECOMPUTE_TOLERANCE[reader.encoding.dtype]:
            reasons[row] = f"recomputed from its image it differs by {difference:.1e} of its norm"
    return reasons
