import itertools
import random
import time

import numpy as np
import pytest

import scatcache
from scatcache.remote import objects
from scatcache.remote.objects import ObjectFiles, read_listing, show_host
from scatcache.remote.web import NoAnswer
from scatcache.store.reader import open_split
from tests.store.servers import BUCKET, FaultyHandler, FaultyWholeHandler, forget_aws, serve, use_bucket
from tests.store.stores import N_IMAGES, made_many_shards

EVERY_ROW = np.arange(N_IMAGES)
FRAMINGS = ("length", "chunks", "end")


@pytest.fixture
def hurried(monkeypatch):
    """Tries follow each other at once, and silence is waited for as long as a busy machine may need."""
    forget_aws(monkeypatch)
    monkeypatch.setattr(objects, "PAUSES_S", (0.0,) * 7)
    monkeypatch.setattr(objects, "STALL_S", 0.5)


def choosing(*, seed, fraction, faults):
    """A server's choice: that fraction of answers gets one of these faults, not two in a row for one path."""
    rng, hurt = random.Random(seed), set()

    def choose(path):
        if path in hurt:
            hurt.discard(path)
            return ""
        if rng.random() < fraction:
            hurt.add(path)
            return rng.choice(faults)
        return ""

    return choose


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("handler", [FaultyHandler, FaultyWholeHandler])
def test_every_batch_is_right_where_one_body_in_ten_is_cut(sound, hurried, handler, framing):
    expected = scatcache.open_cache(sound)
    cuts = 0
    with serve(sound.parent, handler) as server:
        server.framing = framing
        choose = choosing(seed=7, fraction=0.1, faults=["cut"])

        def count(path):
            nonlocal cuts
            cuts += bool(fault := choose(path))
            return fault

        server.choose = count
        url = f"{server.url}/{sound.name}"
        for seed in range(6):
            cache = scatcache.open_cache(url)
            batches = zip(cache.loader(4, True, seed=seed), expected.loader(4, True, seed=seed), strict=True)
            assert all(S.equal(T) and y.equal(z) for (S, y), (T, z) in batches)
        assert scatcache.verify(url).ok
    assert cuts > 10


def test_stalled_requests_are_asked_again(sound, hurried):
    with serve(sound.parent, FaultyHandler) as server:
        server.choose = choosing(seed=1, fraction=0.1, faults=["stall", "hang", "short", "cut"])
        reader = open_split(f"{server.url}/{sound.name}")
        np.testing.assert_array_equal(reader.read(EVERY_ROW), open_split(sound).read(EVERY_ROW))


@pytest.mark.parametrize("framing", FRAMINGS)
def test_body_that_is_always_cut_is_named_with_the_number_of_tries(sound, hurried, framing):
    with serve(sound.parent, FaultyHandler) as server:
        server.framing = framing
        reader = open_split(f"{server.url}/{sound.name}")
        server.choose = lambda path: "cut" if path.endswith("c.2.0.0.0") else ""
        server.requests.clear()
        words = (
            rf"{server.url}/{sound.name}/all/coefficients/c\.2\.0\.0\.0: the (connection was cut after|server sent) "
            r"[\d,]+ bytes.* \(tried 8 times in \d\.\d s\): check the URL and the network, then try again"
        )
        with pytest.raises(scatcache.ScatcacheError, match=words):
            reader.read(np.arange(24, 30))
        assert sum(path.endswith("c.2.0.0.0") for _, path, _ in server.requests) == 8


def test_range_shorter_than_asked_for_is_no_answer(sound, hurried):
    with serve(sound.parent, FaultyHandler) as server:
        server.choose = lambda path: "short"
        words = r"the server sent \d+ bytes in place of 64 \(tried 8 times"
        with pytest.raises(scatcache.ScatcacheError, match=words):
            ObjectFiles(f"{server.url}/{sound.name}").fetch("zarr.json", (0, 64))


def test_body_without_a_length_must_come_twice_alike(sound, hurried):
    with serve(sound.parent, FaultyWholeHandler) as server:
        server.framing, faults = "end", itertools.chain(["cut"], itertools.repeat(""))
        server.choose = lambda path: next(faults)
        found = ObjectFiles(f"{server.url}/{sound.name}").fetch("zarr.json", None)
        assert found[0] == (sound / "zarr.json").read_bytes() and len(server.requests) == 3


