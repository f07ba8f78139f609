"""webdataset tars at URLs: the rows and bytes are those of the same tars on the disk."""

import contextlib
import os
import pickle
import sys

import pytest

from scatcache.errors import ScatcacheError, SourceError, UnreadableImage
from scatcache.images import limits
from scatcache.images.catalogue import list_contents, open_source, source_exists
from scatcache.images.contents import Contents
from scatcache.remote import objects
from scatcache.testing import check_source
from tests.images.kinds.test_webdataset import IMAGES, make_samples, write
from tests.store.servers import (
    BUCKET,
    EchoingHandler,
    FaultyHandler,
    QuietHandler,
    forget_aws,
    serve,
    serve_s3,
    use_bucket,
)

PATTERN = "train-{000..001}.tar"


@pytest.fixture(scope="module")
def bucket():
    pytest.importorskip("obstore")
    with serve_s3() as bucket:
        yield bucket


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "root x/train-000.tar", make_samples(range(4)))
    write(tmp_path / "root x/train-001.tar", make_samples((4, 5)))
    write(tmp_path / "root x/a b+c.tar", make_samples((3,)))
    return tmp_path / "root x"


@pytest.fixture
def server(folder, monkeypatch):
    forget_aws(monkeypatch)
    with serve(folder) as server:
        yield server


@pytest.fixture(params=["s3", "web", "quoted"])
def url(request, folder, monkeypatch):
    """Of a folder; its address as a browser shows it too."""
    forget_aws(monkeypatch)
    with contextlib.ExitStack() as stack:
        if request.param == "s3":
            bucket = request.getfixturevalue("bucket")
            use_bucket(monkeypatch, bucket.endpoint)
            yield bucket.upload(folder, f"{folder.parent.name}/{folder.name}")
        else:
            name = folder.name if request.param == "web" else "root%20x"
            yield f"{stack.enter_context(serve(folder.parent)).url}/{name}"


def test_tars_at_a_url_are_read_as_from_the_disk(url, folder, tmp_path):
    contents = Contents(targets="xy")
    there = open_source(f"{url}/{PATTERN}", contents=contents, work_dir=tmp_path / "job")
    here = open_source(folder / PATTERN, contents=contents)
    assert (there.url, there.root) == (f"{url}/{PATTERN}", None)
    assert (there.name, there.options, there.classes) == (here.name, here.options, here.classes)
    part = there.find("train")
    assert part.listing.hash == here.find("train").listing.hash
    assert [part.read(i) for i in range(6)] == [*IMAGES.values()] and part.locate(0) is None
    check_source(there)
    assert len(pickle.dumps(part)) < 2000
    one = open_source(f"{url}/train-001.tar")
    assert [row.key for row in one.find("train").listing.rows] == ["0004", "0005"]
    spaced = "a%20b+c.tar" if "%" in url else "a b+c.tar"
    assert open_source(f"{url}/{spaced}").find("all").read(0) == IMAGES["0003"]


def test_a_tar_at_the_top_of_a_bucket_is_found(bucket, folder, monkeypatch):
    use_bucket(monkeypatch, bucket.endpoint)
    bucket.client.put_object(Bucket=BUCKET, Key="top.tar", Body=(folder / "train-001.tar").read_bytes())
    assert open_source(f"{bucket.url}/top.tar").find("all").read(0) == IMAGES["0004"]


def test_nothing_is_asked_for_to_see_that_a_url_is_one_of_tars():
    for name in ("x.tar", "x-{0..3}.TAR", "x.tar.gz"):
        assert source_exists(f"s3://nowhere/{name}") and "labels" in list_contents(f"https://nowhere.invalid/{name}")
    assert not source_exists("s3://nowhere/x.jpg")


def count_bytes(server):
    spans = [span.removeprefix("bytes=").split("-") for _, _, span in server.requests]
    return sum(int(stop) + 1 - int(start) for start, stop in spans)


def test_of_large_images_the_headers_alone_are_read_and_small_ones_by_few_requests(server, folder):
    write(folder / "large.tar", ((f"{n:02d}.jpg", bytes(300_000)) for n in range(20)))
    told = []
    open_source(f"{server.url}/large.tar", on_archive=lambda *what: told.append(what))
    assert [what[:2] for what in told] == [("indexing", "large.tar")] * len(told) and told[-1][2] == told[-1][3]
    assert 0 < told[0][2] < told[-1][3]
    assert count_bytes(server) < 1e6 and len(server.requests) < 60
    server.requests.clear()
    write(folder / "small.tar", ((f"{n:04d}.jpg", bytes(1000)) for n in range(2000)))
    open_source(f"{server.url}/small.tar")
    assert len(server.requests) < 20


