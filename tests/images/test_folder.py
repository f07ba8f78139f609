import os
import pickle
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scatcache.errors import SourceError
from scatcache.images.decode import IMAGE_EXTENSIONS, decode
from scatcache.images.folder import open_folder
from scatcache.images.listing import Row


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x" * len(name))
    return root


def list_keys(source, split):
    return [row.key for row in source.list_rows(split).rows]


def test_class_folders_are_read_recursively(tmp_path):
    source = open_folder(touch(tmp_path, "dog/a.jpg", "cat/sub/deep/b.PNG", "cat/b.jpeg"))
    assert (source.splits, source.classes) == (("all",), ("cat", "dog"))
    assert source.list_rows("all").rows == (("cat/b.jpeg", 0, 10), ("cat/sub/deep/b.PNG", 0, 18), ("dog/a.jpg", 1, 9))


def test_split_folders_share_one_list_of_classes(tmp_path):
    source = open_folder(touch(tmp_path, "val/dog/a.jpg", "train/cat/b.jpg", "train/ant/c.jpg", "README.txt"))
    assert source.splits == ("train", "val")
    assert source.classes == ("ant", "cat", "dog")
    assert source.list_rows("val").rows == (("dog/a.jpg", 2, 13),)
    assert [row.label for row in source.list_rows("train").rows] == [0, 1]


def test_splits_are_known_by_name_only_and_unlabeled_is_no_default(tmp_path):
    names = ("train", "val", "valid", "test", "unlabeled")
    source = open_folder(touch(tmp_path, *(f"{name}/a.png" for name in names), ".cache/x.png"))
    assert source.splits == names
    assert source.default_splits == names[:-1]


def test_unlabeled_alone_is_the_default(tmp_path):
    assert open_folder(touch(tmp_path, "unlabeled/a.png")).default_splits == ("unlabeled",)


def test_a_folder_beside_the_splits_makes_them_classes_and_warns(tmp_path):
    source = open_folder(touch(tmp_path, "train/a.jpg", "validation/b.jpg"))
    assert (source.splits, source.classes) == (("all",), ("train", "validation"))
    assert len(source.warnings) == 1
    assert "validation" in source.warnings[0]


def test_flat_files_have_no_label(tmp_path):
    source = open_folder(touch(tmp_path, "b.jpg", "a.jpg", "notes/readme.md"))
    assert (source.splits, source.classes) == (("all",), ())
    assert source.list_rows("all").rows == (("a.jpg", -1, 5), ("b.jpg", -1, 5))
    assert source.list_rows("all").n_ignored == 1


def test_a_split_may_be_flat_beside_one_of_classes(tmp_path):
    source = open_folder(touch(tmp_path, "train/cat/a.jpg", "test/1.jpg"))
    assert source.list_rows("test").rows == (("1.jpg", -1, 10),)
    assert source.list_rows("train").rows == (("cat/a.jpg", 0, 15),)


def test_images_are_known_by_extension_in_any_case_and_the_rest_is_counted(tmp_path):
    for extension in IMAGE_EXTENSIONS:
        touch(tmp_path, f"cat/a.{extension}", f"cat/B.{extension.upper()}")
    touch(tmp_path, "cat/labels.csv", "cat/jpg", "cat/.hidden.jpg", "cat/.git/a.jpg", "cat/.jpg", "MANIFEST.csv")
    listing = open_folder(tmp_path).list_rows("all")
    assert len(listing.rows) == 2 * len(IMAGE_EXTENSIONS) == 2 * 29
    assert listing.n_ignored == 6


def test_the_hash_stays_with_times_and_changes_with_names_sizes_and_classes(tmp_path):
    def hash_now():
        return open_folder(tmp_path).list_rows("all").hash

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
    (row,) = source.list_rows("all").rows
    row.key.encode()
    assert not any(ord(character) < 32 for character in row.key)
    assert source.classes == (r"cl\xe4ss",)
    assert source.read("all", row.key) == b"pixels of " + name
    assert pickle.loads(pickle.dumps(source)).read("all", row.key) == b"pixels of " + name


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
    assert open_folder(root).list_rows("all").rows[1].size == len("far/a.jpg")


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
    listing = open_folder(tmp_path).list_rows("all")
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
        listing = open_folder(tmp_path).list_rows("all")
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
    with pytest.raises(SourceError, match="no split test: expected train or val"):
        open_folder(touch(tmp_path, "train/a.jpg", "val/a.jpg")).list_rows("test")


