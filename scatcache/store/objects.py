"""Files of an S3 bucket or a web server, asked for until they come whole or time is up.

Nothing that a server says reaches a message, a log or the chain of an exception: S3's answers may repeat the key id.
"""

import logging
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

from scatcache.errors import ScatcacheError
from scatcache.store.addresses import CREDENTIALS, Addresses, BucketAddresses, WebAddresses
from scatcache.store.web import REDIRECTS, Answer, Connections, NoAnswer

logger = logging.getLogger(__name__)

# One read is given up so long after it began, or after the last try by which more of it came than before. Within that
# the first request waits STALL_S for the next bytes, each further one twice as long.
WITHIN_S, STALL_S = 20.0, 3.0
# Before each further try. Eight tries: were one connection in ten cut, a read in a hundred million would fail.
PAUSES_S = (0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.0)
# A server that cannot be reached, or refuses, is asked fewer times.
N_PAUSES_REFUSED = 3
PASSING = (408, 429, 500, 502, 503, 504)

# (start, end), or how many bytes of the end.
Span = tuple[int, int] | int

# What an HTTP status means: of S3, of a web server.
STATUSES = {
    400: ("check AWS_REGION and AWS_ENDPOINT_URL, and whether AWS_SESSION_TOKEN has expired", "check the URL"),
    401: (CREDENTIALS, "copy the store to a local folder: scatcache sends web servers no credentials"),
    403: (
        f"{CREDENTIALS}; whoever may not list the bucket is told so of missing objects too",
        "copy the store to a local folder: scatcache sends web servers no credentials",
    ),
}


class ObjectFiles:
    """The files under one URL, by requests from this process, which must not have been forked since obstore was used.

    Safe for threads. Every method raises ScatcacheError where the place refuses or does not answer in time.
    """

    def __init__(self, url: str):
        self.url = url
        self._is_s3 = urlsplit(url).scheme == "s3"
        self._addresses: Addresses = (BucketAddresses if self._is_s3 else WebAddresses)(url)
        self._connections = Connections()

    def fetch(self, name: str, span: Span | None) -> tuple[bytes, int] | None:
        """(those bytes of a file, size of the whole file); span=None for all of it, cut where the file ends.

        None where the server answers only with the whole. Raises FileNotFoundError.
        """
        headers = {}
        if span is not None:
            headers["Range"] = f"bytes=-{span}" if isinstance(span, int) else f"bytes={span[0]}-{span[1] - 1}"
        last: list[bytes] = []

        def check(answer: Answer) -> tuple[bytes, int] | None:
            if span is not None:
                # 416: nothing there, which of a range counted from the end says that the file is empty.
                return (b"", 0) if answer.status == 416 else check_part(answer, span)
            # Of a body without length the end of the connection is the only sign, and so must come twice.
            if not answer.is_whole and last != [answer.body]:
                last[:] = [answer.body]
                raise NoAnswer("the server does not say how much it sends", n_bytes=len(answer.body))
            return answer.body, len(answer.body)

        return self._ask(name, lambda: self._addresses.find(name), headers, check)

    def list_sizes(self, folder: str) -> dict[str, int] | None:
        """Sizes of all files below a folder by their names relative to it; None where listing is not to be had."""
        page, sizes = "", {}
        try:
            while True:
                url = self._addresses.find_listing(folder, page)
                if url is None:
                    return None
                found, page = self._ask(folder, lambda url=url: url, {}, lambda answer: read_listing(answer.body))
                sizes |= found
                if not page:
                    break
        except (ScatcacheError, FileNotFoundError):
            logger.info("%s: listing is refused", self.url)
            return None
        above = "/".join(filter(None, (urlsplit(self.url).path.strip("/"), folder))) + "/"
        return {name.removeprefix(above): size for name, size in sizes.items() if name.startswith(above)}

    def _ask(
        self, name: str, find: Callable[[], str], headers: dict[str, str], check: Callable[[Answer], Any]
    ) -> Any:
        """What check makes of the answer, tried again where it raises NoAnswer or there is none.

        find: the URL, signed anew for each try. Raises FileNotFoundError, ScatcacheError.
        """
        start = time.monotonic()
        deadline, most, stall_s, status = start + WITHIN_S, 0, STALL_S, 0
        for n_tries, pause_s in enumerate((*PAUSES_S, None), 1):
            left_s = deadline - time.monotonic()
            try:
                answer = self._connections.get(
                    find(), headers=headers, stall_s=max(min(stall_s, left_s), 0.1), follow=not self._addresses.is_signed
                )
                status = answer.status
                if status not in PASSING:
                    self._refuse(name, answer, is_part="Range" in headers)
                    return check(answer)
                reason, is_hopeless = f"the server refused (HTTP {status})", n_tries > N_PAUSES_REFUSED
            except NoAnswer as failure:
                reason, status = str(failure), 0
                is_hopeless = not failure.may_help or (not failure.is_connected and n_tries > N_PAUSES_REFUSED)
                if failure.n_bytes > most:
                    most, deadline = failure.n_bytes, time.monotonic() + WITHIN_S
            stall_s *= 2
            if is_hopeless or pause_s is None or time.monotonic() + pause_s >= deadline:
                break
            logger.debug("%s/%s: %s, trying again", self.url, name, reason)
            time.sleep(pause_s)
        tried = f" (tried {n_tries} times in {time.monotonic() - start:.0f} s)" if n_tries > 1 else ""
        advice = "try again later" if status else f"check {self._addresses.where} and the network, then try again"
        raise ScatcacheError(f"{self._name(name)}: {reason}{tried}: {advice}")

    def _name(self, name: str) -> str:
        return f"{self.url}/{name}" if name else self.url

    def _refuse(self, name: str, answer: Answer, *, is_part: bool) -> None:
        """Raises FileNotFoundError or ScatcacheError for an answer that holds nothing of a file."""
        status = answer.status
        if status == 200 or (is_part and status in (206, 416)):
            return
        if status == 404:
            raise FileNotFoundError(f"{self._name(name)} is missing")
        if status in REDIRECTS:
            raise ScatcacheError(
                f"{self._name(name)}: the server redirects to {show_host(answer.headers.get('Location', ''))} (HTTP "
                f"{status}), where scatcache takes no credentials: set AWS_REGION to the bucket's region, and "
                f"AWS_ENDPOINT_URL to the server that holds it"
            )
        known = STATUSES.get(status)
        advice = known[0 if self._is_s3 else 1] if known else "try again later"
        denied = "access is denied" if status in (401, 403) else "the server refused"
        raise ScatcacheError(f"{self._name(name)}: {denied} (HTTP {status}): {advice}")


