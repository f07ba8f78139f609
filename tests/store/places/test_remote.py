import contextlib
import logging
import multiprocessing
import pickle
import shutil
import socket
import sys
import time
import traceback

import numpy as np
import pytest
from click.testing import CliRunner

import scatcache
from scatcache.commands import cli
from scatcache.job.store_folder import StoreFolder
from scatcache.remote import addresses, objects, web
from scatcache.store.places import remote
from scatcache.store.reader import open_split
from tests.runs import call
from tests.store.servers import (
    BUCKET,
    EchoingHandler,
    QuietHandler,
    RangeHandler,
    forget_aws,
    serve,
    serve_s3,
    use_bucket,
)
from tests.store.stores import (
    N_IMAGES,
    edit,
    flip,
    made_many_shards,
    made_splits,
    make_partial,
    read_everything,
    swap,
)

obstore = pytest.importorskip("obstore")

SHARD = "all/coefficients/c.2.0.0.0"
RECEIPT = "all/coefficients/receipts/00002.json"
SUMMARY = "all/coefficients/receipts/summary.json"
EVERY_ROW = np.arange(N_IMAGES)
KEY_ID, SECRET, TOKEN = "AKIAQUITEUNUSUAL1234", "s3cr3t/Zyxwvutsrqponmlk", "t0ken+Unheardofelsewhere"
FORKING = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.fixture(scope="session")
def bucket():
    """A moto server with an empty bucket."""
    with serve_s3() as bucket:
        yield bucket


@pytest.fixture(params=["s3", "ranges", "plain"])
def publish(request, monkeypatch, tmp_path):
    """A function that publishes a local store at each kind of place in turn and returns its URL."""
    forget_aws(monkeypatch)
    with contextlib.ExitStack() as stack:

        def publish(store):
            if request.param == "s3":
                bucket = request.getfixturevalue("bucket")
                use_bucket(monkeypatch, bucket.endpoint)
                return bucket.upload(store, f"{tmp_path.name}/{store.name}")
            handler = RangeHandler if request.param == "ranges" else QuietHandler
            return f"{stack.enter_context(serve(store.parent, handler)).url}/{store.name}"

        publish.kind = request.param
        yield publish


@pytest.fixture
def server(sound, monkeypatch):
    """A web server with ranges that counts, of the folder of the stores."""
    forget_aws(monkeypatch)
    with serve(sound.parent) as server:
        yield server


def paths_of(report):
    return {failure.path for failure in report.failures}


# What is read


def test_everything_reads_as_from_the_local_folder(sound, publish):
    assert read_everything(publish(sound)) == read_everything(sound)


def test_every_encoding_reads_as_from_the_local_folder(encoded, server):
    url = f"{server.url}/{encoded.name}"
    np.testing.assert_array_equal(open_split(url).read(EVERY_ROW), open_split(encoded).read(EVERY_ROW))


def test_one_of_several_splits_is_opened_by_its_name(tmp_path_factory, publish):
    splits = made_splits(tmp_path_factory.getbasetemp())
    url = publish(splits)
    with pytest.raises(scatcache.StoreIncomplete, match="holds the splits test, train: name one with split="):
        scatcache.open_cache(url)
    assert scatcache.open_cache(url, "test").keys == scatcache.open_cache(splits, "test").keys


def test_lazy_arrays_loader_and_dataset_work(sound, publish):
    ours, theirs = scatcache.open_cache(publish(sound)), scatcache.open_cache(sound)
    np.testing.assert_array_equal(ours.to_dask().compute(), theirs.to_dask().compute())
    assert ours.to_xarray().identical(theirs.to_xarray())
    for (S, y), (expected, labels) in zip(ours.loader(8, True, seed=3), theirs.loader(8, True, seed=3), strict=True):
        assert S.equal(expected) and y.equal(labels)
    assert ours.dataset()[3][0].equal(theirs.dataset()[3][0])
    assert repr(ours) == repr(theirs)


def test_url_with_a_slash_at_its_end_is_the_same_store(sound, server):
    assert open_split(f"{server.url}/{sound.name}/").records.store.name == f"{server.url}/{sound.name}"


