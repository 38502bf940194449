"""Who is asking: a user by API key, or `local` on loopback."""

from flask import Flask, g, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized

from farm import accounts
from farm.config import Settings
from farm.intake import LOCAL_USER
from web.safety import is_loopback
from web.services import services

# Probes have no key; links to files are signed; the style sheet is no secret.
_OPEN_PATHS = ("/healthz", "/readyz", "/files/", "/static/")


def register(app: Flask, settings: Settings) -> None:
    """Learn who asks before each request; off loopback, refuse whoever has no key."""
    app.before_request(_learn_user if is_loopback(settings) else _require_user)


def current_user() -> str:
    """The name of the user who asks: the owner of the jobs submitted now."""
    name: str = g.user
    return name


def _learn_user() -> None:
    g.user = LOCAL_USER if request.authorization is None else _user_of_request()


def _require_user() -> None:
    if not request.path.startswith(_OPEN_PATHS):
        g.user = _user_of_request()


def _user_of_request() -> str:
    """The user of a bearer key, or of a key given as Basic password, which is how a browser can send one."""
    given = request.authorization
    key = given and (given.token or given.password)
    if not key:
        raise _refusal("An API key is needed.")
    with services().database.begin() as session:
        name = accounts.user_of_key(session, key)
    if name is None:
        raise _refusal("This API key is not valid.")
    return name


def _refusal(what: str) -> Unauthorized:
    return Unauthorized(
        f"{what} Send it as `Authorization: Bearer KEY`, or as the password of HTTP Basic.",
        www_authenticate=WWWAuthenticate("basic", {"realm": "Diffusion Farm"}),
    )
