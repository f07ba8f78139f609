import os
import pickle
import shlex
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scatcache.errors import SourceError
from scatcache.images import source as source_module
from scatcache.images.decode import decode
from scatcache.images.forms import Decoding
from scatcache.images.keys import PICTURE_EXTENSIONS
from scatcache.images.kinds.folder import FolderPart, open_folder
from scatcache.images.native_form import find_form
from scatcache.images.source import Listing, Row
from tests.images.parts import read_key


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x" * len(name))
    return root


def list_keys(source, split):
    return [row.key for row in source.find(split).listing.rows]


def test_class_folders_are_read_recursively(tmp_path):
    source = open_folder(touch(tmp_path, "dog/a.jpg", "cat/sub/deep/b.PNG", "cat/b.jpeg"))
    assert (tuple(source.splits), source.classes) == (("all",), ("cat", "dog"))
    assert source.find("all").listing.rows == (
        ("cat/b.jpeg", 0, 10),
        ("cat/sub/deep/b.PNG", 0, 18),
        ("dog/a.jpg", 1, 9),
    )


def test_split_folders_share_one_list_of_classes(tmp_path):
    source = open_folder(touch(tmp_path, "val/cat/a.jpg", "train/cat/b.jpg", "train/ant/c.jpg", "README.txt"))
    assert tuple(source.splits) == ("train", "val")
    assert source.classes == ("ant", "cat")
    assert source.find("val").listing.rows == (("cat/a.jpg", 1, 13),)
    assert [row.label for row in source.find("train").listing.rows] == [0, 1]


def test_splits_are_known_by_name_only_and_unlabeled_is_no_default(tmp_path):
    names = ("train", "val", "valid", "test", "unlabeled")
    source = open_folder(touch(tmp_path, *(f"{name}/a.png" for name in names), ".cache/x.png"))
    assert tuple(source.splits) == names
    assert source.default_splits == names[:-1]


def test_unlabeled_alone_is_the_default(tmp_path):
    assert open_folder(touch(tmp_path, "unlabeled/a.png")).default_splits == ("unlabeled",)


@pytest.mark.parametrize("name", ["train", "test", "Train", "dev", "test_set"])
def test_a_class_that_is_called_like_a_split_is_a_class_and_warned_of(tmp_path, name):
    source = open_folder(touch(tmp_path, f"{name}/a.jpg", "car/b.jpg", "bus/sub/c.jpg"))
    assert (tuple(source.splits), source.classes) == (("all",), tuple(sorted((name, "bus", "car"))))
    (warning,) = source.warnings
    assert f"folder {name} is read as a class, not as a split, because folder bus lies beside" in warning


@pytest.mark.parametrize(
    ("names", "advice"),
    [
        (("Train", "Val"), "rename Train to train, Val to val"),
        (("train", "validation"), "rename validation to val"),
        (("TRAINING", "Testing"), "rename TRAINING to train, Testing to test"),
        (("train_set", "dev-set", "eval set"), "rename dev-set to val, eval set to valid, train_set to train"),
        (("train2017", "val2017", "test"), "rename train2017 to train, val2017 to val"),
        (("trainA", "trainB"), "give each folder one of these names"),
        (("dogs_train", "dogs_test"), "rename dogs_test to test, dogs_train to train"),
        (("unlabelled", "train"), "rename unlabelled to unlabeled"),
        (("Test",), "rename Test to test"),
        (("trainset\u202e",), r"rename trainset\\u202e to train"),
    ],
)
@pytest.mark.parametrize("inside", ["", "cat/"])
def test_folders_that_look_like_splits_are_no_classes(tmp_path, names, advice, inside):
    with pytest.raises(SourceError, match=f"by their names splits, which would be read as classes: .*{advice}"):
        open_folder(touch(tmp_path, *(f"{name}/{inside}1.jpg" for name in names)))


