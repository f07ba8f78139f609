"""Checks every byte of a store against its receipts, and on demand coefficients against the images."""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scatcache.errors import StoreDamaged, StoreIncomplete, UnreadableImage
from scatcache.images.decode import decode
from scatcache.job.preparation import open_stored_source
from scatcache.scattering.batched import open_transform
from scatcache.scattering.paths import channel_table
from scatcache.store.files import to_json
from scatcache.store.folder import StoreFolder
from scatcache.store.layout import receipt_name, shard_name, status_name
from scatcache.store.manifest import Manifest
from scatcache.store.metadata import channel_chunk, describe_root, describe_split
from scatcache.store.reader import SplitReader
from scatcache.store.receipts import Receipt, summarize
from scatcache.store.rows import encode_status, with_crc

READ_BYTES = 2**20
# ||stored - recomputed|| / ||recomputed|| of one row: the dtype's rounding, and room for another backend's.
RECOMPUTE_TOLERANCE = {"float16": 1e-3, "float32": 1e-5}


@dataclass(frozen=True)
class Failure:
    """split, shard: where, None where it concerns all; path: relative to the store; reason: one line."""

    split: str | None
    shard: int | None
    path: str
    reason: str


@dataclass(frozen=True)
class VerifyReport:
    """ok: no failure; checked: shards; recomputed: rows compared with their images."""

    ok: bool
    checked: int
    failures: tuple[Failure, ...]
    recomputed: int = 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def verify(
    store: str | os.PathLike[str], *, recompute: float = 0.0, root: str | os.PathLike[str] | None = None
) -> VerifyReport:
    """Reads a whole store and compares it with its receipts, manifest and summaries.

    recompute: fraction, 0 to 1, of the readable rows to compute again from the images under root (by default where
    the last run found them). An incomplete split is a failure, rows recorded as unreadable are not. Raises NotAStore,
    SourceError where the images are not found, ValueError.
    """
    if not 0 <= recompute <= 1:
        raise ValueError(f"recompute is {recompute}: expected a fraction from 0 to 1")
    folder = StoreFolder(os.path.abspath(store))
    try:
        manifest = folder.read_manifest()
    except StoreDamaged as error:
        return VerifyReport(False, 0, (Failure(None, None, "zarr.json", str(error)),))
    failures = list(_check_root(folder, manifest))
    checked = recomputed = 0
    splits = folder.splits(manifest)
    if not splits:
        failures.append(Failure(None, None, ".", "it holds no split yet"))
    for split in splits:
        found, n_shards = _check_split(folder, manifest, split)
        failures += found
        checked += n_shards
        if recompute and not found:
            bad, n_rows = _recompute(folder, manifest, split, recompute, Path(root) if root is not None else None)
            failures += bad
            recomputed += n_rows
    return VerifyReport(not failures, checked, tuple(failures), recomputed)


def _check_root(folder: StoreFolder, manifest: Manifest) -> Iterator[Failure]:
    names = tuple(channel_table(manifest.spec))
    splits = folder.splits(manifest)
    members = {split: describe_split(manifest, split, channel_names=names) for split in splits}
    if (folder.path / "zarr.json").read_bytes() != to_json(describe_root(manifest, members), indent=2):
        yield Failure(None, None, "zarr.json", "the metadata is not what the manifest gives")


def _check_split(folder: StoreFolder, manifest: Manifest, split: str) -> tuple[list[Failure], int]:
    """(failures, shards checked) of one split."""
    failures = list(_check_small_files(folder, manifest, split))
    try:
        reader = SplitReader(folder, manifest, split, allow_partial=True)
    except StoreDamaged as error:
        return [*failures, Failure(split, None, split, str(error))], 0
    layout = manifest.splits[split]
    finished = reader.finished_shards()
    if reader.summary is None:
        reason = f"the split is incomplete: {len(finished)} of {layout.n_shards} shards are done, no summary"
        failures.append(Failure(split, None, f"{split}/coefficients/receipts/summary.json", reason))
    receipts = []
    for shard in finished:
        try:
            receipt = reader.receipt(shard)
        except (StoreDamaged, StoreIncomplete) as error:
            path = f"{split}/coefficients/receipts/{receipt_name(shard)}"
            failures.append(Failure(split, shard, path, str(error)))
            continue
        receipts.append(receipt)
        failures += _check_shard(folder, manifest, reader, receipt)
    whole = reader.summary is not None and len(receipts) == layout.n_shards
    if whole and summarize(receipts) != reader.summary:
        path = f"{split}/coefficients/receipts/summary.json"
        failures.append(Failure(split, None, path, "it is not the sum of the receipts"))
    if whole and not failures:
        failures += _check_with_zarr(reader)
    return failures, len(finished)


