import io
import json
import pickle

import numpy as np
import pytest

from scatcache.errors import SourceError, UsageError
from scatcache.images.catalogue import open_source, source_exists
from scatcache.images.contents import Contents
from scatcache.images.decode import decode
from scatcache.images.kinds.webdataset import expand_braces
from tests.images.tars import draw_jpeg, make_entry, make_tar

IMAGES = {f"{number:04d}": draw_jpeg(number, size=(12, 10)) for number in range(6)}


def make_samples(numbers, *, label=lambda n: n % 3, extension="cls"):
    """Entries of samples: image, label, a caption, and a JSON file where the label is not in it."""
    for number in numbers:
        key = f"{number:04d}"
        yield f"{key}.jpg", IMAGES[key]
        if extension:
            yield f"{key}.{extension}", str(label(number)).encode()
        fields = {"fine": label(number) * 2, "xy": [number, number / 4]}
        yield f"{key}.json", json.dumps(fields).encode()
        yield f"{key}.txt", b"a caption"


def write(path, entries):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(make_tar(entries))
    return path


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "root/train-000.tar", make_samples(range(4)))
    write(tmp_path / "root/train-001.tar", make_samples((4, 5)))
    write(tmp_path / "root/val-000.tar", make_samples((0, 1)))
    return tmp_path / "root"


def test_samples_are_read_where_they_lie_with_labels_and_targets(folder, tmp_path):
    source = open_source(folder, work_dir=tmp_path / "job", contents=Contents(targets="xy"))
    assert (tuple(source.splits), source.classes) == (("train", "val"), ("0", "1", "2"))
    assert source.options == {"labels": "cls", "targets": "xy"}
    part = source.find("train")
    rows = part.listing.rows
    assert [row.key for row in rows] == [f"train-00{n // 4}/{n:04d}" for n in range(6)]
    assert [row.label for row in rows] == [0, 1, 2, 0, 1, 2]
    assert [row.size for row in rows] == [len(data) for data in IMAGES.values()]
    np.testing.assert_array_equal(part.listing.targets, [[n, n / 4] for n in range(6)])
    assert [part.read(i) for i in range(6)] == [*IMAGES.values()]
    place = part.locate(5)
    assert (folder / "train-001.tar").read_bytes()[place.offset :][: place.bytes] == IMAGES["0005"]
    assert len(list((tmp_path / "job").glob("*.index.npz"))) == 3


def test_a_second_run_takes_the_saved_index_but_not_for_other_labels(folder, tmp_path):
    first = open_source(folder, work_dir=tmp_path)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npz")}
    again = open_source(folder, work_dir=tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npz")} == stamps
    assert again.find("train").listing.hash == first.find("train").listing.hash
    other = open_source(folder, work_dir=tmp_path, contents=Contents(labels="fine"))
    assert [row.label for row in other.find("train").listing.rows] == [0, 2, 4, 0, 2, 4]
    assert other.warnings[0].endswith("of the labels 0 to 4, 2 have no image (first 1)")
    part = other.find("train")
    assert len(pickle.dumps(part)) < 1500
    assert pickle.loads(pickle.dumps(part)).read(5) == IMAGES["0005"]


@pytest.mark.parametrize("place", ["one", "pattern", "list"])
def test_a_tar_and_a_pattern_of_tars_are_sources(folder, place):
    names = {"one": "train-001.tar", "pattern": "train-{000..001}.tar", "list": "{train-001,val-000}.tar"}
    source = open_source(f"{folder}/{names[place]}")
    keys = {split: [row.key for row in part.listing.rows] for split, part in source.splits.items()}
    assert (
        keys
        == {
            "one": {"train": ["0004", "0005"]},
            "pattern": {"train": [f"train-00{n // 4}/{n:04d}" for n in range(6)]},
            "list": {"train": ["train-001/0004", "train-001/0005"], "val": ["val-000/0000", "val-000/0001"]},
        }[place]
    )
    assert source.root == folder / names[place]


def test_braces_expand_as_a_shell_does(folder):
    assert [*expand_braces("a-{08..11}-{x,y}.tar")][:3] == ["a-08-x.tar", "a-08-y.tar", "a-09-x.tar"]
    assert [*expand_braces("a{b}.tar")] == ["a{b}.tar"]
    assert [*expand_braces("{2..0}")] == ["2", "1", "0"]
    with pytest.raises(SourceError, match="stands for more than"):
        expand_braces("{0..9999}{0..9999}")
    assert not source_exists(f"{folder}/gone-{{000..001}}.tar")
    with pytest.raises(SourceError, match=r"train-002.tar does not exist, one of the 3 of"):
        open_source(f"{folder}/train-{{000..002}}.tar")


def test_labels_come_from_json_where_there_is_no_other_file(tmp_path):
    entries = [
        ("a.png", b"image"),
        ("a.json", b'{"label": 1, "name": "x"}'),
        ("b.png", b"image"),
        ("b.json", b'{"label": 0}'),
    ]
    source = open_source(write(tmp_path / "a.tar", entries))
    assert (source.name, source.options) == ("webdataset", {"labels": "label"})
    assert [row[:2] for row in source.find("all").listing.rows] == [("a", 1), ("b", 0)]


def test_the_image_of_several_is_chosen_by_its_extension(tmp_path):
    array = io.BytesIO()
    np.save(array, np.arange(20, dtype=np.uint16).reshape(4, 5))
    entries = [("a.jpg", IMAGES["0000"]), ("a.depth.npy", array.getvalue()), ("a.cls", b"0")]
    path = write(tmp_path / "a.tar", entries)
    part = open_source(path, contents=Contents(array="depth.npy")).find("all")
    assert decode(part.read(0), kind="native").ravel().tolist() == list(range(20))
    assert open_source(path).find("all").read(0) == IMAGES["0000"]
    with pytest.raises(UsageError, match=r"--array is 'png': the samples of .* have jpg, depth.npy, cls"):
        open_source(path, contents=Contents(array="png"))


JPG, CLS = ("a.jpg", b"image"), ("a.cls", b"0")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([JPG, CLS, ("b.cls", b"1")], "sample b lacks an image"),
        ([JPG, CLS, ("b.jpg", b"image")], "sample b lacks cls, its label, which others have"),
        ([JPG, ("a.png", b"image"), CLS], "sample a has two images: give --array"),
        ([JPG, ("a.cls", b"cat")], "sample a: its label cls is 'cat': expected an integer"),
        ([JPG, ("a.cls", b"-2")], "sample a: its label cls is -2: expected an integer"),
        ([JPG, ("a.cls", b"99999999999")], "a sample has the label 99999999999: expected the numbers of classes"),
        ([JPG, CLS, ("b.jpg", b"i"), ("b.json", b"[1]"), ("b.cls", b"0")], "b.json is no JSON object"),
        ([JPG, CLS, make_entry("b.jpg", b"2", "a.jpg")], "holds the link b.jpg: expected files alone; pack plain"),
    ],
)  # fmt: skip
def test_samples_that_contradict_each_other_are_told_in_one_line(tmp_path, entries, message):
    with pytest.raises(SourceError, match=message) as caught:
        open_source(write(tmp_path / "a.tar", entries))
    assert "\n" not in str(caught.value)