def test_split_folders_beside_another_folder_are_no_classes(tmp_path):
    touch(tmp_path, "train/cat/1.jpg", "Test/cat/1.jpg", "extra/1.jpg")
    with pytest.raises(SourceError, match=r"hold the same folders; but folder extra lies beside them: move it away"):
        open_folder(tmp_path)


@pytest.mark.parametrize(
    ("names", "give"),
    [
        (("dataset/train/cat/1.jpg", "dataset/val/cat/1.jpg"), "dataset/"),
        (("dataset/cat/1.jpg", "dataset/dog/1.jpg", "readme.txt"), "dataset/"),
        (("a/b/c d/cat/1.jpg", "a/b/c d/dog/1.jpg", "a/notes.txt"), "a/b/c d/"),
        (("a/b/train/cat/1.jpg",), "a/b/"),
        (("data/cat/1.jpg", "__MACOSX/data/cat/1.jpg"), "data/"),
    ],
)
def test_a_folder_too_high_is_refused_and_the_right_one_named(tmp_path, names, give):
    with pytest.raises(SourceError) as caught:
        open_folder(touch(tmp_path, *names))
    named = shlex.split(str(caught.value).partition(": give ")[2].removesuffix(" instead"))
    assert named == [f"{tmp_path}/{give}"]
    open_folder(Path(named[0]))


def test_one_class_may_hold_its_images_and_folders_too(tmp_path):
    assert open_folder(touch(tmp_path, "cat/1.jpg", "cat/more/2.jpg")).classes == ("cat",)


@pytest.mark.parametrize("names", [("images", "images"), ("training_set", "test_set")])
def test_a_folder_around_the_classes_of_each_split_is_refused(tmp_path, names):
    touch(tmp_path, f"train/{names[0]}/cat/1.jpg", f"test/{names[1]}/cat/1.jpg")
    with pytest.raises(SourceError, match=rf"the folder {names[0]} alone.*move the folders in it up into .*train"):
        open_folder(tmp_path)


@pytest.mark.parametrize(
    ("names", "wrapped", "held"),
    [
        (("train/x/a/1.png", "train/x/b/1.png", "val/a/1.png", "val/b/1.png"), "train holds the folder x", "it"),
        (("train/a/1.png", "train/b/1.png", "val/x/y/a/1.png", "val/x/y/b/1.png"), "val holds the folder x", "x/y/"),
        (("train/x/a/1.png", "test/x/a/1.png", "val/a/1.png", "val/b/1.png"), "train holds the folder x", "it"),
        (("train/a/1.png", "val/x/a/1.png"), "val holds the folder x", "it"),
    ],
)
def test_a_folder_around_the_classes_of_one_split_alone_is_refused(tmp_path, names, wrapped, held):
    with pytest.raises(SourceError, match=rf"{wrapped} alone.*: move the folders in \S*{held} up into \S*/\w+$"):
        open_folder(touch(tmp_path, *names))


@pytest.mark.parametrize("train", ["train/cat/1.png", "train/dog/1.png"])
def test_the_one_class_of_a_split_may_hold_folders(tmp_path, train):
    touch(tmp_path, train, "train/cat/dog/1.png", "val/cat/dog/1.png", "val/cat/cow/1.png")
    assert "cat" in open_folder(tmp_path).classes


@pytest.mark.parametrize(
    ("names", "high"),
    [
        (("dataset/train/a/1.png", "dataset/val/a/1.png", "extra/1.png"), "dataset"),
        (("images/train/a/1.png", "images/Val/a/1.png", "images/Val/b/1.png", "labels/1.png"), "images"),
        (("c/1.png", "d/train/a/1.png", "d/test/a/1.png", "e/sub/1.png"), "d"),
        (("train/c/1.png", "train/x/train/a/1.png", "train/x/test/a/1.png", "val/c/1.png"), "train/x"),
    ],
)
def test_a_class_of_splits_of_the_same_folders_is_refused_beside_any_other(tmp_path, names, high):
    with pytest.raises(SourceError, match=rf"look like splits .*hold the same folders.*: give \S*/{high}/ instead"):
        open_folder(touch(tmp_path, *names))


