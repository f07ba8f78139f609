"""Small stores of the format that docs/format.md describes, kept in tests/data for every later version to open.

    python -m tests.store.golden FOLDER

makes them, and golden.json with the values that they must give. Those that are kept are never made again: a store that
an earlier version wrote is what they stand for. A new format gets stores of its own beside them.
"""

import argparse
import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import scatcache
from scatcache.scattering.filters import filter_bank_hash
from scatcache.scattering.paths import channel_table
from scatcache.spec import Pixels, ScatteringSpec
from scatcache.store.format.encodings import find_encoding
from scatcache.store.format.layout import Generation, SplitLayout
from scatcache.store.format.manifest import Manifest
from scatcache.store.format.receipts import Receipt, Unreadable
from scatcache.store.format.row_arrays import RowTable
from scatcache.store.format.shard_file import ShardEncoder
from scatcache.store.format.store_settings import Settings
from scatcache.store.format.summaries import finish_split
from scatcache.store.places.local import LocalPlace
from scatcache.store.writer import StoreWriter

SETTINGS: dict[str, Any] = {"J": 1, "L": 2, "max_order": 1, "shard_images": 3, "workers": 1, "device": "cpu"}
SIDE, UNREADABLE = 4, 2
# What is kept of the maps, and coefficients that are quantised.
REDUCED: dict[str, dict[str, Any]] = {
    "pooled": {"pool": 1},
    "angles": {"J": 2, "max_order": 2, "angles": "mean"},
    "quantised": {"encoding": "quantised", "step": 0.5},
    "quantised-zstd": {"encoding": "quantised-zstd", "step": 0.02},
    "quantised-pooled": {"J": 2, "max_order": 2, "pool": 1, "angles": "mean", "encoding": "quantised", "step": 0.1},
}
GENERATIONS, TARGETS, NATIVE = "generations.zarr", "targets.zarr", "native.zarr"
# Of the store of two generations: positions 0 to 4 and 6 to 7, a gap between them.
LAYOUT = SplitLayout((SIDE, SIDE), 2, 1, (Generation(5, 5, "sha256:first"), Generation(2, 6, "sha256:second")))
REMOVED, LOST = 1, 3
# Two for each position; none are known of position 2, and gaps have none.
TARGET = np.array([(row / 4, -row) if row not in (2, 5) else (np.nan, np.nan) for row in range(8)], np.float32)


