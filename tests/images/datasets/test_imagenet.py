import io
import os
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scatcache.errors import SourceError
from scatcache.images.catalogue import open_source
from scatcache.images.datasets.devkit import ARCHIVE
from scatcache.images.datasets.imagenet import open_imagenet
from scatcache.images.decode import decode
from scatcache.images.forms import Decoding
from scatcache.images.native_form import find_form
from tests.images.imagenets import TRAIN_TAR, VAL_TAR, write_devkit, write_folders, write_train_tar, write_val_tar
from tests.images.parts import find_row, read_key
from tests.images.tars import draw_jpeg, make_entry, make_tar

WNIDS = ["n02105855", "n01440764", "n01443537"]
TRAIN = {f"{wnid}/{wnid}_{number}.JPEG": draw_jpeg(7 * number + len(wnid)) for wnid in WNIDS for number in (1, 10, 293)}
TRUTH = [3, 1, 1, 2, 3]
VAL_NAMES = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, 6)]
VAL = {f"{WNIDS[truth - 1]}/{name}": draw_jpeg(100 + truth) for truth, name in zip(TRUTH, VAL_NAMES, strict=True)}
FORMS = ("folders", "tars", "flat folder", "folder and tar")


def write_form(root: Path, scratch: Path, form: str) -> Path:
    root.mkdir()
    train, val = write_folders(scratch / "train", TRAIN), write_folders(scratch / "val", VAL)
    flat = {key.partition("/")[2]: content for key, content in VAL.items()}
    if form in ("folders", "flat folder", "folder and tar"):
        shutil.copytree(train, root / "train")
    else:
        write_train_tar(root, train, scratch)
    if form == "folders":
        shutil.copytree(val, root / "val")
    else:
        write_devkit(root, WNIDS, TRUTH, unpacked=form == "flat folder")
        write_folders(root / "val", flat) if form == "flat folder" else write_val_tar(root, flat, scratch)
    return root


@pytest.fixture(params=FORMS)
def root(tmp_path, request):
    return write_form(tmp_path / "root", tmp_path / "scratch", request.param)


def test_every_form_gives_the_same_keys_labels_sizes_and_bytes(root, tmp_path):
    source = open_imagenet(root, tmp_path / "job")
    assert tuple(source.splits) == source.default_splits == ("train", "val")
    assert source.classes == tuple(sorted(WNIDS))
    for split, images in (("train", TRAIN), ("val", VAL)):
        rows = source.find(split).listing.rows
        assert [row.key for row in rows] == sorted(images)
        assert [row.label for row in rows] == [sorted(WNIDS).index(row.key.partition("/")[0]) for row in rows]
        assert [row.size for row in rows] == [len(images[row.key]) for row in rows]
        assert [read_key(source, split, row.key) for row in rows] == [images[row.key] for row in rows]
        assert find_form(source.find(split), Decoding()).shape == (40, 36)


def test_every_form_equals_the_folder_source(root, tmp_path):
    folder = open_source(os.path.join(write_form(tmp_path / "plain", tmp_path / "other", "folders"), ""))
    source = open_imagenet(root, tmp_path / "job")
    assert source.classes == folder.classes
    for split in ("train", "val"):
        assert source.find(split).listing.hash == folder.find(split).listing.hash


def test_archives_say_where_their_images_lie_and_folders_do_not(root, tmp_path):
    source = open_imagenet(root, tmp_path / "job")
    for split, images in (("train", TRAIN), ("val", VAL)):
        tar = root / {"train": TRAIN_TAR, "val": VAL_TAR}[split]
        for key, content in images.items():
            place = source.find(split).locate(find_row(source, split, key))
            if tar.exists():
                assert place.file == str(tar)
                assert tar.read_bytes()[place.offset : place.offset + place.bytes] == content
            else:
                assert place is None


