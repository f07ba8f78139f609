import io
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image

from scatcache.errors import SourceError, UnreadableImage, UsageError
from scatcache.images.catalogue import open_object
from scatcache.images.contents import Contents
from scatcache.images.decode import decode
from scatcache.images.forms import Decoding
from scatcache.images.kinds.python_object import open_dataset
from scatcache.images.native_form import find_form
from scatcache.spec import Pixels
from tests.images.parts import read_key

PIXELS = np.random.default_rng(0).integers(0, 256, (7, 20, 24, 3), dtype=np.uint8)
LABELS = [2, 0, 1, 1, 2, 0, 1]


class TorchvisionLike:
    """Items (PIL image, int), with targets and classes."""

    classes = ("ant", "bee", "cow")

    def __init__(self):
        self.targets, self.n_read = list(LABELS), 0

    def __len__(self):
        return len(PIXELS)

    def __getitem__(self, index):
        if not 0 <= index < len(PIXELS):
            raise IndexError(index)
        self.n_read += 1
        return Image.fromarray(PIXELS[index]), self.targets[index]


class Feature:
    names = ("ant", "bee", "cow")


class HuggingFaceLike:
    """Items {"image": PIL image, "label": int}, with columns and features."""

    def __init__(self):
        self.column_names = ["image", "label"]
        self.features = {"image": object(), "label": Feature()}

    def __len__(self):
        return len(PIXELS)

    def __getitem__(self, index):
        if index == "label":
            return LABELS
        return {"image": Image.fromarray(PIXELS[index]), "label": LABELS[index]}


class Arrays:
    """Items (uint8 array, NumPy integer), and nothing else."""

    def __len__(self):
        return len(PIXELS)

    def __getitem__(self, index):
        return PIXELS[index], np.int64(LABELS[index])


@pytest.mark.parametrize("kind", [TorchvisionLike, HuggingFaceLike, Arrays])
def test_every_kind_gives_the_same_keys_labels_and_pixels(kind):
    source = open_dataset(kind(), name="mine")
    listing = source.find("all").listing
    assert [row.key for row in listing.rows] == [f"{index:05d}" for index in range(7)]
    assert [row.label for row in listing.rows] == LABELS
    assert find_form(source.find("all"), Decoding()).shape == (20, 24)
    for row, pixels in zip(listing.rows, PIXELS, strict=True):
        np.testing.assert_array_equal(decode(read_key(source, "all", row.key), size=None), pixels)
    assert source.classes == (("0", "1", "2") if kind is Arrays else ("ant", "bee", "cow"))
    assert (tuple(source.splits), source.default_splits, source.name) == (("all",), ("all",), "mine")


def test_labels_are_taken_without_reading_the_images_where_the_dataset_gives_them():
    dataset = TorchvisionLike()
    open_dataset(dataset, name="mine").find("all").listing
    assert dataset.n_read == 1


def test_labels_that_items_change_are_those_of_the_items():
    dataset = TorchvisionLike()
    dataset.target_transform = lambda label: label + 1
    dataset.targets = [label + 1 for label in LABELS]
    dataset.n_read = 0
    assert [row.label for row in open_dataset(dataset, name="mine").find("all").listing.rows] == dataset.targets
    assert dataset.n_read == 8


def test_labels_of_items_that_do_not_decode_are_unknown_and_told_unless_they_are_given_elsewhere():
    class Damaged(Arrays):
        def __getitem__(self, index):
            if index in (3, 5):
                raise OSError("image file is truncated")
            return super().__getitem__(index)

    source = open_dataset(Damaged(), name="mine")
    assert [row.label for row in source.find("all").listing.rows] == [2, 0, 1, -1, 2, -1, 1]
    (warning,) = source.warnings
    assert warning.startswith("mine: split all: the label of 2 items (the first is 3) is unknown, -1 in the store")
    assert "retry_unreadable cannot mend that: make the items decode and extract anew, or give the dataset" in warning
    told = Damaged()
    told.targets = LABELS
    assert open_dataset(told, name="mine").warnings == ()
    images = [PIXELS[0], PIXELS[1]]
    assert open_dataset(images, name="mine").warnings == ()


def test_a_mapping_gives_splits():
    source = open_dataset({"train": Arrays(), "unlabeled": [PIXELS[0], PIXELS[1]]}, name="mine")
    assert tuple(source.splits) == ("train", "unlabeled") and source.default_splits == ("train",)
    assert [row.label for row in source.find("unlabeled").listing.rows] == [-1, -1]
    with pytest.raises(SourceError, match="no split 'test'"):
        source.find("test").listing