def make_golden(folder: Path) -> None:
    """Every store and golden.json in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        images = draw(Path(scratch) / "images")
        for name in ("float16", "float16raw", "float32"):
            scatcache.extract(images, out=folder / f"{name}.zarr", encoding=name, **SETTINGS)
        scatcache.extract(images, out=folder / "views.zarr", views=3, view_padding=1, **SETTINGS)
        for name, settings in REDUCED.items():
            scatcache.extract(images, out=folder / f"{name}.zarr", **{**SETTINGS, **settings})
    make_by_hand(folder / GENERATIONS)
    make_by_hand(folder / TARGETS, target=TARGET)
    make_by_hand(folder / NATIVE, pixels=Pixels("native", 1, "float32", 1.0), encoding="float32")
    for path in folder.glob("*.zarr.job"):
        shutil.rmtree(path)
    expected = {path.name: read_store(path) for path in sorted(folder.glob("*.zarr"))}
    (folder / "golden.json").write_text(json.dumps(expected, indent=1) + "\n")


def draw(folder: Path) -> Path:
    """Seven images of noise in the classes a and b, one of which holds no image."""
    rng = np.random.default_rng(0)
    for image in range(7):
        path = folder / "ab"[image % 2] / f"{image}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(path)
        if image == UNREADABLE:
            path.write_bytes(b"no image")
    return folder


def make_by_hand(
    path: Path, *, target: np.ndarray | None = None, pixels: Pixels | None = None, encoding: str = "float16"
) -> None:
    """A store of two generations, by the functions of the format alone: no run makes one yet."""
    pixels = pixels or Pixels()
    spec = ScatteringSpec(J=1, L=2, max_order=1, colours=pixels.colours)
    settings = Settings(J=1, L=2, max_order=1, shard_images=2).merge(
        None, pixels=pixels.kind, scale=pixels.scale, encoding=encoding
    )
    manifest = Manifest(
        settings, filter_bank_hash(spec), "folder", None, ("a", "b"), colours=pixels.colours, dtype=pixels.dtype
    )
    layout = replace(LAYOUT, n_targets=0 if target is None else target.shape[1])
    key = np.array(["a/1", "b/0", "a/0", "b/2", "b/1", "", "a/3", "b/3"], object)
    source_index = np.array([1, 2, 0, 4, 3, 0, 5, 6])
    label = np.array([0, 1, 0, 1, 1, 0, 0, 1])
    rows = RowTable(key, label, source_index, np.zeros(8, np.uint16), np.where(key == "", 0, 100), target)
    writer, channels = StoreWriter(LocalPlace(path)), channel_table(spec)
    writer.create(manifest)
    writer.add_split(manifest, "all", layout, rows=rows, channels=channels)
    receipts = [publish_shard(writer, manifest, rows, shard) for shard in range(layout.n_shards)]
    writer.publish_split(finish_split(receipts, layout, rows, removed=[REMOVED]))
    writer.consolidate(manifest, channels=channels)


def publish_shard(writer: StoreWriter, manifest: Manifest, rows: RowTable, shard: int) -> Receipt:
    """A shard whose coefficients are their row's position and a hundredth for each value."""
    shape, encoding = manifest.spec.output_shape(SIDE, SIDE), find_encoding(manifest.encoding)
    span = LAYOUT.rows_of(shard)
    read = [row for row in span if row != LOST]
    values = {row: (row + np.arange(np.prod(shape)).reshape(shape) / 100).astype(encoding.dtype) for row in read}
    with writer.put_shard("all", shard) as file:
        encoder = ShardEncoder(file.write, n_chunks=LAYOUT.n_chunks)
        for row in span:
            encoder.append(encoding.encode(values[row][None]) if row in values else None)
        digests = encoder.finish()
        file.commit(lambda: None)
    stored = np.stack([values[row] for row in read]).astype(np.float64)
    receipt = Receipt(
        split="all",
        shard=shard,
        settings=manifest.digest,
        rows=rows.digest(span),
        image_shape=LAYOUT.image_shape,
        n_rows=len(span),
        n_ok=len(read),
        file_bytes=digests.file_bytes,
        sha256=digests.sha256,
        index_crc32c=digests.index_crc32c,
        chunk_bytes=digests.chunk_bytes,
        chunk_crc32c=digests.chunk_crc32c,
        sums=tuple(stored.sum(axis=(0, 2, 3)).tolist()),
        square_sums=tuple((stored**2).sum(axis=(0, 2, 3)).tolist()),
        unreadable=tuple(Unreadable(row, rows.key[row], "it holds no image") for row in span if row == LOST),
        backend={"name": "none", "core": "", "device": "cpu"},
        versions={},
    )
    writer.publish_receipt(receipt)
    return receipt


def read_store(path: Path) -> dict[str, Any]:
    """All that open_cache tells of a store's only split, as JSON has it."""
    cache = scatcache.open_cache(path)
    targets = None if cache.targets is None else cache.targets.tolist()
    # Of NaN, which JSON lacks and which equals nothing.
    known = [[None if value != value else value for value in row] for row in targets or ()]
    return {
        **({} if targets is None else {"targets": known}),
        **({} if cache.manifest.pixels == Pixels() else {"pixels": cache.manifest.pixels.to_dict()}),
        "split": cache.split_name,
        "dtype": str(cache.dtype),
        "row_shape": list(cache.row_shape),
        "classes": list(cache.classes),
        "keys": cache.keys,
        "labels": cache.labels.tolist(),
        "views": cache.views.tolist(),
        "readable": cache.readable.tolist(),
        "mean": cache.channel_mean.tolist(),
        "std": cache.channel_std.tolist(),
        "coefficients": [row.ravel().tolist() for row in cache.coefficients(cache.readable)],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    make_golden(parser.parse_args().folder)
