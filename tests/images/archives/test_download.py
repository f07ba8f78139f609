"""Downloads from a real HTTP server on this machine, which cuts, refuses and lies as it is told."""

import contextlib
import hashlib
import http.server
import os
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from scatcache.errors import SourceError
from scatcache.images.archives import download as module
from scatcache.images.archives.download import Archive, download
from scatcache.images.catalogue import open_source
from scatcache.images.datasets import cifar10
from scatcache.images.named_datasets import DATASETS, find_archives
from tests.images.datasets.test_cifar10 import write_form

CONTENT = os.urandom(1_000_000)
NAME = find_archives("stl10")[0].name


@dataclass
class Behaviour:
    """content: what is served; cut_at: bytes after which each connection breaks, one a request, None: whole; ranges:
    whether Range is heeded; status: of every answer; requests: the Range header of each."""

    content: bytes = CONTENT
    cut_at: list[int | None] = field(default_factory=list)
    ranges: bool = True
    status: int = 200
    requests: list[str | None] = field(default_factory=list)


class Handler(http.server.BaseHTTPRequestHandler):
    behaviour: Behaviour

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        told, wanted = self.behaviour, self.headers["Range"]
        told.requests.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and told.ranges else 0
        if start >= len(told.content) and start:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(told.content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = told.content[start:]
        self.send_response(206 if start and told.status == 200 else told.status)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(told.content) - 1}/{len(told.content)}")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Encoding", "gzip")  # as some servers say of any .gz
        self.end_headers()
        cut = told.cut_at.pop(0) if told.cut_at else None
        with contextlib.suppress(ConnectionError):
            self.wfile.write(data if cut is None else data[:cut])


@pytest.fixture
def server(monkeypatch):
    behaviour = Behaviour()
    handler = type("Told", (Handler,), {"behaviour": behaviour})
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    serve(monkeypatch, running.server_address[1], "stl10", CONTENT)
    behaviour.port = running.server_address[1]
    monkeypatch.setattr(module, "PAUSES_S", (0.0, 0.0, 0.0))
    yield behaviour
    running.shutdown()
    running.server_close()


def serve(monkeypatch, port: int, source: str, content: bytes) -> None:
    """Makes the archive of a source the one that the server has."""
    md5 = hashlib.md5(content).hexdigest()
    name = find_archives(source)[0].name
    archive = Archive(name, f"http://127.0.0.1:{port}/{name}", md5)
    monkeypatch.setitem(DATASETS, source, replace(DATASETS[source], archives=(archive,)))