def test_name_that_needs_quoting_is_found(sound, bucket, tmp_path, monkeypatch):
    shutil.copytree(sound, tmp_path / "a b" / "c+d.zarr")
    use_bucket(monkeypatch, bucket.endpoint)
    assert len(scatcache.open_cache(bucket.upload(sound, "a b/c+d.zarr"))) == N_IMAGES
    with serve(tmp_path) as server:
        assert len(scatcache.open_cache(f"{server.url}/a%20b/c+d.zarr")) == N_IMAGES


# What it costs


def test_opening_costs_ten_requests_however_many_shards_and_one_for_targets(sound, measured, server, tmp_path_factory):
    many = made_many_shards(tmp_path_factory.getbasetemp())
    assert scatcache.info(many).splits["all"].shards == N_IMAGES
    counts = []
    for store, split in ((sound, None), (many, None), (measured, "train")):
        server.requests.clear()
        cache = scatcache.open_cache(f"{server.url}/{store.name}", split=split)
        assert len(cache.readable) and cache.channel_std.all()
        counts.append(len(server.requests))
    assert counts == [10, 10, 11]


def test_reading_a_shard_costs_one_request_for_its_bytes(sound, server):
    reader = open_split(f"{server.url}/{sound.name}")
    assert reader.records.index.shape == (5, 3)
    server.requests.clear()
    for _ in range(2):
        reader.read(np.arange(12))
    names = [(method, path.rpartition("/")[2], bool(asked)) for method, path, asked in server.requests]
    assert names == [("GET", "c.0.0.0.0", True)] * 2


def test_info_costs_few_requests_however_many_shards(server, tmp_path_factory):
    scatcache.info(f"{server.url}/{made_many_shards(tmp_path_factory.getbasetemp()).name}")
    assert len(server.requests) == 10


def test_server_without_ranges_is_told_once_and_few_shards_are_kept(sound, monkeypatch, caplog):
    monkeypatch.setattr(remote, "MAX_WHOLE_FILES", 2)
    with serve(sound.parent, QuietHandler) as server:
        reader = open_split(f"{server.url}/{sound.name}")
        reader.read(EVERY_ROW)
        reader.read(EVERY_ROW)
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == [
        f"{server.url}/{sound.name}: the server ignores ranges: each shard is fetched whole"
    ]
    assert len(reader.records.store.place.link()._whole) == 2


def test_verify_holds_no_more_than_a_block_of_a_shard(sound, server, monkeypatch):
    monkeypatch.setattr("scatcache.inspect.split_check.READ_BYTES", 4096)
    assert scatcache.verify(f"{server.url}/{sound.name}").ok
    sizes = [int(asked.partition("-")[2]) - int(asked[6:].partition("-")[0] or 0) for _, _, asked in server.requests
             if asked and asked[6] != "-"]  # fmt: skip
    assert len(sizes) > 40 and max(sizes[:40]) < 4096


# Damage

DAMAGE = {
    "deleted": (lambda store: (store / SHARD).unlink(), "the file is missing"),
    "cut to less than its index": (
        lambda store: edit(store / SHARD, lambda data: data[:9]),
        "row 24: its bytes do not",
    ),
    "empty": (lambda store: edit(store / SHARD, lambda data: b""), "row 24: its bytes do not match"),
    "flipped": (lambda store: flip(store / SHARD, 100), "row 24: its bytes do not match their crc32c"),
    "of zeros": (lambda store: edit(store / SHARD, lambda data: bytes(len(data))), "row 24: its bytes do not match"),
}
# A shard's own index, and what follows it, are for other programs: all rows read right, and verify tells.
DAMAGE_OF_INDEX = {
    "truncated": (lambda store: edit(store / SHARD, lambda data: data[:-7]), "bytes, its receipt says"),
    "longer": (lambda store: edit(store / SHARD, lambda data: data + b"\0"), "bytes, its receipt says"),
    "flipped in the index": (lambda store: flip(store / SHARD, -10), "its index does not match"),
}


@pytest.mark.parametrize(("damage", "reason"), DAMAGE.values(), ids=DAMAGE)
def test_damaged_shard_is_named_when_read_and_when_verified(store, publish, damage, reason):
    damage(store)
    url = publish(store)
    with pytest.raises(scatcache.StoreDamaged, match=rf"{url}: split all, shard 2 \(c\.2\.0\.0\.0\).*{reason}"):
        open_split(url).read(EVERY_ROW)
    report = scatcache.verify(url)
    assert (report.ok, report.checked, paths_of(report)) == (False, 5, {SHARD})
    assert [(failure.split, failure.shard) for failure in report.failures] == [("all", 2)]
    assert report.failures == scatcache.verify(store).failures