def check_part(answer: Answer, span: Span) -> tuple[bytes, int] | None:
    """(the bytes, size of the whole file) of an answer to a range; None where it does not say what it holds.

    Raises NoAnswer where they are not those asked for.
    """
    found = answer.status == 206 and re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", answer.headers.get("Content-Range", ""))
    if not found:
        return None
    start, end, total = int(found[1]), int(found[2]) + 1, int(found[3])
    expected = (max(0, total - span), total) if isinstance(span, int) else (span[0], min(span[1], total))
    if (start, end) != expected or len(answer.body) != end - start:
        raise NoAnswer(f"the server sent {len(answer.body):,} bytes in place of {expected[1] - expected[0]:,}")
    return answer.body, total


def read_listing(data: bytes) -> tuple[dict[str, int], str]:
    """(sizes by whole key, name of the next page) of S3's answer. Raises NoAnswer where it is none."""
    sizes, page, more = {}, "", False
    try:
        root = ElementTree.fromstring(data)
        if not root.tag.endswith("ListBucketResult"):
            raise ValueError
        for element in root:
            tag = element.tag.rpartition("}")[2]
            if tag == "Contents":
                fields = {child.tag.rpartition("}")[2]: child.text or "" for child in element}
                sizes[fields["Key"]] = int(fields["Size"])
            elif tag == "NextContinuationToken":
                page = element.text or ""
            elif tag == "IsTruncated":
                more = element.text == "true"
    except (ElementTree.ParseError, KeyError, ValueError):
        sizes, more = {}, True
    if more and not page:
        raise NoAnswer("the server's listing is not one of S3")
    return sizes, page if more else ""


def show_host(location: str) -> str:
    """Scheme and host of a URL that a server named, as far as they can be nothing else; else "elsewhere"."""
    found = re.match(r"(https?)://([A-Za-z0-9.-]{1,253}(?::\d{1,5})?)(?=[/?#]|$)", location)
    return f"{found[1]}://{found[2]}" if found else "elsewhere"
