"""Checks every byte of a store against its receipts, and on demand coefficients against the images."""

import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from scatcache.errors import StoreDamaged, UnreadableImage, UsageError
from scatcache.images.decode import decode_noted
from scatcache.images.image_source import ImageSource
from scatcache.images.source import Part
from scatcache.inspect.failures import Failure, VerifyReport
from scatcache.inspect.split_check import check_split, name_failure
from scatcache.inspect.strangers import check_documents, check_files
from scatcache.job.pixels import check_form, decoding_of
from scatcache.job.shard_sink import BEYOND
from scatcache.job.stored_source import open_source_of
from scatcache.remote.urls import is_url
from scatcache.scattering.batched import BatchTransform, open_transform
from scatcache.scattering.paths import channel_table
from scatcache.store.documents import expect
from scatcache.store.evidence import confirms
from scatcache.store.format.encodings import Encoding
from scatcache.store.format.manifest import Manifest
from scatcache.store.format.receipts import Unreadable
from scatcache.store.format.row_arrays import OK, UNREADABLE
from scatcache.store.reader import SplitReader
from scatcache.store.records import MEND_ROOT, StoreRecords, open_records, receipt_path, shard_path
from scatcache.store.split_records import SplitRecords
from scatcache.views import ViewedImage

logger = logging.getLogger(__name__)


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
    records = open_records(store)
    try:
        manifest = records.read_manifest()
        _check_receipts_are_of(records, manifest)
    except StoreDamaged as error:
        return VerifyReport(False, 0, (Failure(None, None, "zarr.json", name_failure(error, records)),))
    images = Path(root) if root is not None else None
    # A store at a URL is read for long before anybody misses its images.
    source = open_source_of(store, manifest, root=images) if recompute and is_url(store) else None
    sound, report = _check_store(records, manifest)
    # Afterwards, and only of a sound store: without the images there would be no report of the damage.
    failures, recomputed = [*report.failures], 0
    for split in sound if recompute and not failures else []:
        source = source or open_source_of(store, manifest, root=images)
        bad, n_rows = _recompute(SplitReader(SplitRecords(records, manifest, split)), source, recompute)
        failures += bad
        recomputed += n_rows
    return replace(report, ok=not failures, failures=tuple(failures), recomputed=recomputed)


def _check_store(records: StoreRecords, manifest: Manifest) -> tuple[list[str], VerifyReport]:
    """(splits without a failure, the report) on all that the store holds."""
    splits, lost = records.splits(), records.lost_splits()
    found = {split: records.find_layouts(manifest, split) for split in [*splits, *lost]}
    layouts = {split: layouts[0] for split, layouts in found.items() if layouts}
    expected = expect(records.place, manifest, layouts, channels=manifest.add_step(channel_table(manifest.spec)))
    in_documents, notes = check_documents(records, expected)
    strays, beside = check_files(records, manifest, found, layouts, expected)
    lost_paths = {f"{split}/zarr.json" for split in lost}
    failures = [failure for failure in in_documents if failure.split is None or failure.path in lost_paths]
    unknown = [split for split in lost if split not in layouts]
    failures += [Failure(split, None, f"{split}/zarr.json", "the file is missing") for split in unknown]
    if not splits and not lost:
        failures.append(Failure(None, None, ".", "it holds no split yet"))
    sound, checked = [], 0
    for split in splits:
        inner, n_shards = check_split(records, manifest, split)
        in_split = [failure for failure in in_documents if failure.split == split]
        in_split += [failure for failure in inner if failure.path not in {known.path for known in in_split}]
        if not in_split and not failures:
            in_split = list(_check_with_zarr(SplitReader(SplitRecords(records, manifest, split))))
        if not in_split:
            sound.append(split)
        failures += in_split
        checked += n_shards
    failures += strays
    return sound, VerifyReport(not failures, checked, tuple(failures), notes=(*notes, *beside))


def _check_receipts_are_of(records: StoreRecords, manifest: Manifest) -> None:
    """Raises StoreDamaged where no receipt is of this manifest; at a URL the summary's own check has to do."""
    if confirms(records.place, manifest.digest) is False:
        raise StoreDamaged(f"zarr.json was edited: no receipt was made under the settings that it states: {MEND_ROOT}")


