"""MNIST and Fashion-MNIST from their four idx files, packed or not."""

import gzip
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from scatcache.errors import SourceError
from scatcache.images.archives.checksums import find_unofficial, hash_md5
from scatcache.images.archives.stamps import Stamp, stamp_file
from scatcache.images.archives.unpack import inflate, unpack_once
from scatcache.images.datasets.mapped_records import Layout, RecordsPart
from scatcache.images.image_source import ImageSource
from scatcache.images.keys import show_path
from scatcache.images.roots import NotFound, locate_root
from scatcache.spec import GREY, Pixels

# Images and labels, by split.
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
NAMES = tuple(name for names in FILES.values() for name in names)
SIDE = 28
# Behind the magic number (0, 0, 8 for uint8, number of axes) and a size for each axis, big endian.
LAYOUT = Layout(16, (SIDE, SIDE), (0, 1))
LABELS_OFFSET = 8
N_CLASSES = 10
# The official training images are 47 MB.
MAX_BYTES = 2**30


@dataclass(frozen=True)
class IdxDataset:
    """One of the datasets that are published so. folder: torchvision's; md5s, packed_md5s: of the files and of their
    .gz, in the order of NAMES. The same bytes may be packed in several ways."""

    name: str
    title: str
    folder: str
    classes: tuple[str, ...]
    digests: tuple[str, ...]
    packed_digests: tuple[str, ...]

    @property
    def md5s(self) -> dict[str, str]:
        return dict(zip(NAMES, self.digests, strict=True))

    @property
    def packed_md5s(self) -> dict[str, str]:
        return {f"{name}.gz": md5 for name, md5 in zip(NAMES, self.packed_digests, strict=True)}