def test_a_second_run_takes_the_saved_index_unless_the_tar_has_changed(server, folder, tmp_path):
    place, job = f"{server.url}/train-000.tar", tmp_path / "job"
    old = open_source(place, work_dir=job).find("train")
    (saved,) = job.glob("*.index.npz")
    written = saved.stat().st_mtime_ns
    copy = pickle.loads(pickle.dumps(old))
    assert open_source(place, work_dir=job).find("train").read(3) == copy.read(3) == IMAGES["0003"]
    assert saved.stat().st_mtime_ns == written
    # Of the same size, and changed at another time.
    os.utime(write(folder / "train-000.tar", make_samples((0, 1, 2, 5))), (1, 1))
    told = "has changed since it was indexed: let whatever writes there finish, then give the same command again"
    for read in (lambda: old.read(3), lambda: old.read_block([3])):
        with pytest.raises(SourceError, match=rf"train-000\.tar {told}$"):
            read()
    assert open_source(place, work_dir=job).find("train").read(3) == IMAGES["0005"]


def test_a_tar_that_is_deleted_makes_no_unreadable_images(server, folder):
    part = open_source(f"{server.url}/{PATTERN}").find("train")
    (folder / "train-001.tar").unlink()
    for read in (lambda: part.read(5), lambda: part.read_block([5])):
        with pytest.raises(SourceError, match=r"train-001\.tar does not exist, one of the 2 of http") as caught:
            read()
        assert not isinstance(caught.value, UnreadableImage)


def test_images_of_a_block_come_by_few_requests(server, folder, monkeypatch):
    sizes = [10, 60_000, 10, 90_000, 0, 10, 700_000, 10, 400_000, 10]
    write(folder / "x.tar", ((f"{n}.jpg", bytes([n]) * size) for n, size in enumerate(sizes)))
    part = open_source(f"{server.url}/x.tar").find("all")
    assert [part.block(i) for i in range(10)] == [0] * 9 + [1]
    server.requests.clear()
    images = [8, 0, 2, 4, 5, 7]
    assert part.read_block(images) == [bytes([n]) * sizes[n] for n in images]
    assert part.read(4) == b""
    # 60 kB lie between 0 and 2; 90 kB between 2 and 4; 700 kB before 7.
    assert len(server.requests) == 3 and count_bytes(server) < 600_000
    monkeypatch.setattr(limits, "MAX_IMAGE_BYTES", 500_000)
    found = part.read_block([6, 7])
    assert isinstance(found[0], UnreadableImage) and found[1] == bytes([7]) * 10


def test_what_is_cut_on_its_way_is_asked_for_again(folder, monkeypatch):
    forget_aws(monkeypatch)
    monkeypatch.setattr(objects, "PAUSES_S", (0.0,) * 7)
    with serve(folder, FaultyHandler) as server:
        faults = iter(range(10**6))
        server.choose = lambda path: "cut" if next(faults) % 3 == 0 else ""
        part = open_source(f"{server.url}/{PATTERN}").find("train")
        assert [part.read(i) for i in range(6)] == [*IMAGES.values()]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone.tar", r"/gone\.tar does not exist$"),
        ("train-{000..002}.tar", r"train-002\.tar does not exist, one of the 3 of http.*/train-\{000\.\.002\}\.tar$"),
        ("train-000.tar.gz", r"train-000\.tar\.gz is compressed, .*: unpack it to a plain \.tar first"),
        ("cut.tar", r"/cut\.tar is truncated"),
        ("empty.tar", r"/empty\.tar is truncated"),
        ("folders.tar", r"holds images in folders, and no labels beside them: a tar of class folders is read from a "),
    ],
)
def test_what_cannot_be_read_at_a_url_is_told_in_one_line(server, folder, name, message):
    (folder / "cut.tar").write_bytes((folder / "train-000.tar").read_bytes()[:700])
    (folder / "empty.tar").write_bytes(b"")
    write(folder / "folders.tar", [("cat/1.jpg", b"x"), ("dog/1.jpg", b"y")])
    with pytest.raises(SourceError, match=message) as caught:
        open_source(f"{server.url}/{name}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        (QuietHandler, "train-000.tar: the server does not answer byte ranges, .*: copy the tar to a local folder"),
        (EchoingHandler, r"train-000.tar: access is denied \(HTTP 403\): copy it to a local folder"),
    ],
)
def test_servers_that_refuse_are_told_in_one_line(folder, monkeypatch, handler, message):
    forget_aws(monkeypatch)
    with serve(folder, handler) as server, pytest.raises(ScatcacheError, match=message) as caught:
        open_source(f"{server.url}/{PATTERN}")
    assert "\n" not in str(caught.value)


def test_credentials_and_obstore_that_are_missing_are_named(bucket, folder, monkeypatch):
    use_bucket(monkeypatch, bucket.endpoint)
    with pytest.raises(SourceError, match=r"^s3://.*/gone\.tar does not exist$"):
        open_source(f"{bucket.url}/gone.tar")
    with pytest.raises(ScatcacheError, match="carries a user, password or query"):
        open_source("https://user:secret@nowhere.invalid/x.tar")
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ScatcacheError, match=r"needs obstore: pip install 'scatcache\[s3\]'"):
        open_source(f"{bucket.url}/gone.tar")
