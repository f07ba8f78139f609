import hashlib
import hmac
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import pytest

import scatcache
from scatcache.remote import addresses
from scatcache.remote.addresses import BucketAddresses, WebAddresses
from scatcache.remote.objects import ObjectFiles
from scatcache.store.places.opening import open_place
from tests.store.servers import (
    BUCKET,
    EchoingHandler,
    RangeHandler,
    RedirectingHandler,
    forget_aws,
    serve,
    use_bucket,
)

pytest.importorskip("obstore")

TOKEN = "t0ken/Of+a=session"


def sign(url, *, secret):
    """The signature S3 expects of a URL signed in its query, after its documentation (Signature Version 4)."""
    parts = urlsplit(url)
    fields = dict(parse_qsl(parts.query, keep_blank_values=True))
    del fields["X-Amz-Signature"]
    query = "&".join(f"{quote(k, safe='~')}={quote(v, safe='~')}" for k, v in sorted(fields.items()))
    path = quote(unquote(parts.path), safe="/~") or "/"
    request = "\n".join(["GET", path, query, f"host:{parts.netloc}", "", "host", "UNSIGNED-PAYLOAD"])
    date, region, service, end = fields["X-Amz-Credential"].split("/")[1:]
    key = f"AWS4{secret}".encode()
    for word in (date, region, service, end):
        key = hmac.digest(key, word.encode(), "sha256")
    scope, digest = f"{date}/{region}/{service}/{end}", hashlib.sha256(request.encode()).hexdigest()
    return hmac.digest(key, f"AWS4-HMAC-SHA256\n{fields['X-Amz-Date']}\n{scope}\n{digest}".encode(), "sha256").hex()


