"""Small labelled samples of CIFAR-10 as the authors of the poster draw them, and their images as a dataset object."""

import hashlib
from pathlib import Path

import numpy as np

import scatcache
from pipelines.data import Store, Wanted, name_store, open_or_make, open_store, tell_extraction
from pipelines.recipe import Options

CLASS_IMAGES = 5000


def draw_sample(labels: np.ndarray, n_images: int, *, seed: int) -> np.ndarray:
    """int64 (n_images,): source rows of a training sample with as many images of each of the 10 classes.

    labels: int64 (50000,), in file order. As in the authors' code, the first n_images / 10 numbers of one permutation,
    numpy.random.RandomState(seed).permutation(5000), index the images of every class in file order; sorted here.
    Raises ValueError where n_images is no multiple of the number of classes, SourceError where a class has not 5000
    images.
    """
    classes, counts = np.unique(labels, return_counts=True)
    if n_images % len(classes) or not 0 < n_images <= len(classes) * CLASS_IMAGES:
        raise ValueError(f"n_images is {n_images}: expected a multiple of {len(classes)}, as many for each class")
    if (counts != CLASS_IMAGES).any():
        raise scatcache.SourceError(
            f"the classes have {counts.tolist()} images: expected {CLASS_IMAGES} each; leave --limit out"
        )
    chosen = np.random.RandomState(seed).permutation(CLASS_IMAGES)[: n_images // len(classes)]
    return np.sort(np.concatenate([np.flatnonzero(labels == label)[chosen] for label in classes]))


class Sample:
    """The images of a sample, as scatcache.extract takes them: item i is (uint8 (32, 32, 3), label).

    rows: int64, source rows of CIFAR-10's training split; targets: their labels; version: tells the pixels of this
    sample from another's.
    """

    def __init__(self, root: Path | None, n_images: int, *, seed: int):
        source = scatcache.open_source("cifar10", root=root)
        listed = source.splits["train"].listing.rows
        labels = listed.labels
        self.rows = draw_sample(labels, n_images, seed=seed)
        self.targets = labels[self.rows].tolist()
        self.classes = source.classes
        self._part = source.splits["train"]
        self.version = hashlib.sha256(self.rows.tobytes()).hexdigest()[:16]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return scatcache.decode(self._part.read(int(self.rows[index])), size=None), self.targets[index]


def open_sample(
    options: Options, n_images: int, *, seed: int, spec: scatcache.ScatteringSpec, views: int | str | None
) -> Store:
    """The store of a sample with views of each image, as extract takes them, extracted first where it is not there.

    With --smoke: that of the photographs. --limit does not shorten it. Raises what open_store raises.
    """
    name = f"cifar10-{n_images}-seed{seed}"
    wanted = Wanted(name, spec, size=32, splits=("all",), views=views)
    if options.smoke:
        return open_store(options, wanted)
    path = options.stores / name_store(wanted)

    def extract() -> None:
        sample = Sample(options.root, n_images, seed=seed)
        scatcache.extract(
            sample,
            name=name,
            version=sample.version,
            out=path,
            J=spec.J,
            L=spec.L,
            max_order=spec.max_order,
            grid=spec.grid,
            views=views,
            device=options.device,
            on_event=tell_extraction(path),
        )

    return open_or_make(path, wanted, extract, device=options.device)