def test_the_listing_covers_length_and_labels_and_the_options_the_version():
    plain, other = open_dataset(Arrays(), name="mine"), open_dataset(TorchvisionLike(), name="mine", version="2")
    assert plain.find("all").listing.hash == other.find("all").listing.hash
    assert (plain.options, other.options) == ({"version": None}, {"version": "2"})
    changed = TorchvisionLike()
    changed.targets[3] = 0
    assert open_dataset(changed, name="mine").find("all").listing.hash != plain.find("all").listing.hash
    assert open_dataset([PIXELS[0]] * 6, name="mine").find("all").listing.hash != plain.find("all").listing.hash


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (42, "int: expected an object"),
        (iter([1]), "iterator: expected an object"),
        ([], "empty"),
        ({}, "no dataset"),
        ({"../x": [PIXELS[0]]}, "cannot name a split"),
        ([(PIXELS[0].astype(np.complex64), 0)], r"ndarray of complex64 \(20, 24, 3\).*samples of complex64"),
        (({"image": i, "label": 0} for i in range(3)), "a generator: expected an object"),
        (["image.png"], "a str: expected a PIL image"),
        ([(PIXELS[0], "cat")], "label of item 0 is a str"),
        ([(PIXELS[0], 0), (PIXELS[1], 1.5)], "label of item 1 is a float"),
        ([(PIXELS[0], -2)], "label of item 0 is -2"),
    ],
)
def test_what_is_no_dataset_is_named(dataset, message):
    with pytest.raises(SourceError, match=message):
        open_dataset(dataset, name="mine")


@pytest.mark.parametrize("name", ["cifar10", "folder", "imagenet", "", "../x", "a/b", "a\n"])
def test_a_name_of_another_source_or_unfit_for_a_file_is_refused(name):
    with pytest.raises(SourceError, match="name is"):
        open_object(Arrays(), name=name)


def test_images_of_different_sizes_are_named():
    source = open_dataset([PIXELS[0], PIXELS[1][:10]], name="mine")
    with pytest.raises(SourceError, match=r"2 different sizes; the commonest, 20x24 .*--size N"):
        find_form(source.find("all"), Decoding())


def save_jpeg(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95)
    return file.getvalue()


class Files(Arrays):
    """Decodes in __getitem__, item 2 of them cut off, item 3 no image, item 4 no image's array."""

    def __getitem__(self, index):
        data = save_jpeg(PIXELS[index])
        if index == 4:
            return PIXELS[index][None], 0
        return Image.open(io.BytesIO(data[:300] if index == 2 else b"none" if index == 3 else data)).convert("RGB"), 0


def test_an_item_that_does_not_decode_is_unreadable():
    source = open_dataset(Files(), name="mine")
    for key in ("00002", "00003", "00004"):
        with pytest.raises(UnreadableImage):
            decode(read_key(source, "all", key), size=None)
    assert decode(read_key(source, "all", "00005"), size=None).shape == (20, 24, 3)


def save_sideways(kind):
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS[0]).save(file, kind, exif=exif)
    return file.getvalue()


def take(image):
    return decode(read_key(open_dataset([(image, 0)], name="mine"), "all", "00000"), size=None)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_pil_image_is_taken_as_numpy_shows_it(kind):
    data = save_sideways(kind)
    for change in (
        lambda image: image,
        lambda image: image.rotate(-90, expand=True),
        lambda image: image.crop((0, 0, 8, 9)),
        lambda image: image.convert("L"),
    ):
        image = change(Image.open(io.BytesIO(data)))
        size = image.size
        decoded = take(image)
        np.testing.assert_array_equal(decoded, np.asarray(change(Image.open(io.BytesIO(data))).convert("RGB")))
        assert image.size == (size if kind == "PNG" else decoded.shape[1::-1])


@pytest.mark.parametrize("mode", ["I", "F"])
def test_a_pil_image_of_no_8_bits_is_unreadable_with_the_reason(mode):
    with pytest.raises(UnreadableImage, match=rf"samples \(mode {mode}\): expected 8 bits"):
        take(Image.fromarray(PIXELS[0]).convert("L").convert(mode))


def test_a_damaged_pil_image_is_refused_however_often_it_is_asked_for():
    # Once its loading has failed, Pillow has half a picture and no more doubts.
    image = Image.open(io.BytesIO(damage_png()))
    for _ in range(3):
        with pytest.raises(UnreadableImage):
            take(image)


def damage_png():
    file = io.BytesIO()
    Image.effect_noise((200, 200), 80).convert("RGB").save(file, "PNG")
    data = bytearray(file.getvalue())
    at = data.index(b"IDAT") + 2000
    data[at : at + 400] = bytes(400)
    return bytes(data)


