"""The table of datasets known by name: how each is found, opened, and fetched."""

import contextlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

from scatcache.errors import SourceError
from scatcache.images.archives.download import Archive, check_archive, download
from scatcache.images.archives.staging import sweep
from scatcache.images.archives.unpack import OnArchive, tell_nobody
from scatcache.images.datasets import caltech101, mnist, svhn
from scatcache.images.datasets.caltech101 import open_caltech101
from scatcache.images.datasets.cifar10 import open_cifar10
from scatcache.images.datasets.cifar100 import open_cifar100
from scatcache.images.datasets.imagenet import open_imagenet
from scatcache.images.datasets.mnist import open_mnist
from scatcache.images.datasets.photos import open_photos
from scatcache.images.datasets.stl10 import open_stl10
from scatcache.images.datasets.svhn import open_svhn
from scatcache.images.image_source import UNLABELED, ImageSource
from scatcache.images.roots import NotFound, list_roots


@dataclass(frozen=True)
class Whereabouts:
    """Where a named dataset's files are, and where it may write; see open_source."""

    root: Path | None
    work_dir: Path | None
    beside: bool = True
    on_archive: OnArchive = tell_nobody


@dataclass(frozen=True)
class NamedDataset:
    """One dataset known by name. splits: what may be asked for before the files are looked at; description: one line
    for `scatcache sources`; open: finds and opens it; archives: the official ones, where scatcache may fetch them;
    default_size: as ImageSource has it; has_files: False for what comes with a package, and reads nothing else; folder:
    what it is looked for in, by default its name; by_name: splits that are fetched where they are asked for alone."""

    name: str
    splits: tuple[str, ...]
    description: str
    open: Callable[[Whereabouts], ImageSource]
    archives: tuple[Archive, ...] = ()
    default_size: int | None = None
    has_files: bool = True
    folder: str | None = None
    by_name: tuple[str, ...] = (UNLABELED,)


def _list_archives(url: str, md5s: dict[str, str], splits: dict[str, str] | None = None) -> tuple[Archive, ...]:
    """Archives of one place. splits: by name of those that hold one alone."""
    return tuple(Archive(name, url + name, md5, (splits or {}).get(name)) for name, md5 in md5s.items())


_CALTECH101 = _list_archives(
    "https://data.caltech.edu/records/mzrjq-6wc02/files/", {caltech101.ZIP: caltech101.MD5S[caltech101.ZIP]}
)
_CIFARS = "https://www.cs.toronto.edu/~kriz/"
_IDX = f"{', '.join(mnist.NAMES[:2])} and the same of t10k, or their .gz"
DATASETS = {
    row.name: row
    for row in (
        NamedDataset(
            "cifar10",
            ("train", "test"),
            "train, test: cifar-10-batches-bin, cifar-10-batches-py, or their .tar.gz, under --root; or --download",
            lambda at: open_cifar10(at.root, at.work_dir, beside=at.beside),
            archives=_list_archives(_CIFARS, {"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"}),
        ),
        NamedDataset(
            "cifar100",
            ("train", "test"),
            "train, test: cifar-100-binary, cifar-100-python, or their .tar.gz, under --root; or --download",
            lambda at: open_cifar100(at.root, at.work_dir, beside=at.beside),
            archives=_list_archives(_CIFARS, {"cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8"}),
        ),
        NamedDataset(
            "mnist",
            ("train", "test"),
            f"train, test: {_IDX}, under --root; or --download",
            lambda at: open_mnist(mnist.MNIST, at.root, at.work_dir),
            # Whoever made it serves it no more.
            archives=_list_archives("https://ossci-datasets.s3.amazonaws.com/mnist/", mnist.MNIST.packed_md5s),
        ),
        NamedDataset(
            "fashion-mnist",
            ("train", "test"),
            "train, test: files called as those of mnist, under --root; or --download",
            lambda at: open_mnist(mnist.FASHION_MNIST, at.root, at.work_dir),
            archives=_list_archives(
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/", mnist.FASHION_MNIST.packed_md5s
            ),
        ),
        NamedDataset(
            "svhn",
            svhn.SPLITS,
            "train, test, extra (by name only): train_32x32.mat, test_32x32.mat, extra_32x32.mat, under --root; or "
            "--download",
            lambda at: open_svhn(at.root, at.work_dir),
            archives=_list_archives(
                "http://ufldl.stanford.edu/housenumbers/",
                svhn.MD5S,
                {svhn.name_file(split): split for split in svhn.SPLITS},
            ),
            by_name=(svhn.EXTRA,),
        ),
        NamedDataset(
            "stl10",
            ("train", "test", "unlabeled"),
            "train, test, unlabeled (by name only): stl10_binary or its .tar.gz, under --root; or --download",
            lambda at: open_stl10(at.root, at.work_dir, beside=at.beside),
            archives=_list_archives(
                "http://ai.stanford.edu/~acoates/stl10/", {"stl10_binary.tar.gz": "91f7769df0f17e558f3565bffb0c7dfb"}
            ),
        ),
        NamedDataset(
            "imagenet",
            ("train", "val"),
            "train, val: ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz, or "
            "class folders, under --root",
            lambda at: open_imagenet(at.root, at.work_dir, on_archive=at.on_archive),
            default_size=224,
        ),
        NamedDataset(
            "caltech101",
            ("all",),
            "all: 101_ObjectCategories, its .tar.gz, or caltech-101.zip, under --root; or --download",
            lambda at: open_caltech101(at.root, at.work_dir),
            archives=_CALTECH101,
            default_size=224,
        ),
        NamedDataset(
            "caltech101-background",
            ("all",),
            "all: caltech101 with BACKGROUND_Google, its pictures of no class, for a class",
            lambda at: open_caltech101(at.root, at.work_dir, with_background=True),
            archives=_CALTECH101,
            default_size=224,
            folder="caltech101",
        ),
        NamedDataset(
            "photos",
            ("all",),
            "all: the photographs in scikit-image's wheel, in 128 px crops; no files, no network",
            lambda at: open_photos(),
            has_files=False,
        ),
    )
}


