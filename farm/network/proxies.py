"""HTTP through the proxies that the environment names (HTTP_PROXY, ALL_PROXY and so on), never to this machine."""

from typing import Any

import httpx

from farm.errors import ConfigError
from farm.network.addresses import LOOPBACK_HOSTS, is_on_this_machine

# More specific than any pattern of the environment's proxies, so these hosts are reached directly.
_DIRECT: dict[str, httpx.BaseTransport | None] = {
    f"all://[{host}]" if ":" in host else f"all://{host}": None for host in LOOPBACK_HOSTS
}


def open_http(url: str | None = None, **options: Any) -> httpx.Client:
    """A client for requests to this address, or to any; the options are those of httpx.

    Raises ConfigError for a proxy of the environment's that cannot be used, unless the address needs none.
    """
    if url and is_on_this_machine(url):
        return httpx.Client(trust_env=False, **options)
    try:
        return httpx.Client(mounts=_DIRECT, **options)
    except (ValueError, ImportError) as error:
        raise ConfigError(
            f"HTTP_PROXY, HTTPS_PROXY or ALL_PROXY names no proxy that can be used: {error}. Use http, https or "
            "socks5; NO_PROXY names the hosts that need none."
        ) from None
