"""Files of an S3 bucket or a web server, by obstore; its failures told without a word of its own.

What obstore says of a failure may hold the server's answer, and S3's repeat the key id; so nothing of it reaches a
message, a log or the chain of an exception.
"""

import logging
import os
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from scatcache.errors import ScatcacheError
from scatcache.store.places import show_place

logger = logging.getLogger(__name__)

# A server that is away, or a machine without the metadata service that credentials are asked of, is told in half a
# minute; a slow one may take long as long as it goes on sending.
RETRIES: Any = {
    "max_retries": 3,
    "retry_timeout": timedelta(seconds=20),
    "backoff": {"init_backoff": timedelta(seconds=0.2), "max_backoff": timedelta(seconds=3), "base": 2},
}
TIMEOUTS: Any = {
    "connect_timeout": timedelta(seconds=5),
    "read_timeout": timedelta(seconds=20),
    "timeout": timedelta(minutes=10),
}

# (start, end), or how many bytes of the end.
Span = tuple[int, int] | int

CREDENTIALS = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (for temporary ones AWS_SESSION_TOKEN too) to what may read it, "
    "or AWS_SKIP_SIGNATURE=true for a public bucket"
)
# What an HTTP status means: of S3, of a web server.
STATUSES = {
    301: ("the bucket is in another region: set AWS_REGION", "it has moved: give its new URL"),
    400: ("check AWS_REGION and AWS_ENDPOINT_URL, and whether AWS_SESSION_TOKEN has expired", "check the URL"),
    401: (CREDENTIALS, "copy the store to a local folder: scatcache sends web servers no credentials"),
    403: (
        f"{CREDENTIALS}; whoever may not list the bucket is told so of missing objects too",
        "copy the store to a local folder: scatcache sends web servers no credentials",
    ),
    416: ("see `scatcache verify`", "see `scatcache verify`"),
}


class ObjectFiles:
    """The files under one URL, by requests from this process, which must not have been forked since obstore was used.

    Safe for threads. Raises ScatcacheError where obstore is missing, and, as every method does, where the place
    refuses or does not answer.
    """

    def __init__(self, url: str):
        self.url = url
        self._is_s3 = urlsplit(url).scheme == "s3"
        try:
            import obstore
        except ImportError as error:
            raise ScatcacheError(f"reading {url} needs obstore: pip install 'scatcache[s3]'") from error
        self._obstore = obstore
        self.store = self.ask("", lambda: CONNECT[urlsplit(url).scheme](url))

    def fetch(self, name: str, span: Span | None) -> tuple[bytes, int] | None:
        """(those bytes of a file, size of the whole file); span=None for all of it, cut where the file ends.

        None where the server answers only with the whole. Raises FileNotFoundError.
        """

        def get() -> tuple[bytes, int]:
            options: Any = {} if span is None else {"range": {"suffix": span} if isinstance(span, int) else span}
            found = self._obstore.get(self.store, name, options=options)
            return found.bytes().to_bytes(), found.meta["size"]

        # 416: nothing there, which of a range counted from the end says that the file is empty.
        return self.ask(name, get, unless={"NotSupportedError": None, 416: (b"", 0)})

    def list_sizes(self, folder: str) -> dict[str, int] | None:
        """Sizes of all files below a folder by their names relative to it; None where listing is not to be had."""

        def collect() -> dict[str, int]:
            pages = self._obstore.list(self.store, folder or None)
            sizes = {entry["path"]: entry["size"] for page in pages for entry in page}
            return {name.removeprefix(f"{folder}/"): size for name, size in sizes.items()}

        if not self._is_s3:
            return None
        try:
            return self.ask(folder, collect)
        except (ScatcacheError, FileNotFoundError):
            logger.info("%s: listing is refused", self.url)
            return None

    def ask(self, name: str, call: Callable[[], Any], *, unless: dict[str | int, Any] | None = None) -> Any:
        """What call returns, or unless' value by the name of obstore's error or the HTTP status of its failure.

        Raises FileNotFoundError where there is no such file, ScatcacheError for other failures.
        """
        from obstore.exceptions import BaseError

        try:
            return call()
        except FileNotFoundError:
            kind, status, reason = "", 404, ""
        except (BaseError, OSError, ValueError) as error:
            kind, status, reason = find_kind(error), find_status(error), find_reason(error)
        # Only here, out of the handlers: an exception raised in one carries obstore's along.
        for key in (kind, status):
            if unless and key in unless:
                return unless[key]
        if status == 404:
            raise FileNotFoundError(f"{self.url}/{name} is missing")
        raise ScatcacheError(f"{self.url}{'/' if name else ''}{name}: {self._explain(status, reason or kind)}")

    def _explain(self, status: int, reason: str) -> str:
        if status:
            known = STATUSES.get(status)
            advice = known[0 if self._is_s3 else 1] if known else "try again later"
            denied = "access is denied" if status in (401, 403) else "the server refused"
            return f"{denied} (HTTP {status}): {advice}"
        if self._is_s3 and not os.environ.get("AWS_ACCESS_KEY_ID"):
            return f"{reason}, and no key is set in the environment: {CREDENTIALS}"
        where = "the bucket and AWS_ENDPOINT_URL" if self._is_s3 else "the URL"
        return f"{reason}: check {where} and the network, then try again"


def find_kind(error: Exception) -> str:
    """The name of one of obstore's errors; of an answer without the range asked for, the same from any server."""
    return "NotSupportedError" if "source: NotPartial" in str(error) else type(error).__name__


def find_status(error: Exception) -> int:
    """The HTTP status behind one of obstore's errors, 0 where there is none."""
    kinds = {"PermissionDeniedError": 403, "UnauthenticatedError": 401}
    if type(error).__name__ in kinds:
        return kinds[type(error).__name__]
    found = re.search(r"status code: (\d{3})\b", str(error)[:2000])
    return int(found[1]) if found else 0


def find_reason(error: Exception) -> str:
    """What happened, in our words alone; "" for what is not known here."""
    kind = re.search(r"\bkind: (Connect|Timeout)\b", str(error))
    reasons = {"Connect": "there is no connection to the server", "Timeout": "the server does not answer"}
    return reasons[kind[1]] if kind else ""


def connect_s3(url: str) -> Any:
    """Credentials, region and the rest of the AWS_ variables obstore takes from the environment by itself."""
    from obstore.store import S3Store

    variables = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    variable = next((name for name in variables if os.environ.get(name)), "")
    endpoint = os.environ.get(variable, "")
    if endpoint != show_place(endpoint):
        raise ScatcacheError(f"{variable} carries a user, password or query: set it to scheme, host and port alone")
    parts = urlsplit(url)
    return S3Store(
        parts.netloc,
        prefix=parts.path.strip("/"),
        config={"endpoint": endpoint} if endpoint else None,
        client_options={"allow_http": endpoint.startswith("http://"), **TIMEOUTS},
        retry_config=RETRIES,
    )


def connect_http(url: str) -> Any:
    from obstore.store import HTTPStore

    return HTTPStore(url, client_options={"allow_http": url.startswith("http://"), **TIMEOUTS}, retry_config=RETRIES)


CONNECT: dict[str, Callable[[str], Any]] = {"s3": connect_s3, "https": connect_http, "http": connect_http}