@pytest.mark.parametrize(("damage", "reason"), DAMAGE_OF_INDEX.values(), ids=DAMAGE_OF_INDEX)
def test_damaged_index_of_a_shard_is_named_when_verified(sound, store, publish, damage, reason):
    expected = open_split(sound).read(EVERY_ROW)
    damage(store)
    url = publish(store)
    np.testing.assert_array_equal(open_split(url).read(EVERY_ROW), expected)
    (failure,) = scatcache.verify(url).failures
    assert failure.path == SHARD and reason in failure.reason


def test_exchanged_shards_are_named_when_read_and_when_verified(store, publish):
    swap(store / SHARD, store / SHARD.replace("2", "3"))
    url = publish(store)
    with pytest.raises(scatcache.StoreDamaged, match=r"split all, shard [23] \(c\.[23]\.0\.0\.0\)"):
        open_split(url).read(EVERY_ROW)
    assert paths_of(scatcache.verify(url)) == {SHARD, SHARD.replace("2", "3")}


@pytest.mark.parametrize("name", ["all/key/c.0", "all/label/c.0", SUMMARY])
def test_damaged_record_is_named(store, publish, name):
    flip(store / name, 30)
    url = publish(store)
    with pytest.raises(scatcache.StoreDamaged, match="split all, "):
        scatcache.open_cache(url)
    assert paths_of(scatcache.verify(url)) == {name}


@pytest.mark.parametrize("name", [RECEIPT, "all/status/c.0", "all/zarr.json", "all/j1/c.0", "all/key/c.0"])
def test_missing_file_is_found_by_verify(store, publish, name):
    (store / name).unlink()
    assert paths_of(scatcache.verify(publish(store))) == {name}


def test_shard_that_goes_or_shrinks_after_it_was_opened_is_damage(store):
    with serve(store.parent) as server:
        reader = open_split(f"{server.url}/{store.name}")
        reader.read(np.array([24]))
        edit(store / SHARD, lambda data: data[:100])
        with pytest.raises(scatcache.StoreDamaged, match=r"shard 2 .*, row 3\d: its bytes do not match"):
            reader.read(np.arange(33, 36))
        (store / SHARD).unlink()
        with pytest.raises(scatcache.StoreDamaged, match=r"shard 2 .*: the file is missing"):
            reader.read(np.arange(33, 36))


# Verify and info


def test_sound_store_is_ok(sound, publish):
    assert scatcache.verify(publish(sound)).to_dict() == {"ok": True, "checked": 5, "failures": []}


@pytest.mark.parametrize("kind", ["s3", "ranges"])
def test_verify_compares_with_what_zarr_reads_there(sound, bucket, server, kind, monkeypatch):
    zarr = pytest.importorskip("zarr")
    read = zarr.Array.__getitem__
    monkeypatch.setattr(zarr.Array, "__getitem__", lambda array, row: read(array, row) * 2)
    use_bucket(monkeypatch, bucket.endpoint)
    url = bucket.upload(sound, "read-by-zarr.zarr") if kind == "s3" else f"{server.url}/{sound.name}"
    assert {failure.reason.partition(" in row")[0] for failure in scatcache.verify(url).failures} == {
        "zarr-python reads other values"
    }


def test_rows_are_computed_again_where_root_is_told(sound, images, publish):
    url = publish(sound)
    with pytest.raises(scatcache.SourceError, match="name their folder or file with --root"):
        scatcache.verify(url, recompute=0.1)
    report = scatcache.verify(url, recompute=0.1, root=images)
    assert report.ok and report.recomputed


def test_info_says_what_it_says_locally(sound, publish):
    url = publish(sound)
    ours, theirs = scatcache.info(url).to_dict(), scatcache.info(sound).to_dict()
    assert (ours.pop("store"), theirs.pop("store")) == (url, str(sound))
    if publish.kind != "s3":
        shards = [path.stat().st_size for path in sound.glob("all/coefficients/c.*")]
        assert ours.pop("bytes") == sum(shards) < theirs.pop("bytes")
    assert ours == theirs