def _check_small_files(folder: StoreFolder, manifest: Manifest, split: str) -> Iterator[Failure]:
    channels = channel_table(manifest.spec)
    expected = {
        f"{split}/{name}/zarr.json".replace("//", "/"): to_json(document, indent=2)
        for name, document in describe_split(manifest, split, channel_names=tuple(channels)).items()
    }
    expected |= {f"{split}/{name}/c.0": with_crc(channel_chunk(values)) for name, values in channels.items()}
    for path, data in expected.items():
        try:
            if (folder.path / path).read_bytes() != data:
                yield Failure(split, None, path, "its bytes are not what the manifest gives")
        except FileNotFoundError:
            yield Failure(split, None, path, "the file is missing")


def _check_shard(
    folder: StoreFolder, manifest: Manifest, reader: SplitReader, receipt: Receipt
) -> Iterator[Failure]:
    split, shard = receipt.split, receipt.shard
    layout = manifest.splits[split]
    span = layout.rows_of(shard)
    ok = np.ones(len(span), bool)
    ok[[entry.row - span.start for entry in receipt.unreadable]] = False
    with contextlib.suppress(FileNotFoundError):
        status = folder.status(split, shard).read_bytes()
        if status != encode_status(ok, shard_images=layout.shard_images):
            path = f"{split}/status/{status_name(shard)}"
            yield Failure(split, shard, path, "the statuses are not those of the receipt")
    if not folder.status(split, shard).exists():
        yield Failure(split, shard, f"{split}/status/{status_name(shard)}", "the file is missing")
    path = f"{split}/coefficients/{shard_name(shard)}"
    try:
        found = hash_file(folder.shard(split, shard))
    except FileNotFoundError:
        yield Failure(split, shard, path, "the file is missing")
        return
    if found != receipt.sha256:
        yield Failure(split, shard, path, _locate_damage(reader, span))


def _locate_damage(reader: SplitReader, span: range) -> str:
    """What the reader says of the first row that it refuses."""
    for row in span:
        try:
            reader.read(np.array([row]))
        except StoreDamaged as error:
            return str(error)
    return "its bytes are not those of the receipt (none of the rows is touched)"


def hash_file(path: Path) -> str:
    """sha256 of a file's bytes, as receipts write it."""
    hashed = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(READ_BYTES):
            hashed.update(block)
    return "sha256:" + hashed.hexdigest()


def _check_with_zarr(reader: SplitReader) -> Iterator[Failure]:
    """The promise that any Zarr reader opens the store, kept on the first and the last row."""
    import zarr

    array = zarr.open_group(str(reader.folder.path), mode="r")[f"{reader.split}/coefficients"]
    assert isinstance(array, zarr.Array)
    for row in (0, reader.layout.n_rows - 1):
        theirs, ours = np.asarray(array[row]), reader.read(np.array([row]))[0]
        if theirs.dtype != ours.dtype or not np.array_equal(theirs, ours, equal_nan=True):
            reason = f"zarr-python reads other values in row {row} than scatcache"
            yield Failure(reader.split, row // reader.layout.shard_images, f"{reader.split}/coefficients", reason)


def _recompute(
    folder: StoreFolder, manifest: Manifest, split: str, fraction: float, root: Path | None
) -> tuple[list[Failure], int]:
    """(failures, rows compared) on rows spread evenly over the split."""
    layout = manifest.splits[split]
    assert layout.image_shape is not None
    reader = SplitReader(folder, manifest, split)
    source = open_stored_source(folder, manifest, root=root)
    transform = open_transform(manifest.spec, shape=layout.image_shape, device="cpu", backend="auto")
    unreadable = reader.unreadable()
    n_rows = max(1, round(fraction * layout.n_rows))
    chosen = [row for row in np.linspace(0, layout.n_rows - 1, n_rows).astype(int).tolist() if row not in unreadable]
    failures = []
    for row in chosen:
        reason = _compare_row(reader, row, source.read(split, reader.rows.key[row]), transform, manifest)
        if reason is not None:
            shard = row // layout.shard_images
            path = f"{split}/coefficients/{shard_name(shard)}"
            failures.append(Failure(split, shard, path, f"row {row} ({reader.rows.key[row]}): {reason}"))
    return failures, len(chosen)


def _compare_row(reader: SplitReader, row: int, data: Any, transform: Any, manifest: Manifest) -> str | None:
    try:
        image = decode(data, size=manifest.size)
    except UnreadableImage as error:
        return f"its image is unreadable now: {error}"
    if image.shape[:2] != manifest.splits[reader.split].image_shape:
        return f"its image has {image.shape[0]}x{image.shape[1]} pixels now"
    fresh = np.empty((1, *reader.row_shape), np.float32)
    transform(image[None], fresh)
    stored = reader.read(np.array([row])).astype(np.float64)
    error_norm = float(np.linalg.norm(stored - fresh) / max(float(np.linalg.norm(fresh)), 1e-30))
    if error_norm <= RECOMPUTE_TOLERANCE[reader.encoding.dtype]:
        return None
    return f"recomputed from its image it differs by {error_norm:.1e} of its norm"


