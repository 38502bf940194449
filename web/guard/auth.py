"""Who is asking: a user by API key, or `local`: whoever runs the portal, on loopback."""

import re
import time

import structlog
from flask import Flask, current_app, g, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import HTTPException, TooManyRequests, Unauthorized

from farm import accounts
from farm.accounts import LOCAL_USER
from farm.config import Settings
from web.guard import peers
from web.guard.addresses import share_of
from web.guard.admission import ANSWER_AFTER, PEER
from web.guard.refusals import Refusals, Verdict
from web.guard.safety import is_private
from web.services import services

log = structlog.get_logger(__name__)

# Probes have no key; links to files are signed; the style sheet is no secret.
_OPEN_PATHS = ("/healthz", "/readyz", "/files/", "/static/")


_KEY_PREFIX = re.compile(r"farm_([0-9a-f]{8})_")
_SLOWED_SECONDS = 1.0
_REFUSALS = "farm-refusals"


def register(app: Flask, settings: Settings) -> None:
    """Learn who asks before each request; unless the portal is private, refuse whoever has no key."""
    app.extensions[_REFUSALS] = Refusals()
    if is_private(settings):
        allowed = peers.allowed_uids(settings)
        app.before_request(lambda: _learn_user(allowed))
    else:
        app.before_request(_require_user)


def current_user() -> str:
    """The name of the user who asks: the owner of the jobs submitted now."""
    name: str = g.user
    return name


def _learn_user(allowed: frozenset[int] | None) -> None:
    if request.authorization is not None:
        g.user = _user_of_request()
    elif not request.path.startswith(_OPEN_PATHS):
        _check_local(allowed)
        g.user = LOCAL_USER


def _check_local(allowed: frozenset[int] | None) -> None:
    """Refuse other users of this machine. Without a connection the portal was called by its own process."""
    ends = request.environ.get(PEER)
    if allowed is None or ends is None or (uid := peers.uid_of(ends)) in allowed:
        return
    who = "an unknown user" if uid is None else f"the user with the id {uid}"
    raise _refusal(
        f"Without a key this portal serves only the user who runs it, and you are {who} on this machine. "
        "FARM_LOCAL_USERS may name others, or an API key is needed."
    )


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
        raise _refusal_of(key)
    return name


def _refusal_of(key: str) -> HTTPException:
    """The refusal of a key, logged and counted; one of many from an address is held back, without a thread."""
    address = request.remote_addr or ""
    verdict = _refusals().count(share_of(address), time.monotonic())
    _log(verdict, address, key)
    if verdict.wait_seconds is None:
        return _refusal("This API key is not valid.")
    request.environ[ANSWER_AFTER] = _SLOWED_SECONDS
    return TooManyRequests(
        "This API key is not valid, and neither were many others from this address. A valid one is always taken.",
        retry_after=verdict.wait_seconds,
    )


def _refusals() -> Refusals:
    found: Refusals = current_app.extensions[_REFUSALS]
    return found


def _log(verdict: Verdict, address: str, key: str) -> None:
    """Say who tried which key, by its prefix, which is no secret; of many tries only the first."""
    if not verdict.is_logged:
        return
    known = _KEY_PREFIX.match(key)
    log.warning(
        "An API key that is not valid was refused.",
        address=address,
        key=f"farm_{known[1]}_..." if known else "not one of a farm",
        path=request.path,
    )
    if verdict.is_last_logged:
        log.warning("Further keys from this address are not logged for a minute.", address=address)


def _refusal(what: str) -> Unauthorized:
    return Unauthorized(
        f"{what} Send it as `Authorization: Bearer KEY`, or as the password of HTTP Basic.",
        www_authenticate=WWWAuthenticate("basic", {"realm": "Diffusion Farm"}),
    )