def test_info_of_a_bucket_counts_the_shards_that_are_there(store, bucket, monkeypatch):
    use_bucket(monkeypatch, bucket.endpoint)
    (store / SHARD).unlink()
    found = scatcache.info(bucket.upload(store, "one-gone.zarr"))
    assert (found.state, found.splits["all"].shards_done) == ("incomplete", 4)


# Unfinished splits


def test_unfinished_split_is_refused(store, publish):
    make_partial(store)
    with pytest.raises(scatcache.StoreIncomplete, match="incomplete: finish it where it was made"):
        scatcache.open_cache(publish(store))


def test_unfinished_split_reads_where_there_is_a_listing(store, bucket, monkeypatch):
    make_partial(store)
    use_bucket(monkeypatch, bucket.endpoint)
    url = bucket.upload(store, "partial.zarr")
    cache = scatcache.open_cache(url, allow_partial=True)
    expected = scatcache.open_cache(store, allow_partial=True)
    assert cache.readable.tolist() == expected.readable.tolist()
    np.testing.assert_array_equal(cache.coefficients(cache.readable), expected.coefficients(cache.readable))
    assert scatcache.info(url).to_dict()["splits"] == scatcache.info(store).to_dict()["splits"]
    report = scatcache.verify(url)
    assert (report.checked, paths_of(report)) == (3, {SUMMARY})


def test_unfinished_split_without_a_listing_says_so(store):
    make_partial(store)
    with serve(store.parent) as server:
        url = f"{server.url}/{store.name}"
        with pytest.raises(scatcache.StoreIncomplete, match="which of its shards are there cannot be listed"):
            scatcache.open_cache(url, allow_partial=True)
        report = scatcache.verify(url)
    assert not report.ok and paths_of(report) == {SUMMARY}


def test_bucket_that_denies_listing_is_one_that_cannot_list(sound, store, bucket, monkeypatch, tmp_path):
    use_bucket(monkeypatch, bucket.endpoint)
    with serve(tmp_path, EchoingHandler) as denying:
        refused = f"{denying.url}/{BUCKET}?list-type=2"
        monkeypatch.setattr(addresses.BucketAddresses, "find_listing", lambda self, folder, page: refused)
        found = scatcache.info(bucket.upload(sound, "unlisted.zarr"))
        assert (found.state, found.splits["all"].shards_done) == ("complete", 5)
        make_partial(store)
        with pytest.raises(scatcache.StoreIncomplete, match="cannot be listed"):
            scatcache.open_cache(bucket.upload(store, "unlisted-partial.zarr"), allow_partial=True)
        assert denying.requests


# Places that refuse


@pytest.mark.parametrize("function", [scatcache.open_cache, scatcache.info, scatcache.verify])
def test_place_without_a_store_is_named(publish, tmp_path, function):
    (tmp_path / "empty.zarr").mkdir()
    url = publish(tmp_path / "empty.zarr")
    with pytest.raises(scatcache.NotAStore, match=rf"{url} is no scatcache store \(found no zarr\.json\)"):
        function(url)


def test_store_of_others_is_no_store(publish, tmp_path):
    (tmp_path / "other.zarr").mkdir()
    (tmp_path / "other.zarr/zarr.json").write_text('{"attributes": {}}')
    with pytest.raises(scatcache.NotAStore, match=r"found a zarr\.json without our manifest"):
        scatcache.open_cache(publish(tmp_path / "other.zarr"))


def test_missing_bucket_is_named(bucket, monkeypatch):
    use_bucket(monkeypatch, bucket.endpoint)
    with pytest.raises(scatcache.NotAStore, match=r"s3://no-such-bucket/a\.zarr is no scatcache store"):
        scatcache.open_cache("s3://no-such-bucket/a.zarr")


