import re
import time

import numpy as np
import pytest
from PIL import Image

import scatcache
from scatcache.errors import SourceError, UnreadableImage, UsageError
from scatcache.images.catalogue import open_object, open_source
from scatcache.images.source import Listing, Location
from scatcache.spec import Pixels
from scatcache.testing import check_source
from tests.images.datasets.test_caltech101 import write_form as write_caltech101
from tests.images.datasets.test_cifar10 import FORMS
from tests.images.datasets.test_cifar10 import write_form as write_cifar10
from tests.images.datasets.test_cifar100 import write_cifar100
from tests.images.datasets.test_imagenet import write_form as write_imagenet
from tests.images.datasets.test_mnist import write_mnist
from tests.images.datasets.test_stl10 import write_stl10
from tests.images.datasets.test_svhn import write_svhn
from tests.images.kinds.test_python_object import Arrays, HuggingFaceLike, TorchvisionLike
from tests.runs import find_differences, make_images

PICTURES = np.random.default_rng(0).integers(0, 256, (7, 20, 24, 3), dtype=np.uint8)


class Pictures:
    """A part of pictures in memory, in a file, or both."""

    def __init__(self, folder=None, rows=None):
        self.pictures = PICTURES.copy()
        self.file = None if folder is None else folder / "pictures.bin"
        if self.file is not None:
            self.file.write_bytes(b"".join(map(self.encode, range(7))))
        n_bytes = 0 if folder is None else len(self.encode(0))
        self.listing = Listing(rows or [(f"{i}", i % 3 - 1, n_bytes) for i in range(7)])

    def encode(self, i):
        height, width, _ = PICTURES[i].shape
        return b"P6 %d %d 255 " % (width, height) + PICTURES[i].tobytes()

    def read(self, i):
        if self.file is not None:
            return self.encode(range(7)[i])
        return self.pictures[i]

    def locate(self, i):
        n_bytes = len(self.encode(i))
        return None if self.file is None else Location(str(self.file), i * n_bytes, n_bytes)


class Pets:
    name, classes, pixels, official, parallel = "pets", ("cat", "dog"), Pixels(), None, "processes"

    def __init__(self, *parts, **said):
        self.splits = dict(zip(("train", "test"), parts or (Pictures(),), strict=False))
        self.__dict__.update(said)


def write_photos(root):
    return open_source("photos")


def write_folder(root):
    for split in ("train", "test", "unlabeled"):
        make_images(root / split, 5)
    (root / "train" / "class0" / "0000.png").write_bytes(b"no image")
    return open_source(root)


def write_object(root):
    return open_object({"train": TorchvisionLike(), "val": HuggingFaceLike(), "test": Arrays()}, name="mine")


BUILT_IN = {
    "folder": write_folder,
    "flat": lambda root: open_source(make_images(root / "flat", 4) / "class0"),
    "photos": write_photos,
    "object": write_object,
    "stl10": lambda root: open_source("stl10", root=write_stl10(root) or root),
    "svhn": lambda root: open_source("svhn", root=write_svhn(root), work_dir=root / "job"),
    "cifar100": lambda root: open_source("cifar100", root=write_cifar100(root, "python").parent),
    **{
        f"mnist {form}": lambda root, form=form: open_source(
            "mnist", root=write_mnist(root / "m", packed=form == "packed"), work_dir=root / "job"
        )
        for form in ("plain", "packed")
    },
    **{
        f"cifar10 {form}": lambda root, form=form: open_source("cifar10", root=write_cifar10(root, form) and root)
        for form in FORMS
    },
    **{
        f"caltech101 {form}": lambda root, form=form: open_source(
            "caltech101-background", root=write_caltech101(root / "c", form), work_dir=root / "job"
        )
        for form in ("folder", "tar", "zip")
    },
    **{
        f"imagenet {form}": lambda root, form=form: open_source(
            "imagenet", root=write_imagenet(root / "i", root / "scratch", form), work_dir=root / "job"
        )
        for form in ("folders", "tars", "flat folder", "folder and tar")
    },
}


@pytest.mark.parametrize("kind", BUILT_IN)
def test_every_kind_of_ours_keeps_every_promise(tmp_path, kind):
    check_source(BUILT_IN[kind](tmp_path))


@pytest.mark.parametrize("parallel", ["none", "threads", "processes"])
@pytest.mark.parametrize("in_file", [False, True])
def test_a_source_of_somebody_elses_keeps_every_promise(tmp_path, parallel, in_file):
    folder = tmp_path if in_file else None
    check_source(Pets(Pictures(folder), Pictures(folder), parallel=parallel))
    check_source(Pets(Stored(), parallel=parallel))