def test_nothing_is_unpacked_and_a_source_is_small_when_pickled(tmp_path):
    root = write_form(tmp_path / "root", tmp_path / "scratch", "tars")
    before = sorted(os.listdir(root))
    source = open_imagenet(root, tmp_path / "job")
    assert sorted(os.listdir(tmp_path / "job")) == [f"{TRAIN_TAR}.index.npz", f"{VAL_TAR}.index.npz"]
    assert sorted(os.listdir(root)) == before
    copy = pickle.loads(pickle.dumps(source))
    assert len(pickle.dumps(source)) < 2000
    assert [read_key(copy, "val", key) for key in VAL] == list(VAL.values())


def test_without_root_the_error_names_the_three_files_and_where_to_put_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCATCACHE_DATA", raising=False)
    with pytest.raises(SourceError) as caught:
        open_imagenet()
    for part in (TRAIN_TAR, VAL_TAR, ARCHIVE, "./data/imagenet", "$SCATCACHE_DATA/imagenet", "--root", "image-net.org"):
        assert part in str(caught.value)


def test_another_dataset_of_that_layout_is_not_taken_for_imagenet(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCATCACHE_DATA", raising=False)
    write_folders(tmp_path / "data" / "train", {"cat/1.jpg": b"1", "dog/1.jpg": b"1"})
    with pytest.raises(SourceError, match="not found"):
        open_imagenet()
    write_folders(tmp_path / "data" / "imagenet" / "train", TRAIN)
    assert open_imagenet().root == tmp_path / "data" / "imagenet"


@pytest.mark.parametrize("names", [WNIDS, ("tench", "goldfish")])
def test_bare_class_folders_are_refused_with_the_command_to_type(tmp_path, names):
    root = write_folders(tmp_path / "my photos", {f"{name}/1.JPEG": b"1" for name in names})
    command = re.escape(f"`scatcache extract '{root}/' --J 2 --size 224`")
    with pytest.raises(SourceError, match=rf"holds class folders .* and no folder train or val: give {command}"):
        open_imagenet(root)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_given_as_root_is_refused_with_the_command_to_type(tmp_path, split, monkeypatch):
    write_folders(tmp_path / split, TRAIN if split == "train" else {VAL_NAMES[0]: b"1"})
    command = f"`scatcache extract imagenet --root {tmp_path}/ --J 2`"
    with pytest.raises(SourceError, match=f"is the folder {split} itself, not the one that holds it: give {command}"):
        open_imagenet(tmp_path / split)
    monkeypatch.chdir(tmp_path / split)
    with pytest.raises(SourceError, match=command):
        open_imagenet(Path("."))


def test_classes_of_validation_that_train_lacks_are_told_and_refused_where_it_has_no_other(tmp_path):
    root = write_form(tmp_path / "root", tmp_path / "scratch", "tars")
    lacks = r"split val of .* holds 2 classes \(n01440764, n01443537\) that train lacks"
    files = [(f"{WNIDS[0]}.tar", make_tar([("1.JPEG", b"1")]))]
    (root / TRAIN_TAR).write_bytes(make_tar(files))
    (warning,) = open_imagenet(root, tmp_path / "job").warnings
    assert re.fullmatch(lacks, warning)
    (root / TRAIN_TAR).write_bytes(make_tar([("n99999999.tar", files[0][1])]))
    with pytest.raises(SourceError, match=r"split val of .* holds 3 classes .* that train lacks and shares none"):
        open_imagenet(root, tmp_path / "job")


def test_a_split_that_is_not_at_hand_is_told_with_its_file(tmp_path):
    root = write_form(tmp_path / "root", tmp_path / "scratch", "tars")
    (root / TRAIN_TAR).unlink()
    source = open_imagenet(root, tmp_path / "job")
    assert tuple(source.splits) == ("val",)
    with pytest.raises(SourceError, match=f"train is not in .*put {TRAIN_TAR}"):
        source.find("train").listing
    with pytest.raises(SourceError, match="no split 'test'"):
        source.find("test").listing


@pytest.mark.parametrize("form", ["tars", "flat folder"])
def test_validation_images_without_the_devkit_are_refused(tmp_path, form):
    root = write_form(tmp_path / "root", tmp_path / "scratch", form)
    shutil.rmtree(root / "ILSVRC2012_devkit_t12", ignore_errors=True)
    (root / ARCHIVE).unlink(missing_ok=True)
    with pytest.raises(SourceError, match=f"put {ARCHIVE}, or Kaggle's"):
        open_imagenet(root, tmp_path / "job")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([], "holds nothing"),
        ([("readme.txt", b"1")], "holds readme.txt: expected a tar of each class"),
        ([("n01440764/1.JPEG", b"1")], "expected a tar of each class"),
        ([("cats.tar", make_tar([("1.jpg", b"1")]))], "expected a tar of each class"),
        ([("../n01440764.tar", make_tar([("1.jpg", b"1")]))], "leads outside"),
        ([("n01440764.tar", b"no tar")], r"n01440764\.tar in .* is truncated or no tar"),
        ([("n01440764.tar", make_tar([("readme", b"1")]))], r"n01440764\.tar in .* holds no image"),
        ([("n01440764.tar", make_tar([("1.jpg", b"1"), ("../2.jpg", b"1")]))], "leads outside"),
        ([("n01440764.tar", make_tar([("1.jpg", b"1"), make_entry("2.jpg", b"2", "/etc/passwd")]))], "holds the link"),
    ],
)
def test_another_training_tar_is_named(tmp_path, entries, message):
    (tmp_path / TRAIN_TAR).write_bytes(make_tar(entries))
    with pytest.raises(SourceError, match=message):
        open_imagenet(tmp_path, tmp_path / "job")
    assert not (tmp_path / "job").exists()


