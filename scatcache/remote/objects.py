"""Files of an S3 bucket or a web server, asked for until they come whole or time is up.

Nothing that a server says reaches a message, a log or the chain of an exception: S3's answers may repeat the key id.
"""

import logging
import re
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar
from urllib.parse import urlsplit
from xml.etree import ElementTree

from scatcache.errors import ScatcacheError
from scatcache.remote.addresses import CREDENTIALS, Addresses, BucketAddresses, WebAddresses
from scatcache.remote.web import REDIRECTS, Answer, Connections, NoAnswer

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

Found = TypeVar("Found")

# What an HTTP status means: of S3, of a web server.
STATUSES = {
    400: ("check AWS_REGION and AWS_ENDPOINT_URL, and whether AWS_SESSION_TOKEN has expired", "check the URL"),
    401: (CREDENTIALS, "copy it to a local folder: scatcache sends web servers no credentials"),
    403: (
        f"{CREDENTIALS}; whoever may not list the bucket is told so of missing objects too",
        "copy it to a local folder: scatcache sends web servers no credentials",
    ),
}


class ObjectFiles:
    """The files under one URL, by requests from this process; to be made anew after a fork.

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
        found = self.fetch_marked(name, span)
        return None if found is None else found[:2]

    def fetch_marked(self, name: str, span: Span | None) -> tuple[bytes, int, str] | None:
        """What fetch gives, and what tells this version of the file from others: its ETag, else when it was last
        modified, "" where the server says neither."""
        headers: dict[str, str] = {}
        if span is not None:
            headers["Range"] = f"bytes=-{span}" if isinstance(span, int) else f"bytes={span[0]}-{span[1] - 1}"
        last: list[bytes] = []

        def check(answer: Answer) -> tuple[bytes, int, str] | None:
            mark = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
            if span is not None:
                # 416: nothing there, which of a range counted from the end says that the file is empty.
                found = (b"", 0) if answer.status == 416 else check_part(answer, span)
                return None if found is None else (*found, mark)
            # Of a body without length the end of the connection is the only sign, and so must come twice.
            if not answer.is_whole and last != [answer.body]:
                last[:] = [answer.body]
                raise NoAnswer("the server does not say how much it sends", n_bytes=len(answer.body))
            return answer.body, len(answer.body), mark

        return self._ask(name, lambda: self._addresses.find(name), headers, check)

    def list_sizes(self, folder: str) -> dict[str, int] | None:
        """Sizes of all files below a folder by their names relative to it; None where listing is not to be had."""
        page: str | None = ""
        sizes: dict[str, int] = {}
        try:
            while page is not None:
                url = self._addresses.find_listing(folder, page)
                if url is None:
                    return None
                found, page = self._ask(folder, partial(str, url), {}, lambda answer: read_listing(answer.body))
                sizes |= found
        except (ScatcacheError, FileNotFoundError):
            logger.info("%s: listing is refused", self.url)
            return None
        above = "/".join(filter(None, (urlsplit(self.url).path.strip("/"), folder))) + "/"
        return {name.removeprefix(above): size for name, size in sizes.items() if name.startswith(above)}

    def _ask(
        self, name: str, find: Callable[[], str], headers: dict[str, str], check: Callable[[Answer], Found]
    ) -> Found:
        """What check makes of the answer, asked for again where it raises NoAnswer or there is none.

        find: the URL, signed anew for each try. Raises FileNotFoundError, ScatcacheError.
        """
        start = time.monotonic()
        deadline, most, stall_s = start + WITHIN_S, 0, STALL_S
        for n_tries, pause_s in enumerate((*PAUSES_S, None), 1):
            wait_s = max(0.1, min(stall_s, deadline - time.monotonic()))
            try:
                return check(self._ask_once(name, find(), headers, wait_s))
            except NoAnswer as error:
                failure = error
            if failure.n_bytes > most:
                most, deadline = failure.n_bytes, time.monotonic() + WITHIN_S
            is_refused = not failure.is_connected or failure.status
            if not failure.may_help or pause_s is None or (is_refused and n_tries > N_PAUSES_REFUSED):
                break
            if time.monotonic() + pause_s >= deadline:
                break
            logger.debug("%s: %s, trying again", self._name(name), failure)
            time.sleep(pause_s)
            stall_s *= 2
        # Only here, out of the handler: an exception raised in it carries the handled one along.
        tried = f" (tried {n_tries} times in {time.monotonic() - start:.1f} s)" if n_tries > 1 else ""
        where = f"check {self._addresses.where} and the network, then try again"
        raise ScatcacheError(f"{self._name(name)}: {failure}{tried}: {'try again later' if failure.status else where}")

    def _ask_once(self, name: str, url: str, headers: dict[str, str], stall_s: float) -> Answer:
        """An answer that holds a file or a part of one, or says that there is no such part. Raises as _ask does."""
        follow = not self._addresses.is_signed
        answer = self._connections.get(url, headers=headers, stall_s=stall_s, follow=follow)
        if answer.status in PASSING:
            raise NoAnswer(f"the server refused (HTTP {answer.status})", status=answer.status)
        if answer.status != 200 and not ("Range" in headers and answer.status in (206, 416)):
            raise self._refusal(name, answer)
        return answer

    def _name(self, name: str) -> str:
        return f"{self.url}/{name}" if name else self.url

    def _refusal(self, name: str, answer: Answer) -> Exception:
        """What an answer means that holds nothing of a file."""
        status = answer.status
        if status == 404:
            return FileNotFoundError(f"{self._name(name)} is missing")
        if status in REDIRECTS:
            return ScatcacheError(
                f"{self._name(name)}: the server redirects to {show_host(answer.headers.get('Location', ''))} (HTTP "
                f"{status}), where scatcache takes no credentials: set AWS_REGION to the bucket's region, and "
                f"AWS_ENDPOINT_URL to the server that holds it"
            )
        known = STATUSES.get(status)
        advice = known[0 if self._is_s3 else 1] if known else "try again later"
        denied = "access is denied" if status in (401, 403) else "the server refused"
        return ScatcacheError(f"{self._name(name)}: {denied} (HTTP {status}): {advice}")


def check_part(answer: Answer, span: Span) -> tuple[bytes, int] | None:
    """(the bytes, size of the whole file) of an answer to a range; None where it does not say what it holds.

    Raises NoAnswer where they are not those asked for.
    """
    found = answer.status == 206 and re.fullmatch(
        r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", answer.headers.get("Content-Range", "")
    )
    if not found:
        return None
    start, end, total = int(found[1]), int(found[2]) + 1, int(found[3])
    expected = (max(0, total - span), total) if isinstance(span, int) else (span[0], min(span[1], total))
    if (start, end) != expected or len(answer.body) != end - start:
        raise NoAnswer(f"the server sent {len(answer.body):,} bytes in place of {expected[1] - expected[0]:,}")
    return answer.body, total


def read_listing(data: bytes) -> tuple[dict[str, int], str | None]:
    """(sizes by whole key, name of the next page if any) of S3's answer. Raises NoAnswer where it is none."""
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
    return sizes, page if more else None


def show_host(location: str) -> str:
    """Scheme and host of a URL that a server named, as far as they can be nothing else; else "elsewhere"."""
    found = re.match(r"(https?)://([A-Za-z0-9.-]{1,253}(?::\d{1,5})?)(?=[/?#]|$)", location)
    return f"{found[1]}://{found[2]}" if found else "elsewhere"