MNIST = IdxDataset(
    name="mnist",
    title="MNIST",
    folder="MNIST",
    classes=tuple("0123456789"),
    digests=(
        "6bbc9ace898e44ae57da46a324031adb",
        "a25bea736e30d166cdddb491f175f624",
        "2646ac647ad5339dbf082846283269ea",
        "27ae3e4e09519cfbb04c329615203637",
    ),
    packed_digests=(
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ),
)
FASHION_MNIST = IdxDataset(
    name="fashion-mnist",
    title="Fashion-MNIST",
    folder="FashionMNIST",
    classes=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    digests=(
        "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "9018921c3c673c538a1fc5bad174d6f9",
        "8181f5470baa50b63fa0f6fddb340f0a",
        "15d484375f8d13e6eb1aabb0c3f46965",
    ),
    packed_digests=(
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
)


def open_mnist(dataset: IdxDataset, root: Path | None = None, work_dir: Path | None = None) -> ImageSource:
    """Finds one of the datasets under root (or where locate_root looks), and checks it whole.

    work_dir: where packed files are kept, inflated, from run to run; by default beside them.

    Raises SourceError where it is not found, incomplete, truncated, malformed, labelled outside 0 to 9, or the other of
    the two; OSError as the disk does. Files whose md5 is not the published one are taken, with a warning.
    """
    wanted = f"{', '.join(NAMES)}, or their .gz,"
    root = locate_root(dataset.name, root, wanted, holds=lambda place: _find_folder(place, dataset) is not None)
    folder = _find_folder(root, dataset)
    assert folder is not None, "locate_root promised it"
    if missing := [name for name in NAMES if _find_file(folder, name) is None]:
        raise NotFound(
            f"{show_path(folder)} is incomplete: it lacks {', '.join(missing)}, or their .gz: put them there"
        )
    # Before anything is read of them.
    stamps = {name: stamp_file(path) for name in NAMES if (path := _find_file(folder, name))}
    unpacked = {name: _unpack(Path(stamp.path), name, work_dir or folder) for name, stamp in stamps.items()}
    warnings = find_unofficial(folder, dataset.md5s, dataset.title, unpacked=unpacked)
    if warnings:
        _refuse_other(folder, unpacked[NAMES[0]], dataset)
    parts = {split: _make_part(split, stamps, unpacked) for split in FILES}
    if warnings:
        for part in parts.values():
            part.map_records()
    return ImageSource(
        dataset.name,
        dataset.classes,
        parts,
        official=not warnings,
        root=root,
        warnings=warnings,
        pixels=Pixels(GREY, 1),
    )


def _find_folder(root: Path, dataset: IdxDataset) -> Path | None:
    """The folder under root with most of the files, the first of several, None where none has any."""
    folders = (root, root / "raw", root / dataset.folder / "raw")
    counts = {folder: sum(_find_file(folder, name) is not None for name in NAMES) for folder in folders}
    best = max(folders, key=lambda folder: counts[folder])
    return best if counts[best] else None


def _find_file(folder: Path, name: str) -> Path | None:
    """A file, unpacked before packed."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _unpack(path: Path, name: str, folder: Path) -> Path:
    if path.name == name:
        return path

    def write(target: Path) -> None:
        inflate(path, partial(gzip.open, path), target, max_bytes=MAX_BYTES)  # type: ignore[arg-type]

    return unpack_once(path, folder, name, write)


def _refuse_other(folder: Path, images: Path, dataset: IdxDataset) -> None:
    """Raises SourceError where the files, which are called alike, are those of the other dataset."""
    md5 = hash_md5(images)
    for other in (MNIST, FASHION_MNIST):
        if other is not dataset and md5 == other.md5s[NAMES[0]]:
            raise SourceError(
                f"{show_path(folder)} holds {other.title}, not {dataset.title}: extract {other.name}, or name the "
                f"folder of {dataset.title} with --root DIR"
            )


def _make_part(split: str, stamps: Mapping[str, Stamp], unpacked: Mapping[str, Path]) -> RecordsPart:
    """A split, its headers checked."""
    images, labels = FILES[split]
    n_images = _count_records(unpacked[images], (SIDE, SIDE), stamps[images].path)
    n_labels = _count_records(unpacked[labels], (), stamps[labels].path)
    if n_images != n_labels:
        raise SourceError(
            f"{show_path(stamps[images].path)} holds {n_images} images, {show_path(stamps[labels].path)} {n_labels} "
            f"labels: fetch both again"
        )
    read_labels = partial(_read_labels, unpacked[labels], stamps[labels].path)
    return RecordsPart(images, stamps[images], LAYOUT, partial(Path, unpacked[images]), read_labels)


def _count_records(path: Path, shape: tuple[int, ...], shown: str) -> int:
    """What the header of an idx file of uint8 says, which must be what the file holds. Raises SourceError."""
    n_axes = 1 + len(shape)
    with open(path, "rb") as file:
        header = file.read(4 + 4 * n_axes)
    expected = bytes((0, 0, 8, n_axes))
    if header[:4] != expected:
        raise SourceError(
            f"{show_path(shown)} begins with {header[:4].hex() or 'nothing'}: expected {expected.hex()}, an idx file "
            f"of bytes with {n_axes} axes; fetch it again"
        )
    if len(header) < 4 + 4 * n_axes:
        raise SourceError(f"{show_path(shown)} is truncated: it ends in its header; fetch it again")
    n_records, *found = struct.unpack(f">{n_axes}I", header[4:])
    if tuple(found) != shape:
        raise SourceError(f"{show_path(shown)} holds images of {found[0]}x{found[1]}: expected {SIDE}x{SIDE}")
    n_bytes, n_expected = path.stat().st_size, len(header) + n_records * int(np.prod(shape, dtype=int))
    if n_bytes != n_expected or not n_records:
        raise SourceError(
            f"{show_path(shown)} holds {n_bytes} bytes, its header says {n_records} records, {n_expected} bytes: fetch "
            f"it again"
        )
    return n_records


def _read_labels(path: Path, shown: str) -> np.ndarray:
    labels = np.fromfile(path, np.uint8, offset=LABELS_OFFSET)
    wrong = np.flatnonzero(labels >= N_CLASSES)
    if len(wrong):
        raise SourceError(
            f"{show_path(shown)} holds the label {labels[wrong[0]]} at record {wrong[0]}: expected 0 to {N_CLASSES - 1}"
        )
    return labels.astype(np.int64)
