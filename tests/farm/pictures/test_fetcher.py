"""The farm fetches from public servers alone, from whom it checked, and not for ever."""

import datetime
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from farm.errors import InvalidRequest
from farm.network.public import Address, is_public, resolve
from farm.pictures.fetcher import Fetcher

HOST = "pictures.example"
LOOPBACK = ipaddress.ip_address("127.0.0.1")
OK = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"
PIXELS = b"pixels" * 1000


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for HOST, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return file


@dataclass
class Server:
    """A server on this machine that answers each request in the way a test sets, and keeps what it was asked."""

    port: int
    answer: Callable[[ssl.SSLSocket], None]
    asked: list[bytes]

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.port}/a.png?size=1"


@pytest.fixture
def server(certificate: Path) -> Iterator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listener = socket.create_server(("127.0.0.1", 0))
    served = Server(listener.getsockname()[1], saying(OK + b"Content-Length: 6000\r\n\r\n" + PIXELS), [])
    thread = threading.Thread(target=_serve, args=(listener, context, served))
    thread.start()
    yield served
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def _serve(listener: socket.socket, context: ssl.SSLContext, served: Server) -> None:
    while True:
        try:
            plain, _ = listener.accept()
        except OSError:
            return
        try:
            with closing(context.wrap_socket(plain, server_side=True)) as connection:
                served.asked.append(connection.recv(65536))
                served.answer(connection)
        except OSError:
            plain.close()


def saying(*pieces: bytes, seconds_between: float = 0.0) -> Callable[[ssl.SSLSocket], None]:
    def say(connection: ssl.SSLSocket) -> None:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(seconds_between)

    return say


def dripping(head: bytes) -> Callable[[ssl.SSLSocket], None]:
    """A byte now and then, each in time for a timeout to begin anew."""
    return saying(head, *(b"x" for _ in range(100)), seconds_between=0.1)


@pytest.fixture
def fetcher(certificate: Path) -> Fetcher:
    """One that knows HOST, and holds this machine for public."""
    return Fetcher(
        most_bytes=10_000,
        seconds=5.0,
        resolve=lambda host, port: [LOOPBACK],
        is_allowed=lambda address: address == LOOPBACK,
        tls=lambda: ssl.create_default_context(cafile=str(certificate)),
    )


def refusal(fetcher: Fetcher, url: str) -> str:
    with pytest.raises(InvalidRequest) as refused:
        fetcher.fetch(url, field="mask")
    [problem] = refused.value.problems
    assert problem.field == "mask"
    return problem.message