def test_labels_that_the_first_tar_lacks_are_not_lost(tmp_path):
    write(tmp_path / "a.tar", [JPG])
    write(tmp_path / "b.tar", [JPG, CLS])
    with pytest.raises(SourceError, match=r"b.tar: sample a has cls, and those of the first tar have none"):
        open_source(tmp_path)


def test_targets_must_be_as_many_in_each_sample(tmp_path):
    entries = [JPG, CLS, ("a.json", b'{"y": [1]}'), ("b.jpg", b"i"), ("b.cls", b"0"), ("b.json", b'{"y": [1, 2]}')]
    path = write(tmp_path / "a.tar", entries)
    with pytest.raises(SourceError, match="sample b has 2 targets, another 1"):
        open_source(path, contents=Contents(targets="y"))


@pytest.mark.parametrize("n_bytes", [700, 5000])
def test_a_cut_tar_is_told_in_one_line(folder, n_bytes):
    (folder / "train-000.tar").write_bytes((folder / "train-000.tar").read_bytes()[:n_bytes])
    with pytest.raises(SourceError, match=r"train-000.tar is truncated") as caught:
        open_source(folder)
    assert "\n" not in str(caught.value)


def test_a_compressed_tar_is_refused_with_advice(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(b"anything")
    with pytest.raises(SourceError, match=r"a.tar.gz is compressed, .*: unpack it to a plain .tar first"):
        open_source(tmp_path / "a.tar.gz")


@pytest.mark.parametrize("value", ["1e300", "-1e39", "1" + "0" * 400, "[0, 1e39]"])
def test_targets_beyond_float32_are_refused(tmp_path, value):
    path = write(tmp_path / "a.tar", [("0000.jpg", IMAGES["0000"]), ("0000.json", f'{{"xy": {value}}}'.encode())])
    with pytest.raises(SourceError, match=r"sample 0000: its targets xy are .*: beyond float32"):
        open_source(path, contents=Contents(targets="xy"))


def test_labels_are_never_left_out_because_the_first_sample_has_none(tmp_path):
    entries = [("0000.jpg", IMAGES["0000"]), ("0000.json", b"{}"), ("0001.jpg", IMAGES["0001"])]
    path = write(tmp_path / "a.tar", [*entries, ("0001.json", b'{"label": 1}')])
    with pytest.raises(SourceError, match="sample 0001 has the label label, and the first has none: give all"):
        open_source(path)


def test_labels_are_never_left_out_because_names_hold_dots(tmp_path):
    dotted = [(f"img_0.{key}.{e}", d) for key, data in IMAGES.items() for e, d in (("jpg", data), ("cls", b"1"))]
    with pytest.raises(SourceError, match="holds no sample with an image: what is behind the first dot of a name"):
        open_source(write(tmp_path / "a.tar", dotted))
    path = write(tmp_path / "b.tar", [(name.replace("img_0.", "").replace("jpg", "a.jpg"), d) for name, d in dotted])
    with pytest.raises(SourceError, match="sample 0000 lacks an image"):
        open_source(path)
    assert open_source(path, contents=Contents(array="a.jpg")).splits["all"].listing.rows.labels.tolist() == [1] * 6
