import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scatcache.errors import SourceError
from scatcache.images.catalogue import SOURCES, is_known_source, open_source, source_exists
from tests.images.parts import read_key


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCATCACHE_DATA", raising=False)


def save_image(path: Path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(path)


def test_an_unknown_name_lists_the_names_or_a_folder():
    with pytest.raises(
        SourceError,
        match=r"unknown source 'cifar11': expected cifar10, stl10, imagenet, caltech101, photos, or a folder",
    ):
        open_source("cifar11")


@pytest.mark.parametrize("source", ["", "cifar11", "s3://bucket/images", "no\0name", Path("missing")])
def test_what_is_neither_name_nor_path_does_not_exist(source):
    assert not source_exists(source)
    with pytest.raises(SourceError):
        open_source(source)


def test_names_win_over_folders_unless_written_with_a_slash():
    save_image(Path("photos/cat/1.png"))
    assert open_source("photos").name == "photos"
    for source in ("photos/", "./photos", Path("photos")):
        assert not is_known_source(source)
        assert source_exists(source)
        assert open_source(source).name == "folder"
        assert open_source(source).base_name == "photos"
        assert open_source(source).root == Path("photos").absolute()


def test_a_folder_that_moved_keeps_its_base_name():
    save_image(Path("new/cat/1.png"))
    source = open_source("old/", root=Path("new"))
    assert (source.base_name, source.root) == ("old", Path("new").absolute())


def test_the_working_folder_is_called_by_its_name():
    save_image(Path("pets/cat/1.png"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir("pets/cat")
        assert open_source("..").base_name == "pets"


def test_every_source_of_the_table_fits_the_protocol(tmp_path):
    save_image(Path("pets/cat/1.png"))
    for source in (open_source("photos"), open_source("pets/")):
        assert source.default_size is None
        assert source.official is None
        assert source.warnings == ()
        assert set(source.default_splits) <= set(source.splits)
        copy = pickle.loads(pickle.dumps(source))
        assert copy == source
        split = source.splits[0]
        listing = source.find(split).listing
        assert copy.find(split).listing.hash == listing.hash
        first, second = read_key(source, split, listing.rows[0].key), read_key(copy, split, listing.rows[0].key)
        assert np.array_equal(first, second)
    assert list(SOURCES) == ["cifar10", "stl10", "imagenet", "caltech101", "photos"]
