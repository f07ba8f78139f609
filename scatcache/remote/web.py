"""GET requests over kept connections; an answer that was cut off or stalled is told apart from one that came whole.

On the standard library's http.client: it logs nothing, for a signed URL must reach no log, and it follows no redirect
by itself, so that nothing signed for one host is sent to another.
"""

import http.client
import ssl
import threading
import time
import urllib.request
from base64 import b64encode
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import SplitResult, unquote, urljoin, urlsplit, urlunsplit

from scatcache.trust import find_trust
from scatcache.version import __version__

CONNECT_S = 5.0
# One body may take this long as long as it goes on arriving.
BODY_S = 600.0
REDIRECTS, MAX_REDIRECTS = (301, 302, 303, 307, 308), 5
# Idle connections kept to one server: one for each thread that reads.
MAX_IDLE = 16
_READ_BYTES, _SMALL_BYTES = 2**18, 2**16
_HEADERS = {"User-Agent": f"scatcache/{__version__}", "Accept-Encoding": "identity"}

Connection = http.client.HTTPConnection


class NoAnswer(Exception):
    """A request that got no whole answer; str: what happened, in our words alone.

    n_bytes: of the body, that came; status: what the server refused by, 0 for none; is_connected: whether it was
    reached; may_help: whether to ask again.
    """

    def __init__(
        self, reason: str, *, n_bytes: int = 0, status: int = 0, is_connected: bool = True, may_help: bool = True
    ):
        super().__init__(reason)
        self.n_bytes, self.status, self.is_connected, self.may_help = n_bytes, status, is_connected, may_help