class Unstable(Pictures):
    listing = property(lambda self: Listing([("a", 0, 0)]), lambda self, listing: None)


class Forgetful(Pictures):
    def read(self, i):
        self.pictures[i] += 1
        return self.pictures[i].copy()


class Reusing(Pictures):
    def read(self, i):
        self.buffer = getattr(self, "buffer", np.zeros((20, 24, 3), np.uint8))
        self.buffer[:] = PICTURES[i]
        return self.buffer


class Masks(Pictures):
    def read(self, i):
        return PICTURES[i] > 127


class Stored(Pictures):
    """In blocks of three; wrong where shifted."""

    shifted = 0

    def block(self, i):
        return i // 3 if i < 6 else None

    def read_block(self, indices):
        return [self.read((i + self.shifted) % 7) for i in indices]


class Shuffled(Stored):
    shifted = 1


class Endless(Pictures):
    def read(self, i):
        return PICTURES[i % 7]


class Refusing(Pictures):
    def read(self, i):
        if i == 7:
            raise SourceError("no such row")
        return PICTURES[i]


class Longer(Pictures):
    def read(self, i):
        return super().read(i) + b" "


class Misplaced(Pictures):
    def locate(self, i):
        return super().locate((i + 1) % 7)


class Beyond(Pictures):
    def locate(self, i):
        return super().locate(i)._replace(offset=10**6)


class Turned(Pictures):
    def shape(self, i):
        return 24, 20


class Shaped(Pictures):
    image_shape = (20, 20)


class Lonely(Pictures):
    """Reads other images where two threads are at it at once."""

    busy = 0

    def read(self, i):
        self.busy += 1
        found = PICTURES[(range(7)[i] + (self.busy > 1)) % 7].copy()
        time.sleep(0.001)
        self.busy -= 1
        return found


class Homesick(Pictures):
    def __getstate__(self):
        raise TypeError("cannot pickle a camera")


class Renewed(Pictures):
    def __setstate__(self, state):
        self.__dict__ = state
        self.listing = Listing([("a", 0, 0)])


