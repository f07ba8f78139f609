import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import datasets
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from scatcache.errors import SourceError, UnreadableImage, UsageError
from scatcache.images.catalogue import open_source, source_exists
from scatcache.images.contents import Contents
from scatcache.images.kinds import parquet_file
from scatcache.images.kinds.parquet_part import ParquetPart
from tests.images.tars import draw_jpeg

NAMES = ["ant", "bee", "cow"]
IMAGES = [draw_jpeg(number, size=(12, 10)) for number in range(25)]
LABELS = [number % 3 for number in range(25)]
STRUCT = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
BYTES = pyarrow.array([{"bytes": data, "path": None} for data in IMAGES], STRUCT)


OPTIONS = ("compression", "use_dictionary", "write_page_checksum")


def write(path, *, image=BYTES, label=LABELS, group=10, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {name: columns.pop(name) for name in OPTIONS if name in columns}
    table = pyarrow.table({"id": range(len(image)), "image": image, "label": label, **columns})
    pyarrow.parquet.write_table(table, path, row_group_size=group, **options)
    return path


def read_all(part):
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(part.read, range(len(part.listing.rows))))


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
@pytest.mark.parametrize("use_dictionary", [True, False])
@pytest.mark.parametrize("kind", ["struct", "binary", "large_binary"])
def test_every_image_is_found_in_its_row_group(tmp_path, compression, use_dictionary, kind):
    image = BYTES if kind == "struct" else pyarrow.array(IMAGES, getattr(pyarrow, kind)())
    path = write(tmp_path / "a.parquet", image=image, compression=compression, use_dictionary=use_dictionary)
    part = open_source(path).find("all")
    assert read_all(part) == IMAGES
    assert [part.block(i) for i in (0, 9, 10, 24)] == [0, 0, 1, 2]
    assert part.read_block([19, 10, 13]) == [IMAGES[19], IMAGES[10], IMAGES[13]]
    with pytest.raises(IndexError):
        part.block(25)


def test_what_datasets_writes_is_read_with_its_classes(tmp_path):
    features = datasets.Features(
        {"img": datasets.Image(), "fine_label": datasets.ClassLabel(names=["a\x07", "b", "c"])}
    )
    rows = {"img": [{"bytes": data, "path": None} for data in IMAGES], "fine_label": LABELS}
    table = datasets.Dataset.from_dict(rows, features=features)
    for split in ("train", "test"):
        (tmp_path / "data").mkdir(exist_ok=True)
        for shard in range(2):
            name = f"data/{split}-{shard:05d}-of-00002.parquet"
            table.shard(2, shard, contiguous=True).to_parquet(tmp_path / name, batch_size=7)
    (tmp_path / "README.md").write_text("a card")
    source = open_source(tmp_path)
    assert (tuple(source.splits), source.classes) == (("train", "test"), ("a\\u0007", "b", "c"))
    assert source.options == {"array": "img", "labels": "fine_label"} and source.root == tmp_path
    part = source.find("train")
    rows = part.listing.rows
    assert (rows[0].key, rows[24].key) == ("train-00000-of-00002/00000", "train-00001-of-00002/00011")
    assert ([row.label for row in rows], {row.size for row in rows}) == (LABELS, {0})
    assert read_all(part) == IMAGES
    assert part.block(12) == 1 and part.block(13) == 2


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        (("train-0.parquet", "test-0.parquet", "validation-0.parquet"), ("train", "test", "validation")),
        (("default/train/0000.parquet", "default/train/0001.parquet", "default/test/0.parquet"), ("train", "test")),
        (("part-0.parquet", "part-1.parquet"), ("all",)),
        (("cifar-train_1.parquet", "cifar-val_1.parquet"), ("train", "val")),
    ],
)
def test_splits_are_named_by_files_or_folders(tmp_path, files, splits):
    for name in files:
        write(tmp_path / "root" / name)
    assert tuple(open_source(tmp_path / "root").splits) == splits


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("train-0.parquet", "more.parquet"), "train-0.parquet is of split train by its name, more.parquet of none"),
        (
            ("fine/train-0.parquet", "coarse/train-0.parquet"),
            "split train lie in the folders coarse and fine: give one",
        ),
    ],
)
def test_names_that_contradict_each_other_are_refused(tmp_path, files, message):
    for name in files:
        write(tmp_path / name)
    with pytest.raises(SourceError, match=message):
        open_source(tmp_path)