def test_a_class_of_splits_of_images_is_warned_of_by_name(tmp_path):
    touch(tmp_path, *(f"{name}/{split}/1.png" for name in "ab" for split in ("train", "val")), "c/1.png", "d/sub/1.png")
    source = open_folder(tmp_path)
    assert source.classes == ("a", "b", "c", "d")
    for name, warning in zip("ab", source.warnings, strict=True):
        assert f"folder {name} holds no image but folders that look like splits (train, val)" in warning
        assert warning.endswith(f"if they are splits, give {tmp_path}/{name}/ instead")


def test_splits_below_the_classes_are_refused(tmp_path):
    touch(tmp_path, *(f"{one}/{split}/cat/1.jpg" for one in ("setA", "setB") for split in ("train", "Val")))
    with pytest.raises(SourceError, match=r"\(setA, setB\) holds folders that look like splits \(Val, train\).*setA/"):
        open_folder(tmp_path)


def test_folders_below_the_classes_are_read_and_warned_of_where_they_may_be_the_classes(tmp_path):
    """One folder in each, as in Tiny-ImageNet, is none to choose from."""
    tiny = touch(tmp_path / "tiny", "n1/images/1.jpg", "n2/images/1.jpg")
    assert open_folder(tiny).warnings == ()
    mixed = touch(tmp_path / "mixed", "n1/lab/1.jpg", "n1/test/1.jpg", "n2/1.jpg", "n3/train/1.jpg", "n4/test/1.jpg")
    assert open_folder(touch(mixed, "n4/train/1.jpg", "n4/2.jpg")).warnings == ()
    (warning,) = open_folder(
        touch(tmp_path / "pacs", "art/cat/1.jpg", "art/dog/1.jpg", "photo/cat/1.jpg", "photo/dog/1.jpg")
    ).warnings
    assert "its folders (art, photo) are read as the classes, though each holds the same folders (cat, dog)" in warning


@pytest.mark.parametrize("ending", ["json", "txt"])
@pytest.mark.parametrize("folders", [("00000", "00001"), ("00007",), ("shard-0", "shard-1")])
@pytest.mark.parametrize("above", ["", "train/"])
def test_shards_are_no_classes(tmp_path, ending, folders, above):
    for folder in folders:
        touch(
            tmp_path, *(f"{above}{folder}/{folder}0{n}.{e}" for n in range(2) for e in ("jpg", ending)), "00000.parquet"
        )
    with pytest.raises(
        SourceError, match=r"numbered folders .* beside each image, as img2dataset writes its shards"
    ) as caught:
        open_folder(tmp_path)
    assert f"rename the folders, as {folders[0]} to id_{folders[0]}" in str(caught.value)
    for folder in folders:
        (tmp_path / above / folder).rename(tmp_path / above / f"id_{folder}")
    assert len(open_folder(tmp_path).classes) == len(folders)


@pytest.mark.parametrize("ending", ["txt", "json"])
def test_short_numbers_are_classes_unless_the_files_in_them_are_as_in_shards(tmp_path, ending):
    """Landmarks of faces lie beside the images of each person."""
    faces = touch(
        tmp_path / "faces", *(f"{n:03d}/{i:03d}.{e}" for n in (1, 2) for i in (0, 1) for e in ("png", ending))
    )
    source = open_folder(faces)
    assert source.classes == ("001", "002") and "if they are shards" in source.warnings[0]
    shards = touch(tmp_path / "shards", *(f"001/{n}.{e}" for n in ("0010000", "0010001") for e in ("png", ending)))
    both = touch(tmp_path / "both", *(f"0001/a.{e}" for e in ("png", "txt", "json")))
    for folder in (shards, both):
        with pytest.raises(SourceError, match="as img2dataset writes its shards"):
            open_folder(folder)


