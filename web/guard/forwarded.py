"""Behind a reverse proxy: its client, the host and scheme of the request, and the portal's base path.

Any client can send `X-Forwarded-For`, so it counts only where the peer of the connection is
one of FARM_TRUSTED_PROXIES. The path is a setting, FARM_BASE_PATH: a proxy may pass it on or cut it off.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from flask import Flask

from farm.config import Settings
from farm.errors import ConfigError
from farm.network.addresses import split_list

Environ = dict[str, Any]
Network = IPv4Network | IPv6Network

_SCHEMES = ("http", "https")
PROXIED = "farm.proxied"
"""In the environ of a request that a trusted proxy passed on."""
_MARKS = ("HTTP_FORWARDED", "HTTP_VIA", "HTTP_X_REAL_IP")


@dataclass(frozen=True)
class Proxies:
    """The peers whose forwarding headers are trusted."""

    networks: tuple[Network, ...]

    @classmethod
    def of(cls, settings: Settings) -> "Proxies":
        return cls(tuple(ip_network(part) for part in split_list(settings.trusted_proxies)))

    def trust(self, address: str) -> bool:
        try:
            found = ip_address(address)
        except ValueError:
            return False
        found = getattr(found, "ipv4_mapped", None) or found
        return any(found in network for network in self.networks)

    def client_of(self, environ: Mapping[str, Any]) -> str:
        """The address that a request comes from.

        Each proxy adds its own peer at the right, and entries further left may be forged. So it is the last address
        that is not a trusted proxy itself.
        """
        client: str = environ.get("REMOTE_ADDR", "")
        named = reversed(str(environ.get("HTTP_X_FORWARDED_FOR", "")).split(","))
        while self.trust(client) and (found := _parse_address(next(named, ""))):
            client = found
        return client


class Forwarded:
    """WSGI middleware: a trusted proxy's headers replace the connection's address, host and scheme."""

    def __init__(self, app: Any, proxies: Proxies) -> None:
        self._app = app
        self._proxies = proxies

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if self._proxies.trust(environ.get("REMOTE_ADDR", "")):
            environ.update(_read_forwarded(environ), REMOTE_ADDR=self._proxies.client_of(environ))
            for name in [name for name in environ if _is_mark(name)]:
                del environ[name]
            environ[PROXIED] = True
        answer: Iterable[bytes] = self._app(environ, start_response)
        return answer


class Mounted:
    """WSGI middleware: the portal has a base path, which is removed where the proxy has left it."""

    def __init__(self, app: Any, base_path: str) -> None:
        self._app = app
        self._base_path = base_path

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if f"{path}/".startswith(f"{self._base_path}/"):
            environ["PATH_INFO"] = path.removeprefix(self._base_path) or "/"
        environ["SCRIPT_NAME"] = self._base_path
        answer: Iterable[bytes] = self._app(environ, start_response)
        return answer


def register(app: Flask, settings: Settings) -> None:
    """Read forwarding headers, and use FARM_BASE_PATH. Raises ConfigError for one of the portal's own paths."""
    wsgi_app = app.wsgi_app
    if base_path := settings.base_path.rstrip("/"):
        first = base_path.split("/")[1]
        if first in {rule.rule.split("/")[1] for rule in app.url_map.iter_rules()}:
            raise ConfigError(
                f"FARM_BASE_PATH={base_path}: the portal itself has an address /{first}. Choose another."
            )
        wsgi_app = Mounted(wsgi_app, base_path)
    app.wsgi_app = Forwarded(wsgi_app, Proxies.of(settings))  # type: ignore[method-assign]  # Flask's own way


def is_forwarded(environ: Mapping[str, Any]) -> bool:
    """Whether a proxy that is not trusted passed the request on: headers of trusted proxies are removed by now."""
    return any(_is_mark(name) for name in environ)


def _is_mark(name: str) -> bool:
    return name in _MARKS or name.startswith("HTTP_X_FORWARDED_")


def _read_forwarded(environ: Mapping[str, Any]) -> dict[str, str]:
    """The scheme and the host that the browser used, by the nearest proxy's headers (the last of several)."""
    scheme = _read_last(environ, "HTTP_X_FORWARDED_PROTO").lower()
    host = _read_last(environ, "HTTP_X_FORWARDED_HOST")
    return {
        **({"wsgi.url_scheme": scheme} if scheme in _SCHEMES else {}),
        **({"HTTP_HOST": host} if host else {}),
    }


def _read_last(environ: Mapping[str, Any], name: str) -> str:
    return str(environ.get(name, "")).split(",")[-1].strip()


def _parse_address(text: str) -> str | None:
    """The address, without the port that some proxies add; None for `unknown` and other texts."""
    text = text.strip()
    for wish in (text, text.strip("[]"), text.rpartition(":")[0].strip("[]")):
        try:
            return str(ip_address(wish))
        except ValueError:
            continue
    return None