@pytest.mark.parametrize("scheme", ["s3", "http"])
def test_nobody_listening_is_told_soon(scheme, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        use_bucket(monkeypatch, endpoint)
        url = "s3://bucket/a.zarr" if scheme == "s3" else f"{endpoint}/a.zarr"
        start = time.monotonic()
        with pytest.raises(scatcache.ScatcacheError, match=f"{url}/zarr.json: there is no connection to the server"):
            scatcache.open_cache(url)
    assert time.monotonic() - start < 15


def test_server_that_never_answers_is_told(monkeypatch):
    monkeypatch.setattr(objects, "WITHIN_S", 0.5)
    monkeypatch.setattr(objects, "STALL_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a.zarr"
        with pytest.raises(scatcache.ScatcacheError, match=r"the server does not answer \(tried \d times in 0\.\d s\)"):
            scatcache.open_cache(url)


# Neither retries nor silent servers may take longer than about half a minute, whatever fails.
def test_waiting_is_bounded():
    waits = [addresses.RETRIES["retry_timeout"], *addresses.TIMEOUTS.values()]
    assert max(wait.total_seconds() for wait in waits) <= objects.WITHIN_S == 20
    assert addresses.RETRIES["max_retries"] <= 3 and sum(objects.PAUSES_S) < 10


def test_missing_obstore_names_the_extra_for_buckets_alone(publish, sound, monkeypatch):
    url = publish(sound)
    monkeypatch.setitem(sys.modules, "obstore", None)
    for function in (scatcache.open_cache, scatcache.info, scatcache.verify):
        if publish.kind == "s3":
            with pytest.raises(scatcache.ScatcacheError, match=r"needs obstore: pip install 'scatcache\[s3\]'"):
                function(url)
        else:
            function(url)


# Credentials


def all_text(error, caplog, *folders):
    """Whatever somebody could read after a failure: message, traceback, repr, log, files."""
    texts = [str(error), repr(error), *traceback.format_exception(error), caplog.text]
    texts += [path.read_bytes().decode(errors="replace") for f in folders for path in f.rglob("*") if path.is_file()]
    return "\n".join(texts)


def set_secrets(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (403, r"access is denied \(HTTP 403\): set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        (401, r"access is denied \(HTTP 401\): set AWS_ACCESS_KEY_ID"),
        (400, r"the server refused \(HTTP 400\): check AWS_REGION .* AWS_SESSION_TOKEN has expired"),
        (500, r"the server refused \(HTTP 500\) \(tried 4 times in \d\.\d s\): try again later"),
    ],
)
@pytest.mark.parametrize("function", [scatcache.open_cache, scatcache.info, scatcache.verify])
def test_refusal_repeats_no_credential(status, words, function, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(objects, "PAUSES_S", (0.0,) * 7)
    with serve(tmp_path, EchoingHandler) as server:
        server.status = status
        use_bucket(monkeypatch, server.url)
        set_secrets(monkeypatch)
        with pytest.raises(scatcache.ScatcacheError, match=words) as caught:
            function("s3://bucket/a.zarr")
    # The server did repeat them: the test would see what leaks.
    assert server.requests
    text = all_text(caught.value, caplog, tmp_path)
    assert "s3://bucket/a.zarr/zarr.json" in text
    assert not any(secret in text for secret in (KEY_ID, SECRET, TOKEN, SECRET.partition("/")[2]))


def test_what_the_server_repeats_would_be_seen(tmp_path, monkeypatch):
    with serve(tmp_path, EchoingHandler) as server:
        use_bucket(monkeypatch, server.url)
        set_secrets(monkeypatch)
        url = addresses.BucketAddresses("s3://bucket/a.zarr").find("zarr.json")
        answer = web.Connections().get(url, headers={}, stall_s=5, follow=False)
    assert KEY_ID.encode() in answer.body and TOKEN.replace("+", "%2B").encode() in answer.body


def test_credentials_that_fail_while_zarr_reads_are_not_repeated(sound, bucket, monkeypatch, caplog, tmp_path):
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.ERROR, "werkzeug")  # the server's, which runs in this process
    use_bucket(monkeypatch, bucket.endpoint)
    set_secrets(monkeypatch)
    place = open_split(bucket.upload(sound, "then-denied.zarr")).records.store.place
    with serve(tmp_path, EchoingHandler) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
        place.link().files = objects.ObjectFiles(place.name)
        with pytest.raises(scatcache.ScatcacheError, match="access is denied") as caught:
            place.read_with_zarr("all/coefficients", (0,))
    text = all_text(caught.value, caplog)
    assert not any(secret in text for secret in (KEY_ID, SECRET, TOKEN, TOKEN.replace("+", "%2B")))


def test_nothing_kept_holds_a_credential(sound, bucket, monkeypatch):
    use_bucket(monkeypatch, bucket.endpoint)
    set_secrets(monkeypatch)
    cache = scatcache.open_cache(bucket.upload(sound, "kept.zarr"))
    cache.coefficients([0])
    place = cache._reader.records.store.place
    files = place.link().files
    texts = [repr(cache), repr(vars(files)), repr(vars(files._addresses)), repr(vars(place)), repr(pickle.dumps(cache))]
    assert not any(secret in text for secret in (KEY_ID, SECRET, TOKEN) for text in texts)


def test_denied_web_server_asks_for_no_credentials(tmp_path, monkeypatch):
    denied = pytest.raises(scatcache.ScatcacheError, match="scatcache sends web servers no credentials")
    with serve(tmp_path, EchoingHandler) as server, denied:
        scatcache.open_cache(f"{server.url}/a.zarr")


@pytest.mark.parametrize(
    "url",
    [
        f"https://{KEY_ID}:{SECRET.replace('/', '')}@host/a.zarr",
        f"http://{KEY_ID}@host:8000/a.zarr",
        f"s3://{KEY_ID}:{SECRET.replace('/', '')}@bucket/a.zarr",
        f"https://host/a.zarr?X-Amz-Signature={KEY_ID}",
        f"https://host/a.zarr#{KEY_ID}",
        f"https://host/a.zarr?at={KEY_ID}@x/y",
    ],
)
def test_url_that_carries_a_secret_is_refused_without_repeating_it(url, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.chdir(tmp_path)
    for function in (scatcache.open_cache, scatcache.info, scatcache.verify, StoreFolder):
        with pytest.raises(scatcache.ScatcacheError) as caught:
            function(url)
        assert "a.zarr" in str(caught.value)
        text = "\n".join([str(caught.value), repr(caught.value), caplog.text])
        assert KEY_ID not in text and SECRET.replace("/", "") not in text
    for command in (["info", url], ["verify", url], ["resume", url], ["extract", "photos", "--J", "2", "--out", url]):
        result = CliRunner().invoke(cli, command)
        text = f"{result.output} {result.exception}"
        assert result.exit_code != 0 and KEY_ID not in text and SECRET.replace("/", "") not in text
    assert not list(tmp_path.iterdir())


def test_endpoint_that_carries_a_password_is_refused_without_repeating_it(monkeypatch):
    use_bucket(monkeypatch, f"http://me:{TOKEN}@127.0.0.1:1")
    with pytest.raises(scatcache.ScatcacheError, match="AWS_ENDPOINT_URL_S3 carries a user, password") as caught:
        scatcache.open_cache("s3://bucket/a.zarr")
    assert TOKEN not in "".join(traceback.format_exception(caught.value))


def test_setting_that_obstore_refuses_is_an_error_of_ours(monkeypatch):
    use_bucket(monkeypatch, "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", TOKEN)
    with pytest.raises(scatcache.ScatcacheError) as caught:
        scatcache.open_cache("s3://bucket/a.zarr")
    assert TOKEN not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_public_bucket_needs_no_credentials(sound, bucket, monkeypatch, variable):
    url = bucket.upload(sound, "public.zarr", acl="public-read")
    forget_aws(monkeypatch)
    monkeypatch.setenv(variable, bucket.endpoint)
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    assert len(scatcache.open_cache(url)) == N_IMAGES


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://host/a.zarr", "no place that scatcache reads: expected a local path, s3://, https:// or http://"),
        ("file:///a.zarr", "no place that scatcache reads"),
        ("https:///a.zarr", "names no store"),
        ("s3://bucket", "names no store"),
        ("https://host/", "names no store"),
        ("s3://bucket/a//b.zarr", "s3://bucket/a//b.zarr"),
        ("http://host:port/a.zarr", "http://host:port/a.zarr"),
        ("http://[::1/a.zarr", "no place that scatcache reads"),
    ],
)
def test_url_of_no_store_is_refused(url, words, monkeypatch):
    forget_aws(monkeypatch)
    with pytest.raises(scatcache.ScatcacheError, match=words):
        scatcache.open_cache(url)


# Other processes


def read_in_child(reader, queue):
    queue.put(reader.read(EVERY_ROW).tobytes())


@FORKING
def test_other_process_reads_after_its_parent(sound, publish):
    reader = open_split(publish(sound))
    expected = reader.read(EVERY_ROW).tobytes()
    # A spawned process has nothing of its parent's, wherever the store is.
    for method in ("fork", "spawn") if publish.kind == "s3" else ("fork",):
        context = multiprocessing.get_context(method)
        queue = context.Queue()
        process = context.Process(target=read_in_child, args=(reader, queue))
        process.start()
        try:
            assert queue.get(timeout=60) == expected
        finally:
            process.kill()
            process.join()
    assert reader.read(EVERY_ROW).tobytes() == expected


@FORKING
@pytest.mark.timeout(120)
@pytest.mark.parametrize("read_before", [False, True])
def test_forked_workers_of_a_data_loader_read(sound, publish, read_before):
    from torch.utils.data import DataLoader

    dataset, expected = scatcache.open_cache(publish(sound)).dataset(), scatcache.open_cache(sound).dataset()
    if read_before:
        dataset[0]
    loader = DataLoader(dataset, batch_size=5, num_workers=2, multiprocessing_context="fork")
    rows = [S for batch, _ in loader for S in batch]
    assert len(rows) == len(expected)
    assert all(S.equal(expected[item][0]) for item, S in enumerate(rows))


def fail_in_child(reader, queue):
    try:
        reader.read(EVERY_ROW)
    except scatcache.StoreDamaged as error:
        queue.put(str(error))


@FORKING
def test_forked_process_tells_of_damage_too(store):
    with serve(store.parent) as server:
        reader, context = open_split(f"{server.url}/{store.name}"), multiprocessing.get_context("fork")
        (store / SHARD).unlink()
        queue = context.Queue()
        process = context.Process(target=fail_in_child, args=(reader, queue))
        process.start()
        assert "shard 2 (c.2.0.0.0): the file is missing" in queue.get(timeout=60)
        process.join()


def refuse_in_child(url, queue):
    try:
        open_split(url)
    except scatcache.ScatcacheError as error:
        queue.put(str(error))


@FORKING
@pytest.mark.timeout(60)
def test_a_forked_process_that_would_have_to_ask_for_credentials_is_refused(sound, bucket, monkeypatch):
    """obstore's threads do not survive a fork: what it asks a metadata service for would hang."""
    use_bucket(monkeypatch, bucket.endpoint)
    url = bucket.upload(sound, "forked.zarr")
    open_split(url)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=refuse_in_child, args=(url, queue))
    process.start()
    advice = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or start workers with multiprocessing_context='spawn'"
    assert advice in queue.get(timeout=30)
    process.join()


