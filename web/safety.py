"""What keeps foreign web pages away from the portal.

On loopback there is no login, so every page a browser has open could try to use the portal. Three
things stop it: requests that change something must come from the portal's own pages, a Host header
that is not this machine's is refused (a foreign name may be made to resolve to 127.0.0.1), and the
headers of each answer tell the browser what our pages may do.
"""

from urllib.parse import urlsplit

from flask import Flask, Response, request
from werkzeug.exceptions import BadRequest, Forbidden

from farm.config import LOOPBACK_HOSTS, Settings

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_SITES = frozenset({"same-origin", "none"})

# Images may lie in a bucket anywhere: `http:` is for one in the local network.
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
    if is_loopback(settings):
        app.before_request(_refuse_foreign_host)
    app.before_request(_refuse_cross_site)
    app.after_request(_add_headers)


def is_loopback(settings: Settings) -> bool:
    """Whether only programs on this machine can reach the portal."""
    return settings.host in LOOPBACK_HOSTS


def with_styles(response: Response) -> Response:
    """The answer, allowed to style itself inline: Swagger's page does."""
    response.headers["Content-Security-Policy"] = f"{_POLICY}; style-src 'self' 'unsafe-inline'"
    return response


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
    # Either scheme: a proxy in front may speak https for us.
    if origin not in (None, f"http://{request.host}", f"https://{request.host}"):
        raise Forbidden("This request came from another site's page.")
    if request.headers.get("Sec-Fetch-Site", "none") not in _OWN_SITES:
        raise Forbidden("This request came from another site's page.")


def _add_headers(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response
