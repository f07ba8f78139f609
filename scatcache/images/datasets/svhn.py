"""SVHN, house numbers cropped to digits, from its .mat files."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from scatcache.durable import NewFile
from scatcache.errors import SourceError
from scatcache.images.archives.checksums import find_unofficial
from scatcache.images.archives.mat_file import MALFORMED_MAT, read_variables
from scatcache.images.archives.staging import stage
from scatcache.images.archives.stamps import stamp_file
from scatcache.images.archives.unpack import unpack_once
from scatcache.images.datasets.mapped_records import Layout, RecordsPart
from scatcache.images.image_source import ImageSource
from scatcache.images.keys import show_path
from scatcache.images.roots import has_any, locate_root

EXTRA = "extra"
SPLITS = ("train", "test", EXTRA)
CLASSES = tuple("0123456789")
# MATLAB keeps the first axis together: an image is planes by colour, each column by column.
LAYOUT = Layout(0, (3, 32, 32), (2, 1, 0))
MD5S = {
    "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
    "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
    "extra_32x32.mat": "a93ce644f1a588dc4d68dda5feec44a7",
}
# Of extra, whose md5 would take seconds at every start, the size is compared.
EXTRA_BYTES = 1_329_278_602
# The official files hold 0.6 million at most.
MAX_RECORDS = 1_000_000
# No zlib stream grows by more.
_MAX_DEFLATION = 1032


def name_file(split: str) -> str:
    return f"{split}_32x32.mat"


def open_svhn(root: Path | None = None, work_dir: Path | None = None) -> ImageSource:
    """Finds SVHN's cropped digits under root (or where locate_root looks); the digit is the label.

    work_dir: where the images are kept, unpacked, from run to run; by default beside the files.

    Raises SourceError where it is not found, truncated, malformed or labelled outside 1 to 10; OSError as the disk
    does. Files whose md5 is not the published one are taken, with a warning.
    """
    wanted = [name_file(split) for split in SPLITS]
    root = locate_root("svhn", root, f"one of {', '.join(wanted)}", holds=has_any(*wanted))
    splits = tuple(split for split in SPLITS if (root / name_file(split)).is_file())
    parts: dict[str, RecordsPart] = {}
    warnings: tuple[str, ...] = ()
    for split in splits:
        path = root / name_file(split)
        stamp = stamp_file(path)
        unpack = partial(unpack_once, path, work_dir or root, f"{path.stem}.planes", partial(_unpack_planes, path))
        parts[split] = RecordsPart(path.stem, stamp, LAYOUT, unpack, partial(_read_digits, path))
        if found := _check_official(root, split):
            # Before anything is computed.
            parts[split].map_records()
        warnings += found
    absent = {split: f"put {name_file(split)} there, or give --download" for split in SPLITS if split not in splits}
    return ImageSource("svhn", CLASSES, parts, official=not warnings, root=root, warnings=warnings[:1], absent=absent)


def _check_official(root: Path, split: str) -> tuple[str, ...]:
    """A warning where a file is not the published one, or nothing."""
    name = name_file(split)
    if split != EXTRA:
        return find_unofficial(root, {name: MD5S[name]}, "SVHN")
    n_bytes = (root / name).stat().st_size
    if n_bytes == EXTRA_BYTES:
        return ()
    return (f"{show_path(root / name)} is not the official one: it has {n_bytes} bytes, not {EXTRA_BYTES}",)


def _unpack_planes(mat: Path, path: Path) -> None:
    """Writes all images of a file to path, as they lie in it, whole or not at all."""
    with stage(path.parent, path.name) as folder, NewFile(path, temporary=folder / path.name) as new:
        for block in _read_blocks(mat, "X"):
            new.write(block)
        new.commit()


def _read_digits(mat: Path) -> np.ndarray:
    """The digit of each image, int64 (n,): the file has 10 for 0."""
    labels = np.frombuffer(b"".join(_read_blocks(mat, "y")), np.uint8).astype(np.int64)
    wrong = labels[(labels < 1) | (labels > len(CLASSES))]
    if len(wrong):
        raise SourceError(
            f"{show_path(mat)} holds the label {wrong[0]}: expected 1 to {len(CLASSES)}, 10 for the digit 0"
        )
    return labels % len(CLASSES)


def _read_blocks(mat: Path, wanted: str) -> Iterator[bytes]:
    """X, uint8 (32, 32, 3, n), or y, uint8 (n, 1). Raises SourceError where the file holds anything else."""
    with open(mat, "rb") as file:
        try:
            _check_variables(mat, {entry.name: (entry.kind, entry.shape) for entry in read_variables(file)})
            for entry in read_variables(file):
                if entry.name == wanted:
                    yield from entry.read_blocks()
                    return
        except MALFORMED_MAT as error:
            raise SourceError(f"{show_path(mat)} is truncated or no MATLAB 5 file ({error}): fetch it again") from error


def _check_variables(mat: Path, found: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
    """Raises SourceError for variables of other kinds and shapes, and for more than the file can hold."""
    kind, shape = found.get("X", ("nothing", ()))
    n_images = shape[-1] if shape else 0
    n_most = min(MAX_RECORDS, mat.stat().st_size * _MAX_DEFLATION // LAYOUT.record_bytes)
    if (kind, shape) != ("uint8", (32, 32, 3, n_images)) or not 1 <= n_images <= n_most:
        raise SourceError(
            f"{show_path(mat)} holds X of {kind} {shape}: expected uint8 (32, 32, 3, n), n of 1 to {n_most}"
        )
    kind, shape = found.get("y", ("nothing", ()))
    if (kind, shape) != ("uint8", (n_images, 1)):
        raise SourceError(f"{show_path(mat)} holds y of {kind} {shape}: expected uint8 ({n_images}, 1), a label each")