def test_nothing_is_written_at_a_url(server, sound):
    place = open_split(f"{server.url}/{sound.name}").records.store.place
    for write in (lambda: place.put("a", b""), lambda: place.put_stream("a"), lambda: place.delete("a")):
        with pytest.raises(scatcache.ScatcacheError, match="extract to a local folder, then copy it with any tool"):
            write()


def test_pickled_cache_reads_on(sound, publish):
    cache = scatcache.open_cache(publish(sound))
    again = pickle.loads(pickle.dumps(cache))
    np.testing.assert_array_equal(again.coefficients(again.readable), cache.coefficients(cache.readable))


# Commands


def test_commands_take_urls(sound, publish):
    url = publish(sound)
    shown = CliRunner().invoke(cli, ["info", url], standalone_mode=False)
    assert url in shown.output and "5 of 5 shards" in shown.output
    checked = CliRunner().invoke(cli, ["verify", url], standalone_mode=False)
    assert (checked.return_value, checked.stdout) == (0, "5 shards checked: ok\n")


def test_verify_of_a_url_does_not_send_one_to_resume(store, publish):
    flip(store / SHARD, 100)
    found = CliRunner().invoke(cli, ["verify", publish(store)], standalone_mode=False)
    assert found.return_value == 4 and f"{SHARD}: " in found.output
    assert "copy the file named anew" in found.output and "resume" not in found.output


def test_writing_to_a_url_is_refused():
    for command in (
        ["extract", "photos", "--J", "2", "--out", f"s3://{BUCKET}/a.zarr"],
        ["resume", "https://h/a.zarr"],
    ):
        result = call(*command)
        assert result.code == 2 and "extract to a local folder, then copy it with any tool" in result.err