class Faded(Pictures):
    def __setstate__(self, state):
        self.__dict__ = {**state, "pictures": state["pictures"] // 2}


@pytest.mark.parametrize(
    ("make", "promise"),
    [
        (lambda at: Pets(name=""), "name is a printable text"),
        (lambda at: Pets(classes=("cat", "cat")), "classes differ"),
        (lambda at: Pets(classes=("cat", "a\nb")), "classes are printable"),
        (lambda at: Pets(pixels="rgb"), "pixels is"),
        (lambda at: Pets(official="yes"), "official is True, False or None"),
        (lambda at: Pets(splits={}), "splits is a mapping"),
        (lambda at: Pets(splits={"../up": Pictures()}), "splits bear names"),
        (lambda at: Pets(parallel="fibres"), "parallel is one of"),
        (lambda at: Pets(options={"a": {1}}), "options is a dict of what JSON knows"),
        (lambda at: Pets(Pictures(rows=[("a", 2, 0)])), "labels are -1 to 1"),
        (lambda at: Pets(Pictures(rows=[("a", 0, -1)])), "sizes are 0 or more"),
        (lambda at: Pets(Unstable()), "listing is the same object"),
        (lambda at: Pets(Forgetful()), "reading gives the same each time"),
        (lambda at: Pets(Reusing()), "nobody changes what reading gave|same each time"),
        (lambda at: Pets(Masks()), "gives bytes, numbers"),
        (lambda at: Pets(Shuffled()), "read_block gives what read gives"),
        (lambda at: Pets(name="folder"), r"extract\(\) takes the source for one: name is 'folder'"),
        (lambda at: Pets(options={"name": "dogs"}), r"extract\(\) takes the source for one: pets: options are"),
        (lambda at: Pets(splits={"zarr.json": Pictures()}), "splits bear names fit for folders"),
        (lambda at: Pets(Endless()), "which is no row, raises IndexError"),
        (lambda at: Pets(Refusing()), "which is no row, raises IndexError"),
        (lambda at: Pets(Longer(at)), "as many bytes as the row's size says"),
        (lambda at: Pets(Misplaced(at)), "what lies at locate is what read gives"),
        (lambda at: Pets(Beyond(at)), "locate names bytes within a file"),
        (lambda at: Pets(Turned()), "shape is that of the image, 20x24: found \\(24, 20\\)"),
        (lambda at: Pets(Shaped()), "image_shape is that of the image"),
        (lambda at: Pets(Lonely()), "several threads read the same"),
        (lambda at: Pets(Homesick()), "the source can be pickled"),
        (lambda at: Pets(Renewed()), "a pickled copy lists the same"),
        (lambda at: Pets(Faded()), "a pickled copy reads the same"),
    ],
)
def test_a_broken_promise_is_named(tmp_path, make, promise):
    with pytest.raises(AssertionError, match=promise):
        check_source(make(tmp_path))


def test_the_example_of_the_protocol_is_a_source_that_can_be_extracted(tmp_path, monkeypatch):
    text = re.search(r"(?ms)^    class Pictures:.*?^    scatcache.extract[^\n]*\n", scatcache.images.source.__doc__)[0]
    monkeypatch.chdir(tmp_path)
    names = {"Listing": Listing, "Pixels": Pixels, "scatcache": scatcache, "images": PICTURES, "labels": [0, 1, -1] * 2}
    exec(re.sub(r"(?m)^    ", "", text), names)
    check_source(names["Pets"](train=(PICTURES, [0] * 7)))
    cache = scatcache.open_cache("pets-J2.zarr")
    assert (len(cache), cache.classes, cache.manifest.source) == (6, ("cat", "dog"), "pets")
    assert cache.labels.tolist() == [0, 1, -1] * 2


@pytest.mark.parametrize("parallel", ["none", "threads"])
def test_a_source_is_read_by_several_threads_only_where_it_says_so(tmp_path, parallel):
    class Watched(Pictures):
        busy, most = 0, 0

        def read(self, i):
            Watched.busy += 1
            Watched.most = max(Watched.most, Watched.busy)
            time.sleep(0.01)
            Watched.busy -= 1
            return super().read(i)

    out = tmp_path / "a.zarr"
    report = scatcache.extract(
        Pets(Watched(), parallel=parallel), J=1, out=out, shard_images=1, decode_threads=4, workers=4
    )
    assert report.splits["train"].ok == 7 and (Watched.most > 1) == (parallel == "threads")
    with pytest.raises(ValueError, match="pets can be read in this process alone"):
        scatcache.extract(Pets(parallel=parallel), J=1, out=tmp_path / "b.zarr", processes=True)


@pytest.mark.slow
def test_a_source_that_says_so_is_read_by_processes_to_the_same_bytes(tmp_path):
    for name, processes in (("here", False), ("there", True)):
        source = Pets(Pictures(tmp_path), Pictures())
        scatcache.extract(source, J=1, out=tmp_path / name, shard_images=2, processes=processes, limit=5, views=2)
    assert find_differences(tmp_path / "here", tmp_path / "there") == []
    assert not list((tmp_path / "there.job").glob("shared*"))


def test_a_source_that_breaks_a_promise_is_refused_when_it_is_extracted(tmp_path):
    def extract(source, **options):
        return scatcache.extract(source, J=1, out=tmp_path / "a.zarr", **options)

    with pytest.raises(SourceError, match="split train: a row has the label 2: expected -1 to 1"):
        extract(Pets(Pictures(rows=[("a", 2, 0)])))
    with pytest.raises(SourceError, match="parallel is 'fibres'"):
        extract(Pets(parallel="fibres"))
    with pytest.raises(UsageError, match="version goes with dataset objects, pets says it in its options"):
        extract(Pets(), version="2")
    with pytest.raises(SourceError, match="name is 'cifar10'"):
        extract(Pets(name="cifar10"))
    for options in ({"official": True}, {"sizes": (1, 2)}, {"scale": float("nan")}, {1: 2}):
        with pytest.raises(
            SourceError, match=r"pets: options are .*: expected a dict of what JSON knows, without name"
        ):
            extract(Pets(options=options))
    with pytest.raises(SourceError, match="pets: official is 'yes': expected True, False or None"):
        extract(Pets(official="yes"))
    with pytest.raises(SourceError, match=r"'zarr\.json' cannot name a split"):
        extract(Pets(splits={"zarr.json": Pictures()}))
    assert not (tmp_path / "a.zarr").exists()
    assert extract(Pets(), name="cats").state == "complete"
    assert scatcache.open_cache(tmp_path / "a.zarr").manifest.source == "cats"


def test_an_unreadable_image_of_a_source_is_recorded(tmp_path):
    class Torn(Pictures):
        def read(self, i):
            if i == 3:
                raise UnreadableImage("it is torn")
            return Image.fromarray(super().read(i))

    check_source(Pets(Torn(), parallel="threads"))
    report = scatcache.extract(Pets(Torn()), J=1, out=tmp_path / "a.zarr")
    assert report.unreadable == ({"split": "train", "key": "3", "reason": "it is torn"},)