def _check_with_zarr(reader: SplitReader) -> Iterator[Failure]:
    """The promise that any Zarr reader opens the store, kept on the first and the last row."""
    rows, store = (0, reader.layout.n_positions - 1), reader.records.store
    found = store.place.read_with_zarr(f"{reader.split}/coefficients", rows)
    if found is None:
        logger.warning(
            "%s: split %s: not compared with zarr-python, which cannot read it there", store.name, reader.split
        )
        return
    for row, theirs in zip(rows, found, strict=True):
        ours = reader.read(np.array([row]))[0]
        if theirs.dtype != ours.dtype or not np.array_equal(theirs, ours, equal_nan=True):
            reason = f"zarr-python reads other values in row {row} than scatcache"
            yield Failure(reader.split, row // reader.layout.shard_images, f"{reader.split}/coefficients", reason)


def _recompute(reader: SplitReader, source: ImageSource, fraction: float) -> tuple[list[Failure], int]:
    """(failures, rows compared) on rows spread evenly over the split."""
    split, layout = reader.split, reader.layout
    manifest = reader.manifest
    transform = open_transform(manifest.spec, layout.image_shape, pixels=manifest.pixels)
    status, unreadable = reader.records.status, reader.records.unreadable
    n_rows = max(1, round(fraction * layout.n_rows))
    spread = np.flatnonzero(layout.is_row())[np.linspace(0, layout.n_rows - 1, n_rows).astype(int)].tolist()
    chosen = [row for row in spread if status[row] == OK]
    failures = _find_mended(reader, [unreadable[row] for row in spread if status[row] == UNREADABLE], source)
    reasons: dict[int, str] = {}
    for start in range(0, len(chosen), transform.batch_images):
        reasons |= _compare_rows(reader, chosen[start : start + transform.batch_images], source, transform)
    for row, reason in sorted(reasons.items()):
        shard = row // layout.shard_images
        view = f", view {reader.records.rows.view[row]}" if reader.manifest.views else ""
        reason = f"row {row} ({reader.records.rows.key[row]}{view}): {reason}"
        failures.append(Failure(split, shard, shard_path(split, shard), reason))
    return failures, len(chosen)


def _find_mended(reader: SplitReader, recorded: list[Unreadable], source: ImageSource) -> list[Failure]:
    """A failure for each image that was recorded as unreadable and now decodes."""
    failures = {}
    for entry in recorded:
        # Of an image that decodes, and whose coefficients no integer of the store holds, there is nothing to mend.
        if entry.key in failures or entry.reason.startswith(BEYOND):
            continue
        try:
            _read_image(source.find(reader.split), entry.key, reader)
        except (UnreadableImage, OSError):
            continue
        else:
            shard = entry.row // reader.layout.shard_images
            reason = (
                f"row {entry.row} ({entry.key}): recorded as unreadable ({entry.reason}), its image decodes now: give "
                f"`scatcache resume {reader.records.store.name} --retry-unreadable`"
            )
            failures[entry.key] = Failure(reader.split, shard, receipt_path(reader.split, shard), reason)
    return list(failures.values())


def _read_image(part: Part, key: str, reader: SplitReader) -> np.ndarray:
    """One image by its key. Raises UnreadableImage also where it is none of the split any more, OSError."""
    i = part.listing.rows.find(key)
    if i is None:
        raise UnreadableImage("the source lists it no more")
    image = decode_noted(part.read(i), decoding_of(reader.manifest)).pixels
    check_form(image, reader.manifest, reader.layout.image_shape)
    return image


def _compare_rows(
    reader: SplitReader, rows: list[int], source: ImageSource, transform: BatchTransform
) -> dict[int, str]:
    """How each row differs from its image; nothing of those that do not."""
    manifest = reader.manifest
    images: dict[int, np.ndarray] = {}
    reasons: dict[int, str] = {}
    for row in rows:
        key = reader.records.rows.key[row]
        try:
            image = _read_image(source.find(reader.split), key, reader)
        except (UnreadableImage, OSError) as error:
            reasons[row] = f"its image is unreadable now: {error}"
            continue
        viewed = ViewedImage(image, manifest.views, key=key, seed=manifest.seed)
        images[row] = viewed.cut(int(reader.records.rows.view[row]))
    if not images:
        return reasons
    fresh = np.empty((len(images), *reader.row_shape), np.float32)
    transform(np.stack(list(images.values())), fresh)
    stored = reader.read(np.array(list(images)))
    for row, ours, theirs in zip(images, stored, fresh, strict=True):
        difference = name_difference(reader.encoding, ours, theirs)
        if difference is not None:
            reasons[row] = f"recomputed from its image it differs by {difference}"
    return reasons


def name_difference(encoding: Encoding, stored: np.ndarray, fresh: np.ndarray) -> str | None:
    """How much a stored row differs from its coefficients, float32 (n_channels, h, w); None where that is rounding."""
    difference, steps = stored.astype(np.float64) - fresh, encoding.steps
    if steps is None:
        share = np.linalg.norm(difference) / max(float(np.linalg.norm(fresh)), 1e-30)
        # Not "greater than": NaN differs.
        return None if share <= encoding.tolerance else f"{share:.1e} of its norm"
    step = steps.astype(np.float64)[:, None, None]
    # Half a step, and what another backend rounds otherwise.
    allowed = (0.5 + encoding.tolerance) * step + encoding.tolerance * np.abs(fresh).max()
    difference = np.abs(step * stored - fresh)
    if (difference <= allowed).all():
        return None
    return f"{np.max(difference / step):.2g} steps of a channel, expected half a one at most"