def find_archives(name: str, splits: Collection[str] | None = None) -> tuple[Archive, ...]:
    """The archives to download for these splits of a source, by default for all that need not be asked for by name.

    Raises SourceError where there is none.
    """
    dataset = DATASETS.get(name)
    if dataset is None or not dataset.archives:
        can = ", ".join(row.name for row in DATASETS.values() if row.archives)
        raise SourceError(f"{name} cannot be downloaded by scatcache, only {can} can: leave --download out")
    wanted = splits or [split for split in dataset.splits if split not in dataset.by_name]
    return tuple(archive for archive in dataset.archives if archive.split is None or archive.split in wanted)


def open_named(dataset: NamedDataset, at: Whereabouts) -> ImageSource:
    """A dataset where its files are. Raises as open_source does."""
    try:
        source = _open(dataset, at)
        # What killed runs left; by now this one's own are gone.
        sweep(at.work_dir, source.root)
        return source
    except NotFound as error:
        raise NotFound(f"{error}; or give --download" if dataset.archives else str(error)) from None


def open_official(dataset: NamedDataset, at: Whereabouts, splits: Collection[str] | None = None) -> ImageSource:
    """A dataset from its official archives, which are fetched where there is nothing yet; splits: see find_archives.

    Raises SourceError where they cannot be, or something else lies there.
    """
    archives = find_archives(dataset.name, splits)
    places = [at.root] if at.root is not None else list_roots(dataset.folder or dataset.name)
    for archive in archives:
        for known in places:
            if (known / archive.name).exists():
                check_archive(known / archive.name, archive)
    source = None
    with contextlib.suppress(NotFound):
        source = _open(dataset, at)
    if missing := [archive for archive in archives if source is None or archive.split in source.absent]:
        place = places[0] if source is None or source.root is None else source.root
        for archive in missing:
            download(archive, place, at.on_archive, work_dir=at.work_dir)
        source = _open(dataset, replace(at, root=place))
    assert source is not None, "what was not found has been fetched"
    if source.official is not True:
        reason = source.warnings[0] if source.warnings else f"{source.root} holds unpacked files that have no md5"
        raise SourceError(
            f"{dataset.name}: {reason}: with --download only the official archive is taken: leave it out, or give "
            f"another --root"
        )
    return source


def _open(dataset: NamedDataset, at: Whereabouts) -> ImageSource:
    return replace(dataset.open(at), default_size=dataset.default_size, by_name=dataset.by_name)