@pytest.mark.parametrize("endpoint", ["", "http://127.0.0.1:9000", "http://127.0.0.1:9000/"])
@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
@pytest.mark.parametrize("is_hosted", [False, True])
def test_files_and_listings_are_signed_as_s3_expects(monkeypatch, endpoint, variable, is_hosted):
    forget_aws(monkeypatch)
    settings = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "key/+", "AWS_SESSION_TOKEN": TOKEN,
                "AWS_REGION": "eu-west-1", variable: endpoint}  # fmt: skip
    for name, value in filter(all, settings.items()):
        monkeypatch.setenv(name, value)
    if is_hosted:
        monkeypatch.setenv("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "true")
    bucket = BucketAddresses("s3://a-bucket/x y/c+d.zarr")
    urls = [bucket.find("all/zarr.json"), bucket.find_listing("all", ""), bucket.find_listing("", "p/+=")]
    assert len({urlsplit(url).netloc for url in urls}) == 1
    assert urlsplit(urls[0]).path.endswith("/x%20y/c%2Bd.zarr/all/zarr.json")
    for url, fields in zip(
        urls[1:],
        [{"prefix": "x y/c+d.zarr/all/"}, {"prefix": "x y/c+d.zarr/", "continuation-token": "p/+="}],
        strict=True,
    ):
        found = dict(parse_qsl(urlsplit(url).query))
        assert {"list-type": "2", **fields}.items() <= found.items()
    for url in urls:
        fields = dict(parse_qsl(urlsplit(url).query))
        assert fields["X-Amz-Signature"] == sign(url, secret="key/+") and fields["X-Amz-Security-Token"] == TOKEN


def test_urls_of_a_public_bucket_carry_nothing(monkeypatch):
    use_bucket(monkeypatch, "http://127.0.0.1:9000")
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    bucket = BucketAddresses("s3://a-bucket/c.zarr")
    assert bucket.find("zarr.json") == "http://127.0.0.1:9000/a-bucket/c.zarr/zarr.json"
    assert bucket.find_listing("all", "") == "http://127.0.0.1:9000/a-bucket?list-type=2&prefix=c.zarr%2Fall/"


def test_names_on_a_web_server_are_quoted_once():
    web = WebAddresses("https://host/a%20b/ö c/c+d.zarr")
    assert web.find("100%/c d") == "https://host/a%20b/%C3%B6%20c/c+d.zarr/100%25/c%20d"
    assert WebAddresses("https://host/\udcff.zarr").find("\udcff") == "https://host/%FF.zarr/%FF"


@pytest.fixture
def redirecting(monkeypatch, tmp_path):
    """(a server that redirects to another, as its status says; the other, which repeats what it is sent)."""
    with serve(tmp_path, RedirectingHandler) as first, serve(tmp_path, EchoingHandler) as second:
        first.status, second.status = 307, 200
        first.target = second.url.replace("127.0.0.1", "localhost")
        use_bucket(monkeypatch, first.url)
        monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
        yield first, second


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_of_a_bucket_is_named_and_not_followed(redirecting, status):
    first, second = redirecting
    first.status = status
    for function in (scatcache.open_cache, scatcache.info, scatcache.verify):
        with pytest.raises(scatcache.ScatcacheError) as caught:
            function("s3://bucket/a.zarr")
        assert str(caught.value) == (
            f"s3://bucket/a.zarr/zarr.json: the server redirects to {first.target} (HTTP {status}), where scatcache "
            f"takes no credentials: set AWS_REGION to the bucket's region, and AWS_ENDPOINT_URL to the server that "
            f"holds it"
        )
    assert first.requests and not second.requests


def test_no_request_for_a_bucket_takes_its_token_elsewhere(redirecting):
    """Not of a file, of a range, of a listing, nor those of zarr-python."""
    first, second = redirecting
    place = open_place("s3://bucket/a.zarr")
    calls = [
        lambda: place.read("zarr.json"),
        lambda: place.open("all/coefficients/c.0.0.0.0", tail_bytes=8),
        lambda: place.read_with_zarr("all/coefficients", (0,)),
    ]
    for n_calls, call in enumerate(calls, 1):
        with pytest.raises(scatcache.ScatcacheError, match="the server redirects to"):
            call()
        assert len(first.requests) >= n_calls
    assert place.list_sizes("all") is None and any("list-type=2" in path for _, path, _ in first.requests)
    assert not second.requests


@pytest.mark.parametrize("place", ["bucket", "web"])
def test_redirect_is_followed_where_there_is_no_credential(sound, redirecting, monkeypatch, place):
    first, _ = redirecting
    with serve(sound.parent.parent, RangeHandler) as holder:
        first.target = holder.url.replace("127.0.0.1", "localhost")
        name = f"{sound.parent.name}/{sound.name}"
        monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
        cache = scatcache.open_cache(f"s3://{name}" if place == "bucket" else f"{first.url}/{name}")
        assert cache.coefficients([0]).shape[0] == 1 and holder.requests
    sent = "".join(headers for _, _, headers in first.requests).lower()
    assert "amz" not in sent and "authorization" not in sent and "cookie" not in sent


def test_redirects_in_a_circle_end(redirecting):
    first, _ = redirecting
    first.target = first.url
    with pytest.raises(scatcache.ScatcacheError, match=r"zarr\.json: the server redirects more than 5 times: check"):
        scatcache.open_cache(f"{first.url}/a.zarr")
    assert len(first.requests) == 6


def test_redirect_to_a_file_is_not_followed(redirecting):
    first, _ = redirecting
    first.target = "file:///etc"
    with pytest.raises(scatcache.ScatcacheError, match="redirects to where nothing protects"):
        scatcache.open_cache(f"{first.url}/a.zarr")


def test_listing_that_obstore_would_sign_for_another_place_is_none(monkeypatch):
    use_bucket(monkeypatch, "http://127.0.0.1:1")
    sign = BucketAddresses._sign
    monkeypatch.setattr(BucketAddresses, "_sign", lambda self, store, name: sign(self, store, name).replace("?l", "/l"))
    assert ObjectFiles(f"s3://{BUCKET}/a.zarr").list_sizes("") is None


def test_lifetime_of_a_signed_url_is_short():
    assert addresses.EXPIRES.total_seconds() <= 600
