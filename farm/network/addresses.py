"""Addresses: what settings that are URLs or lists of networks may hold, and which are of this machine."""

from ipaddress import ip_network
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})


def _url_of(*schemes: str) -> AfterValidator:
    def check(url: str) -> str:
        try:
            parts = urlsplit(url)
            scheme, _ = parts.scheme, parts.port
        except ValueError:
            # urllib's own message repeats the URL, with its password.
            raise ValueError("is not a URL") from None
        if scheme not in schemes:
            raise ValueError(f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        return url

    return AfterValidator(check)


DatabaseUrl = Annotated[str, _url_of("postgresql", "postgres")]
RedisUrl = Annotated[str, _url_of("redis", "rediss", "unix")]
StoreUrl = Annotated[str, _url_of("s3", "file")]


def is_on_this_machine(url: str) -> bool:
    """Whether the address is one of loopback, which no proxy would reach as we mean it."""
    try:
        return urlsplit(url).hostname in LOOPBACK_HOSTS
    except ValueError:
        return False


def is_safe_url(url: str) -> bool:
    """Whether nobody between here and there can read or change what it brings: https, or http on this machine."""
    try:
        parts = urlsplit(url)
        return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS)
    except ValueError:
        return False


def _hub_address(url: str) -> str:
    if not is_safe_url(url) or "@" in url or not urlsplit(url).hostname:
        raise ValueError("must be an https:// address (http:// only on this machine), without a password")
    return url.rstrip("/")


HubUrl = Annotated[str, AfterValidator(_hub_address)]


def _networks(text: str) -> str:
    for part in split_list(text):
        try:
            ip_network(part)
        except ValueError:
            raise ValueError(
                f"{part!r} is no address and no network. Write addresses and networks with commas, "
                "such as 127.0.0.1, 10.0.0.0/8"
            ) from None
    return text


Networks = Annotated[str, AfterValidator(_networks)]


def split_list(text: str) -> list[str]:
    """The parts of a setting that is a list with commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def http_url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
