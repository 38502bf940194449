"""One request to a hub: redirects that keep the token to the hub's own address, and clear errors."""

import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

import httpx

from farm.errors import FarmError
from farm.network.addresses import is_safe_url
from farm.network.proxies import open_http
from farm.network.public import Address, is_public, resolve

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 10
_PATIENCE_SECONDS = 60.0
_TIMEOUT = httpx.Timeout(30, connect=10)
# Bytes as they are stored: a range of a compressed body would be of no use.
_HEADERS = {"User-Agent": "diffusion-farm", "Accept-Encoding": "identity"}
_Result = TypeVar("_Result")
Find = Callable[[str, int], Sequence[Address]]
"""The addresses of a host. Raises OSError."""


class DownloadError(FarmError):
    """The download failed.

    `is_retryable`: another attempt may help. `wait_seconds`: how long the hub asked to wait first; None
    where it did not give a time.
    """

    is_retryable = False

    def __init__(self, message: str, wait_seconds: float | None = None) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds


class HubUnavailable(DownloadError):
    """The hub cannot be reached, or is too busy now."""

    is_retryable = True


@dataclass(frozen=True)
class Access:
    """Access to one hub: its token, sent to its own address alone, and the variable that holds it."""

    endpoint: str
    token: str | None = field(default=None, repr=False)
    variable: str | None = None

    def headers_for(self, url: str) -> dict[str, str]:
        is_home = self.token is not None and _origin(url) == _origin(self.endpoint)
        return {"Authorization": f"Bearer {self.token}"} if is_home else {}

    @property
    def token_hint(self) -> str:
        """What to do about a hub that requires authentication."""
        if self.variable is None:
            return "Download the file with your browser, and add it from disk"
        if self.token is None:
            return f"Set {self.variable} to a token of yours"
        return f"The token in {self.variable} does not give access: is it still valid, and may it read this?"


NO_ACCOUNT = Access("")


def redact_url(url: str) -> str:
    """The address without its query and user, which may hold secrets."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path}"


@cache
def _load_certificates() -> ssl.SSLContext:
    """Load the certificates once: it takes longer than a small download."""
    return httpx.create_ssl_context()


@contextmanager
def open_hub_client() -> Iterator[httpx.Client]:
    """A client for the requests of one download."""
    with open_http(
        verify=_load_certificates(), timeout=_TIMEOUT, headers=_HEADERS, follow_redirects=False
    ) as client:
        yield client


@contextmanager
def open_response(
    client: httpx.Client, url: str, access: Access, headers: Mapping[str, str] | None = None
) -> Iterator[httpx.Response]:
    """The answer to a GET, its body still unread, after at most ten redirects.

    Raises DownloadError for every answer but 200, 206 and 416.
    """
    if not is_safe_url(url):
        raise DownloadError(
            f"{redact_url(url)} is not requested: use an https:// address (http:// only on this machine)."
        )
    try:
        with _follow_redirects(client, url, access, headers or {}) as response:
            if response.status_code not in (200, 206, 416):
                raise _make_error(response, url, access)
            yield response
    except (httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.TooManyRedirects):
        raise DownloadError(f"{redact_url(url)} redirects to an address that cannot be requested.") from None
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError):
        raise HubUnavailable(
            f"{urlsplit(url).hostname} cannot be reached. Check the network and the address."
        ) from None
    except httpx.TransportError as error:
        # Its message may repeat the URL, with a signature in its query.
        raise HubUnavailable(
            f"The connection to {urlsplit(url).hostname} broke ({type(error).__name__})."
        ) from None


@contextmanager
def _follow_redirects(
    client: httpx.Client, url: str, access: Access, headers: Mapping[str, str]
) -> Iterator[httpx.Response]:
    start = url
    for _ in range(_MOST_REDIRECTS):
        with client.stream("GET", url, headers={**headers, **access.headers_for(url)}) as response:
            if response.status_code not in _REDIRECTS:
                yield response
                return
            url = urljoin(url, response.headers.get("Location", ""))
        check_redirect(start, url)
    raise httpx.TooManyRedirects("too many redirects")


def check_redirect(start: str, url: str, find: Find = resolve) -> None:
    """Raise DownloadError: a page on the internet must not redirect to an unencrypted or a private address."""
    if not is_safe_url(url) or (_reaches_inside(url, find) and not _is_inside(start, find)):
        raise DownloadError(f"{redact_url(start)} redirects to {redact_url(url)}, which is not requested.")


def _reaches_inside(url: str, find: Find) -> bool:
    """Whether one address is of this machine or its network: loopback, private, link-local.

    Clouds keep keys at link-local ones.
    """
    return not all(map(is_public, _resolve_host(url, find)))


def _is_inside(url: str, find: Find) -> bool:
    """Whether all addresses are private: a host on the internet may list a private one among others."""
    addresses = _resolve_host(url, find)
    return bool(addresses) and not any(map(is_public, addresses))


def _resolve_host(url: str, find: Find) -> Sequence[Address]:
    """The host's addresses; none for a name that only a proxy can resolve."""
    parts = urlsplit(url)
    try:
        return find(parts.hostname or "", parts.port or 443)
    except (OSError, ValueError):
        return ()