def test_numbered_classes_are_legal_and_warned_of_where_they_may_be_shards(tmp_path):
    assert open_folder(touch(tmp_path / "mnist", *(f"{n}/{n}.png" for n in range(10)))).warnings == ()
    signs = touch(tmp_path / "signs", "00000/00000_00001.ppm", "00000/GT-00000.csv", "00001/00001_00001.ppm")
    assert open_folder(signs).warnings == ()
    for name, names in (("bare", ("00000/000000000.jpg", "00001/000010000.jpg")), ("told", ("0/a.png", "0/a.txt"))):
        (warning,) = open_folder(touch(tmp_path / name, *names)).warnings
        assert "if they are shards, as img2dataset writes them, their labels say nothing" in warning


def test_flat_files_have_no_label(tmp_path):
    source = open_folder(touch(tmp_path, "b.jpg", "a.jpg", "notes/readme.md"))
    assert (tuple(source.splits), source.classes) == (("all",), ())
    assert source.find("all").listing.rows == (("a.jpg", -1, 5), ("b.jpg", -1, 5))
    assert source.find("all").listing.n_ignored == 1


def test_a_split_may_be_flat_beside_one_of_classes(tmp_path):
    source = open_folder(touch(tmp_path, "train/cat/a.jpg", "test/1.jpg"))
    assert source.find("test").listing.rows == (("1.jpg", -1, 10),)
    assert source.find("train").listing.rows == (("cat/a.jpg", 0, 15),)


def test_images_are_known_by_extension_in_any_case_and_the_rest_is_counted(tmp_path):
    for extension in PICTURE_EXTENSIONS:
        touch(tmp_path, f"cat/a.{extension}", f"cat/B.{extension.upper()}")
    touch(
        tmp_path,
        "cat/labels.csv",
        "cat/features.npy",
        "labels.npy",
        "cat/jpg",
        "cat/.hidden.jpg",
        "cat/.git/a.jpg",
        "cat/.jpg",
        "MANIFEST.csv",
    )
    listing = open_folder(tmp_path).find("all").listing
    assert len(listing.rows) == 2 * len(PICTURE_EXTENSIONS) == 2 * 29
    assert listing.n_ignored == 8


def test_files_of_samples_are_images_where_there_is_no_picture(tmp_path):
    touch(tmp_path, "train/cat/a.npy", "train/dog/b.FITS", "train/dog/.c.npy", "val/cat/d.fit", "val/dog/notes.txt")
    touch(tmp_path, "val/dog/e.fts")
    source = pickle.loads(pickle.dumps(open_folder(tmp_path)))
    assert source.classes == ("cat", "dog")
    assert [row.key for row in source.find("train").listing.rows] == ["cat/a.npy", "dog/b.FITS"]
    assert [row.key for row in source.find("val").listing.rows] == ["cat/d.fit", "dog/e.fts"]
    assert source.find("val").listing.n_ignored == 1


def test_the_hash_stays_with_times_and_changes_with_names_sizes_and_classes(tmp_path):
    def hash_now():
        return open_folder(tmp_path).find("all").listing.hash

    touch(tmp_path, "cat/a.jpg", "dog/b.jpg")
    first = hash_now()
    os.utime(tmp_path / "cat/a.jpg", (1, 1))
    assert hash_now() == first
    (tmp_path / "cat/a.jpg").write_bytes(b"longer than before")
    assert hash_now() != first
    touch(tmp_path, "cat/a.jpg", "bee/c.jpg")
    assert hash_now() != first
    (tmp_path / "bee/c.jpg").unlink()
    (tmp_path / "bee").rmdir()
    assert hash_now() == first


