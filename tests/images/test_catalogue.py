import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scatcache.errors import SourceError
from scatcache.images import catalogue
from scatcache.images.catalogue import (
    Kind,
    is_known_source,
    open_object,
    open_source,
    source_exists,
)
from scatcache.images.kinds.folder import open_folder
from scatcache.images.named_datasets import DATASETS, NamedDataset
from scatcache.inspect.named_sources import sources


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
        match=r"unknown source 'cifar11': expected cifar10, .*, caltech101-background, photos, .* or a folder",
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
        assert open_source(source).root == Path("photos").absolute()


def test_a_folder_that_moved_is_read_where_it_is():
    save_image(Path("new/cat/1.png"))
    assert open_source("old/", root=Path("new")).root == Path("new").absolute()


def test_every_source_of_the_table_fits_the_protocol(tmp_path):
    save_image(Path("pets/cat/1.png"))
    for source in (open_source("photos"), open_source("pets/")):
        assert source.default_size is None
        assert source.official is None
        assert source.warnings == ()
        assert set(source.default_splits) <= set(source.splits)
        copy = pickle.loads(pickle.dumps(source))
        assert copy == source
        split = next(iter(source.splits))
        part, copied = source.find(split), copy.find(split)
        assert copied.listing.hash == part.listing.hash
        assert np.array_equal(part.read(0), copied.read(0))


def test_a_named_dataset_is_a_row_and_nothing_else(monkeypatch, tmp_path):
    """What sources(), the names that a store may not bear, the splits and the errors say comes from it."""
    row = NamedDataset("toys", ("train",), "train: toys", lambda at: open_folder(at.root), default_size=4)
    monkeypatch.setitem(DATASETS, "toys", row)
    save_image(tmp_path / "toys" / "cat" / "1.png")
    assert sources()["toys"] == "train: toys" and is_known_source("toys")
    assert open_source("toys", root=tmp_path / "toys").default_size == 4
    with pytest.raises(SourceError, match=r"toys cannot be downloaded by scatcache, only cifar10"):
        open_source("toys", root=tmp_path / "toys", fetch=True)
    with pytest.raises(SourceError, match=r"none of .*toys"):
        open_object([(Image.new("RGB", (4, 4)), 0)], name="toys")


def test_a_kind_of_path_is_a_row_and_nothing_else(monkeypatch, tmp_path):
    opened = []
    kind = Kind("text", "a text", lambda at: at.endswith(".txt"), lambda at, *_: opened.append(at) or "it")
    monkeypatch.setattr(catalogue, "KINDS", (kind, *catalogue.KINDS))
    (tmp_path / "a.txt").touch()
    assert open_source(tmp_path / "a.txt") == "it" and opened == [str(tmp_path / "a.txt")]
    with pytest.raises(SourceError, match=r"photos, a text, an array .* or a folder"):
        open_source("gone")


def test_a_split_that_is_not_there_has_one_text():
    save_image(Path("pets/cat/1.png"))
    for source, name in ((open_source("photos"), "photos"), (open_source("pets/"), f".*{Path('pets')}")):
        with pytest.raises(SourceError, match=f"^{name} has no split 'test': expected one of all$"):
            source.find("test")
