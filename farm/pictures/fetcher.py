"""Pictures by address: the one place where the farm connects to a server that a user named.

Such a server may be one that this machine can reach and the user cannot. So only https is used, a name is
resolved once and only to public addresses, the connection goes to that very address, there are no redirects and
no proxy, and time and bytes are limited.
"""

import http.client
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from farm.errors import InvalidRequest
from farm.network.public import Address, is_public, resolve

_LONGEST_URL = 4096
_HEADERS = {
    "Accept": "image/*",
    "Accept-Encoding": "identity",
    "User-Agent": "diffusion-farm",
    "Connection": "close",
}
_PIECE = 2**16


@dataclass(frozen=True)
class Fetcher:
    """Fetches files of at most `most_bytes`, in at most `seconds` from the name's look-up to the last byte."""

    most_bytes: int
    seconds: float = 20.0
    resolve: Callable[[str, int], Sequence[Address]] = resolve
    is_allowed: Callable[[Address], bool] = is_public
    tls: Callable[[], ssl.SSLContext] = ssl.create_default_context

    def fetch(self, url: str, *, field: str = "image") -> bytes:
        """The content at this address. Raises InvalidRequest, which names the field."""
        parts = _parse(url, field)
        host, port = parts.hostname or "", parts.port or 443
        deadline = time.monotonic() + self.seconds
        try:
            addresses = self._resolve_host(host, port, field, deadline)
            with self._open_connection(host, port, addresses, deadline) as connection:
                return self._read(connection, parts, field)
        except (OSError, http.client.HTTPException, ValueError):
            # Details would describe hosts that the user must not learn about.
            raise InvalidRequest.at(
                field, f"could not be fetched: {host} did not send it within {self.seconds:g} seconds"
            ) from None

    def _resolve_host(self, host: str, port: int, field: str, deadline: float) -> Sequence[Address]:
        try:
            addresses = _run_until(lambda: self.resolve(host, port), deadline)
        except TimeoutError:
            raise
        except (OSError, ValueError):
            addresses = []
        if not addresses:
            raise InvalidRequest.at(field, f"could not be fetched: the host {host} is not known")
        if not all(self.is_allowed(address) for address in addresses):
            raise InvalidRequest.at(
                field, f"is not fetched: {host} is not a public address; send the picture itself"
            )
        return addresses

    @contextmanager
    def _open_connection(
        self, host: str, port: int, addresses: Sequence[Address], deadline: float
    ) -> Iterator[http.client.HTTPSConnection]:
        """A connection to one of the addresses, under the host's name. It is shut down at the deadline.

        A timeout alone would restart with each byte that trickles in.
        """
        with _connect_to_any(addresses, port, deadline) as plain, plain.dup() as handle:
            watchdog = threading.Timer(deadline - time.monotonic(), _shut_down, (handle,))
            watchdog.daemon = True
            watchdog.start()
            try:
                with self.tls().wrap_socket(plain, server_hostname=host) as secured:
                    yield _make_https_connection(secured, host, port)
            finally:
                watchdog.cancel()
        # A connection that was shut down can look like the end of the content.
        if time.monotonic() >= deadline:
            raise TimeoutError

    def _read(self, connection: http.client.HTTPSConnection, parts: SplitResult, field: str) -> bytes:
        path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
        connection.request("GET", path, headers=_HEADERS)
        with connection.getresponse() as response:
            if response.status != http.client.OK:
                hint = "; give the address that it leads to" if 300 <= response.status < 400 else ""
                raise InvalidRequest.at(
                    field, f"could not be fetched: {parts.hostname} answered {response.status}{hint}"
                )
            return self._read_body(response, field)

    def _read_body(self, response: http.client.HTTPResponse, field: str) -> bytes:
        content = bytearray()
        while piece := response.read(_PIECE):
            content += piece
            if len(content) > self.most_bytes:
                raise InvalidRequest.at(
                    field, f"is larger than {self.most_bytes:,} bytes, the most that this farm takes"
                )
        if response.length:
            raise http.client.IncompleteRead(bytes(content), response.length)
        return bytes(content)


def _run_until(find: Callable[[], Sequence[Address]], deadline: float) -> Sequence[Address]:
    """The result of a look-up before the deadline. Raises TimeoutError; the look-up ends by itself later.

    The system's look-up of names has no timeout, so it runs in a thread of its own.
    """
    found: Future[Sequence[Address]] = Future()

    def search() -> None:
        try:
            found.set_result(find())
        except Exception as error:
            found.set_exception(error)

    threading.Thread(target=search, daemon=True).start()
    return found.result(timeout=max(0.0, deadline - time.monotonic()))


def _connect_to_any(addresses: Sequence[Address], port: int, deadline: float) -> socket.socket:
    """A connection to the first address that answers: one of them may be IPv6, which not every network has."""
    for address in addresses[:-1]:
        with suppress(OSError):
            return _connect(address, port, deadline, share=2)
    return _connect(addresses[-1], port, deadline, share=1)


def _connect(address: Address, port: int, deadline: float, share: int) -> socket.socket:
    seconds = (deadline - time.monotonic()) / share
    if seconds <= 0:
        raise TimeoutError
    return socket.create_connection((str(address), port), timeout=seconds)


def _make_https_connection(secured: ssl.SSLSocket, host: str, port: int) -> http.client.HTTPSConnection:
    connection = http.client.HTTPSConnection(host, port)
    connection.sock = secured
    # It would otherwise reconnect, to whatever the name resolves to by then.
    connection.auto_open = 0
    return connection


def _shut_down(handle: socket.socket) -> None:
    """Shut the connection down, which ends any read or write that a thread waits in."""
    with suppress(OSError):
        handle.shutdown(socket.SHUT_RDWR)


def _parse(url: str, field: str) -> SplitResult:
    if len(url) > _LONGEST_URL or not re.fullmatch(r"[\x21-\x7e]+", url):
        raise InvalidRequest.at(
            field, f"must be an address of at most {_LONGEST_URL:,} characters of ASCII, without spaces"
        )
    try:
        parts = urlsplit(url)
        is_good = parts.scheme == "https" and parts.hostname and "@" not in parts.netloc and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good:
        raise InvalidRequest.at(field, "must be an https:// address, without a user or password")
    return parts