@pytest.mark.parametrize(
    "name", [b"caf\xe9.jpg", b"new\nline.jpg", b"back\\slash.jpg", b"\\xff.jpg", b"\x1b[31m.jpg", "漢 é.jpg".encode()]
)
def test_any_file_name_is_a_printable_key_and_is_read_back(tmp_path, name):
    folder = os.path.join(os.fsencode(tmp_path), b"cl\xe4ss")
    os.mkdir(folder)
    with open(os.path.join(folder, name), "wb") as file:
        file.write(b"pixels of " + name)
    source = open_folder(tmp_path)
    (row,) = source.find("all").listing.rows
    row.key.encode()
    assert not any(ord(character) < 32 for character in row.key)
    assert source.classes == (r"cl\xe4ss",)
    assert read_key(source, "all", row.key) == b"pixels of " + name
    assert read_key(pickle.loads(pickle.dumps(source)), "all", row.key) == b"pixels of " + name


def test_a_root_that_is_no_utf8_is_shown_escaped(tmp_path):
    folder = os.fsdecode(os.path.join(os.fsencode(tmp_path), b"bad\xff"))
    os.mkdir(folder)
    with pytest.raises(SourceError, match=r"bad\\xff holds no image"):
        open_folder(Path(folder))


def test_links_to_files_and_folders_are_followed(tmp_path):
    data = touch(tmp_path / "data", "far/a.jpg", "far/b.jpg")
    root = touch(tmp_path / "root", "cat/0.jpg")
    (root / "cat/link.jpg").symlink_to(data / "far/a.jpg")
    (root / "dog").symlink_to(data / "far")
    assert list_keys(open_folder(root), "all") == ["cat/0.jpg", "cat/link.jpg", "dog/a.jpg", "dog/b.jpg"]
    assert open_folder(root).find("all").listing.rows[1].size == len("far/a.jpg")


def test_links_back_to_a_folder_above_end(tmp_path):
    touch(tmp_path, "cat/0.jpg", "dog/1.jpg")
    (tmp_path / "cat/up").symlink_to("..")
    (tmp_path / "cat/self").symlink_to(".")
    (tmp_path / "dog/other").symlink_to("../cat")
    assert list_keys(open_folder(tmp_path), "all") == ["cat/0.jpg", "dog/1.jpg", "dog/other/0.jpg"]


def test_links_that_lead_nowhere_are_ignored(tmp_path):
    touch(tmp_path, "cat/0.jpg")
    (tmp_path / "cat/gone.jpg").symlink_to("gone")
    (tmp_path / "cat/loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "cat/through.jpg").symlink_to("0.jpg/inside.jpg")
    listing = open_folder(tmp_path).find("all").listing
    assert ([row.key for row in listing.rows], listing.n_ignored) == (["cat/0.jpg"], 3)


def test_a_class_that_links_to_the_root_holds_no_image(tmp_path):
    touch(tmp_path, "cat/0.jpg")
    (tmp_path / "all").symlink_to(".")
    with pytest.raises(SourceError, match="no image in class folder all"):
        open_folder(tmp_path)


def test_pipes_and_sockets_are_never_opened(tmp_path, monkeypatch):
    touch(tmp_path, "cat/0.jpg")
    os.mkfifo(tmp_path / "cat/pipe.jpg")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("cat/socket.jpg")
        listing = open_folder(tmp_path).find("all").listing
    assert ([row.key for row in listing.rows], listing.n_ignored) == (["cat/0.jpg"], 2)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "holds no image"),
        (("readme.txt", "cat/readme.txt"), "holds no image"),
        (("train/cat/a.jpg", "test/cat/readme.txt"), "test holds no image"),
        (("cat/a.jpg", "dog/readme.txt"), "no image in class folder dog: fill or remove"),
        (("cat/a.jpg", "dog/readme.txt", "eel/readme.txt"), "no image in class folder dog and 1 more"),
        (("cat/a.jpg", "loose.jpg"), r"class folders \(cat, ...\) and beside them the image loose.jpg"),
        (("train/cat/a.jpg", "train/loose.jpg"), r"train holds class folders .* the image loose.jpg"),
        (("train/cat/a.jpg", "loose.jpg"), r"split folders \(train\) and beside them the image loose.jpg"),
    ],
)
def test_contradictions_are_refused_and_named(tmp_path, names, message):
    with pytest.raises(SourceError, match=message):
        open_folder(touch(tmp_path, *names))