def test_a_folder_of_images_with_a_table_beside_them_stays_one(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat/a.jpg").write_bytes(IMAGES[0])
    write(tmp_path / "metadata.parquet")
    assert open_source(tmp_path).name == "folder"
    assert not source_exists(tmp_path / "gone.parquet")


def test_labels_and_targets_are_columns_asked_for_by_name(tmp_path):
    targets = pyarrow.array([[i, i / 4] for i in range(25)], pyarrow.list_(pyarrow.float64()))
    path = write(tmp_path / "a.parquet", other=[2 - label for label in LABELS], y=targets, z=[None, *range(24)])
    source = open_source(path, contents=Contents(labels="other", targets="y"))
    assert [row.label for row in source.find("all").listing.rows] == [2 - label for label in LABELS]
    np.testing.assert_array_equal(source.find("all").listing.targets, [[i, i / 4] for i in range(25)])
    assert source.options == {"array": "image", "labels": "other", "targets": "y"}
    again = open_source(path, contents=Contents().or_else(source.options)).find("all").listing
    assert again.hash == source.find("all").listing.hash != open_source(path).find("all").listing.hash
    single = open_source(path, contents=Contents(targets="z")).find("all").listing.targets
    assert single.shape == (25, 1) and np.isnan(single[0, 0]) and single[24, 0] == 23


def test_a_null_label_is_none(tmp_path):
    path = write(tmp_path / "a.parquet", label=[None, *LABELS[1:]])
    source = open_source(path)
    assert source.find("all").listing.rows[0].label == -1 and source.classes == ("0", "1", "2")


ODD = pyarrow.array(["x"] * 25)


@pytest.mark.parametrize(
    ("columns", "contents", "error", "message"),
    [
        ({"image": ODD}, {}, SourceError, r"no column of images .*: its columns are id \(int64\), image"),
        ({"image": ODD}, {"array": "id"}, SourceError, "column id is int64: expected images"),
        ({}, {"array": "photo"}, UsageError, "--array is 'photo': .* has the columns id"),
        ({"image": ODD, "a": BYTES, "b": BYTES}, {}, SourceError, "several columns .*: give --array, one of a, b"),
        ({"label": ["x"] * 25}, {}, SourceError, "column label holds string: expected integers"),
        ({"label": [-2] * 25}, {}, SourceError, "label of row 0 is -2"),
        ({"label": [i * 2 for i in LABELS]}, {}, SourceError, "go to 4, and none is 1, 3: .* numpy.unique"),
        ({"y": ["x"] * 25}, {"targets": "y"}, SourceError, "column y holds string: expected numbers"),
        ({"y": [[1.0] * (i + 1) for i in LABELS]}, {"targets": "y"}, SourceError, "lists of 1, 2, 3 values"),
    ],
)  # fmt: skip
def test_a_table_that_will_not_do_is_told_in_one_line(tmp_path, columns, contents, error, message):
    path = write(tmp_path / "a.parquet", **columns)
    with pytest.raises(error, match=message) as caught:
        open_source(path, contents=Contents(**contents))
    assert "\n" not in str(caught.value)


def test_rows_without_an_image_are_unreadable_alone(tmp_path):
    image = pyarrow.array(
        [None, {"bytes": None, "path": "a.jpg"}, {"bytes": b"", "path": None}, *BYTES[3:].to_pylist()], STRUCT
    )
    part = open_source(write(tmp_path / "a.parquet", image=image)).find("all")
    found = part.read_block([0, 1, 2, 3])
    assert [str(error) for error in found[:3]] == ["the row holds no image"] * 3 and found[3] == IMAGES[3]
    with pytest.raises(UnreadableImage, match="holds no image"):
        part.read(1)


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "page"])
def test_a_damaged_file_is_told_in_one_line(tmp_path, damage):
    path = write(tmp_path / "a.parquet", compression="none", use_dictionary=False, write_page_checksum=True)
    data = bytearray(path.read_bytes())
    data[data.index(IMAGES[3]) + 100] ^= 1
    path.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "text": b"PAR1" * 30, "page": data}[damage])
    with pytest.raises(SourceError, match=r"a.parquet is cut, damaged or no parquet \(.*\): fetch it again") as caught:
        read_all(open_source(path).find("all"))
    assert "\n" not in str(caught.value)