def list_all(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_an_archive_arrives_whole_with_progress_and_nothing_else_is_left(server, tmp_path):
    calls = []
    path = download(find_archives("stl10")[0], tmp_path / "new", lambda *progress: calls.append(progress))
    assert path == tmp_path / "new" / NAME and path.read_bytes() == CONTENT
    assert list_all(tmp_path / "new") == [NAME]
    counts = [count for _, _, count, _ in calls]
    assert calls[-1] == ("downloading", NAME, len(CONTENT), len(CONTENT)) and counts == sorted(counts)


def test_a_file_that_is_there_is_checked_and_not_fetched(server, tmp_path):
    (tmp_path / NAME).write_bytes(CONTENT)
    assert download(find_archives("stl10")[0], tmp_path).read_bytes() == CONTENT and server.requests == []
    (tmp_path / NAME).write_bytes(CONTENT[:-1])
    with pytest.raises(SourceError, match=r"not the official archive: its md5 is .*move it away"):
        download(find_archives("stl10")[0], tmp_path)
    assert (tmp_path / NAME).read_bytes() == CONTENT[:-1]


def test_a_connection_that_breaks_is_taken_up_where_it_broke(server, tmp_path):
    server.cut_at = [300_000, 300_000]
    assert download(find_archives("stl10")[0], tmp_path).read_bytes() == CONTENT
    assert server.requests == [None, "bytes=300000-", "bytes=600000-"]


def test_a_download_that_was_given_up_goes_on_at_the_next_try(server, tmp_path):
    server.cut_at = [250_000, 0, 0, 0]
    with pytest.raises(SourceError, match=r"could not be fetched .*goes on from here; or put stl10"):
        download(find_archives("stl10")[0], tmp_path)
    assert not (tmp_path / NAME).exists()
    assert list_all(tmp_path) == [f".{NAME}.part", f".{NAME}.part/lock", f".{NAME}.part/partial"]
    server.requests.clear()
    assert download(find_archives("stl10")[0], tmp_path).read_bytes() == CONTENT
    assert server.requests == ["bytes=250000-"] and list_all(tmp_path) == [NAME]


def test_a_download_goes_on_beside_the_store_and_leaves_the_folder_alone(server, tmp_path):
    data, work_dir = tmp_path / "data", tmp_path / "a.zarr.job"
    server.cut_at = [250_000, 0, 0, 0]
    with pytest.raises(SourceError, match=rf"or put {NAME} into {data} by other means"):
        download(find_archives("stl10")[0], data, work_dir=work_dir)
    assert not data.exists() and (work_dir / f".{NAME}.part/partial").stat().st_size == 250_000
    server.requests.clear()
    assert download(find_archives("stl10")[0], data, work_dir=work_dir).read_bytes() == CONTENT
    assert server.requests == ["bytes=250000-"] and list_all(tmp_path) == ["a.zarr.job", "data", f"data/{NAME}"]


def test_a_partial_that_is_whole_already_needs_its_check_alone(server, tmp_path):
    (tmp_path / f".{NAME}.part").mkdir()
    (tmp_path / f".{NAME}.part" / "partial").write_bytes(CONTENT)
    assert download(find_archives("stl10")[0], tmp_path).read_bytes() == CONTENT


def test_a_partial_longer_than_the_file_is_thrown_away(server, tmp_path):
    (tmp_path / f".{NAME}.part").mkdir()
    (tmp_path / f".{NAME}.part" / "partial").write_bytes(CONTENT + b"more")
    assert download(find_archives("stl10")[0], tmp_path).read_bytes() == CONTENT


def test_a_server_without_ranges_starts_again(server, tmp_path):
    server.ranges, server.cut_at = False, [300_000]
    assert download(find_archives("stl10")[0], tmp_path).read_bytes() == CONTENT
    assert server.requests == [None, "bytes=300000-"]


@pytest.mark.parametrize("content", [b"<html>sorry</html>", CONTENT[:-1] + b"?", b""])
def test_what_has_another_md5_is_refused_and_thrown_away(server, tmp_path, content):
    server.content = content
    with pytest.raises(SourceError, match="sent something else than"):
        download(find_archives("stl10")[0], tmp_path)
    assert list_all(tmp_path) == []
    server.content = CONTENT
    assert download(find_archives("stl10")[0], tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_server_that_refuses_is_told(server, tmp_path, status):
    server.status = status
    with pytest.raises(SourceError, match=f"could not be fetched .*{status}"):
        download(find_archives("stl10")[0], tmp_path)
    assert not (tmp_path / NAME).exists()


def test_nobody_listening_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PAUSES_S", ())
    serve(monkeypatch, 1, "stl10", CONTENT)
    with pytest.raises(SourceError, match=r"could not be fetched \(.*refused\)"):
        open_source("stl10", root=tmp_path, fetch=True)
    assert list_all(tmp_path) == []


def test_a_full_disk_is_the_machines_failure_and_keeps_what_came(server, tmp_path, monkeypatch):
    rename = os.replace

    def fill_up(*where):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fill_up)
    with pytest.raises(OSError, match="No space"):
        download(find_archives("stl10")[0], tmp_path)
    monkeypatch.setattr(os, "replace", rename)
    assert download(find_archives("stl10")[0], tmp_path).read_bytes() == CONTENT


def test_two_at_once_do_not_mix(server, tmp_path):
    (tmp_path / f".{NAME}.part").mkdir()
    with module._lock(tmp_path / f".{NAME}.part"), pytest.raises(SourceError, match="another process is downloading"):
        download(find_archives("stl10")[0], tmp_path)


def test_a_download_prints_nothing(server, tmp_path, capfd):
    download(find_archives("stl10")[0], tmp_path)
    assert capfd.readouterr() == ("", "")


def test_a_disk_that_is_full_meanwhile_is_no_broken_connection(server, tmp_path, monkeypatch):
    def fill_up(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fill_up)
    with pytest.raises(OSError, match="No space") as raised:
        download(find_archives("stl10")[0], tmp_path)
    assert not isinstance(raised.value, SourceError) and len(server.requests) == 1


def test_the_archives_are_those_that_were_published():
    assert {name: [archive.md5 for archive in row.archives] for name, row in DATASETS.items() if row.archives} == {
        "caltech101-background": ["3138e1922a9193bfa496528edbbc45d0"],
        "cifar10": ["c32a1d4ab5d03f1284b67883e8d87530"],
        "cifar100": ["03b5dce01913d631647c71ecec9e9cb8"],
        "mnist": [
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ],
        "fashion-mnist": [
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ],
        "svhn": [
            "e26dedcc434d2e4c54c9b2d4a06d8373",
            "eb5a983be6a315427106f1b164d9cef3",
            "a93ce644f1a588dc4d68dda5feec44a7",
        ],
        "stl10": ["91f7769df0f17e558f3565bffb0c7dfb"],
        "caltech101": ["3138e1922a9193bfa496528edbbc45d0"],
    }
    assert all(archive.url.endswith("/" + archive.name) for row in DATASETS.values() for archive in row.archives)


@pytest.fixture
def cifar10_archive(tmp_path, server, monkeypatch) -> bytes:
    """The small CIFAR-10 archive of the tests, served as the official one."""
    content = write_form(tmp_path / "made", "bin.tar.gz").read_bytes()
    server.content = content
    serve(monkeypatch, server.port, "cifar10", content)
    return content


def make_official(monkeypatch, tmp_path: Path) -> None:
    folder = write_form(tmp_path / "plain", "bin")
    md5s = tuple(hashlib.md5(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*_batch*")))
    forms = tuple(replace(form, digests=md5s) if form.folder == folder.name else form for form in cifar10.FORMS)
    monkeypatch.setattr(cifar10, "FORMS", forms)


def test_a_source_is_fetched_where_it_is_not_found_and_only_there(cifar10_archive, server, tmp_path, monkeypatch):
    make_official(monkeypatch, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCATCACHE_DATA", raising=False)
    source = open_source("cifar10", fetch=True)
    assert source.root == tmp_path / "data" / "cifar10" and len(server.requests) == 1
    assert open_source("cifar10", fetch=True).root == source.root and len(server.requests) == 1
    given = open_source("cifar10", root=tmp_path / "elsewhere", fetch=True)
    assert given.root == tmp_path / "elsewhere" and len(server.requests) == 2


def test_with_download_what_is_not_official_is_refused(cifar10_archive, server, tmp_path):
    with pytest.raises(SourceError, match="only the official archive is taken"):
        open_source("cifar10", root=tmp_path / "made", fetch=True)
    (tmp_path / "made" / "cifar-10-binary.tar.gz").write_bytes(cifar10_archive + b".")
    with pytest.raises(SourceError, match="not the official archive"):
        open_source("cifar10", root=tmp_path / "made", fetch=True)


@pytest.mark.parametrize("source", ["imagenet", "photos"])
def test_what_cannot_be_downloaded_says_so(source):
    with pytest.raises(SourceError, match=f"{source} cannot be downloaded"):
        open_source(source, fetch=True)