def test_a_missing_folder_and_a_file_are_refused(tmp_path):
    touch(tmp_path, "file.jpg")
    with pytest.raises(SourceError, match="does not exist"):
        open_folder(tmp_path / "missing")
    with pytest.raises(SourceError, match="is not a folder"):
        open_folder(tmp_path / "file.jpg")


def test_an_unknown_split_lists_those_there_are(tmp_path):
    with pytest.raises(SourceError, match="no split 'test': expected one of train, val"):
        open_folder(touch(tmp_path, "train/a.jpg", "val/a.jpg")).find("test").listing


def test_a_class_that_appears_while_open_is_refused(tmp_path):
    source = open_folder(touch(tmp_path, "cat/a.jpg"))
    touch(tmp_path, "dog/a.jpg")
    with pytest.raises(SourceError, match="dog has appeared"):
        source.find("all").listing


def test_a_missing_file_is_an_error_of_the_disk(tmp_path):
    source = open_folder(touch(tmp_path, "cat/a.jpg"))
    assert len(source.find("all").listing.rows) == 1
    (tmp_path / "cat/a.jpg").unlink()
    with pytest.raises(FileNotFoundError) as caught:
        read_key(source, "all", "cat/a.jpg")
    assert caught.value.errno
    with pytest.raises(FileNotFoundError):
        find_form(source.find("all"), Decoding())


def test_native_form_turns_images_upright_and_passes_over_bad_ones(tmp_path):
    upright, sideways = Image.new("RGB", (40, 30)), Image.new("RGB", (30, 40))
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "cat").mkdir()
    upright.save(tmp_path / "cat/0.png")
    sideways.save(tmp_path / "cat/1.jpg", exif=exif)
    sideways.save(tmp_path / "cat/2.png", exif=exif)
    (tmp_path / "cat/3.jpg").write_bytes(b"")
    source = open_folder(tmp_path)
    rows = source.find("all").listing.rows
    assert find_form(source.find("all"), Decoding()) == (30, 40, 3, "uint8")
    assert {decode(read_key(source, "all", row.key), size=None).shape for row in rows[:3]} == {(30, 40, 3)}
    upright.crop((0, 0, 20, 30)).save(tmp_path / "cat/4.png")
    with pytest.raises(SourceError, match="give --size N"):
        find_form(open_folder(tmp_path).find("all"), Decoding())


def test_a_split_whose_folders_are_no_classes_of_train_is_refused(tmp_path):
    """As Tiny-ImageNet's are: labels made of its folder `images` would be wrong without a word."""
    touch(
        tmp_path, "train/n1/1.png", "train/n2/1.png", "val/images/1.png", "test/images/1.png", "val/val_annotations.txt"
    )
    with pytest.raises(
        SourceError, match=r"val holds 1 class \(images\) that train lacks .*\(n1, n2\) as val_annotations\.txt says"
    ):
        open_folder(tmp_path)
    shutil.move(tmp_path / "val/images", tmp_path / "val/n2")
    with pytest.raises(SourceError, match=r"test holds 1 class \(images\) .* shares none .* rename test to unlabeled"):
        open_folder(tmp_path)
    (tmp_path / "test").rename(tmp_path / "unlabeled")
    source = open_folder(tmp_path)
    assert (tuple(source.splits), source.classes) == (("train", "val", "unlabeled"), ("n1", "n2"))
    assert source.find("unlabeled").listing.rows == (("images/1.png", -1, len("test/images/1.png")),)


def test_a_split_of_other_classes_than_train_is_refused(tmp_path):
    touch(tmp_path, "train/ant/1.png", "val/dog\u202e/1.png")
    with pytest.raises(SourceError, match=r"val holds 1 class \(dog\\u202e\) that train lacks and shares none"):
        open_folder(tmp_path)


