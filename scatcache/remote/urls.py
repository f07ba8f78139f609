"""What URLs of stores and of arrays look like, and how messages show them."""

import os
from urllib.parse import urlsplit

from scatcache.errors import ScatcacheError

SCHEMES = ("s3", "https", "http")


def is_url(path: str | os.PathLike[str]) -> bool:
    return "://" in os.fspath(path)


def show_place(path: str | os.PathLike[str]) -> str:
    """A path or URL as messages may show it: of a URL, scheme, host and path, never a user, password or query."""
    text = os.fspath(path)
    if not is_url(text):
        return text
    scheme, _, rest = text.partition("://")
    rest = rest.partition("?")[0].partition("#")[0]
    host, slash, inner = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{inner}"


def check_url(url: str) -> str:
    """The URL of a store without a slash at its end.

    Raises ScatcacheError for another scheme, a URL without host or bucket, and for one that carries a user, password,
    query or fragment: these would end up in logs and histories, and credentials come from the environment alone.
    """
    shown = show_place(url)
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in SCHEMES:
        raise ScatcacheError(
            f"{shown} is no place that scatcache reads: expected a local path, s3://, https:// or http://"
        )
    if not parts.netloc.rpartition("@")[2] or not parts.path.strip("/"):
        raise ScatcacheError(f"{shown} names no store: expected {parts.scheme}://HOST-OR-BUCKET/PATH/NAME.zarr")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ScatcacheError(
            f"the URL {shown} carries a user, password or query, not shown here: give it without, and S3 credentials "
            f"by the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN)"
        )
    return shown.rstrip("/")
