"""Proxies of the environment are for other machines."""

import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from farm.client import Client
from farm.errors import ConfigError
from farm.network.proxies import open_http
from farm.store.s3 import S3Store

NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
def server() -> Iterator[str]:
    """A server on this machine that says yes to everything."""

    class Yes(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Yes) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(params=["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def proxy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that does not answer."""
    monkeypatch.setenv(request.param, NOWHERE)


@pytest.mark.usefixtures("proxy")
def test_the_portal_of_this_machine_is_asked_directly(server: str) -> None:
    with Client(server) as client:
        assert client.is_ready()


@pytest.mark.usefixtures("proxy")
def test_a_bucket_of_this_machine_is_asked_directly(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "farm")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "farm-secret")
    S3Store("farm", endpoint=server, region="us-east-1", path_style=True).check()


@pytest.mark.usefixtures("proxy")
def test_a_client_for_any_address_asks_this_machine_directly(server: str) -> None:
    with open_http() as http:
        assert http.get(server).is_success


@pytest.mark.usefixtures("proxy")
def test_another_machine_is_asked_through_the_proxy() -> None:
    with open_http() as http, pytest.raises(httpx.ConnectError):
        http.get("http://192.0.2.1/")


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "socks5h://127.0.0.1:1", "http://127.0.0.1:1"])
def test_a_proxy_of_a_known_kind_can_be_set(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    with closing(Client("http://192.0.2.1")) as client:
        assert not client.is_ready()


@pytest.mark.parametrize("proxy", ["socks4://127.0.0.1:1", "ftp://127.0.0.1:1"])
def test_a_proxy_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(ConfigError, match="ALL_PROXY names no proxy that can be used"):
        Client("http://192.0.2.1")


def test_an_unusable_proxy_does_not_matter_for_this_machine(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks4://127.0.0.1:1")
    with Client(server) as client:
        assert client.is_ready()