@pytest.mark.parametrize("handler", [FaultyHandler, FaultyWholeHandler])
@pytest.mark.parametrize("fault", ["stall", "hang"])
def test_threads_do_not_multiply_the_wait(sound, hurried, monkeypatch, tmp_path_factory, handler, fault):
    many = made_many_shards(tmp_path_factory.getbasetemp())
    monkeypatch.setattr("scatcache.store.reader.N_THREADS", 8)
    with serve(many.parent, handler) as server:
        reader = open_split(f"{server.url}/{many.name}")
        monkeypatch.setattr(objects, "WITHIN_S", 1.0)
        server.choose = lambda path: fault if ".0.0.0" in path else ""
        start = time.monotonic()
        with pytest.raises(scatcache.ScatcacheError, match=r"c\.\d+\.0\.0\.0: the server (does not answer|stopped)"):
            reader.read(EVERY_ROW)
        # What came before the first stall gives it its time anew, once.
        assert time.monotonic() - start < 4


def test_threads_that_want_one_file_share_its_failure(sound, hurried, monkeypatch):
    monkeypatch.setattr("scatcache.store.reader.N_THREADS", 8)
    with serve(sound.parent, FaultyWholeHandler) as server:
        reader = open_split(f"{server.url}/{sound.name}")
        monkeypatch.setattr(objects, "WITHIN_S", 1.0)
        server.choose = lambda path: "stall" if ".0.0.0" in path else ""
        assert reader.records.index.size
        server.requests.clear()
        start = time.monotonic()
        with pytest.raises(scatcache.ScatcacheError, match="does not answer"):
            reader.read(np.arange(12))
        assert time.monotonic() - start < 2


def test_slow_body_that_goes_on_has_its_time(hurried, monkeypatch):
    monkeypatch.setattr(objects, "WITHIN_S", 0.3)
    monkeypatch.setattr(objects, "STALL_S", 0.2)
    sizes = iter([10, 20, 30])

    class Slow:
        def get(self, url, **options):
            time.sleep(0.2)
            if (n := next(sizes, None)) is not None:
                raise NoAnswer("the connection was cut", n_bytes=n)
            return objects.Answer(200, {}, b"whole", True)

    files = ObjectFiles("http://host/a.zarr")
    files._connections = Slow()
    assert files.fetch("zarr.json", None) == (b"whole", 5)


def test_listing_goes_on_page_by_page(monkeypatch):
    use_bucket(monkeypatch, "http://127.0.0.1:1")
    pages = [
        b"<ListBucketResult xmlns='urn:s3'><IsTruncated>true</IsTruncated>"
        b"<NextContinuationToken>a+b</NextContinuationToken>"
        b"<Contents><Key>a.zarr/all/x</Key><Size>1</Size></Contents></ListBucketResult>",
        b"<ListBucketResult><IsTruncated>false</IsTruncated>"
        b"<Contents><Key>a.zarr/all/y/z</Key><Size>22</Size></Contents></ListBucketResult>",
    ]
    asked = []

    class Pages:
        def get(self, url, **options):
            asked.append(url)
            return objects.Answer(200, {}, pages[len(asked) - 1], True)

    files = ObjectFiles(f"s3://{BUCKET}/a.zarr")
    files._connections = Pages()
    assert files.list_sizes("all") == {"x": 1, "y/z": 22}
    assert "continuation-token" not in asked[0] and "continuation-token=a%2Bb&" in asked[1]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no xml",
        b"<ListAllMyBucketsResult/>",
        b"<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>",
        b"<ListBucketResult><Contents><Key>a</Key><Size>many</Size></Contents></ListBucketResult>",
        b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
    ],
)
def test_listing_of_another_kind_is_none(data):
    with pytest.raises(NoAnswer, match="is not one of S3"):
        read_listing(data)


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://b.s3.eu-west-1.amazonaws.com/key?X=secret", "https://b.s3.eu-west-1.amazonaws.com"),
        ("http://localhost:8000", "http://localhost:8000"),
        ("http://user:secret@host/", "elsewhere"),
        ("http://host\x1b[2J/", "elsewhere"),
        ("/other", "elsewhere"),
        ("", "elsewhere"),
    ],
)
def test_of_a_redirect_the_host_alone_is_shown(location, shown):
    assert show_host(location) == shown
