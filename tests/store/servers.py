"""Servers that hold a copy of a store for a test: S3 as moto speaks it, web servers with and without ranges."""

import contextlib
import functools
import http.server
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

BUCKET = "scatcache-tests"
VARIABLES = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_SKIP_SIGNATURE", "AWS_PROFILE",
)  # fmt: skip


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Python's own file server: answers every GET with the whole file, whatever Range asks for."""

    protocol_version = "HTTP/1.1"
    # Head and body go out separately, and would wait 40 ms for each other.
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        pass


class RangeHandler(QuietHandler):
    """Answers GET with the range asked for, and notes (method, path, Range) of each request on its server."""

    server: "CountingServer"

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.requests.append((self.command, self.path, asked))
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        start, end = find_range(asked, len(data))
        if asked and start >= end:
            self.send_error(416)
            return
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        self.send_header("Content-Length", str(end - start))
        self.send_header("Last-Modified", self.date_time_string(path.stat().st_mtime))
        self.end_headers()
        self.wfile.write(data[start:end])

    def do_HEAD(self) -> None:
        self.server.requests.append((self.command, self.path, None))
        super().do_HEAD()


def find_range(asked: str | None, n_bytes: int) -> tuple[int, int]:
    """(start, end) of bytes=A-B or bytes=-N."""
    if not asked:
        return 0, n_bytes
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", asked)
    assert found is not None, asked
    if not found[1]:
        return max(0, n_bytes - int(found[2])), n_bytes
    return int(found[1]), min(n_bytes, int(found[2]) + 1)


class FaultyHandler(RangeHandler):
    """Cuts or stalls bodies as its server's choose(path) says: "cut", "stall" (before the first byte), "hang" (in the
    middle), "short" (ends early by its own word) or "" for none; framed by "length", "chunks" or the connection's "end"
    as its server's framing says. has_ranges: else Range is ignored."""

    has_ranges = True

    def do_GET(self) -> None:
        self.server.requests.append((self.command, self.path, self.headers.get("Range")))
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        asked = self.headers.get("Range") if self.has_ranges else None
        start, end = find_range(asked, len(data))
        if asked and start >= end:
            self.send_error(416)
            return
        fault = self.server.choose(self.path) if end - start > 1 else ""
        if fault == "stall":
            self.server.released.wait(10)
            self.close_connection = True
            return
        body = data[start : start + (end - start) // 2] if fault else data[start:end]
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        self._send(body, fault, told=len(body) if fault == "short" else end - start)

    def _send(self, body: bytes, fault: str, *, told: int) -> None:
        framing, self.close_connection = self.server.framing, fault not in ("", "short") or self.server.framing == "end"
        if framing == "length":
            self.send_header("Content-Length", str(told))
        elif framing == "chunks":
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        if framing == "chunks":
            half = len(body) // 2
            for part in filter(None, (body[:half], body[half:])):
                self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            if fault in ("", "short"):
                self.wfile.write(b"0\r\n\r\n")
        else:
            self.wfile.write(body)
        if fault == "hang":
            self.wfile.flush()
            self.server.released.wait(10)


class FaultyWholeHandler(FaultyHandler):
    """The same without ranges."""

    has_ranges = False


class RedirectingHandler(QuietHandler):
    """Sends every GET to the same path at its server's target, and notes its path and headers."""

    server: "CountingServer"

    def do_GET(self) -> None:
        self.server.requests.append((self.command, self.path, str(self.headers)))
        self.send_response(self.server.status)
        self.send_header("Location", f"{self.server.target}{self.path.partition('?')[0]}")
        self.send_header("Set-Cookie", "session=1")
        self.send_header("Content-Length", "0")
        self.end_headers()


class EchoingHandler(QuietHandler):
    """Refuses every request with a status of its server and repeats in its answer all that was sent, as S3 may do."""

    server: "CountingServer"

    def do_GET(self) -> None:
        self.server.requests.append((self.command, self.path, None))
        body = f"<Error><Code>Refused</Code><Message>{self.headers} {self.path}</Message></Error>".encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_PUT = do_POST = do_PROPFIND = do_HEAD = do_GET


class CountingServer(http.server.ThreadingHTTPServer):
    """requests: what its handler was asked; status: what EchoingHandler and RedirectingHandler answer, the latter by
    the way to target; choose, framing: of FaultyHandler, which stalls until released is set."""

    def __init__(self, address: tuple[str, int], handler: Any):
        super().__init__(address, handler)
        self.requests: list[tuple[str, str, str | None]] = []
        self.status, self.target = 403, ""
        self.choose: Callable[[str], str] = lambda path: ""
        self.framing, self.released = "length", threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextlib.contextmanager
def serve(folder: Path, handler: type[QuietHandler] = RangeHandler) -> Iterator[CountingServer]:
    """A web server of a folder on a free port, in a thread."""
    server = CountingServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


class Bucket:
    """One bucket of a moto server. url: of the bucket, s3://...; client: boto3's."""

    def __init__(self, endpoint: str):
        import boto3

        self.endpoint, self.url = endpoint, f"s3://{BUCKET}"
        credentials = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
        self.client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **credentials)
        self.client.create_bucket(Bucket=BUCKET)

    def upload(self, store: Path, prefix: str, *, acl: str = "private") -> str:
        """The URL of a copy of a store."""
        for path in sorted(store.rglob("*")):
            if path.is_file():
                name = f"{prefix}/{path.relative_to(store)}"
                self.client.put_object(Bucket=BUCKET, Key=name, Body=path.read_bytes(), ACL=acl)
        return f"{self.url}/{prefix}"


@contextlib.contextmanager
def serve_s3() -> Iterator[Bucket]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield Bucket(f"http://{host}:{port}")
    finally:
        server.stop()


def forget_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without any of the AWS_ variables that the machine running the tests may have set."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def use_bucket(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    forget_aws(monkeypatch)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
