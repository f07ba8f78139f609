import http.server
import threading

import pytest

from scatcache.remote.web import Connections, NoAnswer
from tests.store.servers import FaultyHandler, QuietHandler, serve


def get(connections, url, **headers):
    return connections.get(url, headers=headers, stall_s=5, follow=True)


def test_one_connection_serves_request_after_request(tmp_path):
    (tmp_path / "a").write_bytes(b"body")
    peers = set()

    class Noting(FaultyHandler):
        def do_GET(self):
            peers.add(self.client_address)
            super().do_GET()

    with serve(tmp_path, Noting) as server:
        connections = Connections()
        for framing in ("length", "chunks"):
            server.framing = framing
            assert get(connections, f"{server.url}/a").body == b"body"
            assert get(connections, f"{server.url}/a", Range="bytes=1-2").body == b"od"
        assert get(connections, f"{server.url}/missing").status == 404
    assert len(peers) == 1


def test_proxy_of_the_environment_is_used(tmp_path, monkeypatch):
    class Proxy(QuietHandler):
        def do_GET(self):
            self.server.requests.append((self.command, self.path, self.headers.get("Proxy-Authorization")))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

    with serve(tmp_path, Proxy) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.replace("://", "://me:pass@"))
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        connections = Connections()
        assert get(connections, "http://nowhere.invalid/a?b=c").body == b"ok"
        assert proxy.requests == [("GET", "http://nowhere.invalid/a?b=c", "Basic bWU6cGFzcw==")]
        assert get(connections, f"{proxy.url}/direct").body == b"ok" and proxy.requests[1][1:] == ("/direct", None)


@pytest.mark.parametrize(
    ("url", "reason", "may_help"),
    [
        ("http://127.0.0.1:1/a", "there is no connection to the server", True),
        ("http://host:port/a", "it is no valid URL", False),
        ("http:///a", "it is no valid URL", False),
        ("http://127.0.0.1:1/\n", "there is no connection to the server", True),
    ],
)
def test_what_cannot_be_asked_is_told(url, reason, may_help):
    with pytest.raises(NoAnswer, match=reason) as caught:
        get(Connections(), url)
    assert caught.value.may_help == may_help and caught.value.__context__ is None


def test_server_that_speaks_something_else_is_told():
    class Other(http.server.BaseHTTPRequestHandler):
        def handle(self):
            self.rfile.readline()
            self.wfile.write(b"220 ready\r\n")

    server = http.server.HTTPServer(("127.0.0.1", 0), Other)
    threading.Thread(target=server.handle_request, daemon=True).start()
    with pytest.raises(NoAnswer, match="the connection was cut after 0 bytes"):
        get(Connections(), f"http://127.0.0.1:{server.server_port}/")
    server.server_close()
