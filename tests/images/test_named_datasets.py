"""Datasets of several archives, fetched from a real HTTP server on this machine."""

import hashlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from scatcache.errors import SourceError
from scatcache.images.catalogue import open_source
from scatcache.images.datasets.mnist import MNIST, NAMES
from scatcache.images.named_datasets import DATASETS, find_archives
from tests.images.datasets.test_mnist import publish_as, write_mnist
from tests.images.datasets.test_svhn import make_official, write_svhn


class Listening(http.server.SimpleHTTPRequestHandler):
    asked: list[str]

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self.asked.append(self.path.removeprefix("/"))
        super().do_GET()


@pytest.fixture
def served(tmp_path) -> Iterator[tuple[Path, str, list[str]]]:
    """(the folder served, its URL, what was asked for)."""
    asked: list[str] = []
    handler = type("Listening", (Listening,), {"asked": asked})
    folder = tmp_path / "served"
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}/", asked
    server.shutdown()
    server.server_close()


def publish(monkeypatch, name: str, folder: Path, url: str) -> None:
    """Makes the archives of a dataset those that lie in the folder served."""
    archives = tuple(
        replace(archive, url=url + archive.name, md5=hashlib.md5((folder / archive.name).read_bytes()).hexdigest())
        for archive in DATASETS[name].archives
    )
    monkeypatch.setitem(DATASETS, name, replace(DATASETS[name], archives=archives))


@pytest.fixture
def mnist_served(served, tmp_path, monkeypatch) -> tuple[Path, str, list[str]]:
    folder, url, _ = served
    write_mnist(folder, packed=True)
    publish(monkeypatch, "mnist", folder, url)
    publish_as(monkeypatch, write_mnist(tmp_path / "plain"), MNIST, "MNIST")
    return served


PACKED = [f"{name}.gz" for name in NAMES]


def test_all_files_are_fetched_and_later_those_that_are_gone(mnist_served, tmp_path):
    _, _, asked = mnist_served
    root = tmp_path / "root"
    source = open_source("mnist", root=root, work_dir=tmp_path / "job", fetch=True)
    assert (source.official, source.root, asked) == (True, root, PACKED)
    assert sorted(path.name for path in root.iterdir()) == sorted(PACKED)
    open_source("mnist", root=root, work_dir=tmp_path / "job", fetch=True)
    assert asked == PACKED
    (root / PACKED[2]).unlink()
    assert open_source("mnist", root=root, work_dir=tmp_path / "job", fetch=True).official is True
    assert asked == [*PACKED, PACKED[2]]


def test_unpacked_files_of_the_published_content_need_no_download(mnist_served, tmp_path):
    assert open_source("mnist", root=tmp_path / "plain", fetch=True).official is True
    assert mnist_served[2] == []


def test_a_file_that_is_not_the_published_one_is_named_and_those_before_it_stay(mnist_served, tmp_path):
    folder, _, _ = mnist_served
    (folder / PACKED[1]).write_bytes(b"something else")
    with pytest.raises(SourceError, match=rf"sent something else than {PACKED[1]} of md5"):
        open_source("mnist", root=tmp_path / "root", fetch=True)
    assert [path.name for path in (tmp_path / "root").iterdir()] == [PACKED[0]]


def test_the_archive_of_a_split_asked_for_by_name_is_fetched_with_it_alone(served, tmp_path, monkeypatch):
    folder, url, asked = served
    write_svhn(folder)
    make_official(monkeypatch, folder)
    publish(monkeypatch, "svhn", folder, url)
    root = tmp_path / "root"
    assert tuple(open_source("svhn", root=root, fetch=True, splits=("test",)).splits) == ("test",)
    assert tuple(open_source("svhn", root=root, fetch=True).splits) == ("train", "test")
    assert asked == ["test_32x32.mat", "train_32x32.mat"]
    source = open_source("svhn", root=root, fetch=True, splits=("train", "extra"))
    assert (source.official, source.default_splits) == (True, ("train", "test"))
    assert asked[2:] == ["extra_32x32.mat"]


@pytest.mark.parametrize("splits", [None, ("unlabeled",)])
def test_an_archive_that_holds_all_splits_is_fetched_for_any(splits):
    assert [archive.name for archive in find_archives("stl10", splits)] == ["stl10_binary.tar.gz"]