def test_a_validation_tar_of_class_folders_needs_no_devkit(tmp_path):
    (tmp_path / VAL_TAR).write_bytes(make_tar(VAL.items()))
    source = open_imagenet(tmp_path, tmp_path / "job")
    assert [row.key for row in source.find("val").listing.rows] == sorted(VAL)


def test_a_class_tar_may_hold_its_own_folder_and_hidden_files_do_not_count(tmp_path):
    files = [("./n01440764/1.JPEG", b"1"), ("n01440764/._1.JPEG", b"1"), (".git/2.JPEG", b"1"), ("list.txt", b"1")]
    files += [("@eaDir/1.JPEG", b"1"), ("n01440764/__MACOSX/1.JPEG", b"1")]
    (tmp_path / TRAIN_TAR).write_bytes(make_tar([("./n01440764.tar", make_tar(files))]))
    listing = open_imagenet(tmp_path, tmp_path / "job").find("train").listing
    assert [row.key for row in listing.rows] == ["n01440764/1.JPEG"] and listing.n_ignored == 3
    assert listing.n_by_machines == {"@eaDir": 1, "__MACOSX": 1}


def test_oddities_of_the_real_set_decode_from_a_tar(tmp_path):
    """CMYK JPEGs, a PNG called JPEG, and EXIF that does not parse."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 36, 3), dtype=np.uint8)
    plain = Image.fromarray(pixels)
    contents = {}
    for name, image, form, options in (
        ("cmyk", plain.convert("CMYK"), "JPEG", {}),
        ("png", plain, "PNG", {}),
        ("exif", plain, "JPEG", {"exif": b"Exif\0\0MM\0*\xff\xff\xff\xff garbage"}),
    ):
        file = io.BytesIO()
        image.save(file, form, **options)
        contents[name] = file.getvalue()
    files = [(f"n02105855_{name}.JPEG", content) for name, content in contents.items()]
    (tmp_path / TRAIN_TAR).write_bytes(make_tar([("n02105855.tar", make_tar(files))]))
    source = open_imagenet(tmp_path, tmp_path / "job")
    for name in contents:
        decoded = decode(read_key(source, "train", f"n02105855/n02105855_{name}.JPEG"), size=None)
        assert decoded.shape == (40, 36, 3)
        expected = np.asarray(Image.open(io.BytesIO(contents[name])).convert("RGB"))
        np.testing.assert_array_equal(decoded, expected)