@pytest.mark.parametrize(
    ("dataset", "hint"),
    [
        ((PIXELS, LABELS), "one image an item"),
        ([(PIXELS[0].transpose(2, 0, 1), 1)], "bands last: give x.transpose(1, 2, 0)"),
        ([(torch.zeros(3, 20, 24), 1)], "leave ToTensor out of its transforms, or give x.permute(1, 2, 0).numpy()"),
    ],
)
def test_arrays_of_another_shape_are_told_what_is_expected(dataset, hint):
    with pytest.raises(SourceError, match=r"item 0 is .*: expected a PIL image, or samples \(H, W\)") as caught:
        open_dataset(dataset, name="mine")
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("image", "pixels"),
    [
        (PIXELS[0], Pixels()),
        (Image.fromarray(PIXELS[0]).convert("L"), Pixels()),
        (PIXELS[0, :, :, 0], Pixels("native", 1, "uint8", 255)),
        (PIXELS[0].astype(np.uint16) << 8, Pixels("native", 3, "uint16", 65535)),
        ((PIXELS[0] / 255)[..., :2], Pixels("native", 2, "float32", 1)),
    ],
)
def test_the_first_item_decides_on_the_pixels_and_none_is_changed(image, pixels):
    source = open_dataset([(image, 0)], name="mine")
    assert source.pixels == pixels
    if pixels.kind == "native":
        found = decode(read_key(source, "all", "00000"), kind="native")
        np.testing.assert_array_equal(found, image.reshape(20, 24, -1).astype(pixels.dtype))


def test_labels_and_targets_may_be_given_as_numbers():
    given = Contents(labels=np.array(LABELS), targets=np.arange(14).reshape(7, 2) / 4)
    listing = open_dataset([PIXELS[i] for i in range(7)], name="mine", contents=given).find("all").listing
    assert [row.label for row in listing.rows] == LABELS
    np.testing.assert_array_equal(listing.targets, np.arange(14, dtype=np.float32).reshape(7, 2) / 4)
    by_split = Contents(labels={"train": LABELS})
    source = open_dataset({"train": [PIXELS[0]] * 7, "unlabeled": [PIXELS[0]]}, name="mine", contents=by_split)
    assert [row.label for row in source.find("train").listing.rows] == LABELS
    with pytest.raises(SourceError, match="expected a mapping by split"):
        open_dataset({"train": [PIXELS[0]] * 7}, name="mine", contents=Contents(labels=LABELS))
    with pytest.raises(UsageError, match="no columns or arrays by name"):
        open_dataset([PIXELS[0]], name="mine", contents=Contents(array="image"))


def test_that_no_image_is_readable_says_why():
    source = open_dataset([(Image.new("F", (4, 4)), 0)], name="mine")
    with pytest.raises(SourceError, match=r"none of the 1 images .*float samples \(mode F\)"):
        find_form(source.find("all"), Decoding())


def test_other_errors_of_a_dataset_are_its_own():
    class Broken(Arrays):
        def __getitem__(self, index):
            return super().__getitem__(index) if index == 0 else {}["missing"]

    dataset = Broken()
    dataset.targets = LABELS
    source = open_dataset(dataset, name="mine")
    with pytest.raises(KeyError, match="missing"):
        read_key(source, "all", "00001")


def test_items_are_asked_for_by_one_thread_at_a_time():
    class Slow(Arrays):
        busy, overlaps = 0, 0

        def __getitem__(self, index):
            self.busy += 1
            self.overlaps += self.busy > 1
            time.sleep(0.002)
            self.busy -= 1
            return super().__getitem__(index)

    dataset = Slow()
    source = open_dataset(dataset, name="mine")
    threads = [threading.Thread(target=source.find("all").read, args=(index,)) for index in range(7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert dataset.overlaps == 0


class Named(list):
    """Items (array, label), with the names of the classes."""

    def __init__(self, labels, classes):
        super().__init__((PIXELS[0], label) for label in labels)
        self.targets, self.classes = list(labels), list(classes)


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ((["cat", "dog"], [0, 1]), (["dog", "cat"], [0, 1]), "split test calls label 0 'dog', an earlier split 'cat'"),
        ((["caf\u00e9"], [0]), (["cafe\u0301"], [0]), r"calls label 0 'cafe\\u0301', an earlier split 'caf\\xe9'"),
        ((["cat", "dog"], [0, 0]), (["cat", "dog"], [1]), r"holds 1 class \(dog\) that train lacks and shares none"),
    ],
)  # fmt: skip
def test_splits_whose_labels_mean_different_classes_are_refused(train, test, message):
    with pytest.raises(SourceError, match=message):
        open_dataset({"train": Named(train[1], train[0]), "test": Named(test[1], test[0])}, name="mine")


def test_labels_that_train_lacks_and_classes_of_one_name_are_warned_of():
    datasets = {"train": Named([0, 1], ["a", "b"]), "test": Named([0, 2, -1], ["a", "b", "A"]), "new": Named([-1], [])}
    source = open_dataset(datasets, name="mine")
    assert source.classes == ("a", "b", "A")
    assert source.warnings == (
        "mine: split test holds 1 class (A) that train lacks",
        "mine: the classes 'A' and 'a' are one name to the eye and two labels",
    )


def test_splits_of_one_name_are_refused():
    with pytest.raises(SourceError, match="Train and train are one name to some file systems"):
        open_dataset({"train": [PIXELS[0]], "Train": [PIXELS[0]]}, name="mine")
