"""Where the files of a store are asked for: under a web server's URL, or in an S3 bucket by URLs that obstore signs.

A signed URL carries what may read the object, a session's token too, in its query, and so to its own host alone.
"""

import os
import sys
from datetime import timedelta
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

from scatcache.errors import ScatcacheError
from scatcache.remote.urls import show_place

EXPIRES = timedelta(minutes=10)
# Of the requests for credentials: a machine without the metadata service is told in half a minute.
RETRIES: Any = {
    "max_retries": 3,
    "retry_timeout": timedelta(seconds=20),
    "backoff": {"init_backoff": timedelta(seconds=0.2), "max_backoff": timedelta(seconds=3), "base": 2},
}
TIMEOUTS: Any = {"connect_timeout": timedelta(seconds=5), "read_timeout": timedelta(seconds=20)}
CREDENTIALS = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (for temporary ones AWS_SESSION_TOKEN too) to what may read it, "
    "or AWS_SKIP_SIGNATURE=true for a public bucket"
)

_obstore_was_forked = False


def _look_back_after_fork() -> None:
    global _obstore_was_forked
    _obstore_was_forked = _obstore_was_forked or "obstore" in sys.modules


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_look_back_after_fork)


class Addresses(Protocol):
    """is_signed: whether a URL lets whoever has it read; where: what to check when nobody answers."""

    is_signed: bool
    where: str

    def find(self, name: str) -> str:
        """The URL of a file, by its name relative to the store. Raises ScatcacheError."""

    def find_listing(self, folder: str, page: str) -> str | None:
        """The URL of a page, named by the page before, of a listing of all below a folder; None where there is none."""


class WebAddresses:
    """Of a folder on a web server, which cannot list."""

    is_signed, where = False, "the URL"

    def __init__(self, url: str):
        parts = urlsplit(url)
        # Whoever gave it may have quoted it, as a browser shows it, or not.
        self._base = parts._replace(path=quote(parts.path, safe="/%!$&'()*+,;=:@~", errors="surrogateescape")).geturl()

    def find(self, name: str) -> str:
        return f"{self._base}/{quote(name, safe='/!$&()*+,;=:@~', errors='surrogateescape')}"

    def find_listing(self, folder: str, page: str) -> None:
        return None


class BucketAddresses:
    """Of a folder in an S3 bucket; credentials, region and endpoint are those of the AWS_ variables.

    To be made anew after a fork. Raises ScatcacheError where obstore is missing or refuses a variable, and in a forked
    process where obstore would have to ask for credentials.
    """

    where = "the bucket and AWS_ENDPOINT_URL"

    def __init__(self, url: str):
        self._url, parts = url, urlsplit(url)
        try:
            import obstore
        except ImportError as error:
            raise ScatcacheError(f"reading {url} needs obstore: pip install 'scatcache[s3]'") from error
        self._obstore = obstore
        self._bucket, self._folder = parts.netloc, parts.path.strip("/")
        self.is_signed = os.environ.get("AWS_SKIP_SIGNATURE", "").lower() not in ("1", "true", "on", "yes", "y")
        if _obstore_was_forked and self.is_signed and not os.environ.get("AWS_ACCESS_KEY_ID"):
            # Its threads, which would ask a metadata service, did not survive the fork: the request would hang.
            raise ScatcacheError(
                f"{url}: a forked process cannot ask for S3 credentials: set AWS_ACCESS_KEY_ID and "
                f"AWS_SECRET_ACCESS_KEY, or start workers with multiprocessing_context='spawn'"
            )
        # Unsigned ones are signed too, by a key of nobody's, for what obstore makes of bucket and endpoint.
        self._key = {} if self.is_signed else {"access_key_id": "-", "secret_access_key": "-"}
        self._files = self._open(endpoint=find_endpoint(), prefix=self._folder)

    def _open(self, *, endpoint: str, prefix: str = "", is_hosted: bool | None = None) -> Any:
        from obstore.store import S3Store

        config: Any = dict(self._key)
        if endpoint:
            # By its most specific name, else the environment's variable of that name would count.
            config["aws_endpoint_url_s3"] = endpoint
        if is_hosted is not None:
            config["virtual_hosted_style_request"] = is_hosted
        options: Any = {"allow_http": endpoint.startswith("http://"), **TIMEOUTS}
        return self._ask(
            lambda: S3Store(self._bucket, prefix=prefix, config=config, client_options=options, retry_config=RETRIES)
        )

    def find(self, name: str) -> str:
        return self._sign(self._files, name)

    def find_listing(self, folder: str, page: str) -> str | None:
        """By obstore's signature too: of an endpoint that is the bucket's address with the query at its end."""
        base = self._sign(self._open(endpoint=find_endpoint()), "x").partition("?")[0].removesuffix("/x")
        prefix = "/".join(filter(None, (self._folder, folder)))
        query = "list-type=2" + (f"&continuation-token={quote(page, safe='')}" if page else "")
        # A slash follows, so that a folder whose name only begins alike is none of it.
        listing = self._open(endpoint=f"{base}?{query}&prefix={quote(prefix, safe='')}", is_hosted=True)
        url = self._sign(listing, "")
        # Asked of nobody else, whatever obstore may come to make of such an endpoint.
        return url if url.startswith((f"{base}?{query}", f"{base}/?{query}")) else None

    def _sign(self, store: Any, name: str) -> str:
        url: str = self._ask(lambda: self._obstore.sign(store, "GET", name, EXPIRES))
        if self.is_signed:
            return url
        query = urlsplit(url).query.partition("X-Amz-Algorithm=")[0].rstrip("&")
        return url.partition("?")[0] + (f"?{query}" if query else "")

    def _ask(self, call: Any) -> Any:
        """What obstore returns; what it says of a failure may hold the key id, so nothing of it is repeated."""
        from obstore.exceptions import BaseError

        try:
            return call()
        except (BaseError, OSError, ValueError) as error:
            kind = type(error).__name__
        # Only here, out of the handler: an exception raised in it carries obstore's along.
        if not os.environ.get("AWS_ACCESS_KEY_ID"):
            raise ScatcacheError(f"{self._url}: no key is set in the environment: {CREDENTIALS}")
        raise ScatcacheError(f"{self._url}: {kind}: check the bucket and the AWS_ variables")


def find_endpoint() -> str:
    """What the environment says in place of AWS's own servers. Raises ScatcacheError where it carries a password."""
    variables = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    variable = next((name for name in variables if os.environ.get(name)), "")
    endpoint = os.environ.get(variable, "")
    if endpoint != show_place(endpoint):
        raise ScatcacheError(f"{variable} carries a user, password or query: set it to scheme, host and port alone")
    return endpoint.rstrip("/")