def test_a_train_without_classes_beside_a_split_of_classes_is_refused(tmp_path):
    with pytest.raises(SourceError, match=r"val holds 1 class \(ant\) .* or rename train to unlabeled"):
        open_folder(touch(tmp_path, "train/1.png", "val/ant/1.png"))


def test_a_split_without_class_folders_beside_train_is_warned_of(tmp_path):
    source = open_folder(touch(tmp_path, "train/n1/1.png", "val/1.png", "unlabeled/1.png"))
    assert len(source.warnings) == 1 and "val holds no class folders: its rows have the label -1" in source.warnings[0]
    assert [row.label for row in source.find("val").listing.rows] == [-1]


def test_classes_that_train_lacks_are_told_by_name(tmp_path):
    source = open_folder(touch(tmp_path, "train/n1/1.png", "val/n1/1.png", *(f"val/n{n}/1.png" for n in range(2, 6))))
    assert source.classes == ("n1", "n2", "n3", "n4", "n5")
    assert source.warnings == (f"{tmp_path}/val holds 4 classes (n2, n3, n4, ...) that train lacks",)


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (("train/caf\u00e9/1.png", "val/cafe\u0301/1.png"), r"'cafe\\u0301' in val and 'caf\\xe9' in train"),
        (("train/Cat/1.png", "val/cat/1.png"), "'Cat' in train and 'cat' in val"),
        (("Stra\u00dfe/1.png", "STRASSE/1.png"), r"'STRASSE' and 'Stra\\xdfe'"),
        (("cat/1.png", "cat\u200b /1.png"), r"'cat' and 'cat\\u200b '"),
        (("A\u030a/1.png", "\u212b/1.png"), r"'A\\u030a' and '\\u212b'"),
    ],
)
def test_classes_of_one_name_to_the_eye_are_refused_and_shown_escaped(tmp_path, names, shown):
    more = ("train/tea/1.png", "val/tea/1.png") if names[0].startswith("train") else ("tea/1.png",)
    with pytest.raises(SourceError, match=f"the classes {shown} are one name to the eye"):
        open_folder(touch(tmp_path, *names, *more))


def test_folders_that_machines_make_are_left_out_and_counted(tmp_path):
    touch(
        tmp_path, "a/1.png", "a/@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg", "b/1.png", "b/Thumbs/1.png", "b/sub/#RECYCLE/1.png"
    )
    touch(tmp_path, "__MACOSX/a/._1.png", "__MACOSX/a/1.png", "$Recycle.Bin/S-1/1.png", ".Trash-1000/files/1.png")
    touch(tmp_path, "System Volume Information/1.png", "lost+found/#123/1.png", "thumbs up/1.png", "a/notes.txt")
    source = open_folder(tmp_path)
    assert source.classes == ("a", "b", "thumbs up")
    listing = source.find("all").listing
    assert [row.key for row in listing.rows] == ["a/1.png", "b/1.png", "thumbs up/1.png"] and listing.n_ignored == 1
    once = ("@eaDir", "Thumbs", "#RECYCLE", "$Recycle.Bin", ".Trash-1000", "System Volume Information", "lost+found")
    assert listing.n_by_machines == {**dict.fromkeys(once, 1), "__MACOSX": 2}


@pytest.mark.parametrize(("above", "name"), [("", "thumbs"), ("train/", "THUMBS")])
def test_thumbs_may_be_a_class_where_it_is_not_spelt_as_machines_do(tmp_path, above, name):
    touch(tmp_path, *(f"{above}{folder}/1.png" for folder in ("fist", "palm", name)), f"{above}fist/thumbs/1.png")
    source = open_folder(tmp_path)
    assert {*source.classes} == {"fist", "palm", name}
    (warning,) = source.warnings
    assert f"folder {name} is read as a class, though machines call folders of thumbnails so" in warning
    (split,) = source.splits
    assert list_keys(source, split) == sorted(f"{folder}/1.png" for folder in ("fist", "palm", name))
    assert source.find(split).listing.n_by_machines == {"thumbs": 1}


