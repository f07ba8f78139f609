import shutil

import pytest

from scatcache.errors import SourceError
from scatcache.images.datasets.imagenet import open_imagenet
from scatcache.images.datasets.kaggle import SOLUTION
from tests.images.imagenets import write_folders
from tests.images.parts import read_key
from tests.images.tars import draw_jpeg

WNIDS = ["n01440764", "n01443537"]
TRAIN = {f"{wnid}/{wnid}_{number}.JPEG": draw_jpeg(number) for wnid in WNIDS for number in (1, 2)}
VAL = {f"{WNIDS[n % 2]}/ILSVRC2012_val_{n:08d}.JPEG": draw_jpeg(n) for n in range(1, 4)}
XML = "<annotation><filename>{}</filename><object><name>{}</name></object><object><name>{}</name></object></annotation>"


@pytest.fixture(params=["csv", "xml"])
def root(tmp_path, request):
    """As Kaggle's archive unpacks, its validation images flat, their classes in a table or in annotations."""
    root = tmp_path / "imagenet"
    images = root / "ILSVRC/Data/CLS-LOC"
    write_folders(images / "train", TRAIN)
    write_folders(images / "val", {key.partition("/")[2]: data for key, data in VAL.items()})
    write_folders(images / "test", {"ILSVRC2012_test_00000001.JPEG": draw_jpeg(9)})
    if request.param == "csv":
        lines = [f"{key[10:-5]},{key[:9]} 111 108 230 221 {key[:9]} 1 2 3 4 " for key in reversed(VAL)]
        (root / SOLUTION).write_text("\n".join(["ImageId,PredictionString", *lines]) + "\n")
    else:
        for key in VAL:
            path = root / "ILSVRC/Annotations/CLS-LOC/val" / f"{key[10:-5]}.xml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(XML.format(key[10:-5], key[:9], key[:9]))
    return root


@pytest.mark.parametrize("below", ["", "ILSVRC", "ILSVRC/Data", "ILSVRC/Data/CLS-LOC"])
def test_the_rows_are_those_of_class_folders(root, below, tmp_path):
    folders = tmp_path / "folders"
    write_folders(folders / "train", TRAIN)
    write_folders(folders / "val", VAL)
    plain, source = open_imagenet(folders), open_imagenet(root / below)
    assert source.classes == plain.classes and source.root == root / below
    for split, images in (("train", TRAIN), ("val", VAL)):
        assert source.find(split).listing.hash == plain.find(split).listing.hash
        assert {key: read_key(source, split, key) for key in images} == images


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "does not give the class of ILSVRC2012_val_00000001.JPEG: fetch it again"),
        ("ILSVRC2012_val_00000001,cat 1 2 3 4", "line 2 gives no class: expected IMAGE,n01440764 111"),
        ("ILSVRC2012_val_00000001,n01440764 1 2 3 4 n01443537 1 2 3 4", "line 2 gives no class"),
    ],
)
def test_a_table_that_lacks_a_class_is_refused(root, line, message):
    (root / SOLUTION).write_text(f"ImageId,PredictionString\n{line}\n")
    with pytest.raises(SourceError, match=message):
        open_imagenet(root)


def test_annotations_that_are_missing_or_say_several_classes_are_refused(root):
    folder = root / "ILSVRC/Annotations/CLS-LOC/val"
    (root / SOLUTION).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    with pytest.raises(SourceError, match=f"does not say the classes of its images: put .* or Kaggle's {SOLUTION}"):
        open_imagenet(root)
    folder.mkdir(parents=True)
    with pytest.raises(SourceError, match=r"00000001.xml, which says the class of .*, is missing"):
        open_imagenet(root)
    for number in (1, 2, 3):
        (folder / f"ILSVRC2012_val_{number:08d}.xml").write_text(XML.format("x", *WNIDS))
    with pytest.raises(SourceError, match=r"xml names no class, or several: expected <name>n01440764</name>"):
        open_imagenet(root)
