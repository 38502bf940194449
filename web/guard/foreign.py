"""Keeps foreign web pages, and clients behind an untrusted proxy, away from the portal.

On loopback there is no login, so every page a browser has open could try to use the portal. Three
things stop it: requests that change something must come from the portal's own pages, a Host header
that is not this machine's is refused (a foreign name may be made to resolve to 127.0.0.1), and the
headers of each answer tell the browser what our pages may do. And a proxy on this machine would make
the whole network appear as its owner: forwarded requests are refused there, unless the proxy is trusted,
and then every user needs a key.
"""

from urllib.parse import urlsplit

from flask import Flask, Response, request
from werkzeug.exceptions import BadRequest, Forbidden

from farm.config import Settings
from farm.network.addresses import LOOPBACK_HOSTS
from web.guard.forwarded import PROXIED, is_forwarded

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_SITES = frozenset({"same-origin", "none"})
_SCHEMES = ("http", "https")
_PROBES = ("/healthz", "/readyz")

# Images may be in a bucket anywhere: `http:` is for one in the local network.
_POLICY = (
    "default-src 'self'; img-src 'self' data: https: http:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
}


def register(app: Flask, settings: Settings) -> None:
    if is_private(settings):
        app.before_request(_refuse_forwarded)
        app.before_request(_refuse_foreign_host)
    app.before_request(_refuse_cross_site)
    app.after_request(_add_headers)


def is_private(settings: Settings) -> bool:
    """Whether only programs on this machine are to reach the portal. Otherwise every user needs a key."""
    return not settings.asks_for_keys


def allow_inline_styles(response: Response) -> Response:
    """The answer, allowed to style itself inline: Swagger's page does."""
    response.headers["Content-Security-Policy"] = f"{_POLICY}; style-src 'self' 'unsafe-inline'"
    return response


def _refuse_forwarded() -> None:
    if is_forwarded(request.environ) and request.path not in _PROBES:
        raise Forbidden(
            "A proxy passed this request on, and this portal takes requests of its own machine only. "
            f"If the proxy is yours, set FARM_TRUSTED_PROXIES={request.remote_addr} for the portal; then every "
            "user needs an API key."
        )


def _refuse_foreign_host() -> None:
    if _hostname(request.host) not in LOOPBACK_HOSTS:
        raise BadRequest("This portal answers only to localhost and 127.0.0.1.")


def _hostname(host: str) -> str | None:
    """The name without its port; None for what cannot be a Host header."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _refuse_cross_site() -> None:
    if request.method in _SAFE_METHODS:
        return
    origin = request.headers.get("Origin")
    # Either scheme where it is not known: a proxy in front may terminate https.
    schemes = (request.scheme,) if PROXIED in request.environ else _SCHEMES
    if origin is not None and origin not in [f"{scheme}://{request.host}" for scheme in schemes]:
        raise Forbidden("This request came from another site's page.")
    if request.headers.get("Sec-Fetch-Site", "none") not in _OWN_SITES:
        raise Forbidden("This request came from another site's page.")


def _add_headers(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response
