"""CIFAR-100: what its archives and their files are called, and hold; see cifar.py."""

from functools import partial
from pathlib import Path

from scatcache.images.archives.pickles import load_pickled_fields
from scatcache.images.datasets.cifar import Cifar, Release, load_python_batch, map_binary_batch, open_cifar, read_names
from scatcache.images.image_source import ImageSource

_FINE_CLASSES = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
    caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
    flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
    motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate
    poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
    squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
    wardrobe whale willow_tree wolf woman worm
"""
CLASSES = tuple(_FINE_CLASSES.split())
STEMS = {"train": ("train",), "test": ("test",)}
FORMS = (
    Release(
        folder="cifar-100-binary",
        archive="cifar-100-binary.tar.gz",
        suffix=".bin",
        meta="fine_label_names.txt",
        # A coarse label stands before the fine one.
        load_batch=partial(map_binary_batch, n_labels=2),
        load_classes=read_names,
        # Of these files sha1s are published.
        digests=("e207cd2e05b73b1393c74c7f5e7bea451d63e08e", "8fb6623e830365ff53cf14adec797474f5478006"),
    ),
    Release(
        folder="cifar-100-python",
        archive="cifar-100-python.tar.gz",
        suffix="",
        meta="meta",
        load_batch=partial(load_python_batch, labels_field="fine_labels", n_classes=len(CLASSES)),
        load_classes=lambda path: load_pickled_fields(path).get("fine_label_names", []),
        digests=("16019d7e3df5f24257cddd939b257f8d", "f0ef6b0ae62326f3e7ffdfab6717acfc"),
    ),
)


def open_cifar100(root: Path | None = None, work_dir: Path | None = None, *, beside: bool = True) -> ImageSource:
    """Finds CIFAR-100, labelled with its fine classes; see open_cifar."""
    return open_cifar(Cifar("cifar100", "CIFAR-100", CLASSES, STEMS, 2, FORMS), root, work_dir, beside=beside)