def test_images_of_unlabeled_have_no_class_called_thumbs(tmp_path):
    touch(tmp_path, "train/a/1.png", "train/thumbs/1.png", "unlabeled/1.png", "unlabeled/thumbs/1.png")
    source = open_folder(tmp_path)
    assert list_keys(source, "unlabeled") == ["1.png"] and list_keys(source, "train") == ["a/1.png", "thumbs/1.png"]


@pytest.mark.parametrize("names", [("1.png",), ("train/1.png", "test/1.png"), ("a/1.png", "b/1.png")])
def test_thumbs_is_left_out_beside_images_and_splits_and_as_machines_spell_it_beside_classes(tmp_path, names):
    name = "Thumbs" if "a/1.png" in names else "thumbs"
    source = open_folder(touch(tmp_path, *names, f"{name}/1.png"))
    assert name not in source.classes
    listings = [source.find(split).listing for split in source.splits]
    assert sum(len(listing.rows) for listing in listings) == len(names)
    counted = [warning for warning in source.warnings if warning.endswith(f"1 in {name}")]
    assert counted or listings[0].n_by_machines == {name: 1}


def test_folders_that_machines_make_stand_beside_splits_and_are_counted(tmp_path):
    touch(tmp_path, "train/a/1.png", "test/a/1.png", "__MACOSX/train/a/._1.png", "__MACOSX/x.jpg", "train/@eaDir/1.jpg")
    source = open_folder(tmp_path)
    assert (tuple(source.splits), source.classes) == (("train", "test"), ("a",))
    assert source.warnings == (
        f"{tmp_path}: files left out because they lie in folders that machines make: 2 in __MACOSX",
    )
    assert source.find("train").listing.n_by_machines == {"@eaDir": 1}


def test_a_class_of_thumbnails_alone_is_empty(tmp_path):
    with pytest.raises(SourceError, match="no image in class folder b"):
        open_folder(touch(tmp_path, "a/1.png", "b/@eaDir/1.png"))


def test_a_machines_folder_that_may_not_be_looked_into_stops_nothing(tmp_path, monkeypatch):
    touch(tmp_path, "a/1.png", "lost+found/1.png")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("lost+found"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert list_keys(open_folder(tmp_path), "all") == ["a/1.png"]


def test_a_listing_does_not_depend_on_the_order_of_the_disk(tmp_path):
    names = [f"c{number % 3}/{number}.png" for number in np.random.default_rng(0).permutation(60)]
    source = open_folder(touch(tmp_path, *names))
    assert list_keys(source, "all") == sorted(names)


def test_the_nasty_folder_lists(robustness):
    source = open_folder(robustness)
    listing = source.find("all").listing
    assert len(source.classes) == 10
    assert "made/name with space é.jpg" in [row.key for row in listing.rows]
    assert len(listing.rows) + listing.n_ignored == 827


def test_photographs_list_by_synset(imagenet_folder):
    source = open_folder(imagenet_folder)
    rows = source.find("all").listing.rows
    assert len(rows) == len(source.classes) == 1000
    assert [row.label for row in rows] == list(range(1000))
    with pytest.raises(SourceError, match=r"375x500 \(height x width\), is that of 214 of the 1000 read"):
        find_form(source.find("all"), Decoding())


def test_a_part_that_travelled_reads_an_image_without_making_all_rows(tmp_path, monkeypatch):
    keys = [f"class{number // 1000:03d}/{number:07d}.jpg" for number in range(100_000)]
    touch(tmp_path, keys[70_000])
    part = FolderPart(tmp_path)
    part.__dict__["listing"] = Listing((key, -1, 1) for key in keys)
    data = pickle.dumps(part)
    made = []
    monkeypatch.setattr(source_module, "Row", lambda *fields: made.append(fields) or Row(*fields))
    copy = pickle.loads(data)
    assert copy.read(70_000) == (tmp_path / keys[70_000]).read_bytes()
    assert len(made) == 1 and len(data) < 100_000 * (len(keys[0]) + 3 * 8) + 2000