@dataclass(frozen=True)
class Answer:
    """body: empty where it is long and no part of a file; is_whole: False where nothing tells how long it should be."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    is_whole: bool


@dataclass
class _Progress:
    """How far a request has come. n_bytes: of the body."""

    is_reused: bool = False
    is_connected: bool = False
    n_bytes: int = 0


class Connections:
    """The way to web servers, by the environment's proxies; safe for threads, to be made anew after a fork."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[tuple[str, str], list[Connection]] = {}

    def get(self, url: str, *, headers: dict[str, str], stall_s: float, follow: bool) -> Answer:
        """The answer to one GET. stall_s: how long to wait for the next bytes; follow: go where redirects point.

        Raises NoAnswer.
        """
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._ask(url, headers, stall_s)
            target = answer.headers.get("Location")
            if not follow or answer.status not in REDIRECTS or target is None:
                return answer
            allowed = ("https",) if url.startswith("https:") else ("http", "https")
            url = urljoin(url, target)
            if not url.startswith(tuple(f"{scheme}://" for scheme in allowed)):
                raise NoAnswer("the server redirects to where nothing protects what is read", may_help=False)
        raise NoAnswer(f"the server redirects more than {MAX_REDIRECTS} times", may_help=False)

    def _ask(self, url: str, headers: dict[str, str], stall_s: float) -> Answer:
        progress, connection, place = _Progress(), None, ("", "")
        try:
            parts = urlsplit(url)
            place = (parts.scheme, parts.netloc)
            connection, progress.is_reused = self._take(parts)
            answer, is_kept = self._exchange(connection, parts, headers=headers, stall_s=stall_s, progress=progress)
        except (OSError, http.client.HTTPException, ValueError) as error:
            failure = _explain(error, progress)
        else:
            if is_kept:
                self._give_back(place, connection)
            else:
                connection.close()
            return answer
        # Only here: an exception raised in a handler carries the handled one along, and that may show a signed URL.
        if connection is not None:
            connection.close()
        if progress.is_reused:
            # The server dropped what was idle: the others are no better.
            self._drop_idle(place)
        raise failure

    def _exchange(
        self,
        connection: Connection,
        parts: SplitResult,
        *,
        headers: dict[str, str],
        stall_s: float,
        progress: _Progress,
    ) -> tuple[Answer, bool]:
        """(the answer, whether the connection can serve another request)."""
        if connection.sock is None:
            connection.timeout = min(CONNECT_S, stall_s)
            connection.connect()
        progress.is_connected = True
        connection.sock.settimeout(stall_s)
        target = urlunsplit(("", "", parts.path or "/", parts.query, ""))
        proxy = self._find_proxy(parts)
        if proxy is not None and parts.scheme == "http":
            target, headers = urlunsplit((*parts[:4], "")), {**headers, **_authorize(proxy)}
        connection.request("GET", target, headers={**_HEADERS, **headers})
        response = connection.getresponse()
        length = response.length
        is_file = response.status == (206 if "Range" in headers else 200)
        if not is_file and (length is None or length > _SMALL_BYTES):
            return Answer(response.status, response.headers, b"", is_whole=True), False
        is_whole = length is not None or bool(response.chunked)
        answer = Answer(response.status, response.headers, _read(response, progress), is_whole)
        return answer, not response.will_close

    def _take(self, parts: SplitResult) -> tuple[Connection, bool]:
        """(a connection, whether it was used before)."""
        with self._lock:
            if idle := self._idle.get((parts.scheme, parts.netloc)):
                return idle.pop(), True
        if not parts.hostname:
            raise http.client.InvalidURL
        proxy = self._find_proxy(parts)
        host, port = (parts.hostname, parts.port) if proxy is None else (proxy.hostname or "", proxy.port or 80)
        if parts.scheme == "http":
            return http.client.HTTPConnection(host, port), False
        connection = http.client.HTTPSConnection(host, port, context=find_trust())
        if proxy is not None:
            connection.set_tunnel(parts.hostname, parts.port, _authorize(proxy))
        return connection, False

    def _give_back(self, place: tuple[str, str], connection: Connection) -> None:
        with self._lock:
            idle = self._idle.setdefault(place, [])
            if len(idle) < MAX_IDLE:
                idle.append(connection)
                return
        connection.close()

    def _drop_idle(self, place: tuple[str, str]) -> None:
        with self._lock:
            dropped = self._idle.pop(place, [])
        for connection in dropped:
            connection.close()

    @cached_property
    def _proxies(self) -> dict[str, str]:
        return urllib.request.getproxies()

    def _find_proxy(self, parts: SplitResult) -> SplitResult | None:
        proxy = self._proxies.get(parts.scheme)
        if not proxy or urllib.request.proxy_bypass(parts.netloc.rpartition("@")[2]):
            return None
        return urlsplit(proxy if "://" in proxy else f"http://{proxy}")


def _authorize(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    user = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {b64encode(user.encode()).decode()}"}


def _read(response: http.client.HTTPResponse, progress: _Progress) -> bytes:
    """The body. Raises http.client.IncompleteRead where less came than was told."""
    expected, parts = response.length, []
    end = time.monotonic() + BODY_S
    # Not read(), which would wait for ever for what comes byte by byte.
    while part := response.read1(_READ_BYTES):
        parts.append(part)
        progress.n_bytes += len(part)
        if time.monotonic() > end:
            raise TimeoutError
    if expected is not None and progress.n_bytes < expected:
        raise http.client.IncompleteRead(b"", expected - progress.n_bytes)
    # Else the connection would not serve another request.
    response.close()
    return b"".join(parts)


def _explain(error: Exception, progress: _Progress) -> NoAnswer:
    """What became of a request, without a word of the error itself: it may repeat what was sent."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return NoAnswer("the server's certificate is not trusted here", is_connected=False, may_help=False)
    if isinstance(error, http.client.InvalidURL | ValueError):
        return NoAnswer("it is no valid URL", is_connected=False, may_help=False)
    if not progress.is_connected:
        return NoAnswer("there is no connection to the server", is_connected=False)
    if isinstance(error, TimeoutError):
        came = f"stopped sending after {progress.n_bytes:,} bytes" if progress.n_bytes else "does not answer"
        return NoAnswer(f"the server {came}", n_bytes=progress.n_bytes)
    return NoAnswer(f"the connection was cut after {progress.n_bytes:,} bytes", n_bytes=progress.n_bytes)