class TestFetching:
    def test_a_file_of_a_server_is_fetched(self, fetcher: Fetcher, server: Server) -> None:
        assert fetcher.fetch(server.url) == PIXELS

    def test_the_server_is_asked_by_its_name(self, fetcher: Fetcher, server: Server) -> None:
        fetcher.fetch(server.url)
        [asked] = server.asked
        assert asked.startswith(b"GET /a.png?size=1 HTTP/1.1\r\n")
        assert f"Host: {HOST}:{server.port}\r\n".encode() in asked

    def test_no_proxy_is_asked(self, fetcher: Fetcher, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")
        assert fetcher.fetch(server.url) == PIXELS

    def test_a_chunked_answer_is_put_together(self, fetcher: Fetcher, server: Server) -> None:
        server.answer = saying(OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        assert fetcher.fetch(server.url) == b"abcde"

    def test_an_answer_without_a_length_ends_with_the_connection(self, fetcher: Fetcher, server: Server) -> None:
        server.answer = saying(OK + b"\r\nabc")
        assert fetcher.fetch(server.url) == b"abc"

    def test_the_name_is_resolved_once(self, fetcher: Fetcher, server: Server) -> None:
        """Whoever asks twice may be told another address the second time."""
        names = []

        def note(host: str, port: int) -> list[Address]:
            names.append(host)
            return [LOOPBACK]

        replace(fetcher, resolve=note).fetch(server.url)
        assert names == [HOST]

    def test_the_next_address_is_tried_if_one_does_not_answer(self, fetcher: Fetcher, server: Server) -> None:
        dead = ipaddress.ip_address("127.0.0.2")
        both = replace(fetcher, resolve=lambda host, port: [dead, LOOPBACK], is_allowed=lambda address: True)
        assert both.fetch(server.url) == PIXELS


class TestRefusals:
    @pytest.mark.parametrize("status", [b"301 Moved", b"302 Found", b"307 Temporary Redirect"])
    def test_redirects_are_not_followed(self, fetcher: Fetcher, server: Server, status: bytes) -> None:
        server.answer = saying(b"HTTP/1.1 " + status + b"\r\nLocation: https://127.0.0.1/\r\n\r\n")
        assert "the address that it leads to" in refusal(fetcher, server.url)
        assert len(server.asked) == 1

    def test_an_error_status_of_the_server_is_quoted(self, fetcher: Fetcher, server: Server) -> None:
        server.answer = saying(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        assert f"{HOST} answered 404" in refusal(fetcher, server.url)

    @pytest.mark.parametrize("head", [b"Content-Length: 20000\r\n\r\n", b"\r\n"], ids=["declared", "undeclared"])
    def test_an_answer_of_too_many_bytes_is_refused(self, fetcher: Fetcher, server: Server, head: bytes) -> None:
        server.answer = saying(OK + head + b"x" * 20_000)
        assert "10,000 bytes" in refusal(fetcher, server.url)

    @pytest.mark.parametrize(
        "head",
        [
            b"",
            OK,
            OK + b"\r\n",
            OK + b"Content-Length: 500\r\n\r\n",
            OK + b"Transfer-Encoding: chunked\r\n\r\n64\r\n",
        ],
        ids=["status", "headers", "endless", "body", "chunk"],
    )
    def test_a_server_that_takes_too_long_is_cut_off(self, fetcher: Fetcher, server: Server, head: bytes) -> None:
        server.answer = dripping(head)
        started = time.monotonic()
        assert "within 0.5 seconds" in refusal(replace(fetcher, seconds=0.5), server.url)
        assert time.monotonic() - started < 2

    def test_a_name_that_takes_too_long_to_look_up_is_given_up(self, fetcher: Fetcher) -> None:
        over = threading.Event()
        slow = replace(fetcher, seconds=0.3, resolve=lambda host, port: [LOOPBACK] if over.wait(5) else [])
        started = time.monotonic()
        assert "within 0.3 seconds" in refusal(slow, "https://pictures.example/")
        assert time.monotonic() - started < 2
        over.set()

    def test_a_server_that_never_completes_its_tls_handshake_is_cut_off(self, fetcher: Fetcher) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"https://{HOST}:{silent.getsockname()[1]}/"
            assert "within 0.3 seconds" in refusal(replace(fetcher, seconds=0.3), url)

    @pytest.mark.parametrize(
        "answer",
        [
            b"",
            b"hello\r\n\r\n",
            OK + b"Content-Length: 500\r\n\r\nabc",
            OK + b"Transfer-Encoding: chunked\r\n\r\nz",
        ],
    )
    def test_an_incomplete_or_malformed_answer_is_refused(
        self, fetcher: Fetcher, server: Server, answer: bytes
    ) -> None:
        server.answer = saying(answer)
        assert "could not be fetched" in refusal(fetcher, server.url)

    def test_a_server_whose_certificate_names_another_host_is_refused(
        self, fetcher: Fetcher, server: Server
    ) -> None:
        assert "could not be fetched" in refusal(fetcher, server.url.replace(HOST, "other.example"))
        assert server.asked == []

    def test_a_server_with_an_untrusted_certificate_is_refused(self, fetcher: Fetcher, server: Server) -> None:
        stock = replace(fetcher, tls=ssl.create_default_context)
        assert "could not be fetched" in refusal(stock, server.url)

    def test_an_unknown_host_is_reported(self, fetcher: Fetcher) -> None:
        assert "is not known" in refusal(replace(fetcher, resolve=_unknown), "https://nowhere.example/")

    def test_a_host_with_one_address_that_is_not_public_is_refused(self, fetcher: Fetcher, server: Server) -> None:
        mixed = replace(fetcher, resolve=lambda host, port: [LOOPBACK, ipaddress.ip_address("10.0.0.1")])
        assert "not a public address" in refusal(mixed, server.url)
        assert server.asked == []

    @pytest.mark.parametrize(
        "url",
        [
            "http://pictures.example/a.png",
            "ftp://pictures.example/a.png",
            "https:///a.png",
            "https://user:secret@pictures.example/a.png",
            "https://[::1/a.png",
            "https://pictures.example:99999/a.png",
            "https://pictures.example/a b.png",
            "https://pictures.example/a\r\nHost: other",
            "https://b\u00fccher.example/",
            "https://pictures.example/" + "a" * 5000,
        ],
    )
    def test_an_address_that_is_not_plain_https_is_refused_without_a_lookup(
        self, fetcher: Fetcher, url: str
    ) -> None:
        message = refusal(replace(fetcher, resolve=_forbidden), url)
        assert "address" in message
        assert "secret" not in message


def _unknown(host: str, port: int) -> list[Address]:
    raise socket.gaierror(-2, "Name or service not known")


def _forbidden(host: str, port: int) -> list[Address]:
    raise AssertionError("somebody asked")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "2130706433",
        "0",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "169.254.169.254",
    ],
)
def test_an_address_of_this_machine_is_refused_however_it_is_written(host: str) -> None:
    assert "not a public address" in refusal(Fetcher(most_bytes=1000), f"https://{host}/")


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.215.14", "1.1.1.1", "2606:4700::1111", "2a00:1450::1"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.31.0.1", "192.168.1.1"),
        *("192.0.0.170", "192.0.2.1", "192.88.99.1", "198.19.0.1", "203.0.113.1", "224.0.0.1", "255.255.255.255"),
        *("::", "::1", "::ffff:8.8.8.8", "::8.8.8.8", "64:ff9b::808:808", "64:ff9b:1::1", "100::1", "2001::1"),
        *("2001:db8::1", "2002:808:808::1", "3fff::1", "fc00::1", "fd12::1", "fe80::1", "fe80::1%eth0", "ff02::1"),
    ],
)
def test_all_other_addresses_are_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


def test_names_of_this_machine_resolve() -> None:
    assert LOOPBACK in resolve("localhost", 443)