def test_a_class_that_appears_while_open_is_refused(tmp_path):
    source = open_folder(touch(tmp_path, "cat/a.jpg"))
    touch(tmp_path, "dog/a.jpg")
    with pytest.raises(SourceError, match="dog has appeared"):
        source.list_rows("all")


def test_a_missing_file_is_an_error_of_the_disk(tmp_path):
    source = open_folder(touch(tmp_path, "cat/a.jpg"))
    (tmp_path / "cat/a.jpg").unlink()
    with pytest.raises(FileNotFoundError) as caught:
        source.read("all", "cat/a.jpg")
    assert caught.value.errno
    with pytest.raises(FileNotFoundError):
        source.native_shape("all", [Row("cat/a.jpg", 0, 1)])


def test_native_shape_turns_images_upright_and_passes_over_bad_ones(tmp_path):
    upright, sideways = Image.new("RGB", (40, 30)), Image.new("RGB", (30, 40))
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "cat").mkdir()
    upright.save(tmp_path / "cat/0.png")
    sideways.save(tmp_path / "cat/1.jpg", exif=exif)
    sideways.save(tmp_path / "cat/2.png", exif=exif)
    (tmp_path / "cat/3.jpg").write_bytes(b"")
    source = open_folder(tmp_path)
    rows = source.list_rows("all").rows
    assert source.native_shape("all", rows) == (30, 40)
    assert {decode(source.read("all", row.key), size=None).shape for row in rows[:3]} == {(30, 40, 3)}
    upright.crop((0, 0, 20, 30)).save(tmp_path / "cat/4.png")
    with pytest.raises(SourceError, match="give --size N"):
        source.native_shape("all", source.list_rows("all").rows)


def test_a_split_whose_folders_are_no_classes_of_train_is_refused(tmp_path):
    """As Tiny-ImageNet's are: labels made of its folder `images` would be wrong without a word."""
    touch(
        tmp_path, "train/n1/1.png", "train/n2/1.png", "val/images/1.png", "test/images/1.png", "val/val_annotations.txt"
    )
    with pytest.raises(SourceError, match=r"val holds the folder images.*train \(n1, .*as val_annotations\.txt says"):
        open_folder(tmp_path)
    shutil.move(tmp_path / "val/images", tmp_path / "val/n2")
    with pytest.raises(SourceError, match=r"test holds the folder images.*called unlabeled"):
        open_folder(tmp_path)
    (tmp_path / "test").rename(tmp_path / "unlabeled")
    assert open_folder(tmp_path).splits == ("train", "val", "unlabeled")


def test_a_split_of_other_classes_than_train_is_warned_of(tmp_path):
    source = open_folder(touch(tmp_path, "train/ant/1.png", "val/dog/1.png"))
    assert source.classes == ("ant", "dog")
    assert len(source.warnings) == 1 and "val holds the folder dog, and no class folder of train" in source.warnings[0]


def test_a_split_without_class_folders_beside_train_is_warned_of(tmp_path):
    source = open_folder(touch(tmp_path, "train/n1/1.png", "val/1.png", "unlabeled/1.png"))
    assert len(source.warnings) == 1 and "val holds no class folders: its rows have the label -1" in source.warnings[0]
    assert [row.label for row in source.list_rows("val").rows] == [-1]


def test_a_class_that_only_another_split_has_is_a_class(tmp_path):
    source = open_folder(touch(tmp_path, "train/n1/1.png", "val/n1/1.png", "val/n2/1.png"))
    assert source.classes == ("n1", "n2") and source.warnings == ()


def test_a_listing_does_not_depend_on_the_order_of_the_disk(tmp_path):
    names = [f"c{number % 3}/{number}.png" for number in np.random.default_rng(0).permutation(60)]
    source = open_folder(touch(tmp_path, *names))
    assert list_keys(source, "all") == sorted(names)


def test_the_nasty_folder_lists(robustness):
    source = open_folder(robustness)
    listing = source.list_rows("all")
    assert len(source.classes) == 10
    assert "made/name with space é.jpg" in [row.key for row in listing.rows]
    assert len(listing.rows) + listing.n_ignored == 827


def test_photographs_list_by_synset(imagenet_folder):
    source = open_folder(imagenet_folder)
    rows = source.list_rows("all").rows
    assert len(rows) == len(source.classes) == 1000
    assert [row.label for row in rows] == list(range(1000))
    with pytest.raises(SourceError, match=r"375x500 \(height x width\), is that of 214 of the 1000 read"):
        source.native_shape("all", rows)