def test_a_file_that_changes_is_not_read(tmp_path):
    path = write(tmp_path / "a.parquet")
    part = open_source(path).find("all")
    write(path, group=5)
    with pytest.raises(SourceError, match=r"a.parquet has changed since it was opened"):
        part.read(0)


def test_files_of_one_split_must_be_alike(tmp_path):
    write(tmp_path / "a.parquet")
    write(tmp_path / "b.parquet", image=pyarrow.array(IMAGES))
    with pytest.raises(SourceError, match=r"b.parquet and .*a.parquet of one split have different columns"):
        open_source(tmp_path)


def test_a_part_is_small_when_pickled_and_reads_in_the_copy(tmp_path):
    part = open_source(write(tmp_path / "a.parquet")).find("all")
    assert part.listing.rows[7].label == LABELS[7]
    data = pickle.dumps(part)
    assert len(data) < 1500
    copy = pickle.loads(data)
    assert isinstance(copy, ParquetPart) and copy.listing.hash == part.listing.hash and copy.read(7) == IMAGES[7]


def test_a_large_row_group_is_read_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_file, "BATCH_BYTES", 3 * len(IMAGES[0]))
    part = open_source(write(tmp_path / "a.parquet", group=25)).find("all")
    file, group = part._groups[0]
    assert max(len(batch) for batch in parquet_file.read_batches(file, group, part.path)) <= 3
    assert part.read_block([24, 0, 11]) == [IMAGES[24], IMAGES[0], IMAGES[11]]


def test_targets_that_float32_rounds_may_lie_beside_missing_ones(tmp_path):
    path = write(tmp_path / "a.parquet", t=[None, *[2**53 + 1] * 24])
    targets = open_source(path, contents=Contents(targets="t")).splits["all"].listing.targets
    assert np.isnan(targets[0, 0]) and (targets[1:] == 2**53).all()


def test_columns_that_cannot_be_told_apart_are_refused(tmp_path):
    table = pyarrow.table([BYTES, BYTES], ["image", "image"])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(SourceError, match=r"a.parquet has several columns image: name them apart"):
        open_source(tmp_path / "a.parquet")
    path = write(tmp_path / "b.parquet", **{"image.bytes": IMAGES[::-1]})
    for array in ("image", "image.bytes"):
        with pytest.raises(SourceError, match=r"b.parquet has several columns that may be called image.bytes"):
            open_source(path, contents=Contents(array=array))


def test_files_that_would_share_their_keys_are_refused(tmp_path):
    write(tmp_path / "root/a.parquet")
    write(tmp_path / "root/a.PARQUET")
    with pytest.raises(SourceError, match="several files of split all are called a: rename them"):
        open_source(tmp_path / "root")


def test_a_table_without_rows_says_so(tmp_path):
    with pytest.raises(SourceError, match=r"a.parquet holds no row: expected one for each image"):
        open_source(write(tmp_path / "a.parquet", image=BYTES[:0], label=pyarrow.array([], "int64")))


def test_a_run_ends_without_a_word_of_what_it_had_open(tmp_path):
    path = write(tmp_path / "a.parquet")
    command = [sys.executable, "-m", "scatcache.commands", "extract", path, "--J", "1", "--L", "1", "-q"]
    done = subprocess.run([*command, "--out", tmp_path / "a.zarr"], capture_output=True, text=True, check=True)
    assert "Traceback" not in done.stderr