def _make_error(response: httpx.Response, url: str, access: Access) -> DownloadError:
    status, address = response.status_code, redact_url(url)
    if status == 429:
        return _make_busy_error(response, address, access)
    if status >= 500 or status == 408:
        return HubUnavailable(f"{address}: the hub answered {status}.", _parse_retry_after(response))
    if status in (401, 403) and _origin(str(response.url)) != _origin(url):
        # Links to content servers are signed and expire; a new request to the hub gives a fresh one.
        return HubUnavailable(f"{address}: the link to the content server was refused ({status}).")
    if status == 401:
        return DownloadError(f"{address} requires authentication, or does not exist (401). {access.token_hint}.")
    if status == 403:
        first = "Accept its terms on its page, if it has any. " if access.variable else ""
        return DownloadError(f"{address} refuses access (403). {first}{access.token_hint}.")
    if status in (404, 410):
        return DownloadError(f"{address} does not exist ({status}). Check the name, the revision and the file.")
    return DownloadError(f"{address}: the server answered {status}.")


def _make_busy_error(response: httpx.Response, address: str, access: Access) -> DownloadError:
    wait = _parse_retry_after(response)
    token = (
        f" {access.token_hint}: authenticated users may send more requests."
        if access.variable and not access.token
        else ""
    )
    if wait is not None and wait > _PATIENCE_SECONDS:
        return DownloadError(f"{address}: too many requests (429). Try again in {wait:.0f} seconds.{token}", wait)
    return HubUnavailable(f"{address}: too many requests (429). Try again later.{token}", wait)


def _parse_retry_after(response: httpx.Response) -> float | None:
    """The seconds that the answer asks to wait, given as a number or as a date; None where it does not."""
    value = response.headers.get("Retry-After", "")
    if value.isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    return max(0.0, (moment.astimezone(UTC) - datetime.now(UTC)).total_seconds())


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def retry_call(attempt: Callable[[], _Result], attempts: int = 4, pause_seconds: float = 1.0) -> _Result:
    """Call until it succeeds, waiting longer each time; raises the last DownloadError."""
    for failures in range(attempts):
        try:
            return attempt()
        except DownloadError as error:
            if not error.is_retryable or failures + 1 == attempts:
                raise
            wait(error, failures, pause_seconds)
    raise AssertionError("a call is attempted at least once")


def wait(error: DownloadError, failures: int, pause_seconds: float) -> None:
    """Sleep as long as the hub asked, else twice as long with each failure, up to half a minute."""
    asked = error.wait_seconds
    time.sleep(min(_PATIENCE_SECONDS, asked) if asked is not None else min(30.0, pause_seconds * 2**failures))


def get_json(client: httpx.Client, url: str, access: Access) -> tuple[Any, str | None]:
    """The JSON at an address, and the address of its next page, if there is one."""

    def attempt() -> tuple[Any, str | None]:
        with open_response(client, url, access, {"Accept": "application/json"}) as response:
            response.read()
            try:
                return response.json(), find_next_page(url, response)
            except ValueError:
                raise DownloadError(
                    f"{redact_url(url)} did not answer with JSON; is it a hub? {access.token_hint}."
                ) from None

    return retry_call(attempt)


def find_next_page(url: str, response: httpx.Response, find: Find = resolve) -> str | None:
    """The address of the next page, if there is one. Raises DownloadError for one that no redirect may lead to."""
    link = response.links.get("next", {}).get("url")
    if link is None:
        return None
    page = urljoin(url, link)
    check_redirect(url, page, find)
    return page
