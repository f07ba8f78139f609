"""CIFAR-10: what its archives and their files are called, and hold; see cifar.py."""

from pathlib import Path

from scatcache.images.archives.pickles import load_pickled_fields
from scatcache.images.datasets.cifar import Cifar, Release, load_python_batch, map_binary_batch, open_cifar, read_names
from scatcache.images.image_source import ImageSource

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
STEMS = {
    "train": ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"),
    "test": ("test_batch",),
}
FORMS = (
    Release(
        folder="cifar-10-batches-bin",
        archive="cifar-10-binary.tar.gz",
        suffix=".bin",
        meta="batches.meta.txt",
        load_batch=map_binary_batch,
        load_classes=read_names,
        digests=(
            "5dd7e06a14cb22eb9f671a540d1b7c25",
            "5ea93a67294ea407fff1d09f752e9692",
            "942cd6a4bcdd0dd3c604fbe906cb4421",
            "ae636b3ba5c66a11e91e8cb52e771fcb",
            "53f37980c15c3d472c316c40844f3f0d",
            "803d5f7f4d78ea53de84dbe85f74fb6d",
        ),
    ),
    Release(
        folder="cifar-10-batches-py",
        archive="cifar-10-python.tar.gz",
        suffix="",
        meta="batches.meta",
        load_batch=load_python_batch,
        load_classes=lambda path: load_pickled_fields(path).get("label_names", []),
        digests=(
            "c99cafc152244af753f735de768cd75f",
            "d4bba439e000b95fd0a9bffe97cbabec",
            "54ebc095f3ab1f0389bbae665268c751",
            "634d18415352ddfa80567beed471001a",
            "482c414d41f54cd18b22e5b47cb7c3cb",
            "40351d587109b95175f43aff81a1287e",
        ),
    ),
)


def open_cifar10(root: Path | None = None, work_dir: Path | None = None, *, beside: bool = True) -> ImageSource:
    """Finds CIFAR-10; see open_cifar."""
    return open_cifar(Cifar("cifar10", "CIFAR-10", CLASSES, STEMS, 1, FORMS), root, work_dir, beside=beside)
