import io
import pickle
from concurrent.futures import ThreadPoolExecutor

import datasets
import numpy as np
import pytest
from PIL import Image

from scatcache.errors import SourceError, UnreadableImage, UsageError
from scatcache.images.catalogue import open_object
from scatcache.images.contents import Contents
from scatcache.images.decode import decode
from scatcache.images.kinds.hugging_face import TableItemsPart
from scatcache.images.kinds.python_object import open_dataset
from tests.images.tars import draw_jpeg

NAMES = ["ant", "bee", "cow"]
LABELS = [number % 3 for number in range(12)]


def draw(number):
    return draw_jpeg(number, size=(20, 24))


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Twelve JPEGs, one sideways and one grey, mapped from an Arrow file."""
    sideways, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.open(io.BytesIO(draw(1))).save(sideways, "JPEG", exif=exif)
    grey = io.BytesIO()
    Image.open(io.BytesIO(draw(2))).convert("L").save(grey, "PNG")
    images = [draw(0), sideways.getvalue(), grey.getvalue(), *map(draw, range(3, 12))]
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES), "x": datasets.Value("float64")}
    found = datasets.Dataset.from_dict(
        {"image": [{"bytes": data, "path": None} for data in images], "label": LABELS, "x": np.arange(12) / 2},
        features=datasets.Features(features),
    )
    folder = str(tmp_path_factory.mktemp("table"))
    found.save_to_disk(folder)
    return datasets.load_from_disk(folder)


def read_all(source, split="all", kind="rgb"):
    part = source.find(split)
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda i: decode(part.read(i), kind=kind), range(len(part.listing.rows))))


class OneByOne:
    """The same dataset, its items asked for one by one."""

    def __init__(self, dataset):
        self.dataset, self.features, self.column_names = dataset, dataset.features, dataset.column_names

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        return self.dataset[index]


@pytest.mark.parametrize("change", ["as it is", "shuffled", "selected", "numpy", "renamed"])
def test_rows_equal_the_items_asked_for_one_by_one(table, change):
    changes = {
        "as it is": lambda: table,
        "shuffled": lambda: table.shuffle(seed=3),
        "selected": lambda: table.select([7, 1, 1, 4]),
        "numpy": lambda: table.with_format("numpy"),
        "renamed": lambda: table.rename_columns({"image": "img", "label": "fine_label"}),
    }
    changed = changes[change]()
    source = open_object(changed, name="mine")
    plain = open_dataset(OneByOne(changed.with_format(None)), name="mine")
    assert isinstance(source.find("all").part, TableItemsPart) and source.parallel == "processes"
    assert (source.classes, source.options, source.pixels) == (plain.classes, plain.options, plain.pixels)
    assert source.find("all").listing.hash == plain.find("all").listing.hash
    assert all(map(np.array_equal, read_all(source), read_all(plain)))
    copy = pickle.loads(pickle.dumps(source))
    assert copy.find("all").read(2) == source.find("all").read(2)


def test_a_dict_of_tables_gives_splits_and_columns_are_chosen_by_name(table):
    given = datasets.DatasetDict({"train": table, "test": table.select(range(5))})
    source = open_object(given, name="mine", contents=Contents(array="image", labels="label", targets="x"))
    assert tuple(source.splits) == ("train", "test") and source.classes == tuple(NAMES)
    assert source.options == {"version": None, "array": "image", "labels": "label", "targets": "x"}
    np.testing.assert_array_equal(source.find("test").listing.targets, np.arange(5, dtype=np.float32)[:, None] / 2)
    with pytest.raises(UsageError, match="labels is 'y': mine has the columns image, label, x"):
        open_object(given, name="mine", contents=Contents(labels="y"))


def test_a_table_with_a_transform_is_asked_for_its_items(table):
    def darken(batch):
        return {**batch, "image": [image.point(lambda value: value // 2) for image in batch["image"]]}

    source = open_object(table.with_transform(darken), name="mine")
    assert source.parallel == "none"
    dark = np.asarray(Image.open(io.BytesIO(draw(0))).point(lambda value: value // 2))
    np.testing.assert_array_equal(decode(source.find("all").read(0)), dark)


def test_arrays_of_a_table_keep_their_samples():
    arrays = np.arange(3 * 4 * 5, dtype=np.uint16).reshape(3, 4, 5) * 999
    features = datasets.Features({"image": datasets.Array2D((4, 5), "uint16"), "label": datasets.Value("int32")})
    table = datasets.Dataset.from_dict({"image": list(arrays), "label": [1, 0, 1]}, features=features)
    source = open_object(table, name="mine")
    assert (source.pixels.kind, source.pixels.dtype, source.parallel) == ("native", "uint16", "threads")
    np.testing.assert_array_equal(np.array(read_all(source, kind="native"))[..., 0], arrays)
    assert source.classes == ("0", "1")


def test_a_row_without_an_image_is_unreadable_and_a_path_is_opened(tmp_path):
    (tmp_path / "a.jpg").write_bytes(draw(5))
    features = datasets.Features({"image": datasets.Image()})
    images = [{"bytes": draw(0), "path": None}, None, {"bytes": None, "path": str(tmp_path / "a.jpg")}]
    source = open_object(datasets.Dataset.from_dict({"image": images}, features=features), name="mine")
    assert source.find("all").read(2) == draw(5)
    with pytest.raises(UnreadableImage, match=r"^the row holds no image$"):
        source.find("all").read(1)
    assert [row.label for row in source.find("all").listing.rows] == [-1, -1, -1]


def test_a_streamed_dataset_and_labels_that_are_texts_are_refused(table):
    with pytest.raises(SourceError, match=r"mine is streamed, .*: load it with streaming=False"):
        open_object(table.to_iterable_dataset(), name="mine")
    texts = table.remove_columns("label").add_column("label", ["a"] * 12)
    with pytest.raises(SourceError, match="column label holds string: expected integers"):
        open_object(texts, name="mine")


def test_a_row_without_samples_is_unreadable_and_the_others_are_as_they_were():
    samples = np.arange(3 * 64, dtype=np.uint8).reshape(3, 8, 8)
    features = datasets.Features(image=datasets.Array2D((8, 8), "uint8"))
    found = datasets.Dataset.from_dict({"image": [samples[0], None, samples[2]]}, features=features)
    part = open_object(found, name="mine").find("all")
    with pytest.raises(UnreadableImage, match="the row holds no image"):
        part.read(1)
    np.testing.assert_array_equal(part.read(2), samples[2])


def test_axes_do_not_go_with_a_table(table):
    with pytest.raises(UsageError, match="axes is 'HWC', and the images of mine say themselves how they stand"):
        open_object(table, name="mine", contents=Contents(axes="HWC"))
