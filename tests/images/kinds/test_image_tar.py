import pytest

from scatcache.errors import SourceError
from scatcache.images.catalogue import open_source
from tests.images.tars import draw_jpeg, make_tar

IMAGE = draw_jpeg(0, size=(12, 10))


def open_tar(tmp_path, *names):
    path = tmp_path / "pets.tar"
    path.write_bytes(make_tar((name, IMAGE if name.endswith("g") else b"text") for name in names))
    return open_source(path, work_dir=tmp_path / "job")


@pytest.mark.parametrize(
    ("names", "splits", "classes"),
    [
        (("cat/a.jpg", "dog/b.png"), {"all": [("cat/a.jpg", 0), ("dog/b.png", 1)]}, ("cat", "dog")),
        (("x/y/cat/a.jpg", "x/y/dog/b.jpg"), {"all": [("cat/a.jpg", 0), ("dog/b.jpg", 1)]}, ("cat", "dog")),
        (("pets/a.jpg", "pets/b.jpg"), {"all": [("a.jpg", -1), ("b.jpg", -1)]}, ()),
        (("cat/a.jpg", "cat/b.jpg"), {"all": [("cat/a.jpg", 0), ("cat/b.jpg", 0)]}, ("cat",)),
        (
            ("x/train/cat/a.jpg", "x/val/cat/b.jpg", "x/unlabeled/c/d.jpg"),
            {"train": [("cat/a.jpg", 0)], "val": [("cat/b.jpg", 0)], "unlabeled": [("c/d.jpg", -1)]},
            ("cat",),
        ),
        (("cat/a.jpg", "cat/a.xml", "dog/b.jpg"), {"all": [("cat/a.jpg", 0), ("dog/b.jpg", 1)]}, ("cat", "dog")),
    ],
)
def test_folders_in_a_tar_are_classes_and_splits(tmp_path, names, splits, classes):
    source = open_tar(tmp_path, *names)
    found = {split: [row[:2] for row in part.listing.rows] for split, part in source.splits.items()}
    assert (source.name, source.classes, found) == ("tar", classes, splits)
    for part in source.splits.values():
        assert part.read(0) == IMAGE and part.locate(0).bytes == len(IMAGE)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a.txt",), "holds no image: expected samples as webdataset has them, or class folders"),
        (("cat/a.jpg", "b.jpg"), r"class folders \(cat, ...\) and beside them the image b.jpg"),
        (("train/cat/a.jpg", "val/dog/a.jpg"), "shares none with it"),
    ],
)
def test_a_tar_that_says_no_classes_is_refused(tmp_path, names, message):
    with pytest.raises(SourceError, match=message):
        open_tar(tmp_path, *names)
